//! Quotas over several nodes: the wallets and agents that a gateway has, over the real wire.

use std::future::pending;
use std::sync::Arc;

use futures_util::future::join_all;

use super::World;
use crate::Cluster;
use crate::quota::{Agent, Charge, Command, Denial, Limit, Seat, Wallet};

/// Divided among nodes.
const LARGE: (&str, Limit) = (
    "large",
    Limit::Budget {
        amount: 200,
        window_ms: 31 * 86_400_000,
    },
);
/// Too small to be divided among three.
const SMALL: (&str, Limit) = (
    "small",
    Limit::Rate {
        amount: 1,
        per_us: 86_400_000_000,
        burst: 5,
    },
);

/// One token of `subject`.
async fn pay(wallet: &Wallet, (rule, limit): (&str, Limit)) -> Result<(), Denial> {
    let mut charge = Charge::default();
    let purse = wallet.purse(&rule.into(), "all", limit, 0);
    charge.add(purse.unwrap(), 1);
    charge.pay(wallet).await
}

/// How many of `n` calls are paid.
async fn paid(wallet: &Wallet, quota: (&str, Limit), n: u32) -> u32 {
    let mut n_paid = 0;
    for _ in 0..n {
        n_paid += u32::from(pay(wallet, quota).await.is_ok());
    }
    n_paid
}

/// Every wallet makes `n` calls of each quota at once. Returns how many were paid, of the large and of the small one.
async fn calls(wallets: &[Arc<Wallet>], n: u32) -> (u32, u32) {
    let all_paid = async |quota| {
        let each = wallets.iter().map(|wallet| paid(wallet, quota, n));
        join_all(each).await.iter().sum::<u32>()
    };
    (all_paid(LARGE).await, all_paid(SMALL).await)
}

#[test]
fn a_quota_holds_over_three_nodes_and_over_the_end_of_the_leader() {
    let (world, mut nodes) = World::cluster(&["n1", "n2", "n3"]);
    let limits = [LARGE, SMALL].map(|(rule, limit)| (rule.into(), limit));
    let limits = Command::SetLimits {
        version: 1,
        limits: limits.into_iter().collect(),
    };
    let limits = nodes[1].propose(limits.into());
    world.runtime.block_on(limits).unwrap();
    for node in &nodes {
        world.until(node, |view| view.quota().version() == 1);
    }
    let seats: Vec<_> = nodes.iter().map(|node| Seat::of(node).unwrap()).collect();
    let mut wallets: Vec<_> = seats.iter().map(Seat::wallet).collect();
    let agents: Vec<_> = seats
        .into_iter()
        .zip(&wallets)
        .map(|(seat, wallet)| {
            let (node, boot) = (seat.node(), seat.boot());
            Agent::new(Arc::clone(wallet), seat, node, boot).run(pending())
        })
        .collect();
    let checks = async {
        let (large, small) = calls(&wallets, 20).await;
        assert_eq!((large, small), (60, 5));

        // It ends with what it holds, and the others go on with the rest.
        let leader = nodes.iter().position(Cluster::leads).unwrap();
        nodes.remove(leader).close().await;
        wallets.remove(leader);
        let (more, small) = calls(&wallets, 150).await;
        assert!((30..=140).contains(&more), "{more} after {large}");
        assert_eq!(small, 0);
    };
    world.runtime.block_on(async {
        tokio::select! {
            _ = join_all(agents) => panic!("an agent has ended"),
            () = checks => {}
        }
    });
    world.close(nodes);
}
