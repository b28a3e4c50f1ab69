//! Calls at all nodes of a cluster, one of which is killed in between: whatever was executed stands in one log, and every
//! node can prove that it has all of it. `load` are the clients, `log` is what the nodes have, `judge` has the last word.

mod judge;
mod load;
mod log;

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use self::load::{Load, Told};
use self::log::Log;
use super::api::Api;
use super::fault::NODES;
use super::{report, serve, setup};
use crate::cli::Audit;
use crate::random::Random;
use crate::report::print;
use crate::world::{Counter, Members};

/// How long the killed node is gone.
const GONE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);
/// More calls than can be under way at the node that is killed: their endings may be unknown, so of a few nobody could say
/// that they were not executed.
const PLANTED: usize = 50;
/// Longest time until a number of calls is made.
const CALLS_MAX: Duration = Duration::from_secs(300);

/// Everything that is known of a run.
#[derive(Debug)]
struct Record {
    told: Told,
    /// Keys that the server executed.
    executed: Vec<String>,
    log: Log,
}

/// Carries it out. `false` when an invariant does not hold.
pub(crate) async fn run(options: &Audit) -> anyhow::Result<bool> {
    let mut members = Members::start(setup(&options.bin, NODES)).await?;
    let (bin, seed, calls) = (options.bin.display(), options.seed, options.calls);
    let repeat = format!("audit --bin {bin} --seed {seed} --calls {calls}");
    let mut record = match carry_out(&mut members, options).await {
        Ok(record) => record,
        Err(error) => {
            report::print_failure(&repeat, &members.keep());
            return Err(error);
        }
    };
    if options.plant_unrecorded {
        let n_recorded = record.log.intents.len().saturating_sub(PLANTED);
        record.log.intents.truncate(n_recorded);
    }
    let verdicts = judge::judge(&record, options.calls);
    let holds = verdicts.iter().all(|verdict| verdict.holds);
    let shown = judge::Shown::new(seed, &record, verdicts);
    print(&match options.json {
        true => serde_json::to_string_pretty(&shown)? + "\n",
        false => shown.table()?,
    });
    if !holds && !options.plant_unrecorded {
        report::print_failure(&repeat, &members.keep());
    }
    Ok(holds)
}

async fn carry_out(members: &mut Members, options: &Audit) -> anyhow::Result<Record> {
    let mut api = Api::new(members.admins());
    serve(&mut api, NODES).await?;
    let counter = Counter::start(members.dir(), members.host()).await?;
    let url = format!("http://{}/mcp", counter.address());
    let server = json!({"name": "counter", "url": url, "era": "session"});
    api.operate(0, "/api/v1/servers", &server).await?;
    let load = Load::start(&members.calls());
    made(&load, options.calls * 2 / 5).await?;
    let killed = Random::new(options.seed).below(NODES);
    members.kill(killed).await?;
    sleep(GONE).await;
    members.begin(killed)?;
    members.ready(killed).await?;
    serve(&mut api, NODES).await?;
    made(&load, options.calls).await?;
    let told = load.stop().await?;
    let executed = counter.executed()?.into_iter().map(|(key, _when)| key);
    let executed = executed.collect();
    let log = Log::read(members).await?;
    members.check()?;
    members.check_logs()?;
    Ok(Record {
        told,
        executed,
        log,
    })
}

/// Waits until so many calls were answered.
async fn made(load: &Load, n_calls: usize) -> anyhow::Result<()> {
    let begin = Instant::now();
    while load.n_answered() < n_calls {
        anyhow::ensure!(
            begin.elapsed() < CALLS_MAX,
            "{} calls were answered in {CALLS_MAX:?}",
            load.n_answered()
        );
        sleep(POLL).await;
    }
    Ok(())
}
