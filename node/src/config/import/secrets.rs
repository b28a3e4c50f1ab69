//! Tells secrets from settings, by name and by look. A miss leaves a secret in the file, a false alarm only costs a
//! variable: so the rules are broad.

/// Words in names of variables, headers and options that announce a secret.
const WORDS: &[&str] = &[
    "key",
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "credential",
    "auth",
    "bearer",
    "cookie",
    "dsn",
    "signature",
    "webhook",
];
/// Whole parts of names that do (`GITHUB_PAT`).
const PARTS: &[&str] = &["pat", "pass", "pwd", "sig", "sas", "jwt", "tok"];
/// Ends of parts that do (`PGPASS`), and the words that only end so.
const ENDS: &[&str] = &["pass", "pwd"];
const NO_ENDS: &[&str] = &[
    "bypass",
    "compass",
    "encompass",
    "overpass",
    "surpass",
    "trespass",
    "underpass",
];
/// Starts of well-known keys.
const STARTS: &[&str] = &[
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "sk-",
    "pk-",
    "rk_",
    "sk_",
    "xoxa-",
    "xoxb-",
    "xoxe",
    "xoxp-",
    "xapp-",
    "AKIA",
    "ASIA",
    "AIza",
    "lg_",
    "eyJ",
    "hf_",
    "npm_",
    "ntn_",
    "secret_",
    "gsk_",
    "tvly-",
    "pplx-",
    "figd_",
    "lin_api_",
    "dckr_pat_",
    "shpat_",
    "whsec_",
    "ya29.",
    "SG.",
    "-----BEGIN",
];
const SCHEMES: &[&str] = &["bearer ", "basic ", "token "];
/// What switches say: under whatever name, it is no secret.
const SWITCHES: &[&str] = &["true", "false", "yes", "no", "on", "off", "0", "1"];
/// A part of a text with this many letters and digits, well mixed, was drawn and not thought of.
const DRAWN_LEN_MIN: usize = 16;

/// Whether a value under this name is secret.
pub(super) fn is_secret(name: &str, value: &str) -> bool {
    !value.is_empty() && (looks_secret(value) || (announces(name) && !SWITCHES.contains(&value)))
}

/// Whether a name tells of a secret.
pub(super) fn announces(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word))
        || name
            .split(|c: char| !c.is_ascii_alphanumeric())
            .any(|part| {
                PARTS.contains(&part)
                    || (ENDS.iter().any(|end| part.ends_with(end)) && !NO_ENDS.contains(&part))
            })
}

/// Whether a value is secret whatever its name.
pub(super) fn looks_secret(value: &str) -> bool {
    let (scheme, rest) = split_scheme(value);
    (!scheme.is_empty() && !rest.is_empty())
        || STARTS
            .iter()
            .any(|start| value.starts_with(start) && value.len() > 12)
}

/// Whether a word was drawn by a machine: a long part in which letters and digits take turns, or a UUID.
pub(super) fn looks_drawn(word: &str) -> bool {
    // `name@sha256:…` is the content of an image, `name@COMMIT` a commit.
    let is_digest = word.rsplit_once('@').is_some_and(|(_, digest)| {
        digest.starts_with("sha256:") || digest.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    !is_digest
        && (is_uuid(word)
            || word
                .split(|c: char| !c.is_ascii_alphanumeric())
                .any(|part| part.len() >= DRAWN_LEN_MIN && turns(part) >= 4))
}

/// How often letters and digits take turns; a capital within small letters counts where there are digits.
fn turns(part: &str) -> usize {
    let kind = |byte: &u8| match byte {
        b'0'..=b'9' => 0,
        b'A'..=b'Z' => 1,
        _ => 2,
    };
    let kinds: Vec<i32> = part.as_bytes().iter().map(kind).collect();
    if kinds.iter().filter(|kind| **kind == 0).count() < 2 {
        return 0;
    }
    kinds.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

fn is_uuid(word: &str) -> bool {
    let lengths = word.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && word.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}

/// Whether a word that stays in the file may be a secret all the same: nobody can tell `hunter22` from a setting.
pub(super) fn is_doubtful(word: &str) -> bool {
    const MARKS: &[char] = &['!', '#', '$', '%', '^', '&'];
    let mixed = |part: &str| {
        part.len() >= 8
            && part.contains(|c: char| c.is_ascii_digit())
            && part.contains(|c: char| c.is_ascii_alphabetic())
    };
    let marked =
        word.len() >= 6 && word.contains(MARKS) && word.contains(|c: char| c.is_alphanumeric());
    !word.contains(['/', '\\'])
        && (marked || word.split(|c: char| !c.is_ascii_alphanumeric()).any(mixed))
}

/// `Bearer abc` is a scheme, which may stand in the file, and a secret.
pub(super) fn split_scheme(value: &str) -> (&str, &str) {
    let length = SCHEMES
        .iter()
        .find(|scheme| {
            value
                .get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        })
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
            ("PGPASS", "x"),
            ("MYSQL_PWD", "x"),
            ("sig", "x"),
            ("WHATEVER", "ghp_0123456789abcdef"),
            ("NOTION", "ntn_0123456789"),
            ("X-Custom", "Bearer x"),
            ("X-Custom", "bearer x"),
        ] {
            assert!(is_secret(name, value), "{name}={value}");
        }
        for (name, value) in [
            ("PATH_ROOT", "/srv"),
            ("LOG_LEVEL", "debug"),
            ("API_KEY", ""),
            ("COMPASS", "north"),
            ("USE_AUTH", "true"),
            ("DESIGN", "x"),
        ] {
            assert!(!is_secret(name, value), "{name}={value}");
        }
    }

    #[test]
    fn drawn_words_are_known_by_their_mixture() {
        for word in [
            "b7f3c2d1e4a5968778695a4b3c2d1e0f",
            "ZDk4NzY1NDMyMTAtYWJjZA",
            "8f14e45f-ceea-467f-9b2c-1a2b3c4d5e6f",
            "T00/a8Xk29dQwe71mZpL0sYc",
        ] {
            assert!(looks_drawn(word), "{word}");
        }
        for word in [
            "@modelcontextprotocol/server-filesystem@2025.11.25",
            "claude-sonnet-4-20250514",
            "application/vnd.example.v2+json",
            "ModelContextProtocolServer",
            "serena@9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
            "mcp/fetch@sha256:9f86d081884c7d659a2feaa0c55ad015",
            "hunter22",
        ] {
            assert!(!looks_drawn(word), "{word}");
        }
    }

    #[test]
    fn doubtful_words_are_mixtures_that_a_person_may_have_thought_of() {
        for word in ["hunter22", "pa$$word", "sommer2026", "open!sesame"] {
            assert!(is_doubtful(word), "{word}");
        }
        for word in [
            "debug",
            "8080",
            "gpt-4o-mini",
            "us-east-1",
            "127.0.0.1:8080",
            "/srv/data2026x",
            "server.py",
        ] {
            assert!(!is_doubtful(word), "{word}");
        }
    }

    #[test]
    fn the_scheme_stays_in_the_file() {
        assert_eq!(split_scheme("Bearer abc"), ("Bearer ", "abc"));
        assert_eq!(split_scheme("bearer abc"), ("bearer ", "abc"));
        assert_eq!(split_scheme("abc"), ("", "abc"));
        assert_eq!(split_scheme("käse"), ("", "käse"));
    }
}
