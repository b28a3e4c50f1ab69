//! Figures against the committed budget.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    measure::Summary,
};

const COMMITTED: &str = include_str!("../../thresholds.json");

/// A measured figure of the budget.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Figure {
    /// Its id, as in the budget: `a.session`.
    pub(crate) id: String,
    /// Its value.
    pub(crate) value: Summary,
}

/// The budget file.
///
/// `{"budgets":[{"figure":"a.session","what":"CPU a small call","unit":"x floor","max":2.0,"aim":1.5,"quick":2.3}]}`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Budgets {
    budgets: Vec<Budget>,
}

/// One line of it. Exactly one of `max` and `min` is there.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Budget {
    figure: String,
    what: String,
    unit: String,
    max: Option<f64>,
    min: Option<f64>,
    /// What would be better still; missing it is no failure.
    aim: Option<f64>,
    /// Bound of a quick run, whose windows are too short for the real one.
    quick: f64,
}

/// One line of the budget, judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Verdict {
    /// Id of the figure.
    pub(crate) figure: String,
    /// What it is.
    pub(crate) what: String,
    /// Its unit.
    pub(crate) unit: String,
    /// What was measured; `None` when it was not.
    pub(crate) value: Option<Summary>,
    /// `<= 2` or `>= 0.5`.
    pub(crate) bound: String,
    /// What would be better still.
    pub(crate) aim: Option<f64>,
    /// Whether the median is within the bound. What was not measured is not.
    pub(crate) is_met: bool,
}

impl Budgets {
    /// The budget that this program was built with.
    pub(crate) fn committed() -> Result<Self> {
        Self::parse(Path::new("thresholds.json"), COMMITTED)
    }

    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .map_err(Error::io(format!("read the budget {}", path.display())))?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self> {
        let budgets: Self = serde_json::from_str(text).map_err(|source| Error::Json {
            path: path.to_owned(),
            source,
        })?;
        let unclear = |budget: &&Budget| budget.max.is_some() == budget.min.is_some();
        match budgets.budgets.iter().find(unclear) {
            None => Ok(budgets),
            Some(budget) => Err(Error::Argument {
                key: "figure",
                value: budget.figure.clone(),
                why: "it has either `max` or `min`".to_owned(),
            }),
        }
    }

    /// Judges every line.
    pub(crate) fn judge(&self, figures: &[Figure], is_quick: bool) -> Vec<Verdict> {
        self.budgets
            .iter()
            .map(|budget| budget.judge(figures, is_quick))
            .collect()
    }
}

impl Budget {
    fn judge(&self, figures: &[Figure], is_quick: bool) -> Verdict {
        let value = figures
            .iter()
            .find(|figure| figure.id == self.figure)
            .map(|figure| figure.value);
        let is_lower_better = self.max.is_some();
        let bound = if is_quick {
            self.quick
        } else {
            self.max.or(self.min).unwrap_or(self.quick)
        };
        let is_met = value.is_some_and(|value| {
            if is_lower_better {
                value.median <= bound
            } else {
                value.median >= bound
            }
        });
        let sign = if is_lower_better { "<=" } else { ">=" };
        Verdict {
            figure: self.figure.clone(),
            what: self.what.clone(),
            unit: self.unit.clone(),
            value,
            bound: format!("{sign} {bound}"),
            aim: self.aim,
            is_met,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Budgets, Figure};
    use crate::measure::Summary;

    const FILE: &str = r#"{"budgets":[
        {"figure":"a","what":"cost","unit":"x floor","max":2.0,"aim":1.5,"quick":2.5},
        {"figure":"b","what":"rate","unit":"x floor","min":0.5,"quick":0.4}]}"#;

    fn check(a: Option<f64>, b: Option<f64>, is_quick: bool, expected: [bool; 2]) {
        let budgets: Budgets = serde_json::from_str(FILE).unwrap();
        let figure = |id: &str, value: Option<f64>| {
            Summary::of(value).map(|value| Figure {
                id: id.to_owned(),
                value,
            })
        };
        let figures: Vec<_> = figure("a", a).into_iter().chain(figure("b", b)).collect();
        let verdicts = budgets.judge(&figures, is_quick);
        let met: Vec<_> = verdicts.iter().map(|verdict| verdict.is_met).collect();
        assert_eq!(met, expected);
    }

    #[test]
    fn a_bound_itself_is_within() {
        check(Some(2.0), Some(0.5), false, [true, true]);
    }

    #[test]
    fn beyond_the_bound_is_missed() {
        check(Some(2.01), Some(0.49), false, [false, false]);
    }

    #[test]
    fn a_quick_run_has_bounds_of_its_own() {
        check(Some(2.4), Some(0.45), true, [true, true]);
        check(Some(2.6), Some(0.39), true, [false, false]);
    }

    #[test]
    fn what_was_not_measured_is_missed() {
        check(None, Some(0.9), false, [false, true]);
    }

    #[test]
    fn the_committed_budget_is_readable_and_quick_is_never_stricter() {
        let budgets = Budgets::committed().unwrap();
        for budget in &budgets.budgets {
            assert!(
                budget.max.is_none_or(|max| budget.quick >= max),
                "{}",
                budget.figure
            );
            assert!(
                budget.min.is_none_or(|min| budget.quick <= min),
                "{}",
                budget.figure
            );
        }
    }
}
