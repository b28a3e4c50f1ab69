//! Everything that runs during a suite: echo, floor and gateway, each on its core.

use std::path::{Path, PathBuf};

use super::gateway::{Gateway, Server, Setup};
use crate::{
    cli::SuiteArgs,
    error::{Error, Result},
    load::Target,
    process::Process,
    report::REFERENCE,
};

/// Tools that one echo lists.
pub(super) const TOOLS: usize = 100;
/// Name of the echo among the gateway's servers.
const ECHO: &str = "echo";
/// Name of the server that is spoken to in sessions only.
pub(super) const SESSION_SERVER: &str = "old";
/// Name of the server that is spoken to without sessions only.
pub(super) const STATELESS_SERVER: &str = "new";
/// Servers of the merged list.
pub(super) const SERVERS: usize = 20;

/// What runs.
#[derive(Debug)]
pub(super) struct Bed {
    direct: Target,
    floor: Target,
    gateway: Target,
    own: Option<Own>,
    _processes: Vec<Process>,
}

/// The gateway that the suite started, and what it takes to start more of them.
#[derive(Debug)]
struct Own {
    gateway: Gateway,
    bin: PathBuf,
    cpu: usize,
    directory: PathBuf,
    echo: String,
}

impl Bed {
    /// Starts whatever `args` do not give.
    pub(super) fn start(args: &SuiteArgs, directory: &Path) -> Result<Self> {
        let mut processes = Vec::new();
        let direct = match &args.echo {
            Some(echo) => echo.clone(),
            None => {
                let tools = TOOLS.to_string();
                let verb = ["echo", "--print-addr", "--tools", &tools];
                let echo = Process::start_verb(ECHO, Some(args.load_cpu), &verb, directory, false)?;
                let target = target("direct", &echo)?;
                processes.push(echo);
                target
            }
        };
        let upstream = format!("http://{}", direct.endpoint.authority);
        let verb = ["floor", "--print-addr", "--to", &upstream];
        let process =
            Process::start_verb(REFERENCE, Some(args.target_cpu), &verb, directory, false)?;
        let floor = target(REFERENCE, &process)?;
        processes.push(process);
        let (gateway, own) = match (&args.gateway_url, &args.gateway_bin) {
            (Some(url), _) => (url.clone(), None),
            (None, Some(bin)) => {
                let own = Own::start(bin, args.target_cpu, directory, &upstream)?;
                (own.gateway.target(&format!("{ECHO}_"))?, Some(own))
            }
            (None, None) => {
                return Err(Error::Argument {
                    key: "--gateway-bin",
                    value: String::new(),
                    why: "a gateway is needed".to_owned(),
                });
            }
        };
        Ok(Self {
            direct,
            floor,
            gateway,
            own,
            _processes: processes,
        })
    }

    /// Echo, floor and gateway, in the order of the rounds.
    pub(super) fn targets(&self) -> [Target; 3] {
        [&self.direct, &self.floor, &self.gateway].map(Target::clone)
    }

    /// The gateway.
    pub(super) fn gateway(&self) -> &Target {
        &self.gateway
    }

    /// The floor, asked for a list of `bytes` bytes.
    pub(super) fn floor_sized(&self, bytes: usize) -> Result<Target> {
        let authority = &self.floor.endpoint.authority;
        let url = format!("http://{authority}/sized/{bytes}/mcp");
        Ok(Target::new(REFERENCE, &url)?.with_pid(self.floor.pid))
    }

    /// Another gateway; `None` when we were given one that runs.
    pub(super) fn another(&self, name: &str, variant: Variant) -> Result<Option<Gateway>> {
        let Some(own) = &self.own else {
            return Ok(None);
        };
        let servers = match variant {
            Variant::ManyServers => many_servers(&own.echo),
            Variant::BothEras => both_eras(&own.echo),
            Variant::OneServer | Variant::Passivating(_) => vec![one_server(&own.echo)],
        };
        let setup = Setup {
            name,
            servers: &servers,
            passivate_after: match variant {
                Variant::Passivating(after) => Some(after),
                Variant::OneServer | Variant::ManyServers | Variant::BothEras => None,
            },
        };
        Gateway::start(&own.bin, own.cpu, &own.directory, &setup).map(Some)
    }
}

/// Kinds of gateways beside the one that carries the load.
#[derive(Clone, Copy, Debug)]
pub(super) enum Variant {
    /// Like it.
    OneServer,
    /// Puts idle sessions away soon.
    Passivating(std::time::Duration),
    /// With twenty servers.
    ManyServers,
    /// With a server of each era.
    BothEras,
}

impl Own {
    fn start(bin: &Path, cpu: usize, directory: &Path, echo: &str) -> Result<Self> {
        let setup = Setup {
            name: "gateway",
            servers: &[one_server(echo)],
            passivate_after: None,
        };
        Ok(Self {
            gateway: Gateway::start(bin, cpu, directory, &setup)?,
            bin: bin.to_owned(),
            cpu,
            directory: directory.to_owned(),
            echo: echo.to_owned(),
        })
    }
}

fn one_server(echo: &str) -> Server {
    Server {
        name: ECHO.to_owned(),
        url: format!("{echo}/mcp"),
        era: "auto",
    }
}

/// The same echo twice, each time spoken to in one era only.
fn both_eras(echo: &str) -> Vec<Server> {
    let server = |name: &str, era| Server {
        name: name.to_owned(),
        url: format!("{echo}/{name}/mcp"),
        era,
    };
    vec![
        server(SESSION_SERVER, "session"),
        server(STATELESS_SERVER, "stateless"),
    ]
}

fn many_servers(echo: &str) -> Vec<Server> {
    (1..=SERVERS)
        .map(|n| Server {
            name: format!("s{n:02}"),
            url: format!("{echo}/s{n:02}/mcp"),
            era: "auto",
        })
        .collect()
}

fn target(name: &str, process: &Process) -> Result<Target> {
    let url = format!("http://{}/mcp", process.first_line);
    Ok(Target::new(name, &url)?.with_pid(Some(process.pid())))
}
