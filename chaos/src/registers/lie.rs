//! A disk that says that it has written what it has not, and then loses its power.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::POLL;
use super::api::Api;
use super::fault::{NODES, RECOVERY_MAX};
use super::standing::Standing;
use crate::world::Members;

/// What became of the node.
enum Return {
    /// Its cluster took it as it was.
    Kept,
    /// The cluster ended its membership.
    Expelled,
    /// It did not start with what was left of its files.
    Refused,
}

/// Has the disk of a node lie for a while and lose its power; then does what an operator does, until the node serves
/// again. Says what happened, `None` when no lie was told.
pub(super) async fn lie(
    members: &mut Members,
    api: &mut Api,
    node: usize,
    lasts: Duration,
) -> anyhow::Result<Option<String>> {
    let liar = members.lie(node).await?;
    sleep(lasts).await;
    let n_lies = liar.lies()?;
    members.cut_power(node).await?;
    drop(liar);
    members.restore_power(node)?;
    members.begin(node)?;
    let (name, other) = (format!("n{}", node + 1), (node + 1) % NODES);
    let came_back = match comes_back(members, api, node, other).await? {
        Return::Kept => "kept",
        Return::Expelled => "expelled",
        Return::Refused => {
            api.remove(other, &name, true).await?;
            "unreadable"
        }
    };
    if came_back != "kept" {
        members.kill(node).await?;
        members.wipe(node)?;
        members.begin(node)?;
        members.ready(node).await?;
    }
    wait(api, other, |status| status.voters == NODES).await?;
    wait(api, node, |status| status.healthy).await?;
    Ok((n_lies > 0).then(|| format!("{name} lied {n_lies} times, {came_back}")))
}

async fn comes_back(
    members: &mut Members,
    api: &mut Api,
    node: usize,
    other: usize,
) -> anyhow::Result<Return> {
    let begin = Instant::now();
    loop {
        // Before the look at the process: it ends when it was expelled, too.
        let is_alive = members.process(node)?.is_alive()?;
        if let Some(status) = api.status(other).await
            && status.voters < NODES
        {
            return Ok(Return::Expelled);
        }
        if !is_alive {
            return Ok(Return::Refused);
        }
        if let Some(status) = api.status(node).await
            && status.healthy
        {
            return Ok(Return::Kept);
        }
        anyhow::ensure!(begin.elapsed() < RECOVERY_MAX, "n{} stays away", node + 1);
        sleep(POLL).await;
    }
}

async fn wait(
    api: &mut Api,
    node: usize,
    expected: impl Fn(&Standing) -> bool,
) -> anyhow::Result<()> {
    let begin = Instant::now();
    loop {
        let status = api.status(node).await;
        if status.as_ref().is_some_and(&expected) {
            return Ok(());
        }
        let n = node + 1;
        anyhow::ensure!(begin.elapsed() < RECOVERY_MAX, "n{n} stands at {status:?}");
        sleep(POLL).await;
    }
}
