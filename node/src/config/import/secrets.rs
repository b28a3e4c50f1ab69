//! Tells secrets from settings, by name and by look. A miss leaves a secret in the file, a false alarm only costs a
//! variable: so the rules are broad.

/// Words in names of variables, headers and options that announce a secret.
const WORDS: &[&str] = &[
    "key",
    "token",
    "secret",
    "password",
    "passwd",
    "credential",
    "auth",
    "cookie",
    "dsn",
];
/// Whole parts of names that do (`GITHUB_PAT`).
const PARTS: &[&str] = &["pat", "pass", "pwd"];
/// Starts of well-known keys.
const STARTS: &[&str] = &[
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "sk-",
    "pk-",
    "rk_",
    "sk_",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "AIza",
    "lg_",
    "eyJ",
    "hf_",
    "npm_",
];
const SCHEMES: &[&str] = &["Bearer ", "Basic ", "Token ", "token "];

/// Whether a value under this name is secret.
pub(super) fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let by_name = WORDS.iter().any(|word| name.contains(word))
        || name
            .split(|c: char| !c.is_ascii_alphanumeric())
            .any(|part| PARTS.contains(&part));
    !value.is_empty() && (by_name || looks_secret(value))
}

/// Whether a value is secret whatever its name.
pub(super) fn looks_secret(value: &str) -> bool {
    let (scheme, rest) = split_scheme(value);
    (!scheme.is_empty() && !rest.is_empty())
        || STARTS
            .iter()
            .any(|start| value.starts_with(start) && value.len() > 12)
}

/// `Bearer abc` is a scheme, which may stand in the file, and a secret.
pub(super) fn split_scheme(value: &str) -> (&str, &str) {
    let length = SCHEMES
        .iter()
        .find(|scheme| value.starts_with(**scheme))
        .map_or(0, |scheme| scheme.len());
    value.split_at(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_name_or_look() {
        for (name, value) in [
            ("GITHUB_TOKEN", "x"),
            ("X-Api-Key", "x"),
            ("Authorization", "x"),
            ("DB_PASSWORD", "x"),
            ("GITHUB_PAT", "x"),
            ("WHATEVER", "ghp_0123456789abcdef"),
            ("X-Custom", "Bearer x"),
        ] {
            assert!(is_secret(name, value), "{name}={value}");
        }
        for (name, value) in [
            ("PATH_ROOT", "/srv"),
            ("LOG_LEVEL", "debug"),
            ("API_KEY", ""),
            ("COMPASS", "north"),
        ] {
            assert!(!is_secret(name, value), "{name}={value}");
        }
    }

    #[test]
    fn the_scheme_stays_in_the_file() {
        assert_eq!(split_scheme("Bearer abc"), ("Bearer ", "abc"));
        assert_eq!(split_scheme("abc"), ("", "abc"));
    }
}
