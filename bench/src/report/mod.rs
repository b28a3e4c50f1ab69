//! What a run says: a table for people, JSON for programs, one page with plots.

mod budget;
mod html;
mod outcome;
mod plot;
mod raft;
mod table;

use std::{fs, io::Write as _, path::Path};

use serde::Serialize;

use crate::{
    error::{Error, Result},
    measure::Machine,
    raft::RaftOutcome,
    scenario::IdleOutcome,
};

pub(crate) use self::{
    budget::{Budgets, Figure, Verdict},
    outcome::{Comparison, Outcome, REFERENCE},
};

/// Everything that one run found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Version of this program.
    pub(crate) version: &'static str,
    /// Command that repeats the run.
    pub(crate) command: String,
    /// Where it was measured.
    pub(crate) machine: Machine,
    /// Figures of the budget.
    pub(crate) figures: Vec<Figure>,
    /// The figures against the budget.
    pub(crate) verdicts: Vec<Verdict>,
    /// Scenarios under load.
    pub(crate) outcomes: Vec<Outcome>,
    /// Idle sessions.
    pub(crate) idle: Vec<IdleOutcome>,
    /// Replicated writes.
    pub(crate) raft: Vec<RaftOutcome>,
}

impl Report {
    /// An empty report of this process.
    pub(crate) fn new() -> Self {
        let command: Vec<String> = std::env::args().collect();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            command: command.join(" "),
            machine: Machine::read(),
            figures: Vec::new(),
            verdicts: Vec::new(),
            outcomes: Vec::new(),
            idle: Vec::new(),
            raft: Vec::new(),
        }
    }

    /// Prints the tables on standard output.
    pub(crate) fn print(&self) -> Result<()> {
        let mut text = String::new();
        for outcome in &self.outcomes {
            text.push_str(&table::outcome(outcome));
        }
        text.push_str(&table::idle(&self.idle));
        text.push_str(&raft::text(&self.raft));
        text.push_str(&table::verdicts(&self.verdicts));
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .map_err(Error::io("print the report"))
    }

    /// Writes `results.json` and `report.html` into `directory`.
    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text).map_err(Error::io(format!("write {}", path.display())))
        };
        fs::create_dir_all(directory)
            .map_err(Error::io(format!("create {}", directory.display())))?;
        let json = serde_json::to_string_pretty(self).map_err(|source| Error::Json {
            path: directory.join("results.json"),
            source,
        })?;
        write("results.json", &json)?;
        write("report.html", &html::page(self))
    }
}
