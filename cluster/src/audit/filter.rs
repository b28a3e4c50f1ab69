//! Which records somebody wants to see.

use std::collections::VecDeque;
use std::ops::Range;

use lockgate_proto::jsonrpc::{decode_str, members};

use super::segment::{SegmentError, SegmentReader};

/// Records looked through at a time when the last ones are wanted.
const WINDOW: u64 = 1024;

/// Fields that a record must have; all of them. Empty lets everything pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Field of a record, by its name in [`super::leaf::FIELDS`], and its text: a string without quotes, anything else
    /// as it stands there.
    pub equal: Vec<(String, String)>,
    /// Not before this time, as a record has it in `ts`. Shorter texts count from the beginning of what they name.
    pub since: Option<String>,
    /// Before this time.
    pub until: Option<String>,
}

impl Filter {
    /// Whether it lets the record pass.
    #[must_use]
    pub fn matches(&self, line: &str) -> bool {
        if *self == Self::default() {
            return true;
        }
        let mut n_equal = 0;
        for member in members(line) {
            let text = decode_str(member.value);
            let text = text.as_deref().unwrap_or(member.value);
            if member.key == "ts" {
                let early = self.since.as_deref().is_some_and(|since| text < since);
                let late = self.until.as_deref().is_some_and(|until| text >= until);
                if early || late {
                    return false;
                }
            }
            for (_, want) in self.equal.iter().filter(|(key, _)| *key == member.key) {
                if want != text {
                    return false;
                }
                n_equal += 1;
            }
        }
        n_equal == self.equal.len()
    }
}

/// Whether records can be compared with `text`: a time as they have it in `ts`, or the beginning of one, down to the year.
#[must_use]
pub fn is_time(text: &str) -> bool {
    const SHAPE: &str = "0000-00-00T00:00:00.000Z";
    let has_shape = |(byte, shape): (u8, u8)| match shape {
        b'0' => byte.is_ascii_digit(),
        mark => byte == mark,
    };
    (4..=SHAPE.len()).contains(&text.len()) && text.bytes().zip(SHAPE.bytes()).all(has_shape)
}

/// What [`tail`] has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// All that passes from this record on is in [`Tail::lines`].
    pub start: u64,
    /// Records that passed, oldest first.
    pub lines: Vec<String>,
}

/// The last `n` records in `range` that `filter` lets pass. What the log does not have of `range` is left out.
///
/// # Errors
/// When the log can't be read.
pub fn tail(
    reader: &SegmentReader,
    filter: &Filter,
    n: usize,
    range: Range<u64>,
) -> Result<Tail, SegmentError> {
    let first = reader.first()?.max(range.start);
    let mut start = reader.size().min(range.end);
    let mut found = VecDeque::new();
    while start > first && found.len() < n {
        let end = start;
        start = end.saturating_sub(WINDOW).max(first);
        let mut window = Vec::new();
        let mut records = reader.records(start, end)?;
        while let Some(record) = records.next()? {
            let line = String::from_utf8_lossy(record.line);
            if filter.matches(&line) {
                window.push((record.seq, line.into_owned()));
            }
        }
        for (seq, line) in window.into_iter().rev() {
            found.push_front(line);
            if found.len() == n {
                start = seq;
                break;
            }
        }
    }
    Ok(Tail {
        start,
        lines: found.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "{\"v\":1,\"seq\":7,\"ts\":\"2026-11-21T00:28:40.123Z\",\"tenant\":\"ac\\u006de\",\"tool\":\"t\"}";

    #[track_caller]
    fn check(equal: &[(&str, &str)], since: Option<&str>, until: Option<&str>, want: bool) {
        let equal = equal
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let filter = Filter {
            equal: equal.collect(),
            since: since.map(str::to_owned),
            until: until.map(str::to_owned),
        };
        assert_eq!(filter.matches(LINE), want, "{filter:?}");
    }

    #[test]
    fn all_wanted_fields_must_be_there() {
        check(&[], None, None, true);
        check(&[("tenant", "acme")], None, None, true);
        check(&[("tenant", "acme"), ("seq", "7")], None, None, true);
        check(&[("tenant", "acme"), ("tool", "u")], None, None, false);
        check(&[("server", "x")], None, None, false);
    }

    #[test]
    fn times_count_from_their_beginning() {
        check(&[], Some("2026-11-21"), Some("2026-11-22"), true);
        check(&[], Some("2026-11-21T00:28:40.123Z"), None, true);
        check(&[], Some("2026-11-21T00:28:41"), None, false);
        check(&[], None, Some("2026-11-21T00:28:40.123Z"), false);
    }
}
