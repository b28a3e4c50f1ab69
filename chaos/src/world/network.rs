//! A network of the run's own: a bridge, and one namespace for each node, so that the way between any two can be cut in
//! either direction. Needs root. Nothing outside of the names and addresses made here is touched.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::tool::{is_alive, run};

/// What names of ours begin with. The number of the process that made them follows.
pub(super) const PREFIX: &str = "lgc";
/// Most nodes of one network.
const NODES_MAX: usize = 16;
/// Table of our own, so that nobody's rules are touched.
const TABLE: &str = "lockgate_chaos";

/// Bridge and namespaces; taken down when dropped.
#[derive(Debug)]
pub(crate) struct Network {
    /// Number of this process: part of every name.
    run: u32,
    nodes: usize,
}

impl Network {
    /// Whether this process may make one. Otherwise says why not.
    pub(crate) fn check() -> anyhow::Result<()> {
        ensure!(rustix::process::geteuid().is_root(), "not root");
        for tool in [["ip", "-V"], ["nft", "-v"], ["nsenter", "-V"]] {
            run(&tool).with_context(|| format!("`{}` is needed", tool[0]))?;
        }
        // Root in a container may not be allowed to.
        let network = Self::create(1).context("namespaces are not to be had")?;
        network.heal()
    }

    /// Makes a network of `nodes` nodes, every one of which reaches every other. Removes what runs left behind whose
    /// process is gone.
    pub(crate) fn create(nodes: usize) -> anyhow::Result<Self> {
        ensure!(nodes <= NODES_MAX, "at most {NODES_MAX} nodes");
        sweep()?;
        let network = Self {
            run: std::process::id(),
            nodes,
        };
        let bridge = network.bridge();
        run(&["ip", "link", "add", &bridge, "type", "bridge"])?;
        let address = format!("{}/24", network.host());
        run(&["ip", "addr", "add", &address, "dev", &bridge])?;
        run(&["ip", "link", "set", &bridge, "up"])?;
        for node in 0..nodes {
            network.add_node(node)?;
        }
        Ok(network)
    }

    fn add_node(&self, node: usize) -> anyhow::Result<()> {
        let (space, bridge) = (self.space(node), self.bridge());
        let (outer, inner) = (format!("{space}o"), format!("{space}i"));
        run(&["ip", "netns", "add", &space])?;
        run(&[
            "ip", "link", "add", &outer, "type", "veth", "peer", "name", &inner,
        ])?;
        run(&["ip", "link", "set", &outer, "master", &bridge, "up"])?;
        run(&["ip", "link", "set", &inner, "netns", &space])?;
        let inside = |arguments: &[&str]| run(&[&["ip", "-n", &space][..], arguments].concat());
        let address = format!("{}/24", self.address(node));
        inside(&["addr", "add", &address, "dev", &inner])?;
        inside(&["link", "set", &inner, "up"])?;
        inside(&["link", "set", "lo", "up"])?;
        let rules = format!(
            "add table inet {TABLE}; add chain inet {TABLE} input {{ type filter hook input priority 0; policy accept; }}"
        );
        run(&["ip", "netns", "exec", &space, "nft", &rules])?;
        Ok(())
    }

    /// Address of a node.
    pub(crate) fn address(&self, node: usize) -> Ipv4Addr {
        // At most 16 nodes.
        self.subnet(10 + node as u8)
    }

    /// Address of this process on the bridge: clients call from here.
    pub(crate) fn host(&self) -> Ipv4Addr {
        self.subnet(1)
    }

    /// Each run has a subnet of its own, by its process number.
    fn subnet(&self, last: u8) -> Ipv4Addr {
        let [.., high, low] = self.run.to_be_bytes();
        Ipv4Addr::new(10, 64 | (high & 0x3f), low, last)
    }

    /// `program` as it is started within a node's namespace. The started process is the program itself.
    pub(crate) fn within(&self, node: usize, program: &OsStr) -> Command {
        // `ip netns exec` would give it mounts of its own, too, and then no disk could be taken from it.
        let mut command = Command::new("nsenter");
        let space = format!("--net=/var/run/netns/{}", self.space(node));
        command.args([&space, "--"]).arg(program);
        command
    }

    /// Lets nothing that `from` sends arrive at `to`. The other direction stays as it is.
    pub(crate) fn cut(&self, from: usize, to: usize) -> anyhow::Result<()> {
        let rule = format!(
            "add rule inet {TABLE} input ip saddr {} counter drop",
            self.address(from)
        );
        self.nft(to, &rule)
    }

    /// Cuts `node` off from all other nodes, in both directions. Clients still reach it.
    pub(crate) fn isolate(&self, node: usize) -> anyhow::Result<()> {
        for other in (0..self.nodes).filter(|other| *other != node) {
            self.cut(node, other)?;
            self.cut(other, node)?;
        }
        Ok(())
    }

    /// Takes every cut back.
    pub(crate) fn heal(&self) -> anyhow::Result<()> {
        let rule = format!("flush chain inet {TABLE} input");
        (0..self.nodes).try_for_each(|node| self.nft(node, &rule))
    }

    /// Packets that the cuts at `node` have held back, so that a run can show that its faults happened.
    pub(crate) fn dropped(&self, node: usize) -> anyhow::Result<u64> {
        let space = self.space(node);
        let listing = run(&[
            "ip", "netns", "exec", &space, "nft", "list", "table", "inet", TABLE,
        ])?;
        let counts = listing.split("packets ").skip(1);
        Ok(counts
            .filter_map(|rest| rest.split(' ').next()?.parse::<u64>().ok())
            .sum())
    }

    fn nft(&self, node: usize, rule: &str) -> anyhow::Result<()> {
        let space = self.space(node);
        run(&["ip", "netns", "exec", &space, "nft", rule]).map(|_| ())
    }

    fn bridge(&self) -> String {
        format!("{PREFIX}{}", self.run)
    }

    /// Also the beginning of the names of its two interfaces, which hold 15 bytes at most.
    fn space(&self, node: usize) -> String {
        format!("{PREFIX}{}{}", self.run, char::from(b'a' + node as u8))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // What can't be removed now is removed by the next run.
        let _left = remove(self.run);
    }
}

/// Removes what runs made whose process is gone.
fn sweep() -> anyhow::Result<()> {
    let links = run(&["ip", "-o", "link", "show"])?;
    let spaces = run(&["ip", "netns", "list"])?;
    let words = links.split([' ', ':', '@', '\n']);
    let words = words.chain(spaces.split([' ', '\n']));
    let mut dead = Vec::new();
    // The outer end of a namespace's interface bears its name and an `o`.
    let names = words.map(|word| word.strip_suffix('o').unwrap_or(word));
    for run in names.filter_map(run_of) {
        if !is_alive(run) && !dead.contains(&run) {
            dead.push(run);
        }
    }
    dead.into_iter().try_for_each(remove)
}

/// Number of the process in one of our names.
pub(super) fn run_of(name: &str) -> Option<u32> {
    let rest = name.strip_prefix(PREFIX)?;
    let digits = rest.trim_end_matches(|last: char| last.is_ascii_lowercase());
    (rest.len() - digits.len() <= 1).then(|| digits.parse().ok())?
}

/// Removes everything that the process with this number made.
fn remove(of: u32) -> anyhow::Result<()> {
    // A namespace ends some time after its name and its last process, and its interfaces with it: they are removed
    // by themselves, so that their names are free at once.
    let links = run(&["ip", "-o", "link", "show", "type", "veth"])?;
    for name in links.split([' ', '@', ':', '\n']) {
        let outer = name.strip_suffix('o').unwrap_or_default();
        if outer.starts_with(PREFIX) && run_of(outer) == Some(of) {
            remove_link(name)?;
        }
    }
    let spaces = run(&["ip", "netns", "list"])?;
    for line in spaces.lines() {
        let name = line.split(' ').next().unwrap_or_default();
        if name.starts_with(PREFIX) && run_of(name) == Some(of) {
            run(&["ip", "netns", "del", name])?;
        }
    }
    remove_link(&format!("{PREFIX}{of}"))
}

/// Removes an interface, unless it is gone already, or goes meanwhile.
fn remove_link(name: &str) -> anyhow::Result<()> {
    let exists = || PathBuf::from(format!("/sys/class/net/{name}")).exists();
    match exists().then(|| run(&["ip", "link", "del", name])) {
        Some(Err(error)) if exists() => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_run() {
        assert_eq!(run_of("lgc123"), Some(123));
        assert_eq!(run_of("lgc123b"), Some(123));
        assert_eq!(run_of("lgc123bo"), None);
        assert_eq!(run_of("eth0"), None);
    }

    #[test]
    fn a_cut_is_one_way_and_heals() {
        if let Err(why) = Network::check() {
            crate::report::print(&format!("no network of our own here: {why:#}\n"));
            return;
        }
        let network = Network::create(2).unwrap();
        // A datagram needs no answer, so each direction can be seen by itself. The one that nothing cuts off, from the
        // receiver's own side, comes after it: what was not there before that does not come any more.
        let arrives = |from: usize, to: usize| {
            let address = network.address(to).to_string();
            let space = |node: usize| network.space(node);
            let mut receiver = Command::new("ip")
                .args(["netns", "exec", &space(to), "python3", "-c"])
                .arg(format!(
                    "import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.bind(('{address}',9999))\nprint('up',flush=True)\nprint(s.recv(9).decode())"
                ))
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap();
            let out = receiver.stdout.take().unwrap();
            let mut lines = std::io::BufRead::lines(std::io::BufReader::new(out));
            assert_eq!(lines.next().unwrap().unwrap(), "up");
            for (node, what) in [(from, "over"), (to, "own")] {
                let send = format!(
                    "import socket\nsocket.socket(socket.AF_INET,socket.SOCK_DGRAM).sendto(b'{what}',('{address}',9999))"
                );
                run(&["ip", "netns", "exec", &space(node), "python3", "-c", &send]).unwrap();
            }
            let first = lines.next().unwrap().unwrap();
            assert!(receiver.wait().unwrap().success());
            first == "over"
        };
        assert!(arrives(0, 1) && arrives(1, 0));
        network.cut(0, 1).unwrap();
        assert!(!arrives(0, 1));
        assert!(arrives(1, 0));
        network.heal().unwrap();
        assert!(arrives(0, 1));
    }
}
