//! Members of the cluster, and how it stands.

use std::time::Duration;

use http::StatusCode;
use lockgate_cluster::{
    AdminError, JoinRole, JoinToken, Member, MemberState, NodesCommand, RaftRole, RaftStatus, View,
};
use lockgate_proto::id::NodeName;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::body;
use super::error::ApiError;
use super::parts::Parts;
use super::service::Acting;
use super::status::timestamp_ms;

/// A cluster that does not answer in this time can't decide.
const DECIDES_MAX: Duration = Duration::from_secs(2);
/// Longest life of a token.
const LIFETIME_S_MAX: u64 = 7 * 24 * 3600;

/// All members, those that were removed too.
pub(super) fn members(parts: &Parts) -> Answer {
    let (view, status) = (parts.cluster.view(), parts.cluster.raft_status());
    let members: Vec<Value> = view
        .members()
        .values()
        .map(|member| shown(member, &status))
        .collect();
    answer::ok(&json!({ "members": members }))
}

fn shown(member: &Member, status: &RaftStatus) -> Value {
    let seat = status.seats.iter().find(|seat| seat.id == member.id.0);
    // Of itself a node knows what it has applied, of others only a leader knows what they hold.
    let applied = match member.id.0 == status.id {
        true => Some(status.applied),
        false => seat.and_then(|seat| seat.matched),
    };
    json!({
        "number": member.id.0,
        "name": member.name.as_str(),
        "address": member.address,
        "state": word(member.state),
        "leader": status.leader == Some(member.id.0),
        "this": status.id == member.id.0,
        "boot": member.boot,
        "version": member.speaks.version,
        "draining": member.draining_since_ms.is_some(),
        "lost": member.lost,
        "removed_at": member.removed_at_ms.map(timestamp_ms),
        "applied": applied,
    })
}

fn word(state: MemberState) -> &'static str {
    match state {
        MemberState::Joining => "joining",
        MemberState::Learner => "learner",
        MemberState::Voter => "voter",
        MemberState::Removed => "removed",
    }
}

/// How the cluster stands, as this node sees it. It asks a quorum.
pub(super) async fn health(parts: &Parts) -> Answer {
    let asked = tokio::time::timeout(DECIDES_MAX, parts.cluster.read()).await;
    let decides = matches!(asked, Ok(Ok(_)));
    let (view, status) = (parts.cluster.view(), parts.cluster.raft_status());
    let serves = parts.cluster.serving().is_on();
    let voters = status.seats.iter().filter(|seat| seat.votes).count();
    let hash = view.state_hashes().last();
    let id = view.cluster_id().unwrap_or_default();
    answer::ok(&json!({
        "healthy": decides && serves,
        "cluster": hex(&id),
        "node": view.node(),
        "number": status.id,
        "role": role(status.role),
        "leader": status.leader.and_then(|leader| name_of(&view, leader)),
        "term": status.term,
        "quorum": decides,
        "lease": serves,
        "voters": voters,
        "members": status.seats.len(),
        "last_log_index": status.last_log,
        "commit_index": status.committed,
        "apply_index": status.applied,
        "snapshot_index": status.snapshot,
        "state_hash": hash.map(|hash| json!({ "index": hash.index, "sha256": hex(&hash.hash) })),
    }))
}

pub(super) fn role(role: RaftRole) -> &'static str {
    match role {
        RaftRole::Learner => "learner",
        RaftRole::Follower => "follower",
        RaftRole::Candidate => "candidate",
        RaftRole::Leader => "leader",
        RaftRole::Stopped => "stopped",
    }
}

fn name_of(view: &View, number: u64) -> Option<String> {
    let mut members = view.members().values();
    let member = members.find(|member| member.id.0 == number)?;
    Some(member.name.to_string())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The live member of that name.
fn find(parts: &Parts, name: &str) -> Result<Member, ApiError> {
    let view = parts.cluster.view();
    view.member(&NodeName::from(name)).cloned().ok_or_else(|| {
        let message = format!("no member is called `{name}`");
        ApiError::not_found("unknown_node", message, "see `lockgate cluster members`")
    })
}

/// Body of a removal.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Removal {
    lost: bool,
}

/// Ends a membership.
pub(super) async fn remove(
    acting: &Acting<'_>,
    name: &str,
    body: &[u8],
) -> Result<Answer, ApiError> {
    let removal: Removal = if body.is_empty() {
        Removal::default()
    } else {
        body::parse(body)?
    };
    let member = find(acting.parts, name)?;
    acting.record("cluster.remove", name)?;
    let command = NodesCommand::Remove {
        node: member.id,
        lost: removal.lost,
    };
    acting.parts.cluster.propose(command.into()).await?;
    Ok(answer::done())
}

/// Body of a transfer.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Transfer {
    to: Option<String>,
}

/// Hands the leadership over.
pub(super) async fn transfer_leader(acting: &Acting<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let transfer: Transfer = if body.is_empty() {
        Transfer::default()
    } else {
        body::parse(body)?
    };
    let cluster = &acting.parts.cluster;
    let to = match &transfer.to {
        Some(name) => find(acting.parts, name)?.id.0,
        None => other_voter(&cluster.raft_status())?,
    };
    let view = cluster.view();
    let name = name_of(&view, to).unwrap_or_default();
    acting.record("cluster.transfer_leader", &name)?;
    cluster
        .transfer_leader(to)
        .await
        .map_err(|error| not_transferred(&error, &view))?;
    Ok(answer::ok(&json!({ "leader": name })))
}

/// The voter that lacks least.
fn other_voter(status: &RaftStatus) -> Result<u64, ApiError> {
    let others = status
        .seats
        .iter()
        .filter(|seat| seat.votes && seat.id != status.id);
    let best = others.max_by_key(|seat| seat.matched);
    best.map(|seat| seat.id).ok_or_else(|| {
        let message = "there is no other voter that could lead";
        ApiError::conflict("no_other_voter", message, "let another node join first")
    })
}

fn not_transferred(error: &AdminError, view: &View) -> ApiError {
    match error {
        AdminError::NotLeader { leader } => {
            let leader = leader.and_then(|leader| name_of(view, leader));
            let message = match leader {
                Some(leader) => format!("this node does not lead; ask `{leader}`, which does"),
                None => "no node leads at the moment".to_owned(),
            };
            ApiError::conflict("not_leader", message, "name that node's admin address")
        }
        other => ApiError::unavailable(
            "not_transferred",
            other.to_string(),
            "see `lockgate cluster health`",
        ),
    }
}

/// Body of a token's creation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedToken {
    role: String,
    lifetime_s: u64,
}

/// Makes a token for one node. It is in this answer and nowhere else.
pub(super) async fn create_token(acting: &Acting<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let wanted: WantedToken = body::parse(body)?;
    let role = match wanted.role.as_str() {
        "voter" => JoinRole::Voter,
        "learner" => JoinRole::Learner,
        _ => {
            let message = format!("`{}` is no role of a node", wanted.role);
            return Err(ApiError::invalid(
                "unknown_role",
                message,
                "write voter or learner",
            ));
        }
    };
    if !(1..=LIFETIME_S_MAX).contains(&wanted.lifetime_s) {
        let message = format!("a token lives 1 to {LIFETIME_S_MAX} seconds");
        return Err(ApiError::invalid(
            "invalid_lifetime",
            message,
            "choose another time",
        ));
    }
    let pin = acting.parts.ca_sha256.as_ref().ok_or_else(|| {
        let message = "this node is a cluster of one, which nobody can join";
        ApiError::conflict("alone", message, "give it a `cluster` section")
    })?;
    let pin = pin().map_err(|why| ApiError::unavailable("no_ca", why, "see `cluster.tls.ca`"))?;
    let token = JoinToken::generate(pin).ok_or_else(|| {
        let message = "the system's random generator has failed";
        ApiError::unavailable("no_randomness", message, "see the system's log")
    })?;
    acting.record("cluster.token.create", token.id())?;
    let command = NodesCommand::CreateToken {
        id: token.id().to_owned(),
        digest: token.digest(),
        role,
        lifetime_ms: wanted.lifetime_s * 1000,
    };
    acting.parts.cluster.propose(command.into()).await?;
    let shown = json!({ "id": token.id(), "token": token.expose(), "role": wanted.role });
    Ok(answer::json(StatusCode::CREATED, &shown))
}

/// Tokens that were not used, without their secrets.
pub(super) fn tokens(parts: &Parts) -> Answer {
    let view = parts.cluster.view();
    let tokens = view.join_tokens().iter().map(|(id, token)| {
        let role = match token.role {
            JoinRole::Voter => "voter",
            JoinRole::Learner => "learner",
        };
        json!({ "id": id, "role": role, "expires_at": timestamp_ms(token.expires_at_ms) })
    });
    let tokens: Vec<Value> = tokens.collect();
    answer::ok(&json!({ "tokens": tokens }))
}

/// Ends a token that was not used.
pub(super) async fn revoke_token(acting: &Acting<'_>, id: &str) -> Result<Answer, ApiError> {
    acting.record("cluster.token.revoke", id)?;
    let command = NodesCommand::RevokeToken { id: id.to_owned() };
    acting.parts.cluster.propose(command.into()).await?;
    Ok(answer::done())
}
