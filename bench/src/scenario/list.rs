//! `tools/list`, all pages.

use super::{
    expectation::{Learned, read_result},
    protocol::Speaker,
};
use crate::{
    error::{Error, Result},
    load::{Client, Job, Step},
    wire::{Answer, ID_FIRST, PreparedRequest},
};

/// Lists every tool; one iteration takes as many requests as the target makes pages.
#[derive(Debug)]
pub(super) struct ListJob {
    speaker: Speaker,
    /// Pages as last seen; the first has no cursor.
    pages: Vec<Page>,
    at: usize,
    n_seen: usize,
    bytes_seen: usize,
    last: Listing,
    n_expected: Option<usize>,
}

/// What a whole list came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Tools.
    pub(crate) tools: usize,
    /// Bytes of all bodies.
    pub(crate) bytes: usize,
}

#[derive(Debug)]
struct Page {
    request: PreparedRequest,
    learned: Learned,
    n_tools: usize,
    next: Option<String>,
}

impl ListJob {
    /// A job of one connection; `n_expected` tools have to be listed where that is known.
    pub(super) fn new(speaker: Speaker, n_expected: Option<usize>) -> Self {
        Self {
            pages: vec![Page::new(&speaker, None)],
            speaker,
            at: 0,
            n_seen: 0,
            bytes_seen: 0,
            last: Listing::default(),
            n_expected,
        }
    }

    /// Lists once, by hand.
    pub(super) fn list(&mut self, client: &mut Client) -> Result<Listing> {
        let mut id = ID_FIRST;
        loop {
            let answer = client.exchange(self.request(id))?;
            let step = self
                .check(id, answer.borrow())
                .map_err(|why| Error::Wrong {
                    target: client.target().to_owned(),
                    call: self.label().to_owned(),
                    why,
                })?;
            if step == Step::Done {
                return Ok(self.last);
            }
            id += 1;
        }
    }

    /// Goes to the page after this one; false when there is none.
    fn turn_page(&mut self) -> bool {
        let Some(cursor) = &self.pages[self.at].next else {
            return false;
        };
        if self.at + 1 == self.pages.len() {
            self.pages.push(Page::new(&self.speaker, Some(cursor)));
        }
        self.at += 1;
        true
    }
}

impl Page {
    fn new(speaker: &Speaker, cursor: Option<&str>) -> Self {
        Self {
            request: speaker.list(cursor),
            learned: Learned::default(),
            n_tools: 0,
            next: None,
        }
    }
}

impl Job for ListJob {
    fn label(&self) -> &str {
        "tools/list"
    }

    fn request(&mut self, id: u64) -> &[u8] {
        self.pages[self.at].request.for_call(id)
    }

    fn check(&mut self, id: u64, answer: Answer<'_>) -> Result<Step, String> {
        let page = &mut self.pages[self.at];
        if answer.status != 200 || !page.learned.equals(id, answer.body) {
            let (result, _notifications) = read_result(id, answer)?;
            let tools = result["tools"].as_array().ok_or("no list of tools")?;
            page.n_tools = tools.len();
            let next = result["nextCursor"].as_str();
            if page.next.as_deref() != next {
                page.next = next.map(str::to_owned);
                self.pages.truncate(self.at + 1);
            }
            self.pages[self.at].learned.keep(id, answer.body);
        }
        self.bytes_seen += answer.body.len();
        self.n_seen += self.pages[self.at].n_tools;
        if self.turn_page() {
            return Ok(Step::Again);
        }
        self.at = 0;
        let n_seen = std::mem::take(&mut self.n_seen);
        self.last = Listing {
            tools: n_seen,
            bytes: std::mem::take(&mut self.bytes_seen),
        };
        match self.n_expected {
            Some(expected) if expected != n_seen => {
                Err(format!("{n_seen} tools instead of {expected}"))
            }
            _ => Ok(Step::Done),
        }
    }
}
