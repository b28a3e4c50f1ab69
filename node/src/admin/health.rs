//! Health and metrics.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::StatusCode;
use lockgate_cluster::{LATENCY_BOUNDS_US, Latency};
use serde_json::json;

use super::answer::{self, Answer};
use super::audit;
use super::error::ApiError;
use super::parts::{Parts, Readiness};
use crate::config::AuditMode;
use crate::telemetry::{
    EndpointGauge, Gauges, LatencyGauge, Metrics, Process, QuotaGauges, RaftGauges, ServerGauge,
};

/// The process answers.
pub(super) fn alive() -> Answer {
    answer::plain(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")
}

/// Whether the node takes new sessions. A server that is down does not change that. A log that takes no lines does,
/// and so does the loss of the cluster: without them no call is made. Details are for operators.
pub(super) fn ready(parts: &Parts, with_details: bool) -> Answer {
    let readiness = *parts.readiness.borrow();
    let audited = parts.pipeline.audit.is_healthy();
    let serves = parts.cluster.serving().is_on();
    let agreement = parts.cluster.agreement();
    let (status, word) = match (readiness, audited) {
        (Readiness::Ready, _) if !serves => (StatusCode::SERVICE_UNAVAILABLE, "no_lease"),
        // It is about to leave the cluster.
        (Readiness::Ready, _) if parts.cluster.serving().is_draining() => (
            StatusCode::SERVICE_UNAVAILABLE,
            Readiness::Draining.as_str(),
        ),
        // What it holds is not what the cluster has agreed on.
        (Readiness::Ready, _) if agreement.is_minority => {
            (StatusCode::SERVICE_UNAVAILABLE, "diverged")
        }
        (Readiness::Ready, true) => (StatusCode::OK, readiness.as_str()),
        (Readiness::Ready, false) => (StatusCode::SERVICE_UNAVAILABLE, "audit_unavailable"),
        (Readiness::Starting | Readiness::Draining, _) => {
            (StatusCode::SERVICE_UNAVAILABLE, readiness.as_str())
        }
    };
    let mut body = json!({ "status": word });
    if with_details {
        let servers = parts.upstreams.all();
        let servers = servers.iter().map(|server| server.status());
        body["servers"] = servers
            .map(
                |status| json!({ "name": status.name, "up": status.up, "settled": status.settled }),
            )
            .collect();
        body["audit"] = json!({ "healthy": audited });
        if let Some(ledger) = parts.pipeline.audit.ledger() {
            let mode = ledger.mode();
            body["audit"]["mode"] = json!(mode.as_str());
            // Records that only memory has go with the process.
            body["audit"]["degraded"] = json!(mode == AuditMode::Memory);
        }
        body["cluster"] = json!({ "lease": serves, "differing_states": agreement.differing });
    }
    answer::json(status, &body)
}

/// All metrics, written on a thread where it holds up no call.
pub(super) async fn metrics(parts: &Parts) -> Result<Answer, ApiError> {
    let (metrics, mut gauges) = (Arc::clone(&parts.pipeline.metrics), gauges(parts));
    let reader = parts.cluster.audit_reader();
    let render = move || {
        audit::files(&mut gauges.audit, reader.as_ref());
        metrics.render(&gauges, Process::read())
    };
    let text = tokio::task::spawn_blocking(render).await;
    let text =
        text.map_err(|_cut_off| ApiError::unavailable("cut_off", "the node is going down", ""))?;
    Ok(answer::plain(StatusCode::OK, Metrics::CONTENT_TYPE, text))
}

fn gauges(parts: &Parts) -> Gauges {
    let (sessions_active, sessions_passive, _actors) = parts.sessions.counts();
    let (servers, collisions) = (parts.upstreams.all(), parts.pipeline.router.collisions());
    let servers = servers.iter().map(|server| {
        let status = server.status();
        let hidden = collisions.iter().filter(|one| one.hidden == status.name);
        let endpoints = status.endpoints.iter().map(|endpoint| EndpointGauge {
            address: endpoint.address.clone(),
            breaker: endpoint.breaker,
        });
        ServerGauge {
            name: status.name.to_string(),
            up: status.up,
            hidden: hidden.count(),
            endpoints: endpoints.collect(),
        }
    });
    let waiting = parts.upstreams.waiting();
    Gauges {
        started: parts.started,
        sessions_active,
        sessions_passive,
        waiting_calls: waiting.calls,
        waiting_bytes: waiting.bytes,
        waiting_refused: waiting.refused,
        servers: servers.collect(),
        certificate: (parts.certificate)(),
        file_differs: parts.file_differs.load(Ordering::Relaxed),
        raft: raft_gauges(parts),
        quotas: quota_gauges(parts),
        audit: audit::gauges(parts),
    }
}

fn quota_gauges(parts: &Parts) -> QuotaGauges {
    let standing = parts.pipeline.quotas.standing();
    QuotaGauges {
        accounts: standing.purses,
        grants: parts.cluster.view().quota().n_grants(),
        cut_off: standing.cut_off,
        batches: standing.batches,
        expiries: standing.expiries,
        unanswered: standing.unanswered,
        waits: standing.waits,
        afar: standing.afar,
    }
}

fn raft_gauges(parts: &Parts) -> RaftGauges {
    let status = parts.cluster.raft_status();
    let voters = status.seats.iter().filter(|seat| seat.votes).count();
    let latency = |latency: Latency| LatencyGauge {
        counts: latency.counts.to_vec(),
        sum_us: latency.sum_us,
    };
    RaftGauges {
        term: status.term,
        leads: status.leader == Some(status.id),
        has_leader: status.leader.is_some(),
        lease: parts.cluster.serving().is_on(),
        voters,
        learners: status.seats.len() - voters,
        silent: status.seats.iter().filter(|seat| seat.is_silent).count(),
        last_log: status.last_log,
        committed: status.committed,
        applied: status.applied,
        divergence: parts.cluster.agreement().differing,
        snapshot: status.snapshot,
        snapshot_bytes: status.snapshot_bytes,
        clock_behind: status.clock_behind,
        bounds_us: &LATENCY_BOUNDS_US,
        append: latency(status.append),
        sync: latency(status.sync),
    }
}
