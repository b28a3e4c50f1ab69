//! Whole files in, checked values or messages out.

mod design;
mod examples;
mod messages;
mod table;
mod values;

use std::path::Path;
use std::sync::Arc;

use super::{Loaded, Options, Problems, parse};

/// A secret and a former one.
const AUDIT_KEYS: &str = "0123456789abcdef0123456789abcdef abcdef0123456789abcdef0123456789";

/// Variables that tests may name.
const ENV: &[(&str, &str)] = &[
    ("CI_KEY", "lg_0123456789abcdef"),
    ("GITHUB_TOKEN", "ghp_secret"),
    ("UPSTREAM_API_KEY", "upstream-secret"),
    ("SHORT_KEY", "short"),
    ("SPACED_KEY", "two words"),
    ("HOST", "db.internal"),
    ("LOCKGATE_AUDIT_KEY", AUDIT_KEYS),
    (
        "SHORT_AUDIT_KEYS",
        "0123456789abcdef0123456789abcdef 0123456789abcdef",
    ),
    ("BLANK_KEY", " "),
    ("NEWLINE", "a\nb"),
];

pub(super) fn options() -> Options {
    let env = |name: &str| {
        ENV.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).to_owned())
    };
    Options {
        unsafe_no_auth: false,
        env: Arc::new(env),
    }
}

pub(super) fn load(text: &str) -> Result<Loaded, Problems> {
    parse(
        text,
        Some(Path::new("lockgate.yaml")),
        Path::new("/etc/lockgate"),
        &options(),
    )
}

#[track_caller]
fn good(text: &str) -> Loaded {
    load(text).unwrap_or_else(|problems| panic!("{problems}"))
}

#[track_caller]
fn refused(text: &str) -> String {
    load(text).expect_err("accepted").to_string()
}
