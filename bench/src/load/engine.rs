//! Drives the connections of one target, or of several that do the same work together.

use std::{
    collections::VecDeque,
    io::{self, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

use rustix::event::{
    Timespec,
    epoll::{self, CreateFlags, Event, EventData, EventFlags},
};
use tokio::time::Instant;

use super::{
    client::{ANSWER_WAIT, Client, connect, has_ended},
    job::{Job, Step},
    lane::Lane,
    pacer::Pacer,
    sample::Sample,
    target::Target,
};
use crate::{
    error::{Error, Result},
    measure::ProcessCpu,
    wire::{AnswerReader, ID_FIRST},
};

/// Key of the timer among the connections' indices.
const TIMER: u64 = u64::MAX;
/// Events taken from the kernel at once.
const EVENTS: usize = 256;
/// A connection that was idle for longer may be about to be ended by its server.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// How often it is looked at whether a target's processes have come to rest.
const IDLE_POLL: Duration = Duration::from_millis(100);
/// They have when they use less than this part of one core.
const IDLE_SHARE: u32 = 4;
/// Longest sleep, so that the end of a window is seen.
const WAIT_MAX: Duration = Duration::from_millis(10);

/// How calls follow one another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// Every connection sends as soon as it has its answer.
    Closed,
    /// Calls arrive at a fixed rate, whether answers come or not.
    Open {
        /// Arrivals a second.
        rate: f64,
        /// How long before an arrival the thread stops sleeping and spins.
        spin: Duration,
    },
}

/// How long load is kept up, and how much of that counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Load that is not counted.
    pub(crate) warmup: Duration,
    /// Load that is.
    pub(crate) measure: Duration,
}

struct Connection {
    stream: TcpStream,
    reader: AnswerReader,
    job: Box<dyn Job>,
    /// Which of the targets it leads to.
    target: usize,
    /// The call that is out.
    call: Option<OpenCall>,
}

#[derive(Clone, Copy)]
struct OpenCall {
    id: u64,
    /// Start of its iteration: when it was, or should have been, sent.
    intended: Instant,
}

/// Connections to targets that are measured as one, kept from round to round.
pub(crate) struct Engine {
    name: String,
    targets: Vec<Target>,
    epoll: std::os::fd::OwnedFd,
    connections: Vec<Connection>,
    id_last: u64,
    /// When its last window ended.
    used: Instant,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("name", &self.name)
            .field("connections", &self.connections.len())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine without connections.
    pub(crate) fn new(lane: &Lane) -> Result<Self> {
        Ok(Self {
            name: lane.name.clone(),
            targets: lane.targets.clone(),
            epoll: epoll::create(CreateFlags::CLOEXEC)
                .map_err(io::Error::from)
                .map_err(Error::io("create an epoll"))?,
            connections: Vec::new(),
            id_last: ID_FIRST,
            used: Instant::now(),
        })
    }

    /// Name of the lane.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Waits until the processes of the targets have done what they put off, as far as they do so within `limit`.
    pub(crate) fn wait_until_idle(&self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        let mut before = read_cpu(&self.targets)?;
        while Instant::now() < deadline {
            thread::sleep(IDLE_POLL);
            let after = read_cpu(&self.targets)?;
            let used = before
                .zip(after.as_ref())
                .map(|(before, after)| between(&before, after));
            if used.is_none_or(|used| used < IDLE_POLL / IDLE_SHARE) {
                break;
            }
            before = after;
        }
        Ok(())
    }

    /// Adds a connection to the target `at` that repeats `job`.
    pub(crate) fn add(&mut self, client: Client, at: usize, job: Box<dyn Job>) -> Result<()> {
        let stream = client.into_stream();
        self.register(&stream, self.connections.len())?;
        self.connections.push(Connection {
            stream,
            reader: AnswerReader::new(),
            job,
            target: at,
            call: None,
        });
        Ok(())
    }

    /// Puts load on the target for one window. Every call that was sent is answered when it returns.
    pub(crate) fn run(&mut self, pace: Pace, window: Window) -> Result<Sample> {
        self.renew()?;
        let mut run = Run::new(self, pace, window)?;
        run.fill_connections()?;
        while run.in_window()? {
            run.turn()?;
        }
        let sample = run.drain()?;
        self.used = Instant::now();
        Ok(sample)
    }

    /// Replaces connections that their servers have ended while others had their windows, or may end before the first
    /// request is there.
    fn renew(&mut self) -> Result<()> {
        let is_old = self.used.elapsed() > IDLE_MAX;
        for index in 0..self.connections.len() {
            if is_old || has_ended(&self.connections[index].stream) {
                self.reconnect(index)?;
            }
        }
        Ok(())
    }

    fn register(&self, stream: &TcpStream, index: usize) -> Result<()> {
        stream
            .set_nonblocking(true)
            .map_err(Error::io("prepare a connection"))?;
        let key = EventData::new_u64(index as u64);
        epoll::add(&self.epoll, stream, key, EventFlags::IN)
            .map_err(io::Error::from)
            .map_err(Error::io("watch a connection"))
    }

    fn wrong(&self, index: usize, why: String) -> Error {
        Error::Wrong {
            target: self.name.clone(),
            call: self.connections[index].job.label().to_owned(),
            why,
        }
    }

    /// Sends the next request of the connection's iteration.
    fn send(&mut self, index: usize, intended: Instant) -> Result<()> {
        self.id_last += 1;
        let id = self.id_last;
        let connection = &mut self.connections[index];
        connection.call = Some(OpenCall { id, intended });
        let request = connection.job.request(id);
        // An idle connection has room for any request of ours: a short write is an error, not a state.
        connection
            .stream
            .write_all(request)
            .map_err(Error::io(format!("send a request to `{}`", self.name)))
    }

    /// Reads what came. Gives the start of the iteration when its last answer is there and right.
    fn receive(&mut self, index: usize) -> Result<Option<Instant>> {
        let connection = &mut self.connections[index];
        let open = connection
            .reader
            .fill(&mut connection.stream)
            .map_err(|source| Error::Read {
                target: self.name.clone(),
                source,
            })?;
        let answer = connection.reader.answer().map_err(|source| Error::Read {
            target: self.name.clone(),
            source,
        })?;
        let (Some(answer), Some(call)) = (answer, connection.call) else {
            if open && connection.call.is_some() {
                return Ok(None);
            }
            if connection.call.is_some() || connection.reader.has_rest() {
                let target = self.name.clone();
                return Err(Error::Closed { target });
            }
            self.reconnect(index)?;
            return Ok(None);
        };
        let closes = answer.closes;
        let step = match connection.job.check(call.id, answer) {
            Ok(step) => step,
            Err(why) => return Err(self.wrong(index, why)),
        };
        connection.reader.consume();
        connection.call = None;
        if connection.reader.has_rest() {
            return Err(self.wrong(index, "bytes follow the answer".to_owned()));
        }
        if closes || !open {
            self.reconnect(index)?;
        }
        match step {
            Step::Done => Ok(Some(call.intended)),
            Step::Again => self.send(index, call.intended).map(|()| None),
        }
    }

    /// Replaces a connection that its server ended between two answers.
    fn reconnect(&mut self, index: usize) -> Result<()> {
        let stream = connect(&self.targets[self.connections[index].target])?;
        self.register(&stream, index)?;
        // Closing the old one also takes it out of the epoll.
        self.connections[index].stream = stream;
        self.connections[index].reader = AnswerReader::new();
        Ok(())
    }
}

/// One window in progress.
struct Run<'a> {
    engine: &'a mut Engine,
    pacer: Option<Pacer>,
    measure_from: Instant,
    end: Instant,
    measure: Duration,
    sample: Sample,
    cpu_before: Option<Vec<ProcessCpu>>,
    is_measuring: bool,
    events: Vec<Event>,
    /// Connections without a call, the longest idle first.
    idle: VecDeque<usize>,
    /// Arrivals that found no idle connection.
    backlog: VecDeque<Instant>,
    answered_at: Instant,
}

impl<'a> Run<'a> {
    fn new(engine: &'a mut Engine, pace: Pace, window: Window) -> Result<Self> {
        let now = Instant::now();
        let pacer = match pace {
            Pace::Closed => None,
            Pace::Open { rate, spin } => {
                let pacer = Pacer::new(rate, now, spin).map_err(Error::io("create a timer"))?;
                epoll::add(
                    &engine.epoll,
                    &pacer,
                    EventData::new_u64(TIMER),
                    EventFlags::IN,
                )
                .map_err(io::Error::from)
                .map_err(Error::io("watch a timer"))?;
                Some(pacer)
            }
        };
        let measure_from = now + window.warmup;
        Ok(Self {
            sample: Sample::new(pacer.is_some()),
            idle: (0..engine.connections.len()).collect(),
            engine,
            pacer,
            measure_from,
            end: measure_from + window.measure,
            measure: window.measure,
            cpu_before: None,
            is_measuring: false,
            events: Vec::with_capacity(EVENTS),
            backlog: VecDeque::new(),
            answered_at: now,
        })
    }

    /// A closed loop starts with a call on every connection.
    fn fill_connections(&mut self) -> Result<()> {
        if self.pacer.is_none() {
            while let Some(index) = self.idle.pop_front() {
                self.engine.send(index, Instant::now())?;
            }
        }
        Ok(())
    }

    /// Starts counting after the warm-up; false when the window is over.
    fn in_window(&mut self) -> Result<bool> {
        let now = Instant::now();
        if !self.is_measuring && now >= self.measure_from {
            self.is_measuring = true;
            self.sample = Sample::new(self.pacer.is_some());
            self.cpu_before = self.read_cpu()?;
            // What was late before counting began must not stretch the window.
            self.measure_from = Instant::now();
            self.end = self.measure_from + self.measure;
        }
        if !self.is_measuring || now < self.end {
            return Ok(true);
        }
        self.sample.elapsed = now - self.measure_from;
        let after = self.read_cpu()?;
        self.sample.cpu = after
            .zip(self.cpu_before.take())
            .map(|(after, before)| between(&before, &after));
        Ok(false)
    }

    fn read_cpu(&self) -> Result<Option<Vec<ProcessCpu>>> {
        read_cpu(&self.engine.targets)
    }

    /// Sends what is due, waits for something to happen and answers to it.
    fn turn(&mut self) -> Result<()> {
        self.send_due(Instant::now())?;
        self.wait()?;
        self.receive_all()
    }

    fn send_due(&mut self, now: Instant) -> Result<()> {
        let Some(pacer) = &mut self.pacer else {
            return Ok(());
        };
        let n_waiting = self.backlog.len();
        while let Some(intended) = pacer.take_due(now) {
            if let Some(lateness) = &mut self.sample.lateness {
                lateness.saturating_record(nanos(now - intended));
            }
            self.backlog.push_back(intended);
        }
        if self.backlog.len() > n_waiting {
            pacer.arm(now).map_err(Error::io("set a timer"))?;
        }
        while !self.idle.is_empty()
            && let Some(intended) = self.backlog.pop_front()
        {
            let Some(index) = self.idle.pop_front() else {
                break;
            };
            self.engine.send(index, intended)?;
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        self.events.clear();
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: WAIT_MAX.subsec_nanos().into(),
        };
        let spare = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.engine.epoll, spare, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(Error::io("wait for answers")(errno.into())),
        }
    }

    fn receive_all(&mut self) -> Result<()> {
        let events = std::mem::take(&mut self.events);
        let mut n_answers = 0;
        for event in &events {
            let key = event.data.u64();
            if key == TIMER {
                continue;
            }
            let index = key as usize;
            let Some(started) = self.engine.receive(index)? else {
                continue;
            };
            n_answers += 1;
            let now = Instant::now();
            self.sample.latency.saturating_record(nanos(now - started));
            self.answered_at = now;
            self.next_call(index, now)?;
        }
        self.sample.n_calls += n_answers;
        if n_answers == 0 {
            self.complain_of_silence(&events)?;
        }
        self.events = events;
        Ok(())
    }

    fn next_call(&mut self, index: usize, now: Instant) -> Result<()> {
        if self.pacer.is_none() {
            return self.engine.send(index, now);
        }
        match self.backlog.pop_front() {
            Some(intended) => self.engine.send(index, intended),
            None => {
                self.idle.push_back(index);
                Ok(())
            }
        }
    }

    fn complain_of_silence(&mut self, events: &[Event]) -> Result<()> {
        let is_waiting = self.idle.len() < self.engine.connections.len();
        // Bytes of an unfinished answer, or nothing to wait for, are no silence.
        if !is_waiting || events.iter().any(|event| event.data.u64() != TIMER) {
            self.answered_at = Instant::now();
        } else if self.answered_at.elapsed() > ANSWER_WAIT {
            return Err(Error::Silent {
                target: self.engine.name.clone(),
                limit: ANSWER_WAIT,
            });
        }
        Ok(())
    }

    /// Takes the answers that are out, without sending anything new.
    fn drain(mut self) -> Result<Sample> {
        let deadline = Instant::now() + ANSWER_WAIT;
        while self
            .engine
            .connections
            .iter()
            .any(|connection| connection.call.is_some())
        {
            if Instant::now() > deadline {
                return Err(Error::Silent {
                    target: self.engine.name.clone(),
                    limit: ANSWER_WAIT,
                });
            }
            self.wait()?;
            for event in &self.events {
                if event.data.u64() != TIMER {
                    let _uncounted = self.engine.receive(event.data.u64() as usize)?;
                }
            }
        }
        Ok(self.sample)
    }
}

/// CPU time of each target's process; `None` when one of them is not known.
fn read_cpu(targets: &[Target]) -> Result<Option<Vec<ProcessCpu>>> {
    let pids: Option<Vec<u32>> = targets.iter().map(|target| target.pid).collect();
    let read = |pids: Vec<u32>| pids.into_iter().map(ProcessCpu::read).collect();
    pids.map(read).transpose()
}

fn between(before: &[ProcessCpu], after: &[ProcessCpu]) -> Duration {
    let pairs = after.iter().zip(before);
    pairs.map(|(after, before)| after.since(before)).sum()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
