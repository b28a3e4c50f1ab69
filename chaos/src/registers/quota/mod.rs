//! Quotas while nodes die, stop and are cut off: clients of four tenants call three nodes without regard to what they
//! are told, a server counts what it is asked to do, and the bound is judged from both.

mod client;
mod commits;
mod fault;
mod judge;
mod load;
mod report;
mod tenant;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::time::{Instant, sleep};

use self::client::Client;
use self::commits::Commits;
use self::fault::{Injected, inject, plan};
use self::judge::{Record, judge};
use self::load::{Call, Load};
use self::report::Report;
use self::tenant::{COST_MILLI_USD, TENANTS};
use super::api::Api;
use super::fault::{NODES, RECOVERY_MAX};
use super::report::print_failure;
use super::standing::Standing;
use super::{serve, settle, setup};
use crate::cli::{QuotaPlant, Quotas};
use crate::clock::now_us;
use crate::world::{Counter, Members, Setup};

/// After the last fault what nodes held has expired, and buckets are at their rate again.
const CALM: Duration = Duration::from_secs(6);
/// Refusals in a row of one tenant, over all nodes, that show that its budget is spent.
const SPENT: usize = 30;
/// A budget that is not spent by then will not be.
const SPENT_MAX: Duration = Duration::from_secs(40);
/// However short a run is, it has so many faults: one of each kind.
const STEPS_MIN: usize = 3;
const POLL: Duration = Duration::from_millis(50);
const DAY_S: u64 = 86_400;

/// Carries out the plan of a seed. `false` when an invariant does not hold.
pub(crate) async fn run(options: &Quotas) -> anyhow::Result<bool> {
    // A node that allows more than the judge knows is a node that ignores its limits.
    let factor = match options.plant {
        Some(QuotaPlant::Twice) => 2,
        Some(QuotaPlant::Deaf) | None => 1,
    };
    let registry = tenant::config(factor)?;
    let setup = Setup {
        registry: &registry,
        ..setup(&options.bin, NODES)
    };
    let mut members = Members::start(setup).await?;
    let has_cuts = members.network().is_some();
    let (record, standing) = match carry_out(&mut members, options).await {
        Ok(known) => known,
        Err(error) => {
            print_failure(&options.repeat(), &members.keep());
            return Err(error);
        }
    };
    let mut verdicts = judge(&record);
    verdicts.push(happened(&record.faults));
    verdicts.push(super::judge::agree(&standing));
    let report = Report::new(options.seed, has_cuts, &record, verdicts);
    report.print(options.json)?;
    if !report.holds() && options.plant.is_none() {
        print_failure(&options.repeat(), &members.keep());
    }
    Ok(report.holds())
}

impl Quotas {
    /// The command that repeats the run.
    fn repeat(&self) -> String {
        let (bin, seed, seconds) = (self.bin.display(), self.seed, self.seconds);
        format!("quota --bin {bin} --seed {seed} --seconds {seconds}")
    }
}

async fn carry_out(
    members: &mut Members,
    options: &Quotas,
) -> anyhow::Result<(Record, Vec<Option<Standing>>)> {
    let counter = Counter::start(members.dir(), members.host()).await?;
    let admins = members.admins();
    let mut api = Api::new(admins.clone());
    serve(&mut api, NODES).await?;
    let keys = furnish(&mut api, &counter).await?;
    known(&members.calls(), &keys).await?;
    let first_day = day()?;
    let (load, commits) = (
        Load::start(&members.calls(), &keys),
        Commits::start(&admins),
    );
    let start = Instant::now();
    let is_deaf = options.plant == Some(QuotaPlant::Deaf);
    let mut faults = Vec::new();
    for (n, step) in plan(options.seed, members.network().is_some()).enumerate() {
        if n >= STEPS_MIN && start.elapsed() >= Duration::from_secs(options.seconds) {
            break;
        }
        sleep(step.calm).await;
        let injected = inject(members, &mut api, step, is_deaf).await?;
        serve(&mut api, NODES).await?;
        faults.push(Injected {
            recovered_us: now_us(),
            ..injected
        });
    }
    let calm_from_us = now_us();
    sleep(CALM).await;
    spend(&load).await;
    let calm_us = (calm_from_us, now_us());
    let commits = commits.stop().await?;
    let calls = load.stop().await?;
    let standing = settle(&mut api, NODES).await;
    members.check()?;
    members.check_logs()?;
    let record = Record {
        executed_us: first(counter.executed()?),
        days: day()? - first_day + 1,
        calm_us,
        calls,
        faults,
        commits,
    };
    check(&record.calls, &record.executed_us)?;
    Ok((record, standing))
}

/// Gives the cluster its server, and each tenant a key. Returns the keys.
async fn furnish(api: &mut Api, counter: &Counter) -> anyhow::Result<Vec<String>> {
    let usd = COST_MILLI_USD as f64 / 1000.0;
    let server = json!({
        "name": "counter", "url": format!("http://{}/mcp", counter.address()), "era": "session",
        "tools": {"count": {"cost_usd": usd}},
    });
    api.operate(0, "/api/v1/servers", &server).await?;
    let mut keys = Vec::new();
    for tenant in &TENANTS {
        let key = json!({"id": tenant.name, "principal": tenant.name, "tenant": tenant.name, "roles": ["all"]});
        let made = api.operate(0, "/api/v1/keys", &key).await?;
        let value = made["key"].as_str().context("a key without a value")?;
        keys.push(value.to_owned());
    }
    Ok(keys)
}

/// Waits until every node knows every key, and the server.
async fn known(nodes: &[SocketAddr], keys: &[String]) -> anyhow::Result<()> {
    let begin = Instant::now();
    for node in nodes {
        for key in keys {
            let mut client = Client::new(*node, key);
            while !client.is_served().await {
                ensure!(begin.elapsed() < RECOVERY_MAX, "{node} knows no key");
                sleep(POLL).await;
            }
        }
    }
    Ok(())
}

/// Waits until the budgets are spent, or will not be.
async fn spend(load: &Load) {
    let begin = Instant::now();
    let budgets: Vec<_> = (0..TENANTS.len())
        .filter(|at| TENANTS[*at].budget().is_some())
        .collect();
    while begin.elapsed() < SPENT_MAX && budgets.iter().any(|at| load.refused(*at) < SPENT) {
        sleep(POLL).await;
    }
}

/// First execution of each key.
fn first(executed: Vec<(String, u64)>) -> HashMap<String, u64> {
    let mut first = HashMap::new();
    for (key, at_us) in executed {
        first.entry(key).or_insert(at_us);
    }
    first
}

/// Every execution must be of a call that was made.
fn check(calls: &[Call], executed_us: &HashMap<String, u64>) -> anyhow::Result<()> {
    let made: std::collections::HashSet<_> = calls.iter().map(|call| &call.key).collect();
    let unknown = executed_us.keys().find(|key| !made.contains(key));
    ensure!(unknown.is_none(), "{unknown:?} was executed and not made");
    Ok(())
}

/// F: a fault that did not happen proves nothing.
fn happened(faults: &[Injected]) -> crate::invariant::Verdict {
    let missing = faults.iter().filter(|injected| injected.shown.is_none());
    let missing: Vec<_> = missing.map(|injected| injected.fault.name()).collect();
    crate::invariant::Verdict {
        letter: "F",
        invariant: "every fault happened",
        holds: missing.is_empty() && !faults.is_empty(),
        seen: match missing.is_empty() {
            true => format!("{} faults", faults.len()),
            false => format!("not seen: {}", missing.join(", ")),
        },
    }
}

/// Days since 1970 in UTC, which budgets are counted by.
fn day() -> anyhow::Result<u64> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the wall clock is what budgets are about"
    )]
    let now = SystemTime::now();
    Ok(now.duration_since(UNIX_EPOCH)?.as_secs() / DAY_S)
}
