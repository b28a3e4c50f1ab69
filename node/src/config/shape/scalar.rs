//! Single values.

use std::net::SocketAddr;

use super::wrong::{Wrong, expected, mistyped};
use crate::config::keys::Kind;
use crate::config::tree::Value;
use crate::config::unit::{Size, Time};

/// Longest name of a server, role, tenant or key.
const NAME_LEN_MAX: usize = 64;

/// Whether `name` is fit for a server, role, tenant or key: it goes into URLs, labels and tool names.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= NAME_LEN_MAX
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// What to do about a name that is none.
const EMPTY_REMEDY: &str = "write a value, or remove the key";
pub(crate) const NAME_REMEDY: &str =
    "use letters, digits, `_`, `-` and `.`, at most 64, starting with a letter or digit";

/// Whether a value has the form (not yet the content) of `kind`.
pub(super) fn fits(kind: Kind, value: &Value) -> bool {
    match kind {
        Kind::List(_) | Kind::Filled(_) => matches!(value, Value::List(_)),
        Kind::Object(_) | Kind::Named(_) | Kind::Free(_) => matches!(value, Value::Map(_)),
        Kind::False => matches!(value, Value::Bool(_)),
        Kind::Int(..) => matches!(value, Value::Int(_)),
        Kind::Ratio | Kind::Usd(_) => matches!(value, Value::Int(_) | Value::Float(_)),
        Kind::OneOf(kinds) => kinds.iter().any(|kind| fits(*kind, value)),
        Kind::Text
        | Kind::Name
        | Kind::Choice(_)
        | Kind::Time(..)
        | Kind::Size(..)
        | Kind::Address
        | Kind::File
        | Kind::Collector
        | Kind::Pattern
        | Kind::Url
        | Kind::Template
        | Kind::Secret => matches!(value, Value::Text(_)),
    }
}

pub(super) fn scalar(value: &Value, kind: Kind) -> Result<(), Wrong> {
    match (kind, value) {
        (Kind::False, Value::Bool(false)) => Ok(()),
        (Kind::False, Value::Bool(true)) => Err(Wrong::new(
            "`true` says nothing",
            "remove the key for the default, or write a name",
        )),
        (Kind::Int(min, max), Value::Int(number)) if !(min..=max).contains(number) => {
            Err(Wrong::new(
                format!("{number} is out of range"),
                format!("write a whole number from {min} to {max}"),
            ))
        }
        (Kind::Int(..), Value::Int(_)) => Ok(()),
        (Kind::Ratio, Value::Int(0 | 1)) => Ok(()),
        (Kind::Ratio, Value::Float(number)) if (0.0..=1.0).contains(number) => Ok(()),
        (Kind::Usd(max), Value::Int(number)) if (0..=i64::from(max)).contains(number) => Ok(()),
        (Kind::Usd(max), Value::Float(number)) if (0.0..=f64::from(max)).contains(number) => Ok(()),
        (Kind::Url | Kind::Template | Kind::Secret, Value::Text(_)) => Ok(()),
        (Kind::Time(..) | Kind::Size(..), Value::Int(number)) => {
            let units = match kind {
                Kind::Size(..) => ["MiB", "B"],
                _ => ["s", "ms"],
            };
            let example = units
                .iter()
                .map(|unit| format!("{number}{unit}"))
                .find(|text| text_of(text, kind).is_ok());
            let remedy = example.map_or_else(
                || format!("write {}", expected(kind)),
                |example| format!("write the unit, for example {example}"),
            );
            Err(Wrong::new(format!("{number} has no unit"), remedy))
        }
        (_, Value::Text(text)) if fits(kind, value) => text_of(text, kind),
        _ => Err(mistyped(value, kind)),
    }
}

/// Whether a key of `kind` takes `text`.
pub(super) fn takes(kind: Kind, text: &str) -> bool {
    match kind {
        Kind::OneOf(kinds) => kinds.iter().any(|kind| takes(*kind, text)),
        Kind::Choice(words) => words.contains(&text),
        _ => scalar(&Value::Text(text.to_owned()), kind).is_ok(),
    }
}

fn text_of(text: &str, kind: Kind) -> Result<(), Wrong> {
    if text.contains("${") {
        if matches!(kind, Kind::Pattern) {
            return Err(Wrong::new(
                "`${` has no meaning here",
                "write `\\$\\{` for the two characters: variables are not taken in patterns",
            ));
        }
        return Err(Wrong::new(
            "`${` has no meaning here",
            "write the value itself: variables are taken in url, endpoints, headers, args and env of `servers`",
        ));
    }
    match kind {
        Kind::Name if !is_name(text) => {
            Err(Wrong::new(format!("{text:?} is not a name"), NAME_REMEDY))
        }
        Kind::Text | Kind::Pattern | Kind::File if text.is_empty() => {
            Err(Wrong::new("the text is empty", EMPTY_REMEDY))
        }
        Kind::Text | Kind::Pattern | Kind::File if text.trim().is_empty() => {
            Err(Wrong::slip("the text is empty", EMPTY_REMEDY))
        }
        Kind::File if begins_like_a_shells(text) => Err(Wrong::new(SHELLS, SHELLS_REMEDY)),
        Kind::Time(min, max) => within(text, &TIME, min, max),
        Kind::Size(min, max) => within(text, &SIZE, min, max),
        Kind::Address if text.parse::<SocketAddr>().is_err() => Err(Wrong::new(
            format!("{text:?} is not an IP address with a port"),
            "write for example 127.0.0.1:7777 or [::1]:7777",
        )),
        // What stands before an `@` may be a secret.
        Kind::Collector if text.contains('@') => Err(Wrong::new(
            "the address holds a user name or password",
            "remove it: a collector is sent none",
        )),
        Kind::Collector if !is_collector(text) => Err(Wrong::new(
            format!("{text:?} is not of the form http://HOST:PORT"),
            "write for example http://127.0.0.1:4317, without path: OTLP is spoken over gRPC and in the clear; run an agent on this machine for a collector that wants TLS",
        )),
        _ => Ok(()),
    }
}

/// Told of a path that a shell would complete.
pub(crate) const SHELLS: &str = "`~` and `$` are a shell's and mean nothing here";
pub(crate) const SHELLS_REMEDY: &str =
    "write the whole path, or `./` in front of it for a directory that is called so";

/// Whether a path begins with what only a shell completes. It would be a directory of that name beside the file.
pub(crate) fn begins_like_a_shells(path: &str) -> bool {
    path.starts_with(['~', '$'])
}

fn is_collector(text: &str) -> bool {
    let Ok(url) = text.parse::<http::Uri>() else {
        return false;
    };
    let port = url.port_u16().is_some_and(|port| port != 0);
    let host = url.host().is_some_and(|host| !host.is_empty());
    let is_bare = url.path() == "/" && url.query().is_none() && !text.contains('#');
    url.scheme_str() == Some("http") && host && port && is_bare
}

/// A quantity with a unit: how it is read, and how a message calls it.
struct Unit<T> {
    parse: fn(&str) -> Option<T>,
    thing: &'static str,
    example: &'static str,
}

const TIME: Unit<Time> = Unit {
    parse: Time::read,
    thing: "time",
    example: "a whole number with ms, s, m, h or d, for example 30s",
};
const SIZE: Unit<Size> = Unit {
    parse: Size::parse,
    thing: "size",
    example: "a whole number with KiB, MiB or GiB, for example 4MiB",
};

fn within<T: PartialOrd>(text: &str, unit: &Unit<T>, min: &str, max: &str) -> Result<(), Wrong> {
    let Some(value) = (unit.parse)(text) else {
        let what = format!("{text:?} is not a {}", unit.thing);
        return Err(Wrong::new(what, format!("write {}", unit.example)));
    };
    // Bounds come from the table of keys, where a test reads them.
    let below = (unit.parse)(min).is_some_and(|min| value < min);
    let above = (unit.parse)(max).is_some_and(|max| value > max);
    if below || above {
        let remedy = format!("write a {} from {min} to {max}", unit.thing);
        return Err(Wrong::new(format!("{text} is out of range"), remedy));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fit_for_urls() {
        for name in ["a", "git-hub_2.0", "9"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-a", "a/b", "a b", "é", &"a".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
