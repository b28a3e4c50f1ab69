//! The gateway under test: its configuration, its start, how to reach it.

use std::{fmt::Write as _, fs, io::Read as _, path::Path, time::Duration};

use serde::Deserialize;

use crate::{
    error::{Error, Result},
    load::Target,
    process::{Launch, Process},
};

/// Environment variable with the key that the load uses.
pub(crate) const KEY: &str = "BENCH_KEY";

/// One upstream of the gateway.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// Name, and with a `_` the prefix of its tools.
    pub(super) name: String,
    /// URL.
    pub(super) url: String,
    /// Era spoken with it: a value of the key `era`.
    pub(super) era: &'static str,
}

/// What distinguishes one gateway of the suite from another.
#[derive(Debug)]
pub(super) struct Setup<'a> {
    /// Name of the process and of its directory.
    pub(super) name: &'a str,
    /// Upstreams.
    pub(super) servers: &'a [Server],
    /// When idle sessions are put away, where that is not left to the gateway.
    pub(super) passivate_after: Option<Duration>,
}

/// A running gateway.
#[derive(Debug)]
pub(super) struct Gateway {
    process: Process,
    listen: String,
    key: String,
}

/// What a gateway says once it listens: `{"event":"ready","listen":"127.0.0.1:PORT","admin":"127.0.0.1:PORT"}`
#[derive(Debug, Deserialize)]
pub(crate) struct Ready {
    /// Where it takes calls.
    pub(crate) listen: String,
}

impl Ready {
    /// Reads the line that the gateway `name` wrote.
    pub(crate) fn read(name: &str, line: &str) -> Result<Self> {
        serde_json::from_str(line).map_err(|error| Error::NotReady {
            name: name.to_owned(),
            why: format!("`{line}` does not say where it listens: {error}"),
        })
    }
}

impl Gateway {
    /// Starts one, with everything of its own below `directory`.
    pub(super) fn start(
        bin: &Path,
        cpu: usize,
        directory: &Path,
        setup: &Setup<'_>,
    ) -> Result<Self> {
        let home = directory.join(setup.name);
        let create = || Error::io(format!("write below {}", home.display()));
        fs::create_dir_all(&home).map_err(create())?;
        let config = home.join("lockgate.yaml");
        fs::write(&config, yaml(&home, setup)).map_err(create())?;
        let key = new_key()?;
        let config = config.display().to_string();
        let process = Process::start(&Launch {
            name: setup.name,
            cpu: Some(cpu),
            program: bin.as_os_str(),
            arguments: &["serve", "--config", &config, "--ready-json"],
            environment: &[(KEY, &key), ("TOKIO_WORKER_THREADS", "1")],
            directory,
            is_asked: false,
        })?;
        let ready = Ready::read(setup.name, &process.first_line)?;
        Ok(Self {
            process,
            listen: ready.listen,
            key,
        })
    }

    /// The gateway as a target, with the prefix of the server that is called.
    pub(super) fn target(&self, prefix: &str) -> Result<Target> {
        let url = format!("http://{}/mcp", self.listen);
        Ok(Target::new("gateway", &url)?
            .with_pid(Some(self.process.pid()))
            .with_header("authorization", &format!("Bearer {}", self.key))
            .with_prefix(prefix))
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Time from its start to its being ready.
    pub(super) fn ready_after(&self) -> Duration {
        self.process.ready_after
    }
}

fn yaml(home: &Path, setup: &Setup<'_>) -> String {
    let mut yaml = format!(
        "listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0 }}\ndata_dir: {}\nidentity:\n  api_keys:\n    - {{ id: bench, key_env: {KEY}, principal: bench, roles: [all] }}\nroles:\n  all: {{ allow: [\"*\"] }}\n",
        home.join("data").display(),
    );
    if let Some(after) = setup.passivate_after {
        // Writing to a string cannot fail.
        let _written = writeln!(
            yaml,
            "session: {{ passivate_after: {}ms }}",
            after.as_millis()
        );
    }
    yaml.push_str("servers:\n");
    for Server { name, url, era } in setup.servers {
        let _written = writeln!(yaml, "  {name}: {{ url: \"{url}\", era: {era} }}");
    }
    yaml
}

/// A fresh key in the form that the gateway gives out: `lg_` and 43 characters of base64url.
pub(crate) fn new_key() -> Result<String> {
    let mut random = [0_u8; 43];
    fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut random))
        .map_err(Error::io("read /dev/urandom"))?;
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let characters = random.map(|byte| char::from(alphabet[usize::from(byte) % alphabet.len()]));
    Ok("lg_".chars().chain(characters).collect())
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::{Server, Setup, new_key, yaml};

    #[test]
    fn the_configuration_names_every_server() {
        let servers = [Server {
            name: "echo".to_owned(),
            url: "http://127.0.0.1:1/mcp".to_owned(),
            era: "auto",
        }];
        let setup = Setup {
            name: "gateway",
            servers: &servers,
            passivate_after: Some(Duration::from_secs(1)),
        };
        let yaml = yaml(Path::new("/t"), &setup);
        assert!(
            yaml.contains("session: { passivate_after: 1000ms }\n"),
            "{yaml}"
        );
        assert!(
            yaml.ends_with("servers:\n  echo: { url: \"http://127.0.0.1:1/mcp\", era: auto }\n"),
            "{yaml}"
        );
    }

    #[test]
    fn keys_differ() {
        let key = new_key().unwrap();
        assert_eq!(key.len(), 46);
        assert_ne!(key, new_key().unwrap());
    }
}
