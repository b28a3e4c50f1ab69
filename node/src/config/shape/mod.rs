//! Checks a tree against the table of keys: unknown and refused keys, types, ranges. What is wrong is reported and cut
//! out, so that the typed checks still run on the rest and all problems come out at once.

mod scalar;
mod wrong;

pub(crate) use self::scalar::{NAME_REMEDY, SHELLS, SHELLS_REMEDY, begins_like_a_shells, is_name};

use self::scalar::{fits, scalar, takes};
use self::wrong::{Wrong, first_sentence, mistyped, no_choice, unknown};
use super::check::Findings;
use super::keys::{Key, Kind, refusal};
use super::problem::{Problem, Rigour};
use super::tree::{Entry, KeyPath, Tree, Value};

/// Checks `tree` as a value of `kind` at `at`, and cuts out what is wrong.
pub(super) fn check(
    tree: &mut Tree,
    kind: Kind,
    at: &KeyPath,
    steps: &[&str],
    rigour: Rigour,
) -> Findings {
    let mut shape = Shape {
        found: Findings::of(rigour),
    };
    let here = Here {
        path: at.clone(),
        steps: steps.iter().map(|step| (*step).to_owned()).collect(),
    };
    if let Err(wrong) = shape.value(tree, kind, &here) {
        shape.report(tree.line, &here.path, wrong);
        tree.value = Value::Map(Vec::new());
    }
    shape.found
}

struct Shape {
    found: Findings,
}

#[derive(Clone)]
struct Here {
    path: KeyPath,
    /// For the table of refused keys.
    steps: Vec<String>,
}

impl Here {
    fn key(&self, name: &str) -> Self {
        let mut steps = self.steps.clone();
        steps.push(name.to_owned());
        Self {
            path: self.path.key(name),
            steps,
        }
    }

    fn index(&self, index: usize) -> Self {
        let mut steps = self.steps.clone();
        steps.push("*".to_owned());
        Self {
            path: self.path.index(index),
            steps,
        }
    }

    fn refusal(&self, value: Option<&str>) -> Option<&'static str> {
        let steps: Vec<&str> = self.steps.iter().map(String::as_str).collect();
        refusal(&steps, value).map(|row| row.remedy)
    }
}

impl Shape {
    /// Whether the value is taken all the same.
    fn report(&mut self, line: u32, at: &KeyPath, wrong: Wrong) -> bool {
        let is_slip = wrong.is_slip;
        let problem = problem(line, at, wrong);
        match is_slip {
            true => self.found.slip(problem),
            false => self.found.refuse_as(problem),
        }
    }

    /// An error is about `tree` itself; what is wrong below it has been reported and cut out.
    fn value(&mut self, tree: &mut Tree, kind: Kind, here: &Here) -> Result<(), Wrong> {
        match kind {
            Kind::List(of) => self.list(tree, *of, here),
            Kind::Filled(of) => {
                self.list(tree, *of, here)?;
                match &tree.value {
                    Value::List(items) if items.is_empty() => Err(Wrong::new(
                        "the list is empty",
                        "add an item, or remove the key",
                    )),
                    _ => Ok(()),
                }
            }
            Kind::Object(keys) => self.object(tree, keys, here),
            Kind::Named(of) => self.named(tree, *of, here, true),
            Kind::Free(of) => self.named(tree, *of, here, false),
            Kind::OneOf(kinds) => match kinds.iter().find(|kind| fits(**kind, &tree.value)) {
                // What is none of the words may be meant as one of the other forms.
                Some(Kind::Choice(_)) if is_none_of(tree, kind, here) => {
                    Err(mistyped(&tree.value, kind))
                }
                Some(kind) => self.value(tree, *kind, here),
                None => Err(mistyped(&tree.value, kind)),
            },
            Kind::Choice(words) => match &tree.value {
                Value::Text(text) if words.contains(&text.as_str()) => Ok(()),
                Value::Text(text) => Err(no_choice(text, words, here.refusal(Some(text)))),
                other => Err(mistyped(other, kind)),
            },
            _ => scalar(&tree.value, kind),
        }
    }

    fn list(&mut self, tree: &mut Tree, of: Kind, here: &Here) -> Result<(), Wrong> {
        let Value::List(items) = &mut tree.value else {
            return Err(mistyped(&tree.value, Kind::List(&Kind::Text)));
        };
        let mut sound = true;
        for (index, item) in items.iter_mut().enumerate() {
            let here = here.index(index);
            if let Err(wrong) = self.value(item, of, &here) {
                sound &= self.report(item.line, &here.path, wrong);
            }
        }
        if !sound {
            // Dropping single items would shift the indexes that later problems name.
            tree.value = Value::Null;
        }
        Ok(())
    }

    fn object(&mut self, tree: &mut Tree, keys: &'static [Key], here: &Here) -> Result<(), Wrong> {
        let Value::Map(entries) = &mut tree.value else {
            return Err(mistyped(&tree.value, Kind::Object(keys)));
        };
        entries.retain_mut(|entry| {
            let here = here.key(&entry.key);
            let known = keys.iter().find(|key| key.name == entry.key);
            let found = match (known, here.refusal(None)) {
                (Some(key), _) => self.entry(entry, key.kind, key.required, &here),
                (None, Some(remedy)) => Err(Wrong::new(
                    "this key is not enforced by this version",
                    remedy,
                )),
                (None, None) => Err(unknown(&entry.key, keys)),
            };
            self.keep(found, entry.line, &here)
        });
        for key in keys.iter().filter(|key| key.required) {
            let missing = here.path.key(key.name);
            let reported = self
                .found
                .problems
                .iter()
                .any(|problem| problem.key.starts_with(missing.as_str()));
            let there = |entry: &Entry| entry.key == key.name && entry.value.value != Value::Null;
            if !reported && !entries.iter().any(there) {
                let remedy = format!("add it ({})", first_sentence(key.doc));
                self.report(
                    tree.line,
                    &missing,
                    Wrong::new("this key is missing", remedy),
                );
            }
        }
        Ok(())
    }

    fn named(&mut self, tree: &mut Tree, of: Kind, here: &Here, strict: bool) -> Result<(), Wrong> {
        let Value::Map(entries) = &mut tree.value else {
            return Err(mistyped(&tree.value, Kind::Object(&[])));
        };
        entries.retain_mut(|entry| {
            let here = here.key(&entry.key);
            let found = if strict && !is_name(&entry.key) {
                Err(Wrong::new(
                    "the name is not fit for URLs and tool names",
                    NAME_REMEDY,
                ))
            } else {
                self.entry(entry, of, false, &here)
            };
            self.keep(found, entry.line, &here)
        });
        Ok(())
    }

    fn entry(
        &mut self,
        entry: &mut Entry,
        kind: Kind,
        is_required: bool,
        here: &Here,
    ) -> Result<(), Wrong> {
        let of_key = |wrong: Wrong| match is_required {
            true => wrong.of_needed(),
            false => wrong,
        };
        match (&entry.value.value, kind) {
            // `files:` without anything below it is an entry with no keys.
            (Value::Null, Kind::Object(_)) => {
                entry.value.value = Value::Map(Vec::new());
                self.value(&mut entry.value, kind, here).map_err(of_key)
            }
            (Value::Null, Kind::Named(_) | Kind::Free(_)) => Ok(()),
            // It is as if the key were not there, which may be the widest of all values.
            (Value::Null, _) => {
                let wrong = Wrong::new(
                    "there is no value behind this key",
                    "write one, or remove the key",
                );
                let wrong = of_key(wrong);
                self.found.slip(problem(entry.line, &here.path, wrong));
                Ok(())
            }
            _ => self.value(&mut entry.value, kind, here).map_err(of_key),
        }
    }

    fn keep(&mut self, found: Result<(), Wrong>, line: u32, here: &Here) -> bool {
        match found {
            Ok(()) => true,
            Err(wrong) => self.report(line, &here.path, wrong),
        }
    }
}

fn problem(line: u32, at: &KeyPath, wrong: Wrong) -> Problem {
    let Wrong { what, remedy, .. } = wrong;
    Problem {
        line: Some(line).filter(|line| *line > 0),
        key: at.as_str().to_owned(),
        what,
        remedy,
    }
}

/// Whether the text is nothing that `kind` takes, and nothing that a feature to come would.
fn is_none_of(tree: &Tree, kind: Kind, here: &Here) -> bool {
    let Value::Text(text) = &tree.value else {
        return false;
    };
    !takes(kind, text) && here.refusal(Some(text)).is_none()
}
