//! Three gateways that form a cluster: their configuration, their start, how to reach them.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    error::{Error, Result},
    load::{Lane, Target},
    process::{Launch, Process},
    raft::new_cluster,
    scenario::wait_for_tools,
    suite::{KEY, Ready, new_key},
};

/// Name of the server behind them, and with a `_` the prefix of its tools.
const ECHO: &str = "echo";
/// Longest wait until a node answers as a member.
const SERVES_WAIT: Duration = Duration::from_secs(30);
/// How often that is tried.
const SERVES_POLL: Duration = Duration::from_millis(100);

/// Running gateways.
#[derive(Debug)]
pub(super) struct Nodes {
    /// How they are reached.
    pub(super) lane: Lane,
    _processes: Vec<Process>,
}

/// What the nodes of one cluster have in common.
#[derive(Debug)]
struct Common<'a> {
    /// A value of `audit.mode`, and the name of the cluster's directory.
    mode: &'a str,
    /// Names and addresses of the nodes.
    peers: &'a [(String, SocketAddr)],
    /// Directory with their certificates.
    certs: &'a Path,
    /// URL of the echo.
    echo: &'a str,
}

impl Nodes {
    /// Starts them in `mode`, with files below `directory`, in front of the echo, which has `tools` tools.
    pub(super) fn start(
        bin: &Path,
        mode: &str,
        directory: &Path,
        echo: &str,
        tools: usize,
    ) -> Result<Self> {
        let home = directory.join(mode);
        let certs = home.join("certs");
        let peers = new_cluster(&certs)?;
        let common = Common {
            mode,
            peers: &peers,
            certs: &certs,
            echo,
        };
        let key = new_key()?;
        let (mut processes, mut targets) = (Vec::new(), Vec::new());
        for (at, (node, _listen)) in peers.iter().enumerate() {
            let config = common.write(at, &home)?;
            if at == 0 {
                found(bin, &config, &key)?;
            }
            let (process, target) = serve(bin, &config, &key, (mode, node), directory)?;
            processes.push(process);
            targets.push(target);
        }
        for target in &targets {
            wait_until_it_serves(target, tools)?;
        }
        Ok(Self {
            lane: Lane {
                name: mode.to_owned(),
                targets,
            },
            _processes: processes,
        })
    }
}

impl Common<'_> {
    /// Writes the configuration of one node, and gives its path.
    fn write(&self, at: usize, home: &Path) -> Result<String> {
        let (name, listen) = &self.peers[at];
        let path = home.join(format!("{name}.yaml"));
        let text = self.yaml(name, *listen, &home.join(name));
        fs::write(&path, text).map_err(Error::io(format!("write {}", path.display())))?;
        Ok(path.display().to_string())
    }

    fn yaml(&self, name: &str, listen: SocketAddr, home: &Path) -> String {
        let (mode, home, certs) = (self.mode, home.display(), self.certs.display());
        let mut yaml = format!(
            "listen: 127.0.0.1:0\nadmin: {{ listen: 127.0.0.1:0 }}\ndata_dir: {home}\naudit: {{ mode: {mode} }}\ncluster:\n  node: {name}\n  listen: {listen}\n  tls: {{ ca: {certs}/ca.pem, cert: {certs}/{name}.pem, key: {certs}/{name}.key }}\n  peers:\n"
        );
        for (peer, address) in self.peers {
            // Writing to a string cannot fail.
            let _written = writeln!(yaml, "    {peer}: \"{address}\"");
        }
        let _written = write!(
            yaml,
            "identity:\n  api_keys:\n    - {{ id: bench, key_env: {KEY}, principal: bench, roles: [all] }}\nroles:\n  all: {{ allow: [\"*\"] }}\nservers:\n  {ECHO}: {{ url: \"{}/mcp\" }}\n",
            self.echo
        );
        yaml
    }
}

/// Makes the cluster in the data directory of its first node.
fn found(bin: &Path, config: &str, key: &str) -> Result<()> {
    let output = Command::new(bin)
        .args(["cluster", "init", "--config", config])
        .env(KEY, key)
        .stdin(Stdio::null())
        .output()
        .map_err(Error::io("make a cluster"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::NotReady {
        name: "cluster init".to_owned(),
        why: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

fn serve(
    bin: &Path,
    config: &str,
    key: &str,
    (mode, node): (&str, &str),
    directory: &Path,
) -> Result<(Process, Target)> {
    let name = format!("{mode}-{node}");
    let process = Process::start(&Launch {
        name: &name,
        cpu: None,
        program: bin.as_os_str(),
        arguments: &["serve", "--config", config, "--ready-json"],
        environment: &[(KEY, key), ("TOKIO_WORKER_THREADS", "1")],
        directory,
        is_asked: false,
    })?;
    let ready = Ready::read(&name, &process.first_line)?;
    let target = Target::new(&name, &format!("http://{}/mcp", ready.listen))?
        .with_pid(Some(process.pid()))
        .with_header("authorization", &format!("Bearer {key}"))
        .with_prefix(&format!("{ECHO}_"));
    Ok((process, target))
}

/// A node listens before it is a member, and refuses calls until then.
fn wait_until_it_serves(target: &Target, tools: usize) -> Result<()> {
    let deadline = Instant::now() + SERVES_WAIT;
    loop {
        match wait_for_tools(target, tools) {
            Ok(_listing) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_not_yet) => thread::sleep(SERVES_POLL),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Common;

    #[test]
    fn the_configuration_names_mode_and_peers() {
        let peers = ["n1", "n2"].map(|name| (name.to_owned(), ([127, 0, 0, 1], 7).into()));
        let common = Common {
            mode: "quorum",
            peers: &peers,
            certs: Path::new("/c"),
            echo: "http://127.0.0.1:1",
        };
        let yaml = common.yaml("n1", peers[0].1, Path::new("/t/n1"));
        for line in [
            "data_dir: /t/n1\n",
            "audit: { mode: quorum }\n",
            "  peers:\n    n1: \"127.0.0.1:7\"\n    n2: \"127.0.0.1:7\"\nidentity:",
            "  echo: { url: \"http://127.0.0.1:1/mcp\" }\n",
        ] {
            assert!(yaml.contains(line), "{line} is not in {yaml}");
        }
    }
}
