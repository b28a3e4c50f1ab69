//! The variables that stand for secrets, and the client's own references to variables.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::config::interpolate::is_variable;

#[derive(Clone, Debug)]
pub(super) struct Variables {
    /// VS Code's `${input:ID}` to what it asks for.
    inputs: BTreeMap<String, String>,
    /// Variables of inputs that were met.
    asked: BTreeMap<String, String>,
    /// Names that the client takes from the environment: no secret of the file may have them.
    reserved: BTreeSet<String>,
    /// Variable to what it is for.
    wanted: BTreeMap<String, About>,
    /// Secret to the variable that stands for it: one secret, one variable.
    known: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default)]
struct About {
    places: Vec<String>,
    hint: String,
}

/// What the client puts in for `${…}`.
enum Reference<'a> {
    Input(&'a str),
    Home,
    Workspace,
    Environment(&'a str, Option<&'a str>),
}

impl<'a> Reference<'a> {
    fn new(inside: &'a str) -> Self {
        if let Some(id) = inside.strip_prefix("input:") {
            Self::Input(id)
        } else if let Some(name) = inside.strip_prefix("env:") {
            Self::Environment(name, None)
        } else if let Some((name, default)) = inside.split_once(":-") {
            Self::Environment(name, Some(default))
        } else if inside == "userHome" {
            Self::Home
        } else if inside.starts_with("workspaceFolder") {
            Self::Workspace
        } else {
            Self::Environment(inside, None)
        }
    }
}

impl Variables {
    pub(super) fn new(inputs: Option<&Value>) -> Self {
        let inputs = inputs
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|input| {
                let about = input["description"]
                    .as_str()
                    .unwrap_or("asked for by the client");
                Some((input["id"].as_str()?.to_owned(), about.to_owned()))
            });
        Self {
            inputs: inputs.collect(),
            asked: BTreeMap::new(),
            reserved: BTreeSet::new(),
            wanted: BTreeMap::new(),
            known: BTreeMap::new(),
        }
    }

    pub(super) fn finish(self) -> BTreeMap<String, String> {
        let line = |about: About| about.places.join(", ") + &about.hint;
        self.wanted
            .into_iter()
            .map(|(name, about)| (name, line(about)))
            .collect()
    }

    /// Keeps the names that a text takes from the environment, but for `own`, from secrets that have the same.
    pub(super) fn reserve(&mut self, text: &str, own: &BTreeSet<&str>) {
        for piece in text.split("${").skip(1) {
            let Some((inside, _)) = piece.split_once('}') else {
                continue;
            };
            if own.contains(inside) {
                continue;
            }
            let name = match Reference::new(inside) {
                Reference::Environment(name, _) => name.to_owned(),
                Reference::Home => "HOME".to_owned(),
                Reference::Workspace => upper(inside),
                Reference::Input(_) => continue,
            };
            self.reserved.insert(name);
        }
    }

    /// The variable that stands for `secret`, which is at `place` of `server` and wants to be called `own`.
    pub(super) fn secret(&mut self, server: &str, own: &str, place: &str, secret: &str) -> String {
        let place = format!("{place} of `{server}`");
        if let Some(variable) = self.known.get(secret) {
            if let Some(about) = self.wanted.get_mut(variable)
                && !about.places.contains(&place)
            {
                about.places.push(place);
            }
            return variable.clone();
        }
        let name = upper(own.trim_start_matches('-'));
        // A variable of an environment is known by its own name; a header's or option's name alone says little.
        let is_env = name == own && name.contains('_');
        let full = upper(&format!("{server}_{name}"));
        let name = if is_env && self.is_free(&name) {
            name
        } else {
            full
        };
        let variable = self.free(&name);
        let about = About {
            places: vec![place],
            hint: String::new(),
        };
        self.wanted.insert(variable.clone(), about);
        self.known.insert(secret.to_owned(), variable.clone());
        variable
    }

    /// Says what stands in the file beside the variable.
    pub(super) fn hint(&mut self, variable: &str, hint: &str) {
        if let Some(about) = self.wanted.get_mut(variable)
            && !about.hint.contains(hint)
        {
            about.hint.push_str(hint);
        }
    }

    /// Our name for what the client puts in for `${inside}`. `None` if we have no counterpart.
    pub(super) fn reference(&mut self, inside: &str) -> Option<String> {
        let (name, about) = match Reference::new(inside) {
            Reference::Home => return Some("HOME".to_owned()),
            Reference::Input(id) => return Some(self.input(id)),
            Reference::Workspace => (
                upper(inside),
                "directory that the client calls its workspace".to_owned(),
            ),
            Reference::Environment(name, None) => {
                (name.to_owned(), "taken from the environment".to_owned())
            }
            Reference::Environment(name, Some(default)) => (
                name.to_owned(),
                format!("taken from the environment; the client falls back to {default:?}"),
            ),
        };
        if !is_variable(&name) {
            return None;
        }
        self.wanted.entry(name.clone()).or_insert_with(|| About {
            places: vec![about],
            hint: String::new(),
        });
        Some(name)
    }

    fn input(&mut self, id: &str) -> String {
        if let Some(variable) = self.asked.get(id) {
            return variable.clone();
        }
        let variable = self.free(&upper(id));
        let about = self.inputs.get(id).cloned();
        let about = About {
            places: vec![about.unwrap_or_else(|| format!("input `{id}` of the client"))],
            hint: String::new(),
        };
        self.wanted.insert(variable.clone(), about);
        self.asked.insert(id.to_owned(), variable.clone());
        variable
    }

    /// The secret that a variable stands for.
    #[cfg(test)]
    pub(super) fn value_of(&self, variable: &str) -> Option<String> {
        let mut known = self.known.iter();
        known
            .find(|(_, name)| *name == variable)
            .map(|(secret, _)| secret.clone())
    }

    fn is_free(&self, name: &str) -> bool {
        !self.wanted.contains_key(name) && !self.reserved.contains(name)
    }

    fn free(&self, name: &str) -> String {
        let mut free = name.to_owned();
        for number in 2_u64.. {
            if self.is_free(&free) {
                break;
            }
            free = format!("{name}_{number}");
        }
        free
    }
}

/// A variable's name in the usual form.
fn upper(text: &str) -> String {
    let mut name: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name.insert(0, 'V');
    }
    name
}
