//! What quotas cost in commits, and that a call gets its tokens without one.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::machine::quota::{Command, Key, Limit, Quota, Reply, Stamp, Usage};
use crate::quota::meter::Caller;
use crate::quota::{
    Agent, Charge, Decider, DeciderFuture, Denial, Place, Propose, Unanswered, Unreachable, Wallet,
};

/// One machine that several agents reach, in paused time.
#[derive(Clone)]
struct Shared(Arc<Inner>);

struct Inner {
    machine: Mutex<Quota>,
    n_commits: AtomicU64,
    is_down: AtomicBool,
    n_nodes: usize,
    began: Instant,
}

/// The cluster as the first node, the leader, or another sees it.
struct Seat {
    shared: Shared,
    is_leader: bool,
}

impl Shared {
    fn new(limits: &[(&str, Limit)], n_nodes: usize) -> Self {
        let shared = Self(Arc::new(Inner {
            machine: Mutex::default(),
            n_commits: AtomicU64::new(0),
            is_down: AtomicBool::new(false),
            n_nodes,
            began: Instant::now(),
        }));
        let limits = limits
            .iter()
            .map(|(rule, limit)| (Arc::from(*rule), *limit));
        let limits = limits.collect();
        shared.apply(Command::SetLimits { version: 1, limits });
        shared
    }

    fn apply(&self, command: Command) -> Reply {
        let since = self.0.began.elapsed();
        let stamp = Stamp {
            term: 1,
            leader_us: u64::try_from(since.as_micros()).unwrap(),
            at_ms: u64::try_from(since.as_millis()).unwrap(),
        };
        self.0.machine.lock().apply(command, stamp)
    }

    /// A node with its agent running.
    fn node(&self, node: u64) -> Arc<Wallet> {
        self.node_with(node, None)
    }

    fn node_with(&self, node: u64, decider: Option<Arc<dyn Decider>>) -> Arc<Wallet> {
        let wallet = Arc::new(Wallet::new(paused_clock, decider));
        let seat = Seat {
            shared: self.clone(),
            is_leader: node == 1,
        };
        let agent = Agent::new(Arc::clone(&wallet), seat, node, 1);
        #[expect(clippy::disallowed_methods, reason = "a test has no owner of tasks")]
        let _task = tokio::spawn(agent.run(std::future::pending()));
        wallet
    }
}

/// Asks the primary, as if over the network.
#[derive(Debug)]
struct Primary {
    wallet: Arc<Wallet>,
    limit: Limit,
}

impl Decider for Primary {
    fn spend(&self, key: &Key, tokens: u64) -> DeciderFuture<'_> {
        let key = key.clone();
        Box::pin(async move {
            match self.wallet.decide(&key, self.limit, tokens).await {
                Ok(()) => Ok(None),
                Err(Denial::Exhausted { retry_after, .. }) => {
                    let wait = retry_after.unwrap_or(Duration::MAX).as_micros();
                    Ok(Some(u64::try_from(wait).unwrap_or(u64::MAX)))
                }
                Err(Denial::Unavailable { .. }) => Err(Unreachable),
            }
        })
    }
}

impl Propose for Seat {
    fn propose(&self, command: Command) -> impl Future<Output = Result<Reply, Unanswered>> + Send {
        let shared = self.shared.clone();
        async move {
            sleep(Duration::from_millis(3)).await;
            if shared.0.is_down.load(Ordering::Relaxed) {
                return Err(Unanswered);
            }
            shared.0.n_commits.fetch_add(1, Ordering::Relaxed);
            Ok(shared.apply(command))
        }
    }

    fn place(&self) -> Place {
        Place {
            n_nodes: self.shared.0.n_nodes,
            is_leader: self.is_leader,
            last_lease: self.shared.0.machine.lock().last_lease(),
        }
    }

    fn has_grant_below(&self, lease: u64) -> bool {
        self.shared.0.machine.lock().has_grant_below(lease)
    }
}

/// The paused clock of the runtime, since any instant that is the same for all.
fn paused_clock() -> u64 {
    thread_local! {
        static BEGAN: Instant = Instant::now();
    }
    u64::try_from(BEGAN.with(Instant::elapsed).as_micros()).unwrap()
}

fn rate(amount: u64, burst: u64) -> Limit {
    Limit::Rate {
        amount,
        per_us: 1_000_000,
        burst,
    }
}

async fn pay(wallet: &Wallet, rule: &str, subject: &str, limit: Limit) -> Result<(), Denial> {
    let mut charge = Charge::default();
    let purse = wallet.purse(&rule.into(), subject, limit, 0);
    charge.add(purse.unwrap(), 1);
    charge.pay(wallet).await
}

#[tokio::test(start_paused = true)]
#[expect(
    clippy::print_stdout,
    reason = "figures for the report of the long suite"
)]
async fn three_nodes_commit_at_most_15_times_a_second_at_any_call_rate() {
    let limit = rate(1000, 2000);
    let shared = Shared::new(&[("all", limit), ("each", rate(2, 20))], 3);
    let wallets = [shared.node(1), shared.node(2), shared.node(3)];
    let mut n_paid = 0;
    for step in 0..30_000_u64 {
        sleep(Duration::from_millis(2)).await;
        for wallet in &wallets {
            // Ten calls in two milliseconds: 5000 per second on each node, of many principals.
            for n in 0..10 {
                let principal = (step * 7 + n) % 200;
                let all = wallet.purse(&"all".into(), "x", limit, 0).unwrap();
                let principal = principal.to_string();
                let each = wallet.purse(&"each".into(), &principal, rate(2, 20), 0);
                let each = each.unwrap();
                if wallet.try_spend(&each, 1) && wallet.try_spend(&all, 1) {
                    n_paid += 1;
                }
                let caller = Caller {
                    principal: "p",
                    ..Caller::default()
                };
                let usage = Usage {
                    requests: 1,
                    ..Usage::default()
                };
                wallet.meter().count(caller, usage);
            }
        }
    }
    let n_commits = shared.0.n_commits.load(Ordering::Relaxed);
    let per_s = n_commits as f64 / 60.0;
    println!("{per_s:.1} commits per second, {n_paid} calls paid in 60 s");
    assert!(per_s <= 15.0, "{per_s} commits per second");
    assert!(n_paid > 20_000, "only {n_paid} calls were paid");
}

#[tokio::test(start_paused = true)]
async fn a_first_call_waits_for_one_answer() {
    let shared = Shared::new(&[("r", rate(10, 10))], 1);
    let wallet = shared.node(1);
    sleep(Duration::from_secs(5)).await;
    let began = Instant::now();
    assert_eq!(pay(&wallet, "r", "a", rate(10, 10)).await, Ok(()));
    assert!(began.elapsed() < Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn who_is_over_the_limit_is_told_when_to_come_back() {
    let limit = rate(1, 3);
    let shared = Shared::new(&[("r", limit)], 1);
    let wallet = shared.node(1);
    let mut n_paid = 0;
    let denial = loop {
        match pay(&wallet, "r", "a", limit).await {
            Ok(()) => n_paid += 1,
            Err(denial) => break denial,
        }
    };
    assert_eq!(n_paid, 3);
    let Denial::Exhausted { rule, retry_after } = denial else {
        panic!("{denial}");
    };
    assert_eq!(&*rule, "r");
    let retry_after = retry_after.unwrap();
    let expected = Duration::from_millis(100)..=Duration::from_secs(1);
    assert!(expected.contains(&retry_after), "{retry_after:?}");
    sleep(retry_after + Duration::from_millis(300)).await;
    assert_eq!(pay(&wallet, "r", "a", limit).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_cost_above_the_limit_is_never_paid() {
    let limit = rate(1, 3);
    let shared = Shared::new(&[("r", limit)], 1);
    let wallet = shared.node(1);
    let mut charge = Charge::default();
    let purse = wallet.purse(&"r".into(), "a", limit, 0).unwrap();
    charge.add(purse, 4);
    let denial = charge.pay(&wallet).await.unwrap_err();
    assert_eq!(denial.retry_after(), None);
}

#[tokio::test(start_paused = true)]
async fn without_a_leader_a_node_spends_what_it_holds_and_then_refuses() {
    let limit = rate(100, 400);
    let shared = Shared::new(&[("r", limit)], 1);
    let wallet = shared.node(1);
    for _ in 0..400 {
        pay(&wallet, "r", "a", limit).await.unwrap();
        sleep(Duration::from_millis(20)).await;
    }
    shared.0.is_down.store(true, Ordering::Relaxed);
    let mut n_paid = 0;
    let began = Instant::now();
    let denial = loop {
        match pay(&wallet, "r", "a", limit).await {
            Ok(()) => n_paid += 1,
            Err(denial) => break denial,
        }
        sleep(Duration::from_millis(20)).await;
    };
    // About four seconds at 50 calls a second, less what was used since the last answer.
    assert!(
        (75..=200).contains(&n_paid),
        "{n_paid} paid in {:?}",
        began.elapsed()
    );
    assert!(matches!(denial, Denial::Unavailable { .. }), "{denial}");
    shared.0.is_down.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(pay(&wallet, "r", "a", limit).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_may_be_allowed_a_safe_rate() {
    let limit = rate(100, 400);
    let shared = Shared::new(&[("r", limit)], 1);
    let wallet = shared.node(1);
    shared.0.is_down.store(true, Ordering::Relaxed);
    let mut n_paid = 0;
    for _ in 0..100 {
        let mut charge = Charge::default();
        let purse = wallet.purse(&"r".into(), "a", limit, 5);
        charge.add(purse.unwrap(), 1);
        n_paid += u64::from(charge.pay(&wallet).await.is_ok());
        sleep(Duration::from_millis(100)).await;
    }
    assert!((45..=56).contains(&n_paid), "{n_paid}");
}

#[tokio::test(start_paused = true)]
async fn usage_is_counted_once_although_answers_are_lost() {
    use crate::machine::quota::Dimension;
    let shared = Shared::new(&[], 1);
    let wallet = shared.node(1);
    let one = Usage {
        requests: 1,
        limited: 0,
        cost_micros: 5,
    };
    for n in 0..100 {
        shared.0.is_down.store(n % 3 == 0, Ordering::Relaxed);
        let caller = Caller {
            principal: "p",
            ..Caller::default()
        };
        wallet.meter().count(caller, one);
        sleep(Duration::from_millis(130)).await;
    }
    shared.0.is_down.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(5)).await;
    let usage = shared.0.machine.lock().usage(Dimension::Principal, 1);
    assert_eq!((usage["p"].requests, usage["p"].cost_micros), (100, 500));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_ends_gives_back_what_it_holds_and_has_told_all_it_counted() {
    use crate::machine::quota::Dimension;
    let limit = Limit::Budget {
        amount: 10_000,
        window_ms: 86_400_000,
    };
    let shared = Shared::new(&[("r", limit)], 2);
    let wallet = Arc::new(Wallet::new(paused_clock, None));
    let seat = Seat {
        shared: shared.clone(),
        is_leader: true,
    };
    let agent = Agent::new(Arc::clone(&wallet), seat, 1, 1);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let calls = async {
        let caller = Caller {
            principal: "p",
            ..Caller::default()
        };
        let one = Usage {
            requests: 1,
            ..Usage::default()
        };
        for _ in 0..200 {
            pay(&wallet, "r", "a", limit).await.unwrap();
            wallet.meter().count(caller, one);
            sleep(Duration::from_millis(7)).await;
        }
        drop(stop);
    };
    tokio::join!(agent.run(async { drop(stopped.await) }), calls);
    assert_eq!(shared.0.machine.lock().n_grants(), 0);
    let usage = shared.0.machine.lock().usage(Dimension::Principal, 1);
    assert_eq!(usage["p"].requests, 200);
    // Nothing of the day's budget is lost.
    let other = shared.node(2);
    let mut rest = Charge::default();
    rest.add(other.purse(&"r".into(), "a", limit, 0).unwrap(), 9_800);
    rest.pay(&other).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_limit_too_small_to_be_divided_is_decided_at_its_primary() {
    let limit = rate(1, 5);
    let shared = Shared::new(&[("r", limit)], 3);
    let first = shared.node(1);
    let primary = || {
        let wallet = Arc::clone(&first);
        Some(Arc::new(Primary { wallet, limit }) as Arc<dyn Decider>)
    };
    let others = [
        shared.node_with(2, primary()),
        shared.node_with(3, primary()),
    ];
    sleep(Duration::from_secs(3)).await;
    let n_commits = shared.0.n_commits.load(Ordering::Relaxed);
    let began = Instant::now();
    let mut n_paid = 0;
    for wallet in [&first, &others[0], &others[1]]
        .into_iter()
        .cycle()
        .take(30)
    {
        n_paid += u64::from(pay(wallet, "r", "a", limit).await.is_ok());
    }
    let seconds = began.elapsed().as_secs();
    assert!(
        (5..=6 + seconds).contains(&n_paid),
        "{n_paid} in {seconds} s"
    );
    // Only the primary has sent batches.
    let n_commits = shared.0.n_commits.load(Ordering::Relaxed) - n_commits;
    assert!(
        n_commits <= 5 * (seconds + 1),
        "{n_commits} commits in {seconds} s"
    );
    assert!(others.iter().all(|wallet| wallet.active().is_empty()));
}

/// 1 token is a millionth of a dollar: it is the calls that are few.
#[tokio::test(start_paused = true)]
async fn a_budget_of_few_calls_is_spent_to_its_end_at_any_node() {
    const COST: u64 = 10_000;
    let limit = Limit::Budget {
        amount: 6 * COST,
        window_ms: 12 * 3_600_000,
    };
    let shared = Shared::new(&[("r", limit)], 3);
    let first = shared.node(1);
    let primary = || {
        let wallet = Arc::clone(&first);
        Some(Arc::new(Primary { wallet, limit }) as Arc<dyn Decider>)
    };
    let second = shared.node_with(2, primary());
    let third = shared.node_with(3, primary());
    sleep(Duration::from_secs(3)).await;
    for wallet in [&third, &first, &second, &first, &second, &third] {
        let mut charge = Charge::default();
        charge.add(wallet.purse(&"r".into(), "a", limit, 0).unwrap(), COST);
        charge.pay(wallet).await.unwrap();
    }
    for wallet in [&first, &second, &third] {
        let mut charge = Charge::default();
        charge.add(wallet.purse(&"r".into(), "a", limit, 0).unwrap(), COST);
        let denial = charge.pay(wallet).await.unwrap_err();
        assert!(matches!(denial, Denial::Exhausted { .. }), "{denial}");
    }
}

/// What other nodes hold comes back when their leases end, long before the window does.
#[tokio::test(start_paused = true)]
async fn who_is_refused_while_others_hold_tokens_is_told_to_come_back_soon() {
    let limit = Limit::Budget {
        amount: 100,
        window_ms: 12 * 3_600_000,
    };
    let shared = Shared::new(&[("r", limit)], 2);
    let (first, second) = (shared.node(1), shared.node(2));
    // A demand for which all is fetched ahead.
    for _call in 0..10 {
        pay(&first, "r", "a", limit).await.unwrap();
        sleep(Duration::from_millis(10)).await;
    }
    sleep(Duration::from_secs(1)).await;
    let mut charge = Charge::default();
    charge.add(second.purse(&"r".into(), "a", limit, 0).unwrap(), 90);
    let denial = charge.pay(&second).await.unwrap_err();
    let retry_after = denial.retry_after().unwrap();
    assert!(
        retry_after <= Duration::from_secs(5),
        "{denial}: {retry_after:?}"
    );
    sleep(Duration::from_secs(20)).await;
    let mut charge = Charge::default();
    charge.add(second.purse(&"r".into(), "a", limit, 0).unwrap(), 90);
    charge.pay(&second).await.unwrap();
}

/// What a node has been granted itself, and has spent, does not come back. That there is no more it knows a moment later.
#[tokio::test(start_paused = true)]
async fn who_has_used_a_window_up_alone_is_told_when_the_next_one_begins() {
    let window_ms = 12 * 3_600_000;
    let limit = Limit::Budget {
        amount: 5,
        window_ms,
    };
    let shared = Shared::new(&[("r", limit)], 1);
    let node = shared.node(1);
    for _call in 0..5 {
        pay(&node, "r", "a", limit).await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    let mut waits = Vec::new();
    for _call in 0..20 {
        let denial = pay(&node, "r", "a", limit).await.unwrap_err();
        waits.push(denial.retry_after().unwrap());
        sleep(Duration::from_millis(100)).await;
    }
    let knows = waits
        .iter()
        .position(|wait| *wait > Duration::from_secs(3600));
    let (before, after) = waits.split_at(knows.unwrap());
    let second = Duration::from_secs(1);
    assert!(before.len() <= 10 && before.iter().all(|wait| *wait <= second));
    assert!(after.iter().all(|wait| *wait > Duration::from_secs(3600)));
}
