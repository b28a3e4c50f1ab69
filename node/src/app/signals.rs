//! Signals of the operating system.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::audit::Audit;
use crate::config::ReloadHandle;

/// Resolves at SIGTERM or SIGINT. Both are heard from the call on, before the future is polled: one that comes while
/// readiness is being told must not kill the process.
pub(super) fn terminated() -> impl Future<Output = ()> + Send {
    let (mut terminate, mut interrupt) = (
        listen(SignalKind::terminate()),
        listen(SignalKind::interrupt()),
    );
    async move {
        tokio::select! {
            () = next(&mut terminate) => {}
            () = next(&mut interrupt) => {}
        }
    }
}

/// SIGHUP reads the configuration again and opens the audit file anew (log rotation). Ends when it is aborted.
pub(super) async fn on_hangup(reload: ReloadHandle, audit: Arc<Audit>) {
    let mut hangup = listen(SignalKind::hangup());
    loop {
        next(&mut hangup).await;
        audit.reopen();
        let before = reload.current().version;
        // Any other outcome is logged where it comes about.
        if reload.reload().await.is_ok_and(|now| now.version == before) {
            tracing::info!(version = before, "configuration file has not changed");
        }
    }
}

fn listen(kind: SignalKind) -> Option<Signal> {
    signal(kind)
        .inspect_err(|error| tracing::error!(%error, "signals cannot be received"))
        .ok()
}

async fn next(signals: &mut Option<Signal>) {
    match signals {
        Some(signals) => {
            signals.recv().await;
        }
        None => std::future::pending().await,
    }
}
