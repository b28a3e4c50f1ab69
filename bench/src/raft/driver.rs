//! The processes that write, as the one that measures sees them.

use std::{
    net::{SocketAddr, TcpListener, UdpSocket},
    path::Path,
    thread,
    time::Duration,
};

use lockgate_cluster::DevCerts;

use super::{
    bare::Log,
    member::now,
    orders::{Answer, Counted, Order},
};
use crate::{
    error::{Error, Result},
    measure::ProcessCpu,
    process::Process,
};

/// Nodes of the cluster.
const NODES: usize = 3;
/// Time beyond a window in which its figures must be there: nodes are given their votes in it, too.
const ANSWER_WAIT: Duration = Duration::from_secs(40);
/// Windows that may fail because the lead changed.
const ATTEMPTS: usize = 5;
/// Pause before another attempt: an election is over by then.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(500);

/// One or more processes, one of which takes writes.
#[derive(Debug)]
pub(super) struct Driver {
    name: String,
    processes: Vec<Process>,
}

impl Driver {
    /// The bare engine, all its nodes in one process.
    pub(super) fn bare(name: &str, log: Log, directory: &Path) -> Result<Self> {
        let dir = directory.join(name.replace(' ', "-")).display().to_string();
        let arguments = ["raft-bare", "--log", log.name(), "--dir", &dir];
        let process = Process::start_verb(name, None, &arguments, directory, true)?;
        Ok(Self {
            name: name.to_owned(),
            processes: vec![process],
        })
    }

    /// The replicated truth, one process a node.
    pub(super) fn cluster(name: &str, directory: &Path) -> Result<Self> {
        let certs = directory.join("certs");
        let peers = new_cluster(&certs)?;
        let mut processes = Vec::new();
        for (at, (node, listen)) in peers.iter().enumerate() {
            let (dir, certs) = (directory.join(node).display().to_string(), certs.display());
            let (listen, certs) = (listen.to_string(), certs.to_string());
            let mut arguments = vec!["raft-member", "--name", node, "--dir", &dir];
            arguments.extend(["--certs", &certs, "--listen", &listen]);
            let names: Vec<String> = peers
                .iter()
                .map(|(name, address)| format!("--peer={name}={address}"))
                .collect();
            arguments.extend(names.iter().map(String::as_str));
            if at == 0 {
                arguments.push("--found");
            }
            processes.push(Process::start_verb(
                node, None, &arguments, directory, true,
            )?);
        }
        Ok(Self {
            name: name.to_owned(),
            processes,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Has one window written, by whichever process leads. Gives its counts and the CPU time of all processes.
    pub(super) fn window(&mut self, order: Order) -> Result<(Counted, Duration)> {
        let line = serde_json::to_string(&order).map_err(Error::Line)?;
        let limit = order.warmup() + order.measure() + ANSWER_WAIT;
        for _attempt in 0..ATTEMPTS {
            for at in 0..self.processes.len() {
                let before = self.cpu()?;
                let answer = self.processes[at].ask(&line, limit)?;
                let after = self.cpu()?;
                match serde_json::from_str(&answer).map_err(Error::Line)? {
                    Answer::Counted(counted) => {
                        let cpu = after.iter().zip(&before);
                        return Ok((
                            counted,
                            cpu.map(|(after, before)| after.since(before)).sum(),
                        ));
                    }
                    Answer::NotLeading => {}
                }
            }
            thread::sleep(ATTEMPT_PAUSE);
        }
        Err(Error::NotReady {
            name: self.name.clone(),
            why: format!("no node kept the lead for one of {ATTEMPTS} windows"),
        })
    }

    fn cpu(&self) -> Result<Vec<ProcessCpu>> {
        let pids = self.processes.iter().map(Process::pid);
        pids.map(ProcessCpu::read).collect()
    }
}

/// Certificates in `certs` for the nodes of a cluster; gives their names, and addresses where nobody listens yet.
pub(crate) fn new_cluster(certs: &Path) -> Result<Vec<(String, SocketAddr)>> {
    let authority =
        DevCerts::create(certs, "bench", now()).map_err(Error::caused("make certificates"))?;
    let nodes = (1..=NODES).map(|at| {
        let node = format!("n{at}");
        let made = authority.node(&node, now());
        made.map_err(Error::caused("make a certificate"))?;
        Ok((node, free_address()?))
    });
    nodes.collect()
}

/// An address whose port is free for TCP and UDP.
fn free_address() -> Result<SocketAddr> {
    let failed = || Error::io("find a free port");
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed())?;
        let address = listener.local_addr().map_err(failed())?;
        if UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
}
