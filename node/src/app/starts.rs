//! What the command line starts: one runtime per process, one node in it.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;

use crate::cli::{
    DemoOptions, DemoShape, Exit, Failure, RestoreArgs, ServeOptions, Starts, StdioOptions,
};
use crate::coalesce;
use crate::config::{self, ClusterNode};
use crate::demo;
use crate::room;

use super::demo_fleet::DemoFleet;
use super::occupied::BindError;
use super::{clock, membership, run};

/// Starts nodes for [`crate::cli::run`].
#[derive(Clone, Copy, Debug)]
pub struct Node;

impl Starts for Node {
    fn now(&self) -> SystemTime {
        clock()
    }

    fn serve(&self, options: ServeOptions) -> Result<(), Failure> {
        let settings = config::Options::from_process(options.unsafe_no_auth);
        let ready = |listen, admin| {
            if options.ready_json {
                print_ready(listen, admin);
            }
        };
        let served = block_on(async { run::serve(options.config.path(), settings, &ready).await });
        served.map_err(not_started)
    }

    fn stdio(&self, options: StdioOptions) -> Result<(), Failure> {
        let settings = config::Options::from_process(false);
        let served = block_on(async { run::stdio(options.config.path(), settings).await });
        served.map_err(not_started)
    }

    fn demo(&self, options: DemoOptions) -> Result<(), Failure> {
        let shape = options.shape()?;
        let ready_json = options.ready_json;
        let served = block_on(async {
            match shape {
                DemoShape::Node { listen, admin } => run_demo(listen, admin, ready_json).await,
                DemoShape::Fleet(n_nodes) => run_fleet(n_nodes, ready_json).await,
            }
        });
        served.map_err(failure)
    }

    fn cluster_init(&self, config: &Path) -> Result<(String, String), Failure> {
        let settings = config::Options::from_process(false);
        let founded = block_on(async { membership::init(config, &settings).await });
        let founded = founded.map_err(failure)?;
        Ok((founded.cluster, founded.node))
    }

    fn cluster_join(
        &self,
        config: &Path,
        token: Option<&str>,
        learner: bool,
    ) -> Result<String, Failure> {
        let settings = config::Options::from_process(false);
        let joined =
            block_on(async { membership::join(config, &settings, (token, learner)).await });
        joined.map_err(failure)
    }

    fn snapshot_inspect(&self, file: &Path) -> Result<serde_json::Value, Failure> {
        membership::inspect(file).map_err(failure)
    }

    fn snapshot_salvage(&self, data_dir: &Path, file: &Path) -> Result<serde_json::Value, Failure> {
        membership::salvage(data_dir, file).map_err(failure)
    }

    fn snapshot_restore(
        &self,
        args: &RestoreArgs,
        on_written: &mut dyn FnMut(u64),
    ) -> Result<serde_json::Value, Failure> {
        let settings = config::Options::from_process(false);
        membership::restore(args, &settings, on_written).map_err(failure)
    }

    fn check_cluster_files(&self, cluster: &ClusterNode) -> Result<(), Failure> {
        membership::check_files(cluster).map_err(failure)
    }

    fn dev_certs(
        &self,
        dir: &Path,
        trust_domain: &str,
        nodes: &[String],
    ) -> Result<Vec<PathBuf>, Failure> {
        let remedy = "name only nodes that have no files there yet, the trust domain of the CA that is there, or another \
                      --dir; in production let a node join with a token";
        membership::dev_certs(dir, trust_domain, nodes)
            .map_err(|error| Failure::new(format!("{error:#}"), remedy))
    }

    fn demo_server(&self) -> Result<(), Failure> {
        let served = block_on(async {
            demo::serve_stdio().await;
            Ok(())
        });
        served.map_err(failure)
    }
}

async fn run_demo(listen: SocketAddr, admin: SocketAddr, ready_json: bool) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("this program does not know its own path")?;
    let data_dir = std::env::temp_dir().join(format!("lockgate-demo-{}", std::process::id()));
    let (listen, admin) = (listen.to_string(), admin.to_string());
    let text = demo::config(&program, &data_dir, &listen, &admin);
    let loaded = config::parse(
        &text,
        None,
        Path::new("."),
        &config::Options::from_process(false),
    )?;
    let here = std::env::current_dir().ok();
    let typed = demo::typed(&program, here.as_deref());
    let ready = |listen: SocketAddr, admin: SocketAddr| {
        if ready_json {
            print_ready(listen, admin);
        } else {
            let (listen, admin) = (listen.to_string(), admin.to_string());
            print(&demo::instructions(&typed, &listen, &admin, &data_dir));
        }
    };
    let served = run::serve_loaded(&loaded, &ready).await;
    // The demo leaves nothing behind.
    let _already_gone = std::fs::remove_dir_all(&data_dir);
    served
}

async fn run_fleet(n_nodes: usize, ready_json: bool) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("this program does not know its own path")?;
    let dir = std::env::temp_dir().join(format!("lockgate-demo-{}", std::process::id()));
    let fleet = DemoFleet::start(&program, dir.clone(), n_nodes).await?;
    let called = fleet.call_round_robin().await?;
    if ready_json {
        let nodes = fleet.nodes.iter().map(|node| {
            serde_json::json!({ "name": node.name, "listen": node.listen, "admin": node.admin })
        });
        let nodes: Vec<_> = nodes.collect();
        let ready = serde_json::json!({ "event": "ready", "nodes": nodes });
        print(&format!("{ready}\n"));
    } else {
        let here = std::env::current_dir().ok();
        let typed = demo::typed(&program, here.as_deref());
        print(&demo::fleet_instructions(&typed, &fleet.nodes, &dir));
        print(&format!("\n{called}"));
    }
    fleet.run_to_end().await;
    Ok(())
}

/// Whether a disk has no room.
fn is_full(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes.any(room::is_full)
}

fn print_ready(listen: SocketAddr, admin: SocketAddr) {
    print(&format!(
        "{{\"event\":\"ready\",\"listen\":\"{listen}\",\"admin\":\"{admin}\"}}\n"
    ));
}

#[expect(
    clippy::print_stdout,
    reason = "what people, scripts and tests wait for"
)]
fn print(text: &str) {
    print!("{text}");
    // A pipe buffers what has no flush.
    let _closed = io::Write::flush(&mut io::stdout());
}

/// Keeps memory and environment of this process, which hold secrets, from other processes of its user: those of stdio
/// servers are among them. It leaves no memory dump either. Linux only; elsewhere nothing is done.
fn keep_private() -> anyhow::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};

        set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .context("the system does not keep the memory of this process to itself")?;
    }
    Ok(())
}

fn block_on<T>(node: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    keep_private()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_park(coalesce::before_park)
        .build();
    let runtime = runtime.context("the system gives no event loop")?;
    let ended = runtime.block_on(node);
    // Whatever has to be finished is finished. A thread that reads our standard input is not waited for: it returns when
    // the client closes it, and the client may wait for our end.
    runtime.shutdown_background();
    ended
}

/// Tells a service manager what it need not try again.
fn not_started(error: anyhow::Error) -> Failure {
    // What the nodes share another node can mend: this one is to be tried again.
    let problems = error.downcast_ref::<config::Problems>();
    let is_refused = problems.is_some_and(|problems| problems.file.is_some());
    let failure = failure(error);
    match is_refused {
        true => Failure {
            exit: Exit::Misconfigured,
            ..failure
        },
        false => failure,
    }
}

fn failure(error: anyhow::Error) -> Failure {
    match error.downcast::<config::Problems>() {
        Ok(problems) => problems.into(),
        Err(error) => {
            let remedy = error.downcast_ref().map(BindError::remedy);
            let remedy = remedy.or_else(|| is_full(&error).then(|| room::MAKE_ROOM.to_owned()));
            Failure::new(format!("{error:#}"), remedy.unwrap_or_default())
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::{DumpableBehavior, dumpable_behavior};

    use super::*;

    #[test]
    fn a_node_keeps_its_memory_to_itself() {
        let seen = block_on(async { Ok(dumpable_behavior()?) });
        assert_eq!(seen.unwrap(), DumpableBehavior::NotDumpable);
    }
}
