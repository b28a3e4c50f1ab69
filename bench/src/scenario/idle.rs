//! What sessions weigh that do nothing.

use std::{thread, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

use super::{
    call::Tool,
    protocol::{Era, Speaker},
};
use crate::{
    error::{Error, Result},
    load::{Client, Target},
    measure::{Memory, Summary},
    wire::ID_FIRST,
};

/// Connections that the sessions share: what is weighed are sessions, not sockets.
const CONNECTIONS: usize = 8;
/// Sessions opened before weighing, in percent of those weighed; tables and buffers grow then.
const WARMUP_PERCENT: usize = 10;
/// Batches of sessions that are put away.
const BATCHES: usize = 3;
/// How long memory is left alone before it is read.
const SETTLE: Duration = Duration::from_millis(500);

/// What to weigh.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdlePlan {
    /// Sessions.
    pub(crate) sessions: usize,
    /// Sessions among them with an open `GET` stream.
    pub(crate) streams: usize,
    /// Time until the target has put idle sessions away.
    pub(crate) passivate_wait: Option<Duration>,
}

/// Weights in bytes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct IdleOutcome {
    /// Target.
    pub(crate) target: String,
    /// Sessions weighed.
    pub(crate) sessions: usize,
    /// Process before any session.
    pub(crate) idle: Memory,
    /// A session that was opened and has made a call.
    pub(crate) active: f64,
    /// An open stream, beside its session.
    pub(crate) stream: Option<f64>,
    /// A session that was put away.
    pub(crate) passivated: Option<Summary>,
}

/// Weighs the sessions of one target; they are ended afterwards.
pub(crate) fn measure_idle(target: &Target, plan: IdlePlan) -> Result<IdleOutcome> {
    let Some(pid) = target.pid else {
        return Err(Error::Argument {
            key: "--target",
            value: target.name.clone(),
            why: "weighing needs pid=".to_owned(),
        });
    };
    allow_descriptors(plan.streams + 64)?;
    let idle = Memory::read(pid)?;
    let mut sessions = Sessions::connect(target)?;
    sessions.open(plan.sessions * WARMUP_PERCENT / 100)?;
    let base = pss(pid)?;
    sessions.open(plan.sessions)?;
    let active = weight(base, pss(pid)?, plan.sessions);
    let passivated = match plan.passivate_wait {
        None => None,
        Some(wait) => passivated(pid, &mut sessions, plan.sessions, wait)?,
    };
    let stream = if plan.streams == 0 {
        None
    } else {
        sessions.open(plan.streams)?;
        let before = pss(pid)?;
        let streams = sessions.open_streams(plan.streams)?;
        Some(weight(before, pss(pid)?, streams.len()))
    };
    sessions.end()?;
    Ok(IdleOutcome {
        target: target.name.clone(),
        sessions: plan.sessions,
        idle,
        active,
        stream,
        passivated,
    })
}

/// Weighs what a session leaves behind when it is put away: by how much the process grows from
/// one batch of them to the next. Memory that a batch needed while it was active is there before
/// and after, whether the allocator gives it back or keeps it for the next batch.
fn passivated(
    pid: u32,
    sessions: &mut Sessions<'_>,
    n: usize,
    wait: Duration,
) -> Result<Option<Summary>> {
    thread::sleep(wait);
    let mut before = pss(pid)?;
    let mut weights = Vec::with_capacity(BATCHES);
    for _batch in 0..BATCHES {
        sessions.open(n)?;
        thread::sleep(wait);
        let after = pss(pid)?;
        weights.push(weight(before, after, n));
        before = after;
    }
    Ok(Summary::of(weights))
}

/// Sessions on shared connections.
struct Sessions<'a> {
    target: &'a Target,
    clients: Vec<Client>,
    open: Vec<Speaker>,
}

impl<'a> Sessions<'a> {
    fn connect(target: &'a Target) -> Result<Self> {
        let clients = (0..CONNECTIONS)
            .map(|_connection| Client::connect(target))
            .collect::<Result<_>>()?;
        Ok(Self {
            target,
            clients,
            open: Vec::new(),
        })
    }

    /// Opens `n` more; each makes one call.
    fn open(&mut self, n: usize) -> Result<()> {
        let expectation = Tool::Echo.expectation();
        for index in 0..n {
            let client = &mut self.clients[index % CONNECTIONS];
            let speaker = Speaker::open_on(client, self.target, Era::Session)?;
            let answer = client.exchange(Tool::Echo.request(&speaker).for_call(ID_FIRST))?;
            expectation
                .check(ID_FIRST, answer.borrow())
                .map_err(|why| self.wrong("echo", why))?;
            self.open.push(speaker);
        }
        Ok(())
    }

    /// Opens a stream on each of the last `n` sessions.
    fn open_streams(&self, n: usize) -> Result<Vec<Client>> {
        let newest = self.open.iter().rev().take(n);
        newest
            .map(|speaker| {
                let mut client = Client::connect(self.target)?;
                client.open_stream(speaker.stream().for_call(ID_FIRST))?;
                Ok(client)
            })
            .collect()
    }

    fn end(mut self) -> Result<()> {
        for (index, speaker) in std::mem::take(&mut self.open).iter().enumerate() {
            let client = &mut self.clients[index % CONNECTIONS];
            let status = client.exchange(speaker.end().for_call(ID_FIRST))?.status;
            if !(200..300).contains(&status) {
                return Err(self.wrong("DELETE", format!("status {status}")));
            }
        }
        Ok(())
    }

    fn wrong(&self, call: &str, why: String) -> Error {
        Error::Wrong {
            target: self.target.name.clone(),
            call: call.to_owned(),
            why,
        }
    }
}

fn pss(pid: u32) -> Result<u64> {
    thread::sleep(SETTLE);
    Ok(Memory::read(pid)?.pss)
}

fn weight(before: u64, after: u64, n: usize) -> f64 {
    (after as f64 - before as f64) / n.max(1) as f64
}

/// Raises our limit of open descriptors to the hard one if `n` would not fit.
fn allow_descriptors(n: usize) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= n as u64) {
        return Ok(());
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised)
        .map_err(|errno| Error::io("raise the limit of open files")(errno.into()))
}
