//! The counting server of a cluster's run, which outlives every fault.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use super::{Process, execution_log, executions, start_upstream};

/// Counts what it is asked to do; ends with the run.
#[derive(Debug)]
pub(crate) struct Counter {
    _process: Process,
    address: SocketAddr,
    log: PathBuf,
}

impl Counter {
    /// Starts it at an address that the nodes reach.
    pub(crate) async fn start(dir: &Path, host: Ipv4Addr) -> anyhow::Result<Self> {
        let address = TcpListener::bind((host, 0))?.local_addr()?;
        Ok(Self {
            _process: start_upstream(dir, address).await?,
            address,
            log: execution_log(dir),
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Keys that it executed, in order, and when.
    pub(crate) fn executed(&self) -> anyhow::Result<Vec<(String, u64)>> {
        executions(&self.log)
    }
}
