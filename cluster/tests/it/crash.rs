//! A node that is killed, or loses its power, in the middle of its writes: what it acknowledged is there afterwards.
//!
//! The node is this test binary once more, running [`writer`] alone.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::time::Duration;

use lockgate_cluster::{Cluster, Expected, RegisterWrite};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::{noon, open};

/// Says to [`writer`] where to write.
const DIR: &str = "LOCKGATE_CRASH_DIR";
/// Writers at once, each with a register of its own.
const WRITERS: u64 = 8;
/// A round ends after at most this many acknowledged writes.
const ACKS_MAX: u64 = 600;

/// The node that is to crash. Says on its output what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the other half of the crash tests, which start it"]
async fn writer() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let cluster = Cluster::open(Path::new(&dir), noon).unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write_on(cluster.clone(), writer));
    }
    writers.join_all().await;
}

/// Writes ever larger numbers until that fails.
async fn write_on(cluster: Cluster, writer: u64) {
    let key = format!("writer-{writer}");
    for number in held(&cluster, writer) + 1.. {
        let write = RegisterWrite {
            key: key.clone(),
            expected: Expected::Any,
            value: Some(number.to_string().into()),
        };
        if cluster.propose(write.into()).await.is_err() {
            return;
        }
        say(writer, number);
    }
}

#[expect(clippy::print_stdout, reason = "the test that started it listens")]
fn say(writer: u64, number: u64) {
    println!("acknowledged {writer} {number}");
}

fn held(cluster: &Cluster, writer: u64) -> u64 {
    let view = cluster.view();
    let register = view.registers().get(&format!("writer-{writer}"));
    register.map_or(0, |register| {
        String::from_utf8_lossy(&register.value).parse().unwrap()
    })
}

/// What was acknowledged last, by writer.
type Acknowledged = BTreeMap<u64, u64>;

fn start_writer(dir: &Path) -> Child {
    Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::writer", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets a node write until `n_acks` were acknowledged, lets `crash` happen, and listens to the end.
fn write_until(dir: &Path, n_acks: u64, crash: impl FnOnce(&mut Child)) -> Acknowledged {
    let mut child = start_writer(dir);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = Acknowledged::new();
    let mut note = |line: Option<std::io::Result<String>>| -> Option<bool> {
        let line = line?.ok()?;
        // The harness writes on the same output, and may begin the line.
        let Some((_, numbers)) = line.split_once("acknowledged ") else {
            return Some(false);
        };
        let numbers = numbers.split_once(' ');
        let numbers = numbers.and_then(|(writer, number)| {
            let writer = writer.parse::<u64>().ok()?;
            Some((writer, number.parse::<u64>().ok()?))
        });
        acknowledged.extend(numbers);
        Some(numbers.is_some())
    };
    let mut left = n_acks;
    while left > 0 {
        let is_ack = note(lines.next()).expect("the writer goes on");
        left -= u64::from(is_ack);
    }
    crash(&mut child);
    while note(lines.next()).is_some() {}
    child.wait().unwrap();
    acknowledged
}

/// Opens what the crash left, and checks that nothing is missing. Gives the time that opening took.
async fn check(dir: &Path, acknowledged: &Acknowledged) -> Duration {
    let begun = Instant::now();
    let cluster = open(dir);
    let took = begun.elapsed();
    for (writer, number) in acknowledged {
        let held = held(&cluster, *writer);
        assert!(
            held >= *number,
            "writer {writer}: {number} was acknowledged, {held} is there"
        );
    }
    cluster.close().await;
    took
}

/// A row of numbers that looks random and is the same each time.
fn dice(round: u64) -> u64 {
    let mixed = round
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (mixed >> 33) % ACKS_MAX + 1
}

#[expect(clippy::print_stderr, reason = "what was measured is for a person")]
fn report(what: &str, mut opened: Vec<Duration>, n_acks: u64) {
    opened.sort();
    let (median, worst) = (opened[opened.len() / 2], opened[opened.len() - 1]);
    eprintln!(
        "{what}: {} rounds, {n_acks} writes acknowledged, 0 lost; reopened in {median:.0?} (median), {worst:.0?} (worst)",
        opened.len()
    );
}

async fn kill_in_the_middle(rounds: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = Vec::new();
    let mut n_acks = 0;
    for round in 0..rounds {
        let acknowledged = write_until(dir.path(), dice(round), |child| child.kill().unwrap());
        opened.push(check(dir.path(), &acknowledged).await);
        n_acks += dice(round);
    }
    report("kill -9", opened, n_acks);
}

#[tokio::test]
async fn a_killed_node_has_all_that_it_acknowledged() {
    kill_in_the_middle(4).await;
}

#[tokio::test]
#[ignore = "minutes long: part of .ci/long"]
async fn a_node_killed_fifty_times_has_all_that_it_acknowledged() {
    kill_in_the_middle(50).await;
}

/// A file system in a file, whose power can be cut.
struct LoopFs {
    root: TempDir,
}

impl LoopFs {
    fn create() -> Self {
        let fs = Self {
            root: tempfile::tempdir().unwrap(),
        };
        let image = std::fs::File::create(fs.image()).unwrap();
        image.set_len(256 << 20).unwrap();
        run("mkfs.ext4", &["-q", "-F", &text(&fs.image())]);
        std::fs::create_dir(fs.mounted()).unwrap();
        fs.mount();
        fs
    }

    fn image(&self) -> PathBuf {
        self.root.path().join("image")
    }

    fn mounted(&self) -> PathBuf {
        self.root.path().join("mounted")
    }

    fn data_dir(&self) -> PathBuf {
        self.mounted().join("data")
    }

    fn mount(&self) {
        let (image, mounted) = (text(&self.image()), text(&self.mounted()));
        run("mount", &["-o", "loop", &image, &mounted]);
    }

    /// What is not on the disk by now is gone, and nothing gets there any more.
    fn cut_power(&self) {
        run("xfs_io", &["-x", "-c", "shutdown", &text(&self.mounted())]);
    }

    fn unmount(&self) {
        run("umount", &[&text(&self.mounted())]);
    }
}

impl Drop for LoopFs {
    fn drop(&mut self) {
        // Of a test that failed in between; otherwise nothing is mounted any more.
        let mounted = self.mounted();
        let _status = Process::new("umount").arg("-l").arg(mounted).output();
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[track_caller]
fn run(program: &str, arguments: &[&str]) {
    let output = Process::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
}

#[tokio::test]
#[ignore = "needs root, loop devices and xfs_io: part of .ci/long"]
#[expect(clippy::print_stderr, reason = "says that nothing was tested")]
async fn a_node_that_lost_power_twenty_times_has_all_that_it_acknowledged() {
    let is_root = Process::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    let has_tools = Process::new("xfs_io").arg("-V").output().is_ok();
    if !is_root || !has_tools {
        eprintln!("skipped: a power loss needs root and xfs_io");
        return;
    }
    let fs = LoopFs::create();
    let mut opened = Vec::new();
    let mut n_acks = 0;
    for round in 0..20 {
        let acknowledged = write_until(&fs.data_dir(), dice(round), |child| {
            fs.cut_power();
            child.kill().unwrap();
        });
        fs.unmount();
        fs.mount();
        opened.push(check(&fs.data_dir(), &acknowledged).await);
        n_acks += dice(round);
    }
    fs.unmount();
    report("power loss", opened, n_acks);
}
