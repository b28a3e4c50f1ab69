//! Arguments as they may be recorded: raw JSON in, raw JSON out, without what is to be hidden, and bounded.
//!
//! Hidden are whole values, by the name or path of their key, and parts of texts, by pattern. Keys are compared as they
//! read, not as they are written. What is named beside a value (`{"name":"Authorization","value":…}`,
//! `["--password",…]`) is hidden as what a key names, and so is what stands in a text that is JSON itself, also in one
//! that is a text in a text.
//!
//! What is too long to be shown is not looked at: it is replaced as a whole, so that no part of it gets out, and so that
//! the work is bounded by the size of the arguments.

use lockgate_cluster::audit::record::ARGS_BYTES_MAX;
use lockgate_proto::jsonrpc::{Member, decode_str, elements, encode_str, members};
use serde::de::IgnoredAny;

use crate::config::{HIDDEN, Redact, fold};

/// Stands where something was left out for its length.
const CUT: &str = "…";
/// `,"…":"…"}`: what ends an object that did not fit.
const END_BYTES: usize = 13;
/// Longest text that is shown, in bytes.
const TEXT_BYTES_MAX: usize = 256;
/// Longest key.
const KEY_BYTES_MAX: usize = 64;
/// Longest number.
const NUMBER_BYTES_MAX: usize = 40;
/// A longer value inside of the arguments is not looked at.
const VALUE_BYTES_MAX: usize = 4096;
/// Deeper values are not looked at.
const DEPTH_MAX: usize = 16;
/// Of an object with more members it is taken for granted that one of them names a secret.
const MEMBERS_MAX: usize = 256;
/// Members that say what the member `value` beside them is.
const NAMING: [&str; 5] = ["name", "key", "header", "field", "variable"];
/// Members that such a name is about.
const NAMED: [&str; 3] = ["value", "values", "val"];
/// A longer text is no name.
const NAME_BYTES_MAX: usize = 64;
/// Such a text with every byte written as an escape (`\u0061`), and its quotes.
const NAME_RAW_BYTES_MAX: usize = 6 * NAME_BYTES_MAX + 2;

/// Arguments as they may be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Redacted {
    /// Raw JSON, at most [`ARGS_BYTES_MAX`] long.
    pub(super) json: String,
    /// All of the arguments is in there. Where something was hidden or left out, a hash of the original beside the rest
    /// would let it be guessed, if it is short.
    pub(super) is_whole: bool,
}

/// Hides in `args`, the raw text of one JSON value, what `rules` say.
pub(super) fn redact(rules: &Redact, args: &str) -> Redacted {
    let mut walk = Walk {
        rules,
        out: String::new(),
        path: Vec::new(),
        depth: 0,
        is_whole: true,
    };
    walk.value(args.trim_ascii());
    if walk.out.len() > ARGS_BYTES_MAX || serde_json::from_str::<IgnoredAny>(&walk.out).is_err() {
        // The text was no JSON, so that nothing is known of it.
        walk.out.clear();
        walk.left_out();
    }
    Redacted {
        json: walk.out,
        is_whole: walk.is_whole,
    }
}

/// One walk along the text.
struct Walk<'r> {
    rules: &'r Redact,
    out: String,
    /// Folded keys that lead to the value at hand.
    path: Vec<String>,
    /// Arrays and objects that are open, also those around a text that is JSON itself.
    depth: usize,
    is_whole: bool,
}

impl Walk<'_> {
    /// Writes one value.
    fn value(&mut self, raw: &str) {
        let first = raw.as_bytes().first().copied().unwrap_or_default();
        if self.depth > 0 && raw.len() > VALUE_BYTES_MAX {
            return self.left_out();
        }
        match first {
            b'{' | b'[' if self.depth >= DEPTH_MAX => self.left_out(),
            b'{' => self.object(raw),
            b'[' => self.array(raw),
            b'"' if raw.len() > VALUE_BYTES_MAX => self.left_out(),
            b'"' => match decode_str(raw) {
                Some(text) => self.text(&text),
                // Half a character: what it is meant to say can't be compared with anything.
                None => self.hidden(),
            },
            _ if raw.len() > NUMBER_BYTES_MAX => self.left_out(),
            _ if self.rules.hide_in(raw) != raw => self.hidden(),
            _ => self.out.push_str(raw),
        }
    }

    fn object(&mut self, raw: &str) {
        let mut n_seen = 0;
        let named = members(raw).any(|member| {
            n_seen += 1;
            n_seen > MEMBERS_MAX || self.names_a_secret(&member)
        });
        self.open('{');
        for member in members(raw) {
            let before = self.out.len();
            self.comma();
            let key = self.shown(&member.key, KEY_BYTES_MAX);
            self.out.push_str(&encode_str(&key));
            self.out.push(':');
            let folded = fold(&member.key);
            let is_named = named && NAMED.contains(&folded.as_str());
            self.path.push(folded);
            match is_named || self.rules.hides(&self.path) {
                true => self.hidden(),
                false => self.value(member.value),
            }
            self.path.pop();
            if !self.fits(before) {
                self.out.push_str("\"…\":");
                self.left_out();
                break;
            }
        }
        self.close('}');
    }

    fn array(&mut self, raw: &str) {
        self.open('[');
        let mut is_named = false;
        for element in elements(raw) {
            let element = element.of(raw);
            let before = self.out.len();
            self.comma();
            match is_named && !element.starts_with(['{', '[']) {
                true => self.hidden(),
                false => self.value(element),
            }
            is_named = !is_named && self.is_secret_name(element);
            if !self.fits(before) {
                self.left_out();
                break;
            }
        }
        self.close(']');
    }

    /// Writes a text; one that is JSON itself is looked into.
    fn text(&mut self, text: &str) {
        let inner = text.trim_ascii();
        let is_json =
            inner.starts_with(['{', '[', '"']) && serde_json::from_str::<IgnoredAny>(inner).is_ok();
        if is_json && self.depth >= DEPTH_MAX {
            return self.left_out();
        }
        let inside = is_json.then(|| self.inside(inner));
        let text = inside.as_deref().unwrap_or(text);
        let shown = self.shown(text, TEXT_BYTES_MAX);
        self.out.push_str(&encode_str(&shown));
    }

    /// The same walk along a text inside of the text.
    fn inside(&mut self, raw: &str) -> String {
        let around = std::mem::take(&mut self.out);
        self.depth += 1;
        self.value(raw);
        self.depth -= 1;
        std::mem::replace(&mut self.out, around)
    }

    /// `text` without what a pattern hides, and cut.
    fn shown(&mut self, text: &str, bytes_max: usize) -> String {
        if text.len() > VALUE_BYTES_MAX {
            self.is_whole = false;
            return CUT.to_owned();
        }
        let mut shown = self.rules.hide_in(text).into_owned();
        self.is_whole &= shown == text && shown.len() <= bytes_max;
        if shown.len() > bytes_max {
            shown.truncate(shown.floor_char_boundary(bytes_max));
            shown.push_str(CUT);
        }
        shown
    }

    /// Whether the member says that the one beside it is a secret.
    fn names_a_secret(&self, member: &Member<'_>) -> bool {
        NAMING.contains(&fold(&member.key).as_str()) && self.is_secret_name(member.value)
    }

    /// Whether the raw text is that of a name whose value is hidden. A dash in front, as options have it, is nothing.
    fn is_secret_name(&self, raw: &str) -> bool {
        let is_short = raw.starts_with('"') && raw.len() <= NAME_RAW_BYTES_MAX;
        let name = is_short.then(|| decode_str(raw)).flatten();
        name.is_some_and(|name| {
            name.len() <= NAME_BYTES_MAX
                && !name.contains(char::is_whitespace)
                && self.rules.hides_name(&fold(&name))
        })
    }

    /// Whether what was written since `before` leaves room to end all that is open. If not, it is taken back, and there
    /// is a comma for what stands in its place.
    fn fits(&mut self, before: usize) -> bool {
        if self.out.len() + END_BYTES * self.depth <= ARGS_BYTES_MAX {
            return true;
        }
        self.out.truncate(before);
        self.comma();
        false
    }

    fn open(&mut self, bracket: char) {
        self.depth += 1;
        self.out.push(bracket);
    }

    fn close(&mut self, bracket: char) {
        self.depth -= 1;
        self.out.push(bracket);
    }

    /// Between two values.
    fn comma(&mut self) {
        if !self.out.ends_with(['{', '[']) {
            self.out.push(',');
        }
    }

    fn hidden(&mut self) {
        self.is_whole = false;
        self.out.push_str(&encode_str(HIDDEN));
    }

    fn left_out(&mut self) {
        self.is_whole = false;
        self.out.push_str(&encode_str(CUT));
    }
}

#[cfg(test)]
mod tests;
