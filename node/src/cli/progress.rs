//! A bar for work that takes its time, on a terminal.

use std::io::{IsTerminal, Write};

/// Width of the bar itself.
const WIDTH: u64 = 30;

/// Shows how far something is, on standard error. Nothing when that is no terminal.
pub(super) struct Progress {
    what: &'static str,
    total: u64,
    shown: Option<u64>,
}

impl Progress {
    /// `total` in bytes, or whatever the work is counted in. `visible`: people look, not programs.
    pub(super) fn new(what: &'static str, total: u64, visible: bool) -> Self {
        let visible = visible && std::io::stderr().is_terminal();
        Self {
            what,
            total,
            shown: visible.then_some(u64::MAX),
        }
    }

    /// So much of a total is done that was not known before.
    pub(super) fn of(&mut self, done: u64, total: u64) {
        self.total = total;
        self.at(done);
    }

    /// So much is done.
    pub(super) fn at(&mut self, done: u64) {
        let percent = percent(done, self.total);
        let Some(shown) = self.shown.as_mut().filter(|shown| **shown != percent) else {
            return;
        };
        *shown = percent;
        self.draw(&line(self.what, percent));
    }

    /// Takes the bar away; what comes of the work says more.
    pub(super) fn end(self) {
        if self.shown.is_some() {
            self.draw("\r\x1b[K");
        }
    }

    fn draw(&self, text: &str) {
        let mut to = std::io::stderr();
        // A bar that cannot be drawn holds up no work.
        let _drawn = to.write_all(text.as_bytes()).and_then(|()| to.flush());
    }
}

fn percent(done: u64, total: u64) -> u64 {
    match total {
        0 => 100,
        total => done.min(total).saturating_mul(100) / total,
    }
}

fn line(what: &str, percent: u64) -> String {
    let filled = usize::try_from(percent * WIDTH / 100).unwrap_or_default();
    let width = usize::try_from(WIDTH).unwrap_or_default();
    format!("\r{what} [{:width$}] {percent:3} %", "#".repeat(filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills() {
        assert_eq!(percent(0, 0), 100);
        assert_eq!(percent(5, 10), 50);
        assert_eq!(percent(11, 10), 100);
        assert_eq!(
            line("saving", 50),
            "\rsaving [###############               ]  50 %"
        );
    }
}
