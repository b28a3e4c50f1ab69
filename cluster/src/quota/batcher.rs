//! The batcher: turns what the purses hold and want into batches, one on its way at a time. Pure, but for the purses
//! that it shares with the calls.

use std::sync::Arc;

use super::purse::Purse;
use super::wallet::Wallet;
use crate::machine::quota::{
    Answer, Batch, LEASE_US, RHO_PER_MILLE, Reply, Report, UsageDelta, Want,
};

/// How long a grant may be spent, counted from before its batch was sent.
pub(super) const SPEND_US: u64 = LEASE_US * (1000 - RHO_PER_MILLE) / 1000;
/// Reports and wants of one batch; the purses behind have their turn in the next one.
const N_REPORTS_MAX: usize = 4096;
const N_WANTS_MAX: usize = 1024;
/// Batches without an answer that are remembered. Behind so many their grants are left to expire.
const N_ABANDONED_MAX: usize = 64;
/// Usage alone makes no batch more often than this.
const USAGE_EVERY_US: u64 = 500_000;

/// Turns purses into batches and answers into slips.
#[derive(Debug)]
pub(super) struct Batcher {
    node: u64,
    boot: u64,
    seq: u64,
    abandoned: Vec<u64>,
    usage_seq: u64,
    /// Usage that was sent and whose answer is still out. Sent again as it is: it is counted once by its number.
    usage: Vec<UsageDelta>,
    usage_sent_us: u64,
    /// Whether the node ends: nothing is asked for any more, and nothing is held back.
    is_closing: bool,
    /// Purse with which the next batch begins.
    first: usize,
    sent: Option<Sent>,
}

/// A batch that is on its way.
#[derive(Debug)]
struct Sent {
    seq: u64,
    at_us: u64,
    wants: Vec<(Arc<Purse>, Want)>,
    reports: Vec<(Arc<Purse>, Vec<Report>)>,
    n_abandoned: usize,
}

impl Batcher {
    pub(super) fn new(node: u64, boot: u64) -> Self {
        Self {
            node,
            boot,
            seq: 0,
            abandoned: Vec::new(),
            usage_seq: 0,
            usage: Vec::new(),
            usage_sent_us: 0,
            is_closing: false,
            first: 0,
            sent: None,
        }
    }

    /// From now on batches only give back and report: what was granted to a node that ends would be lost.
    pub(super) fn close(&mut self) {
        self.is_closing = true;
    }

    /// Whether usage is still to be sent again, since its answer never came.
    pub(super) fn has_usage(&self) -> bool {
        !self.usage.is_empty()
    }

    /// The next batch, if there is anything to say. `now_us` is before it is sent.
    pub(super) fn next(&mut self, wallet: &Wallet, now_us: u64) -> Option<Batch> {
        debug_assert!(self.sent.is_none(), "one batch is on its way at a time");
        let purses = wallet.active();
        let mut sent = Sent {
            seq: self.seq + 1,
            at_us: now_us,
            wants: Vec::new(),
            reports: Vec::new(),
            n_abandoned: self.abandoned.len(),
        };
        let mut n_reports = 0;
        let mut idle = Vec::new();
        let hurry = self.abandoned.is_empty();
        let first = self.first % purses.len().max(1);
        for n in 0..purses.len() {
            if n_reports >= N_REPORTS_MAX || sent.wants.len() >= N_WANTS_MAX {
                self.first = first + n;
                break;
            }
            let purse = &purses[(first + n) % purses.len()];
            let extract = purse.extract(now_us, hurry);
            n_reports += extract.reports.len();
            if !extract.reports.is_empty() {
                sent.reports.push((Arc::clone(purse), extract.reports));
            }
            let is_asked = !self.is_closing && wallet.decider(purse, 1).is_none();
            if let Some(want) = extract.want.filter(|_| is_asked) {
                sent.wants.push((Arc::clone(purse), want));
            }
            if extract.idle {
                idle.push(Arc::clone(purse));
            }
        }
        wallet.put_away(&idle);
        self.take_usage(wallet, now_us, sent.wants.is_empty() && n_reports == 0);
        if sent.wants.is_empty()
            && n_reports == 0
            && self.usage.is_empty()
            && self.abandoned.is_empty()
        {
            return None;
        }
        self.seq = sent.seq;
        let batch = Batch {
            node: self.node,
            boot: self.boot,
            seq: self.seq,
            reports: sent
                .reports
                .iter()
                .flat_map(|(_, reports)| reports.iter().copied())
                .collect(),
            abandoned: self.abandoned.clone(),
            wants: sent.wants.iter().map(|(_, want)| want.clone()).collect(),
            usage_seq: self.usage_seq,
            usage: self.usage.clone(),
        };
        self.sent = Some(sent);
        Some(batch)
    }

    fn take_usage(&mut self, wallet: &Wallet, now_us: u64, alone: bool) {
        let is_early = now_us.saturating_sub(self.usage_sent_us) < USAGE_EVERY_US;
        if !self.usage.is_empty() || (alone && is_early && !self.is_closing) {
            return;
        }
        self.usage = wallet.meter().take();
        if !self.usage.is_empty() {
            self.usage_seq += 1;
            self.usage_sent_us = now_us;
        }
    }

    /// The batch was applied, and this is the answer.
    pub(super) fn on_reply(&mut self, reply: Reply, now_us: u64) {
        let Reply::Answers(answers) = reply else {
            // Somebody has applied it before and has the answer: what it was granted goes back.
            return self.on_unknown();
        };
        let Some(sent) = self.sent.take() else {
            return;
        };
        self.abandoned.drain(..sent.n_abandoned);
        self.usage.clear();
        for (purse, reports) in &sent.reports {
            purse.acknowledge(reports);
        }
        let deadline_us = sent.at_us + SPEND_US;
        let answers = answers
            .into_iter()
            .chain(std::iter::repeat(Answer::default()));
        for ((purse, want), answer) in sent.wants.iter().zip(answers) {
            purse.adopt(want, answer, deadline_us, now_us);
        }
    }

    /// Whether the batch was applied is not known, and its answer will not be looked at any more.
    pub(super) fn on_unknown(&mut self) {
        let Some(sent) = self.sent.take() else {
            return;
        };
        if !sent.wants.is_empty() {
            self.abandoned.push(sent.seq);
        }
        if self.abandoned.len() > N_ABANDONED_MAX {
            self.abandoned.remove(0);
        }
    }
}
