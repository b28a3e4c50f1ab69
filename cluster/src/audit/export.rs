//! Records outside of the log: as lines of JSON, which can be verified, and as CSV for a spreadsheet.
//!
//! ```json
//! {"lockgate_audit":1,"log":"5f3a90c1","first_key_id":1,"first":0,"end":2,"chain":"9c1d…","subtrees":[]}
//! {"checkpoint":"lockgate.audit/5f3a90c1\n2\nCsUY…=\n\n— lockgate.audit/5f3a90c1 Az3g…\n"}
//! {"key_id":1,"mac":"77aa…","leaf":{"v":1,"log":"5f3a90c1","seq":0,…}}
//! {"key_id":1,"mac":"12ef…","leaf":{"v":1,"log":"5f3a90c1","seq":1,…}}
//! ```

use std::io::{self, BufRead, Read, Write};
use std::ops::Range;

use lockgate_proto::jsonrpc::{decode_str, elements, find, members};

use super::chain::Genesis;
use super::filter::Filter;
use super::hash::Hash;
use super::leaf::{FIELDS, Head};
use super::mac::Mac;
use super::segment::{SegmentError, SegmentReader, Stored};
use super::text;
use super::tree::Frontier;
use super::verify::Start;

/// Longest line of an export: a checkpoint's, with its escapes.
const LINE_BYTES_MAX: u64 = 512 << 10;
/// Records from one call of the progress function to the next.
const RECORDS_PER_STEP: u64 = 16 << 10;

/// Why an export can't be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// It could not be read or written.
    #[error("cannot read or write the export")]
    Io(#[from] io::Error),
    /// The log could not be read.
    #[error("cannot read the audit log")]
    Segment(#[from] SegmentError),
    /// A line is not of an export.
    #[error("line {line} is not of an audit export")]
    Line {
        /// Which, from 1.
        line: u64,
    },
    /// There are no records to begin with.
    #[error("there is no audit record {seq}")]
    NoRecord {
        /// Which.
        seq: u64,
    },
}

/// First line: which log it is, and what is in front of the first record.
#[derive(Clone, Debug)]
pub struct Header {
    /// Which log.
    pub genesis: Genesis,
    /// What is in front.
    pub start: Start,
    /// Number of the first record behind the last.
    pub end: u64,
}

impl Header {
    fn to_line(&self) -> Vec<u8> {
        let mut line = self.genesis.to_line();
        line.pop();
        text::number(&mut line, "first", self.start.frontier.size());
        text::number(&mut line, "end", self.end);
        text::string(
            &mut line,
            "chain",
            &self.start.chain.to_string(),
            usize::MAX,
        );
        text::raw(&mut line, "subtrees", "[");
        for (at, node) in self.start.frontier.subtrees().iter().enumerate() {
            if at > 0 {
                line.push(b',');
            }
            text::quoted(&mut line, &node.to_string(), usize::MAX);
        }
        line.extend_from_slice(b"]}\n");
        line
    }

    fn from_line(line: &[u8]) -> Option<Self> {
        let genesis = Genesis::from_line(line)?;
        let line = std::str::from_utf8(line).ok()?;
        let value = |key| find(line, key).map(|span| span.of(line));
        let hash = |raw: &str| Hash::from_hex(decode_str(raw)?.as_bytes());
        let subtrees = value("subtrees")?;
        let nodes: Option<Vec<Hash>> = elements(subtrees)
            .map(|span| hash(span.of(subtrees)))
            .collect();
        let first = value("first")?.parse().ok()?;
        Some(Self {
            genesis,
            start: Start {
                chain: hash(value("chain")?)?,
                frontier: Frontier::from_parts(first, nodes?)?,
            },
            end: value("end")?.parse().ok()?,
        })
    }
}

/// Writes the records of `range` as lines of JSON, with the checkpoints of them in front. Returns how many records.
///
/// # Errors
/// When the log can't be read, or `out` refuses.
pub fn export_jsonl(
    reader: &SegmentReader,
    range: Range<u64>,
    out: &mut impl Write,
    mut progress: impl FnMut(u64, u64),
) -> Result<u64, ExportError> {
    let (first, end) = (range.start, range.end.min(reader.size()));
    let genesis = reader.genesis()?;
    let start = if first == 0 {
        Start::of(&genesis)
    } else {
        start_at(reader, first)?
    };
    let header = Header {
        genesis,
        start,
        end,
    };
    out.write_all(&header.to_line())?;
    for note in reader.checkpoints()? {
        let size = std::str::from_utf8(&note).ok();
        let size = size.and_then(|note| super::Checkpoint::parse(note).ok());
        if size.is_some_and(|checkpoint| (first..=end).contains(&checkpoint.size)) {
            let mut line = b"{\"checkpoint\":".to_vec();
            text::quoted(&mut line, &String::from_utf8_lossy(&note), usize::MAX);
            line.extend_from_slice(b"}\n");
            out.write_all(&line)?;
        }
    }
    let mut records = reader.records(first, end)?;
    let mut line = Vec::new();
    let mut n = 0;
    while let Some(record) = records.next()? {
        line.clear();
        write_record(&mut line, &record);
        out.write_all(&line)?;
        n += 1;
        if n % RECORDS_PER_STEP == 0 {
            progress(n, end - first);
        }
    }
    progress(n, n);
    Ok(n)
}

/// What is in front of a record: the record itself names the chain, the tree is in its files.
fn start_at(reader: &SegmentReader, first: u64) -> Result<Start, ExportError> {
    let mut records = reader.records(first, first + 1)?;
    let record = records.next()?;
    let head = record.and_then(|record| Head::read(record.line).map(|head| head.prev));
    Ok(Start {
        chain: head.ok_or(ExportError::NoRecord { seq: first })?,
        frontier: reader.tiles()?.frontier(first)?,
    })
}

fn write_record(line: &mut Vec<u8>, record: &Stored<'_>) {
    line.extend_from_slice(b"{\"key_id\":");
    text::digits(line, record.key_id.into());
    text::raw(line, "mac", "\"");
    line.extend_from_slice(&Hash(record.mac.0).to_hex());
    line.push(b'"');
    text::raw(line, "leaf", "");
    line.extend_from_slice(record.line);
    line.extend_from_slice(b"}\n");
}

/// Writes those records of `range` that `filter` lets pass as CSV (RFC 4180), a column for each field, names in the
/// first line. What a spreadsheet would take for a formula gets a `'` in front. Returns how many records.
///
/// # Errors
/// When the log can't be read, or `out` refuses.
pub fn export_csv(
    reader: &SegmentReader,
    range: Range<u64>,
    filter: &Filter,
    out: &mut impl Write,
    mut progress: impl FnMut(u64, u64),
) -> Result<u64, ExportError> {
    out.write_all(FIELDS.join(",").as_bytes())?;
    out.write_all(b"\r\n")?;
    let mut records = reader.records(range.start, range.end)?;
    let mut n = 0;
    while let Some(record) = records.next()? {
        let line = String::from_utf8_lossy(record.line);
        if filter.matches(&line) {
            out.write_all(csv_row(&line).as_bytes())?;
            n += 1;
        }
        let done = record.seq + 1 - range.start;
        if done.is_multiple_of(RECORDS_PER_STEP) {
            progress(done, range.end - range.start);
        }
    }
    Ok(n)
}

fn csv_row(line: &str) -> String {
    let mut row = String::with_capacity(line.len());
    let mut fields = members(line).peekable();
    for (at, field) in FIELDS.iter().enumerate() {
        if at > 0 {
            row.push(',');
        }
        // Both are in the same order.
        if let Some(member) = fields.next_if(|member| member.key == *field) {
            match decode_str(member.value) {
                Some(value) => csv_cell(&mut row, &value),
                None => csv_cell(&mut row, member.value),
            }
        }
    }
    row.push_str("\r\n");
    row
}

fn csv_cell(row: &mut String, value: &str) {
    let formula = value.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let quoted = value.contains([',', '"', '\r', '\n']);
    if quoted {
        row.push('"');
    }
    if formula {
        row.push('\'');
    }
    row.push_str(&value.replace('"', "\"\""));
    if quoted {
        row.push('"');
    }
}

/// Reads an export in JSON.
#[derive(Debug)]
pub struct Export<R> {
    from: R,
    header: Header,
    n_lines: u64,
}

/// One line behind the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A signed note.
    Checkpoint(Vec<u8>),
    /// A record.
    Record(Exported),
}

/// One record of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    key_id: u32,
    mac: Mac,
    line: Vec<u8>,
}

impl Exported {
    /// The record, taken for the one with number `seq`.
    #[must_use]
    pub fn stored(&self, seq: u64) -> Stored<'_> {
        Stored {
            seq,
            key_id: self.key_id,
            mac: self.mac,
            line: &self.line,
        }
    }
}

impl<R: BufRead> Export<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When it is no export.
    pub fn open(mut from: R) -> Result<Self, ExportError> {
        let line = read_line(&mut from)?;
        let header = line.and_then(|line| Header::from_line(&line));
        Ok(Self {
            from,
            header: header.ok_or(ExportError::Line { line: 1 })?,
            n_lines: 1,
        })
    }

    /// First line.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Next line; `None` at the end.
    ///
    /// # Errors
    /// When it can't be read or is of another form.
    pub fn next_line(&mut self) -> Result<Option<Line>, ExportError> {
        let Some(line) = read_line(&mut self.from)? else {
            return Ok(None);
        };
        self.n_lines += 1;
        let read = parse_record(&line).map(Line::Record);
        let read = read.or_else(|| parse_checkpoint(&line).map(Line::Checkpoint));
        let line = self.n_lines;
        read.map(Some).ok_or(ExportError::Line { line })
    }
}

/// A line without its newline; `None` at the end.
fn read_line(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    from.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(Some(line))
}

fn parse_record(line: &[u8]) -> Option<Exported> {
    let rest = line.strip_prefix(b"{\"key_id\":")?;
    let comma = rest.iter().position(|byte| *byte == b',')?;
    let key_id = std::str::from_utf8(&rest[..comma]).ok()?.parse().ok()?;
    let rest = rest[comma..].strip_prefix(b",\"mac\":\"")?;
    let (mac, rest) = rest.split_first_chunk::<64>()?;
    let leaf = rest.strip_prefix(b"\",\"leaf\":")?.strip_suffix(b"}")?;
    Some(Exported {
        key_id,
        mac: Mac(Hash::from_hex(mac)?.0),
        line: leaf.to_vec(),
    })
}

fn parse_checkpoint(line: &[u8]) -> Option<Vec<u8>> {
    let line = std::str::from_utf8(line).ok()?;
    let note = find(line, "checkpoint")?.of(line);
    Some(decode_str(note)?.into_owned().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_a_cell_for_each_field() {
        let row = csv_row(
            "{\"v\":1,\"seq\":4,\"tool\":\"=1+1\",\"args\":{\"a\":\"x\"},\"prev\":\"p,q\"}",
        );
        let commas = row.matches(',').count();
        assert_eq!(commas, FIELDS.len());
        assert!(
            row.starts_with("1,,4,") && row.ends_with(",\"p,q\"\r\n"),
            "{row}"
        );
        assert!(
            row.contains(",'=1+1,") && row.contains(",\"{\"\"a\"\":\"\"x\"\"}\","),
            "{row}"
        );
    }
}
