//! Checked rules of what is hidden in arguments before they are recorded.

use std::borrow::Cow;
use std::ops::Range;

use regex::{Regex, RegexBuilder};

/// Stands where something was hidden.
pub const HIDDEN: &str = "[redacted]";

/// Keys whose values are always hidden.
pub(super) const FIELDS: [&str; 19] = [
    "*password*",
    "*passwd*",
    "*passphrase*",
    "pwd",
    "*secret*",
    "*token",
    "*api_key*",
    "*access_key*",
    "*private_key*",
    "*credential*",
    "*authorization",
    "cookie",
    "set_cookie",
    "bearer",
    "jwt",
    "otp",
    "pin",
    "cvv",
    "ssn",
];

/// Texts that are always hidden: credentials in headers, in `key=value` form, after options and in URLs, and keys of
/// known form. `{name}` is [`NAME`], `{value}` is [`VALUE`]. Quotes may have backslashes before them: a text in a text.
///
/// The password of a URL may have a slash in it. Where nothing but digits stand before the slash, [`is_address`] decides.
pub(super) const PATTERNS: [&str; 11] = [
    r"(?i)\bbearer\s+[a-z0-9+/=._~-]{8,}",
    r#"(?i)\bauthorization\b\\*["']?\s*[=:]+>?\s*\\*["']?(?:[a-z][a-z0-9-]*\s+)?(?:\\[^\s"']|[^\s"',;\\])+"#,
    r#"(?i)\bcookie\b\\*["']?\s*[=:]+>?\s*\\*["']?(?:="[^"\r\n]*"?|\\[^\r\n"']|[^\r\n"'\\])+"#,
    r#"(?is){name}\b\\*["']?\s*[=:]+>?\s*{value}"#,
    r"(?is)\B--?(?:[a-z0-9_-]*[_-])?(?:{name}|cookie)\s+{value}",
    r"(?i)[a-z][a-z0-9+.-]*:(?:\\*/){2}[^\s/]*@",
    r"(?i)[a-z][a-z0-9+.-]*:(?:\\*/){2}[^\s/:@\[]*:\d*[^\d\s/]\S*@",
    r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*",
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|[rs]k_live_|[rs]k_test_|sk-)[A-Za-z0-9_-]{10,}",
    r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)",
];

/// What a text calls a credential.
const NAME: &str = "(?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key)";

/// What stands after such a name: a text in quotes with two or more backslashes before them, with one, with none (in all
/// of which a quote with more backslashes is no end, and no quote at all ends it at the end of the text), or one word.
const VALUE: &str = concat!(
    r#"(?:\\{2,}"(?:\\{4,}"|[^"])*"?|\\{2,}'(?:\\{4,}'|[^'])*'?"#,
    r#"|\\"(?:\\{2,}"|[^"])*"?|\\'(?:\\{2,}'|[^'])*'?"#,
    r#"|"(?:\\.|[^"\\])*"?"#,
    r#"|'(?:'\\''|''|\\.|[^'\\])*'?"#,
    r#"|(?:\\.|[^\s&"',;\\])+)"#,
);

/// What a URL begins with that names a port, or a password that begins like one: scheme, host or user, digits.
const PORTED: &str = r"(?i)([a-z][a-z0-9+.-]*):(?:\\*/){2}([^\s/:@\[]*):(\d*)\\*/";

/// A pattern takes at most so much memory, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// A path has at most so many steps: one bit each.
const STEPS_MAX: usize = 32;

/// What is hidden in arguments: values of some keys, and texts of some form. What the configuration adds to the lists
/// that are always there.
#[derive(Clone, Debug)]
pub struct Redact {
    /// Keys at any depth.
    names: Regex,
    paths: Vec<Vec<Step>>,
    patterns: Vec<Regex>,
    /// [`PORTED`].
    ported: Regex,
}

/// One key of a path from the outermost object on.
#[derive(Clone, Debug)]
enum Step {
    /// `**`: any number of keys.
    Any,
    Key(Regex),
}

/// A rule that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WrongRule {
    pub(super) place: Place,
    pub(super) why: RuleError,
}

/// Where a rule is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// All keys together, with those that are always there.
    Fields,
    Field(usize),
    Pattern(usize),
}

/// Why a rule is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RuleError {
    #[error("it names nothing")]
    Empty,
    #[error("it has more than {STEPS_MAX} steps")]
    Long,
    #[error("it is no regular expression: {0}")]
    Syntax(String),
    #[error("it takes more than {PATTERN_BYTES_MAX} bytes of memory")]
    Large,
    #[error("it matches the empty text, so it would hide everything and nothing")]
    MatchesEmpty,
}

impl Redact {
    /// Reads the rules of the configuration. A name (`iban`, `*_nr`) is hidden at any depth, a path (`user.*.name`,
    /// `card.**.number`) from the outermost object on; upper and lower case, `_` and `-` are the same.
    ///
    /// # Errors
    ///
    /// All rules that are wrong.
    pub(super) fn new(fields: &[String], patterns: &[String]) -> Result<Self, Vec<WrongRule>> {
        let mut wrong = Vec::new();
        let mut note = |place, why| wrong.push(WrongRule { place, why });
        let mut names: Vec<String> = FIELDS.iter().map(|field| glob(field)).collect();
        let mut paths = Vec::new();
        for (index, field) in fields.iter().enumerate() {
            if !field.contains('.') && !fold(field).is_empty() {
                names.push(glob(field));
                continue;
            }
            match path(field) {
                Ok(steps) => paths.push(steps),
                Err(why) => note(Place::Field(index), why),
            }
        }
        let mut read = Vec::new();
        for (index, text) in patterns.iter().enumerate() {
            match pattern(text) {
                Ok(regex) => read.push(regex),
                Err(why) => note(Place::Pattern(index), why),
            }
        }
        let (names, ported) = match (whole(&names.join("|")), always(), compile(PORTED)) {
            (Ok(names), Ok(always), Ok(ported)) => {
                read.extend(always);
                (names, ported)
            }
            (Err(why), ..) | (_, Err(why), _) | (.., Err(why)) => {
                note(Place::Fields, why);
                return Err(wrong);
            }
        };
        match wrong.is_empty() {
            true => Ok(Self {
                names,
                paths,
                patterns: read,
                ported,
            }),
            false => Err(wrong),
        }
    }

    /// Whether the value at `path` is hidden: folded keys from the outermost object on ([`fold`]).
    #[must_use]
    pub fn hides(&self, path: &[String]) -> bool {
        path.last().is_some_and(|name| self.hides_name(name))
            || self.paths.iter().any(|steps| leads_to(steps, path))
    }

    /// Whether what a folded name stands for is hidden wherever it stands.
    #[must_use]
    pub fn hides_name(&self, folded: &str) -> bool {
        self.names.is_match(folded)
    }

    /// The text without what a pattern matches. All patterns see the whole text: what one hides takes nothing from
    /// another.
    #[must_use]
    pub fn hide_in<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let found = self.patterns.iter().flat_map(|regex| regex.find_iter(text));
        let found = found.map(|found| found.range());
        let mut ranges: Vec<Range<usize>> = found.chain(self.passwords_like_ports(text)).collect();
        if ranges.is_empty() {
            return Cow::Borrowed(text);
        }
        ranges.sort_by_key(|range| range.start);
        let mut out = String::with_capacity(text.len());
        let mut done = 0;
        for range in ranges {
            if range.start >= done {
                out.push_str(&text[done..range.start]);
                out.push_str(HIDDEN);
            }
            done = done.max(range.end);
        }
        out.push_str(&text[done..]);
        Cow::Owned(out)
    }

    /// Where URLs have what may be a password that begins with digits and a slash, up to the last `@` of the word.
    fn passwords_like_ports(&self, text: &str) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        // Every word is looked through once, however many URLs are in it.
        let (mut word_end, mut last_at) = (0, None);
        for groups in self.ported.captures_iter(text) {
            let url = groups.get_match().range();
            if url.end > word_end {
                let rest = &text[url.end..];
                let word = &rest[..rest.find(char::is_whitespace).unwrap_or(rest.len())];
                word_end = url.end + word.len();
                last_at = word.rfind('@').map(|at| url.end + at);
            }
            if let Some(at) = last_at.filter(|at| *at >= url.end)
                && !is_address(&groups[1], &groups[2], &groups[3])
            {
                found.push(url.start..at + 1);
            }
        }
        found
    }
}

/// Whether host and port can't be a user and the beginning of a password: the port is one, and the host is
/// `localhost` or has a dot, in a URL of a web server. Those of databases have users more often than an `@` in their
/// paths.
fn is_address(scheme: &str, host: &str, port: &str) -> bool {
    let is_web = ["http", "https", "ws", "wss"]
        .iter()
        .any(|web| scheme.eq_ignore_ascii_case(web));
    let is_host = host.eq_ignore_ascii_case("localhost")
        || (host.contains('.')
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')));
    is_web && is_host && port.parse::<u16>().is_ok()
}

/// A key as it is compared: in small letters, without `_` and `-`. Three small letters are other forms of one: two beyond
/// ASCII fold into it (decoders that don't care for case take those for the same key), and a sigma at the end of a word
/// has the same capital.
#[must_use]
pub fn fold(key: &str) -> String {
    let letters = key.chars().filter(|letter| !matches!(letter, '_' | '-'));
    letters
        .flat_map(char::to_lowercase)
        .map(|letter| match letter {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            'ς' => 'σ',
            letter => letter,
        })
        .collect()
}

/// The keys of `path` one after another, with every place in `steps` that they may have led to as one bit.
fn leads_to(steps: &[Step], path: &[String]) -> bool {
    let rest = |mut at: u64| {
        for (index, step) in steps.iter().enumerate() {
            if matches!(step, Step::Any) && at & (1 << index) != 0 {
                at |= 1 << (index + 1);
            }
        }
        at
    };
    let mut at = rest(1);
    for key in path {
        let mut next = 0;
        for (index, step) in steps.iter().enumerate() {
            if at & (1 << index) != 0 {
                next |= match step {
                    Step::Any => 1 << index,
                    Step::Key(regex) if regex.is_match(key) => 1 << (index + 1),
                    Step::Key(_) => 0,
                };
            }
        }
        at = rest(next);
    }
    at & (1 << steps.len()) != 0
}

fn path(text: &str) -> Result<Vec<Step>, RuleError> {
    let step = |text: &str| match text {
        "**" => Ok(Step::Any),
        text if fold(text).is_empty() => Err(RuleError::Empty),
        text => whole(&glob(text)).map(Step::Key),
    };
    let steps: Vec<Step> = text.split('.').map(step).collect::<Result<_, _>>()?;
    match steps.len() {
        0..=STEPS_MAX => Ok(steps),
        _ => Err(RuleError::Long),
    }
}

/// A glob as a regular expression: `*` is any text, `?` one character.
fn glob(text: &str) -> String {
    let mut regex = String::new();
    for letter in fold(text).chars() {
        match letter {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            letter => regex.push_str(&regex::escape(letter.encode_utf8(&mut [0; 4]))),
        }
    }
    regex
}

fn always() -> Result<Vec<Regex>, RuleError> {
    let full = |text: &str| text.replace("{name}", NAME).replace("{value}", VALUE);
    let texts = PATTERNS.into_iter().map(full);
    texts.map(|text| pattern(&text)).collect()
}

fn whole(regex: &str) -> Result<Regex, RuleError> {
    compile(&format!("(?s)^(?:{regex})$"))
}

fn pattern(text: &str) -> Result<Regex, RuleError> {
    let regex = compile(text)?;
    match regex.is_match("") {
        true => Err(RuleError::MatchesEmpty),
        false => Ok(regex),
    }
}

fn compile(text: &str) -> Result<Regex, RuleError> {
    let built = RegexBuilder::new(text)
        .size_limit(PATTERN_BYTES_MAX)
        .build();
    built.map_err(|error| {
        if matches!(error, regex::Error::CompiledTooBig(_)) {
            return RuleError::Large;
        }
        // The parser draws the pattern with a mark below it; the last line has the reason.
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default();
        RuleError::Syntax(reason.trim_start_matches("error: ").to_owned())
    })
}

#[cfg(test)]
impl Redact {
    /// For tests: the rules are right.
    pub(crate) fn with(fields: &[&str], patterns: &[&str]) -> Self {
        let owned = |list: &[&str]| list.iter().map(|&one| one.to_owned()).collect::<Vec<_>>();
        Self::new(&owned(fields), &owned(patterns)).unwrap()
    }
}

#[cfg(test)]
mod tests;
