//! Carries out one fault and heals it.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::sleep;

use crate::plan::Fault;
use crate::world::World;

/// Lets `fault` last, then heals it. The server listens again when this returns.
pub(crate) async fn inject(world: &mut World, fault: Fault, lasts: Duration) -> anyhow::Result<()> {
    match fault {
        Fault::Kill => {
            world.upstream.kill().await?;
            sleep(lasts).await;
            world.restart_upstream().await
        }
        Fault::Pause => {
            world.upstream.signal(Signal::STOP)?;
            sleep(lasts).await;
            world.upstream.signal(Signal::CONT)
        }
    }
}
