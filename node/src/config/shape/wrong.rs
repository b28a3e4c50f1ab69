//! What is told about a value that is wrong.

use super::scalar::takes;
use crate::config::keys::{Key, Kind};
use crate::config::tree::Value;

/// What is wrong with one value, and the remedy.
pub(super) struct Wrong {
    pub what: String,
    pub remedy: String,
    /// An earlier version took it.
    pub is_slip: bool,
}

impl Wrong {
    pub(super) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
            is_slip: false,
        }
    }

    /// Something that an earlier version took.
    pub(super) fn slip(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            is_slip: true,
            ..Self::new(what, remedy)
        }
    }

    /// The same of a key that has to be there.
    pub(super) fn of_needed(mut self) -> Self {
        if let Some(remedy) = self.remedy.strip_suffix(", or remove the key") {
            self.remedy = remedy.to_owned();
        }
        self
    }
}

pub(super) fn mistyped(value: &Value, kind: Kind) -> Wrong {
    if let (Value::Float(number), Kind::Int(..)) = (value, kind)
        && number.fract() == 0.0
    {
        return Wrong::new(
            "the number is not written in plain digits",
            "write it without point and exponent",
        );
    }
    if let (Value::Digits(text), Kind::Int(..) | Kind::Ratio | Kind::Usd(_)) = (value, kind) {
        let digits = text.trim_start_matches(['+', '-']);
        return if digits.starts_with('0') {
            Wrong::new(
                format!("the number {text} begins with a zero"),
                "write it without leading zeros",
            )
        } else {
            Wrong::new(
                format!("{text} is out of range"),
                format!("write {}", expected(kind)),
            )
        };
    }
    let found = match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Int(value) => format!("the number {value}"),
        Value::Float(value) => format!("the number {value}"),
        Value::Digits(text) => format!("the number {text}"),
        Value::Text(text) => format!("the text {text:?}"),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a mapping".to_owned(),
    };
    let quoted = match value {
        Value::Bool(value) => Some(value.to_string()),
        Value::Int(value) => Some(value.to_string()),
        Value::Float(value) => Some(value.to_string()),
        Value::Digits(text) => Some(text.clone()),
        _ => None,
    };
    let remedy = if quoted.is_some_and(|text| takes(kind, &text)) {
        "put it in quotes".to_owned()
    } else {
        format!("write {}", expected(kind))
    };
    Wrong::new(
        format!("{found} stands where {} is expected", expected(kind)),
        remedy,
    )
}

pub(super) fn expected(kind: Kind) -> String {
    match kind {
        Kind::Text | Kind::Pattern | Kind::Url | Kind::Template | Kind::Secret => {
            "a text".to_owned()
        }
        Kind::Name => "a name".to_owned(),
        Kind::Choice(words) => expected_words(words),
        Kind::False => "`false`".to_owned(),
        Kind::Int(min, max) => format!("a whole number from {min} to {max}"),
        Kind::Ratio => "a number from 0 to 1".to_owned(),
        Kind::Usd(max) => format!("an amount of dollars from 0 to {max}"),
        Kind::Time(..) => "a time such as 30s".to_owned(),
        Kind::Size(..) => "a size such as 4MiB".to_owned(),
        Kind::Address => "an address such as 127.0.0.1:7777".to_owned(),
        Kind::File => "a path".to_owned(),
        Kind::Collector => "an address such as http://127.0.0.1:4317".to_owned(),
        Kind::List(_) | Kind::Filled(_) => "a list".to_owned(),
        Kind::Object(_) | Kind::Named(_) | Kind::Free(_) => "a mapping".to_owned(),
        Kind::OneOf(kinds) => kinds
            .iter()
            .map(|kind| expected(*kind))
            .collect::<Vec<_>>()
            .join(" or "),
    }
}

pub(super) fn no_choice(text: &str, words: &[&str], refusal: Option<&str>) -> Wrong {
    match refusal {
        Some(remedy) => Wrong::new(format!("`{text}` is not enforced by this version"), remedy),
        None => Wrong::new(
            format!("{text:?} is not a choice here"),
            format!("write {}", expected_words(words)),
        ),
    }
}

fn expected_words(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(" or ")
}

pub(super) fn unknown(name: &str, keys: &[Key]) -> Wrong {
    let near = keys
        .iter()
        .map(|key| (distance(name, key.name), key.name))
        .min();
    let remedy = match near {
        Some((distance, near)) if distance <= near.len() / 3 + 1 => {
            format!("did you mean `{near}`?")
        }
        _ => format!(
            "remove it: known here are {}",
            keys.iter()
                .map(|key| key.name)
                .collect::<Vec<_>>()
                .join(", ")
        ),
    };
    Wrong::new("unknown key", remedy)
}

/// Edits that turn one into the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

pub(super) fn first_sentence(doc: &str) -> &str {
    doc.split_once(". ")
        .map_or(doc, |(first, _)| first)
        .trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("timeout", "timeout"), 0);
        assert_eq!(distance("timeuot", "timeout"), 2);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("uri", "url"), 1);
    }
}
