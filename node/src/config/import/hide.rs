//! Finds the secrets in one text of a client's file, and puts variables in their place: the text as a whole, or what
//! is inside connection strings, URLs, JSON, headers and command lines.

use serde::de::IgnoredAny;

use super::jsonc::text_length;
use super::place::Place;
use super::secrets::{announces, is_doubtful, is_secret, looks_drawn, looks_secret, split_scheme};
use super::url::Parts;
use super::variables::Variables;
use crate::config::interpolate::{escape, is_variable};

/// Stands for a reference of the client while the text around it is taken apart; no text has this character.
pub(super) const REFERENCE: char = '\u{fdd0}';

/// Takes the texts of one server. What it returns is written as our file wants it: escaped, with our references.
pub(super) struct Hider<'a> {
    pub(super) variables: &'a mut Variables,
    pub(super) server: &'a str,
    /// Places of what stays in the file and may be a secret.
    pub(super) doubts: Vec<String>,
}

impl Hider<'_> {
    /// Takes a text whose references are [`REFERENCE`]s.
    pub(super) fn hide(&mut self, place: &Place, text: &str) -> String {
        if !text.contains(REFERENCE) {
            if is_secret(place.name(), text) {
                return self.whole(place, text);
            }
        } else if announces(place.name()) && has_more(text) {
            self.doubt(place);
        }
        if text.trim_start().starts_with(['{', '['])
            && serde_json::from_str::<IgnoredAny>(text).is_ok()
        {
            return self.json(place, text);
        }
        if let Some((header, value)) = split_header_line(place, text) {
            let blank = value.len() - value.trim_start().len();
            let (blank, value) = value.split_at(blank);
            return format!("{}:{blank}{}", escape(header), self.header(header, value));
        }
        if is_connection_string(text) {
            let pairs: Vec<String> = text
                .split(';')
                .map(|pair| match pair.split_once('=') {
                    Some((key, value)) => self.pair(&place.inner(key.trim()), key, value),
                    None => escape(pair),
                })
                .collect();
            return pairs.join(";");
        }
        if let Some((key, value)) = text.split_once('=')
            && is_key(key)
            && !(place.is_shell() || is_line(value))
        {
            return self.pair(&place.inner(key), key, value);
        }
        self.words(place, text)
    }

    /// The value of a header; `Bearer` and the like stay in the file.
    pub(super) fn header(&mut self, name: &str, value: &str) -> String {
        self.hide(&Place::named(name), value)
    }

    fn pair(&mut self, place: &Place, key: &str, value: &str) -> String {
        format!("{}={}", escape(key), self.hide(place, value))
    }

    fn whole(&mut self, place: &Place, value: &str) -> String {
        let (scheme, secret) = if place.is_env() {
            // Its variable is the one of the client's file, and who sets it copies the whole value.
            ("", value)
        } else {
            split_scheme(value)
        };
        let variable = self.secret(place, secret);
        if !scheme.is_empty() {
            // Whoever copied the whole value would send the scheme twice.
            let scheme = scheme.trim_end();
            let hint = format!(", without `{scheme}`, which stands in the file");
            self.variables.hint(&variable, &hint);
        }
        format!("{scheme}${{{variable}}}")
    }

    pub(super) fn secret(&mut self, place: &Place, secret: &str) -> String {
        self.variables
            .secret(self.server, place.variable(), place.label(), secret)
    }

    /// The texts in it are taken one by one under their keys; all else stays as it is.
    fn json(&mut self, place: &Place, text: &str) -> String {
        let before = (self.variables.clone(), self.doubts.len());
        let mut ours = String::with_capacity(text.len());
        let mut key = String::new();
        let mut rest = text;
        while let Some(start) = rest.find('"') {
            ours.push_str(&escape(&rest[..start]));
            let (literal, after) = rest[start..].split_at(text_length(&rest[start..]));
            rest = after;
            let Ok(value) = serde_json::from_str::<String>(literal) else {
                ours.push_str(&escape(literal));
                continue;
            };
            if after.trim_start().starts_with(':') {
                key = value;
                ours.push_str(&escape(literal));
                continue;
            }
            let hidden = self.hide(&place.inner(&key), &value);
            if hidden == escape(&value) {
                ours.push_str(&escape(literal));
            } else if literal.contains('\\') {
                // The variable's value would have to be written as JSON wants it.
                *self.variables = before.0;
                self.doubts.truncate(before.1);
                return format!("${{{}}}", self.secret(place, text));
            } else {
                ours.push_str(&format!("\"{hidden}\""));
            }
        }
        ours + &escape(rest)
    }

    /// `--token abc` within one text, `Bearer abc`, URLs, `KEY=value`.
    fn words(&mut self, place: &Place, text: &str) -> String {
        let mut ours = String::with_capacity(text.len());
        let mut previous = "";
        for piece in text.split_inclusive(char::is_whitespace) {
            let word = piece.trim_matches(|c: char| c.is_whitespace() || "\"'".contains(c));
            let Some((before, after)) = piece.split_once(word).filter(|_| !word.is_empty()) else {
                ours.push_str(&escape(piece));
                continue;
            };
            let hidden = if word.contains(REFERENCE) {
                self.word(place, word)
            } else if matches!(previous, "Bearer" | "bearer" | "Basic" | "basic") {
                self.variable(place, word)
            } else if previous.starts_with('-')
                && !word.starts_with('-')
                && is_secret(previous, word)
            {
                self.variable(&place.inner(previous), word)
            } else {
                self.word(place, word)
            };
            ours.push_str(&format!("{}{hidden}{}", escape(before), escape(after)));
            previous = word;
        }
        ours
    }

    fn word(&mut self, place: &Place, word: &str) -> String {
        if let Some((key, value)) = word.split_once('=')
            && is_key(key)
        {
            let value = value.trim_start_matches(['"', '\'']);
            let (key, _) = word.split_at(word.len() - value.len());
            let name = key.trim_end_matches(['=', '"', '\'']);
            return escape(key) + &self.hide(&place.inner(name), value);
        }
        if place.is_url() || word.contains("://") {
            return self.url(place, word);
        }
        if let Some((header, value)) = split_header(word) {
            return format!("{}:{}", escape(header), self.header(header, value));
        }
        if let Some((user, password, rest)) = split_login(word) {
            let password = self.variable(&place.inner("password"), password);
            return format!("{}:{password}@{}", escape(user), escape(rest));
        }
        let is_path = word.starts_with(['/', '.', '~']) || word.contains(":\\");
        if looks_secret(word) || (looks_drawn(word) && !is_path) {
            return self.variable(place, word);
        }
        self.kept(place, word)
    }

    fn kept(&mut self, place: &Place, word: &str) -> String {
        if is_doubtful(word) {
            self.doubt(place);
        }
        escape(word)
    }

    fn doubt(&mut self, place: &Place) {
        self.doubts.push(place.label().to_owned());
    }

    /// Password, drawn parts of the path, and the query, where keys hide.
    fn url(&mut self, place: &Place, word: &str) -> String {
        let parts = Parts::new(word);
        let mut ours = escape(parts.scheme);
        if let Some(login) = parts.login {
            ours.push_str(&match login.split_once(':') {
                Some((user, password)) if !password.is_empty() => {
                    let user = self.piece(&place.inner("user"), user);
                    let password = self.variable(&place.inner("password"), password);
                    format!("{user}:{password}")
                }
                // `https://TOKEN@host`; elsewhere a user alone is a name.
                None if parts.is_http() => self.variable(&place.inner("user"), login),
                _ => self.piece(&place.inner("user"), login),
            });
            ours.push('@');
        }
        ours.push_str(&escape(parts.host));
        for segment in parts.path.split_inclusive('/') {
            let (segment, slash) = match segment.strip_suffix('/') {
                Some(segment) => (segment, "/"),
                None => (segment, ""),
            };
            ours.push_str(&self.piece(&place.inner("path"), segment));
            ours.push_str(slash);
        }
        for pair in parts.query.split_inclusive(['?', '&', ';', '#']) {
            let (pair, mark) = pair.split_at(pair.trim_end_matches(['?', '&', ';', '#']).len());
            ours.push_str(&match pair.split_once('=') {
                Some((key, value)) => self.parameter(&place.inner(key), key, value),
                None => self.piece(&place.inner("query"), pair),
            });
            ours.push_str(mark);
        }
        ours
    }

    fn parameter(&mut self, place: &Place, key: &str, value: &str) -> String {
        // Azure's functions take their key as `code`.
        let hidden = if is_secret(key, value) || key == "code" || looks_drawn(value) {
            self.variable(place, value)
        } else {
            self.kept(place, value)
        };
        format!("{}={hidden}", escape(key))
    }

    /// A part of a URL that is a secret only if it looks so.
    fn piece(&mut self, place: &Place, text: &str) -> String {
        if looks_secret(text) || looks_drawn(text) {
            self.variable(place, text)
        } else {
            escape(text)
        }
    }

    /// A variable for `secret`, unless it is a reference already, or nothing.
    fn variable(&mut self, place: &Place, secret: &str) -> String {
        if secret.is_empty() || secret.contains(REFERENCE) {
            return escape(secret);
        }
        format!("${{{}}}", self.secret(place, secret))
    }
}

/// Whether `key` is one of `--key=value` or `KEY=value`.
fn is_key(key: &str) -> bool {
    let name = key.trim_start_matches('-');
    (name.len() < key.len() || is_variable(name))
        && !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

/// `Server=h;Password=p;` and `Endpoint=sb://h/;Key=k`, where blanks belong to the values.
fn is_connection_string(text: &str) -> bool {
    let first = text.find('=').unwrap_or(text.len());
    text.contains(';')
        && text.find("://").is_none_or(|url| first < url)
        && text
            .split(';')
            .filter(|pair| !pair.trim().is_empty())
            .all(|pair| pair.contains('='))
}

/// Whether the value of a pair ends at the first blank: a pair or an option follows, as in `host=h password=p`.
fn is_line(text: &str) -> bool {
    text.split_whitespace().skip(1).any(|word| {
        word.starts_with('-') || word.split_once('=').is_some_and(|(key, _)| is_key(key))
    })
}

/// Whether there is text beside references and scheme.
fn has_more(text: &str) -> bool {
    let (_, rest) = split_scheme(text);
    rest.contains(|c: char| c.is_ascii_alphanumeric())
}

/// `Name: value`, where the name tells of a secret or the text is the value of `--header`.
fn split_header_line<'a>(place: &Place, text: &'a str) -> Option<(&'a str, &'a str)> {
    let (header, value) = text.split_once(':')?;
    let is_name = !header.is_empty()
        && header
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    let is_line = place.is_header_option()
        || (value.starts_with(' ') && is_secret(header, value.trim_start()));
    (is_name && is_line).then_some((header, value))
}

/// `X-Api-Key:abc`. Elsewhere a colon stands in the names of images and the like.
fn split_header(word: &str) -> Option<(&str, &str)> {
    let (header, value) = word.split_once(':')?;
    let name = header.to_ascii_lowercase();
    let known = matches!(
        name.as_str(),
        "authorization" | "proxy-authorization" | "cookie"
    );
    ((known || name.starts_with("x-")) && is_secret(&name, value)).then_some((header, value))
}

/// `user:password@host`, as some drivers take it. `npm:name@1` and `name:tag@sha256:…` are none.
fn split_login(word: &str) -> Option<(&str, &str, &str)> {
    let (login, rest) = word.rsplit_once('@')?;
    let (user, password) = login.split_once(':')?;
    let other = matches!(user, "npm" | "file" | "git" | "mailto" | "acct" | "jsr")
        || user.contains(['/', '@'])
        || password.is_empty()
        || password.starts_with(['/', '\\'])
        || password.contains(REFERENCE)
        || rest.is_empty()
        || rest.starts_with("sha256:");
    (!other).then_some((user, password, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::interpolate::interpolate;

    const PIECES: &[&str] = &[
        "a",
        "=",
        ";",
        "://",
        "@",
        ":",
        "/",
        "?",
        "&",
        " ",
        "\"",
        "'",
        "\\",
        "{",
        "}",
        "[",
        ",",
        "$",
        "${",
        "--token",
        "password",
        "Bearer ",
        "X-Api-Key",
        "-",
        "ghp_0123456789abcdef",
        "{\"key\": \"v\"}",
    ];

    proptest! {
        #[test]
        fn with_the_variables_values_the_text_is_the_old_one(
            pieces in prop::collection::vec(prop::sample::select(PIECES), 0..12),
            option in prop::sample::select(&["", "-c", "--header", "--token", "-e"][..]),
            kind in 0..4,
        ) {
            let text = pieces.concat();
            let place = match kind {
                0 => Place::env("A_VARIABLE"),
                1 => Place::url(),
                2 => Place::named("X-Header"),
                _ => Place::argument(0, option),
            };
            let mut variables = Variables::new(None);
            let mut hider = Hider { variables: &mut variables, server: "s", doubts: Vec::new() };
            let ours = hider.hide(&place, &text);
            let value = |name: &str| variables.value_of(name);
            prop_assert_eq!(interpolate(&ours, &value), Ok(text), "{}", ours);
        }
    }
}
