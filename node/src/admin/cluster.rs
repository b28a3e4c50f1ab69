//! Members of the cluster, and how it stands.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;
use lockgate_cluster::{
    AdminError, JoinRole, JoinToken, Member, MemberState, NodesCommand, RaftRole, RaftStatus,
    Sighting, View,
};
use lockgate_proto::id::NodeName;
use serde::Deserialize;
use serde_json::{Value, json};

use super::acting::Acting;
use super::answer::{self, Answer};
use super::body;
use super::error::ApiError;
use super::parts::Parts;
use super::status::timestamp_ms;

/// A cluster that does not answer in this time can't decide.
const DECIDES_MAX: Duration = Duration::from_secs(2);
/// How long a promotion is waited for.
const PROMOTED_MAX: Duration = Duration::from_secs(10);
/// Longest life of a token.
const LIFETIME_S_MAX: u64 = 7 * 24 * 3600;

/// All members, those that were removed too. Each is asked how it stands.
pub(super) async fn members(parts: &Parts) -> Answer {
    let seen = parts.cluster.survey().await;
    let (view, status) = (parts.cluster.view(), parts.cluster.raft_status());
    let leader = leader(&status, &seen);
    let members: Vec<Value> = view
        .members()
        .values()
        .map(|member| shown(member, &status, (leader, seen.get(&member.id.0))))
        .collect();
    answer::ok(&json!({ "members": members }))
}

/// Number of the leader by the newest term that anybody knows of.
fn leader(status: &RaftStatus, seen: &BTreeMap<u64, Sighting>) -> Option<u64> {
    let others = seen
        .values()
        .map(|sighting| (sighting.term, sighting.leader));
    let known = others.chain([(status.term, status.leader)]);
    let known = known.filter_map(|(term, leader)| Some((term, leader?)));
    known.max().map(|(_, leader)| leader)
}

fn shown(
    member: &Member,
    status: &RaftStatus,
    (leader, sighting): (Option<u64>, Option<&Sighting>),
) -> Value {
    let applied = match member.id.0 == status.id {
        true => Some(status.applied),
        false => sighting.map(|sighting| sighting.applied),
    };
    json!({
        "number": member.id.0,
        "name": member.name.as_str(),
        "address": member.address,
        "state": word(member.state),
        "leader": leader == Some(member.id.0),
        "answers": applied.is_some(),
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
    let differing = parts.cluster.agreement().differing;
    answer::ok(&json!({
        "healthy": decides && serves && differing == 0,
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
        "differing_states": differing,
        "file_differs": parts.file_differs.load(Ordering::Relaxed),
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

pub(super) fn name_of(view: &View, number: u64) -> Option<String> {
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
    let name = NodeName::from(name);
    view.member(&name).cloned().ok_or_else(|| {
        let mut members = view.members().values().rev();
        let removed_at =
            members.find_map(|member| member.removed_at_ms.filter(|_| member.name == name));
        let message = match removed_at {
            Some(at_ms) => format!("`{name}` was removed at {}", timestamp_ms(at_ms)),
            None => format!("no member is called `{name}`"),
        };
        ApiError::not_found("unknown_node", message, "see `lockgate cluster members`")
    })
}

/// Body of a removal.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Removal {
    lost: bool,
    cancel: bool,
}

/// Ends a membership, or calls off an end that was not completed.
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
    let cluster = &acting.parts.cluster;
    if removal.cancel {
        acting.record("cluster.keep", name)?;
        cluster.keep_member(member.id).await?;
    } else {
        acting.record("cluster.remove", name)?;
        cluster.remove_member(member.id, removal.lost).await?;
    }
    Ok(answer::done())
}

/// Gives a learner a vote, as soon as it has caught up.
pub(super) async fn promote(acting: &Acting<'_>, name: &str) -> Result<Answer, ApiError> {
    let node = find(acting.parts, name)?.id;
    acting.record("cluster.promote", name)?;
    let cluster = &acting.parts.cluster;
    cluster
        .propose(NodesCommand::Promote { node }.into())
        .await?;
    let state = |view: &View| view.members().get(&node).map(|member| member.state);
    let mut views = cluster.watch();
    let voted = views.wait_for(|view| state(view) == Some(MemberState::Voter));
    // It goes on without anybody who waits.
    let _late = tokio::time::timeout(PROMOTED_MAX, voted).await.is_err();
    let state = state(&cluster.view()).map(word);
    Ok(answer::ok(&json!({ "node": name, "state": state })))
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
        None => other_voter(&cluster.raft_status(), &cluster.survey().await)?,
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

/// The voter that lacks least, of those that answer, the leader aside.
fn other_voter(status: &RaftStatus, seen: &BTreeMap<u64, Sighting>) -> Result<u64, ApiError> {
    // Without a leader it is this node that is asked, and not to lead.
    let aside = leader(status, seen).unwrap_or(status.id);
    let voters = status.seats.iter().filter(|seat| seat.votes);
    let others: Vec<u64> = voters
        .map(|seat| seat.id)
        .filter(|id| *id != aside)
        .collect();
    let applied = |id| match id == status.id {
        true => Some(status.applied),
        false => Some(seen.get(&id)?.applied),
    };
    let best = others.iter().filter_map(|id| Some((applied(*id)?, *id)));
    best.max()
        .map(|(_, id)| id)
        .ok_or_else(|| match others.len() {
            0 => ApiError::conflict(
                "no_other_voter",
                "there is no other voter that could lead",
                "let another node join first",
            ),
            n => ApiError::unavailable(
                "no_voter_answers",
                format!("none of the other voters ({n}) answers"),
                "see `lockgate cluster members`, and start them",
            ),
        })
}

fn not_transferred(error: &AdminError, view: &View) -> ApiError {
    match error {
        AdminError::NotLeader { leader } => {
            let leader = leader.and_then(|leader| name_of(view, leader));
            let message = match leader {
                Some(leader) => format!("`{leader}` leads meanwhile, and was not asked"),
                None => "no node leads at the moment".to_owned(),
            };
            ApiError::conflict("not_leader", message, "see `lockgate cluster health`")
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
