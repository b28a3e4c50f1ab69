//! The one place that prints. Results go to standard output, everything else to standard error.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Write};

use serde_json::{Value, json};

use super::exit::{Exit, Failure};

/// Where a verb prints.
pub(super) struct Out {
    /// JSON instead of tables.
    pub json: bool,
    /// Standard output is a terminal: long cells are cut.
    terminal: bool,
    results: Box<dyn Write>,
    notes: Box<dyn Write>,
    /// First error of writing a result.
    broken: Option<io::Error>,
}

/// Longest cell on a terminal; descriptions of tools run over many lines otherwise.
const CELL_CHARS_MAX: usize = 72;
/// Widest column. What is longer stands whole in its row, out of line, where no terminal cuts it.
const COLUMN_CHARS_MAX: usize = 256;

impl Out {
    pub(super) fn standard(terminal: bool) -> Self {
        Self::to(Box::new(io::stdout()), Box::new(io::stderr()), terminal)
    }

    pub(super) fn to(results: Box<dyn Write>, notes: Box<dyn Write>, terminal: bool) -> Self {
        Self {
            json: false,
            terminal,
            results,
            notes,
            broken: None,
        }
    }

    /// A result as it is, for files and the like. Lines of a terminal are not steered by it.
    pub(super) fn text(&mut self, text: &str) {
        let text = if self.terminal {
            Cow::Owned(without_controls(text, &['\n', '\t']))
        } else {
            Cow::Borrowed(text)
        };
        self.result(text.as_bytes());
        if !text.ends_with('\n') {
            self.result(b"\n");
        }
    }

    pub(super) fn value(&mut self, value: &Value) {
        self.text(&format!("{value:#}"));
    }

    /// One line for people, or the value for programs.
    pub(super) fn done(&mut self, line: &str, value: &Value) {
        if self.json {
            self.value(value)
        } else {
            self.text(&clean(line))
        }
    }

    /// A table for people, or the value for programs.
    pub(super) fn table(&mut self, heads: &[&str], rows: &[Vec<String>], value: &Value) {
        if self.json {
            return self.value(value);
        }
        let limit = if self.terminal {
            CELL_CHARS_MAX
        } else {
            usize::MAX
        };
        let head: Vec<String> = heads.iter().map(|head| head.to_uppercase()).collect();
        let rows: Vec<Vec<String>> = rows
            .iter()
            .map(|row| row.iter().map(|cell| cut(&clean(cell), limit)).collect())
            .collect();
        let width = |column: usize| {
            let cells = std::iter::once(&head)
                .chain(&rows)
                .filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.chars().count()).max();
            widest.unwrap_or(0).min(COLUMN_CHARS_MAX)
        };
        let widths: Vec<usize> = (0..heads.len()).map(width).collect();
        for row in std::iter::once(&head).chain(&rows) {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:width$}"));
            self.text(cells.collect::<Vec<_>>().join("  ").trim_end());
        }
    }

    /// Whether somebody still reads the results, as far as writing them has shown.
    pub(super) fn is_read(&mut self) -> bool {
        if self.broken.is_none() {
            self.broken = self.results.flush().err();
        }
        self.broken.is_none()
    }

    /// A remark that is no result.
    pub(super) fn note(&mut self, text: &str) {
        // Standard error is the last resort: nobody is left to tell.
        _ = writeln!(self.notes, "{}", clean(text));
    }

    pub(super) fn failure(&mut self, failure: &Failure) -> Exit {
        if self.json {
            let error =
                json!({ "error": { "message": failure.message, "remedy": failure.remedy } });
            self.value(&error);
        } else {
            let lines: Vec<String> = failure.message.lines().map(clean).collect();
            _ = writeln!(self.notes, "error: {}", lines.join("\n"));
            if !failure.remedy.is_empty() {
                _ = writeln!(self.notes, "  try: {}", clean(&failure.remedy));
            }
        }
        self.finish(failure.exit)
    }

    /// Help and version are results; a wrong command line is not.
    pub(super) fn usage(&mut self, error: &clap::Error) -> Exit {
        let text = error.render().to_string();
        if error.use_stderr() {
            _ = write!(self.notes, "{text}");
            return Exit::Usage;
        }
        self.text(&text);
        self.finish(Exit::Done)
    }

    /// The exit status, unless the result could not be written. A reader that has enough (`| head`) is no failure.
    pub(super) fn finish(&mut self, exit: Exit) -> Exit {
        let _flushed = self.is_read();
        match self.broken.take() {
            Some(error) if error.kind() != ErrorKind::BrokenPipe => {
                self.note(&format!("error: the result cannot be written: {error}"));
                Exit::Failed
            }
            _ => exit,
        }
    }

    fn result(&mut self, bytes: &[u8]) {
        if self.broken.is_none() {
            self.broken = self.results.write_all(bytes).err();
        }
    }
}

/// For one line of people's.
fn clean(text: &str) -> String {
    without_controls(text, &[])
}

/// Names, descriptions and results come from servers: control characters could paint over the terminal, name its
/// window and fill the clipboard.
fn without_controls(text: &str, but: &[char]) -> String {
    text.chars()
        .map(|c| match c {
            c if c.is_control() && !but.contains(&c) => ' ',
            c => c,
        })
        .collect()
}

fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `print` puts on standard output.
    fn printed(terminal: bool, print: impl FnOnce(&mut Out)) -> String {
        let memory = Memory::default();
        print(&mut Out::to(
            Box::new(memory.clone()),
            Box::new(io::sink()),
            terminal,
        ));
        let bytes = memory.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_cell_of_any_length_is_printed_and_does_not_widen_the_other_rows() {
        let long = "x".repeat(200_000);
        let rows = [["long", &long, "z"], ["short", "y", "z"]];
        let rows = rows.map(|row| row.map(ToOwned::to_owned).to_vec());
        let table = |out: &mut Out| out.table(&["name", "what", "end"], &rows, &Value::Null);

        let whole = printed(false, table);
        let lines: Vec<&str> = whole.lines().collect();
        assert_eq!(lines[1], format!("long   {long}  z"));
        let padding = COLUMN_CHARS_MAX;
        assert_eq!(lines[2], format!("short  {:padding$}  z", "y"));

        let cut = printed(true, table);
        assert!(cut.lines().all(|line| line.chars().count() < 100), "{cut}");
    }

    #[test]
    fn what_servers_say_does_not_steer_a_terminal_and_is_whole_elsewhere() {
        let said = "a\x1b[31mred\x1b]0;title\x07\u{9b}1m\tb\r\nc\n";
        assert_eq!(printed(false, |out| out.text(said)), said);
        assert_eq!(
            printed(true, |out| out.text(said)),
            "a [31mred ]0;title  1m\tb \nc\n"
        );
        let json = printed(true, |out| out.value(&json!({ "a": "\u{9b}1m" })));
        assert_eq!(json, "{\n  \"a\": \" 1m\"\n}\n");
    }
}
