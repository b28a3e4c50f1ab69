//! Part of the machine: members of the cluster, the tokens with which nodes join, and how often each has started.
//!
//! ```text
//! Join ─► Joining ─Seat─► Learner ◄─Seat─► Voter
//!            ▲               │               │
//!            └──── Seat without it ◄─────────┘        any ─Remove─► Removed
//! ```
//!
//! What a member is to become (`wanted`) is said by its join and by Promote; Seat tells what the log has made of it.

use std::collections::BTreeMap;

use lockgate_proto::id::{NodeId, NodeName};
use lockgate_proto::peer::compat::Formats;

use super::limits::{ADDRESS, ID, NAME_BYTES_MAX, NODE_NAME, check_bound, check_length};
use super::{Refusal, Stamp};
use crate::command::{JoinProof, JoinRequest, JoinRole, NodesCommand, Reply, Speaks};

/// Most members, removed ones too.
const MEMBERS_MAX: usize = 1024;
/// Most tokens that wait for their use.
const TOKENS_MAX: usize = 256;
/// Longest life of a token, in milliseconds: a day.
const TOKEN_LIFETIME_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// One member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub id: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Where other nodes reach it: host and port.
    pub address: String,
    /// How often a node of that name has started.
    pub boot: u64,
    /// Index of the entry that counted the last start.
    pub boot_index: u64,
    /// What its program reads and writes.
    pub speaks: Speaks,
    /// What it is.
    pub state: MemberState,
    /// What it is to become once it has caught up.
    pub wanted: JoinRole,
    /// Since when it drains, in milliseconds since 1970.
    pub draining_since_ms: Option<u64>,
    /// When it was removed.
    pub removed_at_ms: Option<u64>,
    /// Whether its disk was gone when it was removed, and with it whatever it alone held.
    pub lost: bool,
    pub(super) nonce: [u8; 16],
}

/// What a member is in the membership of the log, which decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// It has a number and no seat.
    Joining,
    /// It follows the log.
    Learner,
    /// It votes.
    Voter,
    /// It is none any more.
    Removed,
}

/// A token that waits for its use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// SHA-256 of its secret half.
    pub digest: [u8; 32],
    /// What the node becomes that uses it.
    pub role: JoinRole,
    /// Until when it may be used, in milliseconds since 1970.
    pub expires_at_ms: u64,
}

/// Members and tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Nodes {
    pub(super) cluster: Option<[u8; 16]>,
    pub(super) members: BTreeMap<NodeId, Member>,
    pub(super) tokens: BTreeMap<String, Token>,
}

impl Member {
    /// Whether it is still one.
    pub fn is_live(&self) -> bool {
        self.state != MemberState::Removed
    }

    /// Whether the life that drew `nonce` is its present one, with [`Member::boot`] as its number.
    pub fn booted_with(&self, nonce: [u8; 16]) -> bool {
        self.boot_index > 0 && self.nonce == nonce
    }

    /// Whether it has started and follows the log, so that a shard may be placed on it.
    pub fn is_seated(&self) -> bool {
        self.boot_index > 0 && matches!(self.state, MemberState::Learner | MemberState::Voter)
    }
}

#[cfg(test)]
impl Member {
    /// One that has just been admitted as a learner.
    pub(crate) fn of_test(id: NodeId, name: NodeName) -> Self {
        Self {
            id,
            name,
            address: String::new(),
            boot: 0,
            boot_index: 0,
            speaks: Speaks::ours(),
            state: MemberState::Joining,
            wanted: JoinRole::Learner,
            draining_since_ms: None,
            removed_at_ms: None,
            lost: false,
            nonce: [0; 16],
        }
    }
}

impl Nodes {
    /// Name of the cluster for ever; `None` before it was founded.
    pub(crate) fn cluster(&self) -> Option<[u8; 16]> {
        self.cluster
    }

    /// Members by number, removed ones too.
    pub(crate) fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// Tokens by their public half.
    pub(crate) fn tokens(&self) -> &BTreeMap<String, Token> {
        &self.tokens
    }

    /// The live member of that name.
    pub(crate) fn named(&self, name: &NodeName) -> Option<&Member> {
        let mut live = self.members.values().filter(|member| member.is_live());
        live.find(|member| member.name == *name)
    }

    /// The live member of that number.
    pub(super) fn live(&self, node: NodeId) -> Option<&Member> {
        self.members.get(&node).filter(|member| member.is_live())
    }

    /// How often a live member has started.
    pub(super) fn life(&self, node: NodeId) -> Option<u64> {
        self.live(node).map(|member| member.boot)
    }

    /// Formats that every voter has announced.
    pub(crate) fn formats(&self) -> Formats {
        let voters = self.members.values();
        let voters = voters.filter(|member| member.state == MemberState::Voter);
        Formats::common_of(voters.map(|member| member.speaks.formats))
    }

    /// A voter that can't read entries of this format, which must not be proposed then.
    pub(crate) fn behind(&self, format: u32) -> Option<&Member> {
        let mut voters = self.members.values();
        voters.find(|member| {
            member.state == MemberState::Voter && member.speaks.formats.entry < format
        })
    }

    /// Everything but a start and a removal, which concern the shards as well.
    pub(super) fn apply(&mut self, command: NodesCommand, stamp: Stamp) -> Result<Reply, Refusal> {
        self.tokens
            .retain(|_, token| token.expires_at_ms > stamp.at_ms);
        match command {
            NodesCommand::Found {
                cluster,
                name,
                address,
                speaks,
            } => self.found(cluster, name, address, speaks),
            NodesCommand::CreateToken {
                id,
                digest,
                role,
                lifetime_ms,
            } => {
                let token = Token {
                    digest,
                    role,
                    expires_at_ms: stamp
                        .at_ms
                        .saturating_add(lifetime_ms.min(TOKEN_LIFETIME_MS_MAX)),
                };
                self.create_token(id, token)
            }
            NodesCommand::RevokeToken { id } => match self.tokens.remove(&id) {
                Some(_) => Ok(Reply::Done),
                None => Err(Refusal::UnknownToken { id }),
            },
            NodesCommand::Join(request) => self.join(request, NodeId(stamp.index)),
            NodesCommand::Seat { voters, learners } => self.seat(&voters, &learners),
            NodesCommand::Drain { node, on } => {
                let since = &mut self.live_mut(node)?.draining_since_ms;
                *since = on.then(|| since.unwrap_or(stamp.at_ms));
                Ok(Reply::Done)
            }
            NodesCommand::Promote { node } => {
                self.live_mut(node)?.wanted = JoinRole::Voter;
                Ok(Reply::Done)
            }
            NodesCommand::Boot { name, .. } => Err(Refusal::UnknownNodeName { name }),
            NodesCommand::Remove { node, .. } => Err(Refusal::UnknownNode { node }),
        }
    }

    fn found(
        &mut self,
        cluster: [u8; 16],
        name: NodeName,
        address: String,
        speaks: Speaks,
    ) -> Result<Reply, Refusal> {
        if self.cluster.is_some() {
            return Err(Refusal::Founded);
        }
        let founder = JoinRequest {
            name,
            address,
            // No life draws it: a life has random ones.
            nonce: [0; 16],
            speaks,
            proof: JoinProof::Peer,
            learner: false,
        };
        check_newcomer(&founder)?;
        self.cluster = Some(cluster);
        self.admit(founder, NodesCommand::FIRST, JoinRole::Voter, 0)
            .state = MemberState::Voter;
        Ok(Reply::Joined(NodesCommand::FIRST))
    }

    /// Counts a start of the live member `name`, once a nonce.
    pub(super) fn boot(
        &mut self,
        name: &NodeName,
        address: String,
        nonce: [u8; 16],
        speaks: Speaks,
        index: u64,
    ) -> Result<&Member, Refusal> {
        check_bound(ADDRESS, address.as_bytes(), NAME_BYTES_MAX)?;
        let id = self.named(name).map(|member| member.id);
        let unknown = || Refusal::UnknownNodeName { name: name.clone() };
        let member = id.and_then(|id| self.members.get_mut(&id));
        let member = member.ok_or_else(unknown)?;
        if !member.booted_with(nonce) {
            member.boot += 1;
            member.boot_index = index;
            member.nonce = nonce;
        }
        member.address = address;
        member.speaks = speaks;
        Ok(member)
    }

    fn create_token(&mut self, id: String, token: Token) -> Result<Reply, Refusal> {
        check_length(ID, id.as_bytes(), NAME_BYTES_MAX)?;
        if self.tokens.contains_key(&id) {
            return Err(Refusal::TokenExists { id });
        }
        if self.tokens.len() == TOKENS_MAX {
            return Err(Refusal::TooMany { limit: TOKENS_MAX });
        }
        self.tokens.insert(id, token);
        Ok(Reply::Done)
    }

    fn join(&mut self, newcomer: JoinRequest, id: NodeId) -> Result<Reply, Refusal> {
        if self.cluster.is_none() {
            return Err(Refusal::NotFounded);
        }
        check_newcomer(&newcomer)?;
        match self.named(&newcomer.name) {
            // It asks again, because it did not hear the answer.
            Some(member) if member.nonce == newcomer.nonce => {
                return Ok(Reply::Joined(member.id));
            }
            Some(member) => {
                return Err(Refusal::NodeExists {
                    name: member.name.clone(),
                });
            }
            None => {}
        }
        // A node of that name which was removed gives way; its starts go on counting, so that a node's name and the
        // number of its start name one life for ever.
        let former = self.members.values();
        let former = former.filter(|member| member.name == newcomer.name);
        let former = former.map(|member| (member.id, member.boot)).next();
        if former.is_none() && self.members.len() == MEMBERS_MAX {
            return Err(Refusal::TooMany { limit: MEMBERS_MAX });
        }
        let role = match self.admitted_as(&newcomer.proof)? {
            JoinRole::Voter if newcomer.learner => JoinRole::Learner,
            role => role,
        };
        if let Some((former, _)) = former {
            self.members.remove(&former);
        }
        self.admit(newcomer, id, role, former.map_or(0, |(_, boot)| boot));
        Ok(Reply::Joined(id))
    }

    /// Uses up a token.
    fn admitted_as(&mut self, proof: &JoinProof) -> Result<JoinRole, Refusal> {
        match proof {
            JoinProof::Peer => Ok(JoinRole::Voter),
            JoinProof::Token { id, digest } => match self.tokens.get(id) {
                Some(token) if token.digest == *digest => {
                    let role = token.role;
                    self.tokens.remove(id);
                    Ok(role)
                }
                _ => Err(Refusal::UnknownToken { id: id.clone() }),
            },
        }
    }

    fn admit(
        &mut self,
        newcomer: JoinRequest,
        id: NodeId,
        wanted: JoinRole,
        boot: u64,
    ) -> &mut Member {
        let member = Member {
            id,
            name: newcomer.name,
            address: newcomer.address,
            boot,
            boot_index: 0,
            speaks: newcomer.speaks,
            state: MemberState::Joining,
            wanted,
            draining_since_ms: None,
            removed_at_ms: None,
            lost: false,
            nonce: newcomer.nonce,
        };
        self.members.entry(id).insert_entry(member).into_mut()
    }

    fn seat(&mut self, voters: &[NodeId], learners: &[NodeId]) -> Result<Reply, Refusal> {
        let all = voters.iter().chain(learners);
        if let Some(node) = all.copied().find(|node| self.live(*node).is_none()) {
            return Err(Refusal::UnknownNode { node });
        }
        if voters.is_empty() {
            return Err(Refusal::LastVoter);
        }
        for member in self.members.values_mut().filter(|one| one.is_live()) {
            // A vote that was given or taken by hand stays so.
            let voted = member.state == MemberState::Voter;
            let votes = voters.contains(&member.id);
            if votes != voted && (votes || learners.contains(&member.id)) {
                member.wanted = match votes {
                    true => JoinRole::Voter,
                    false => JoinRole::Learner,
                };
            }
            member.state = if votes {
                MemberState::Voter
            } else if learners.contains(&member.id) {
                MemberState::Learner
            } else {
                MemberState::Joining
            };
        }
        Ok(Reply::Done)
    }

    /// Ends a membership.
    pub(super) fn remove(&mut self, node: NodeId, lost: bool, at_ms: u64) -> Result<(), Refusal> {
        self.live_mut(node)?;
        let mut others = self.members.values().filter(|member| member.id != node);
        if !others.any(|member| member.state == MemberState::Voter) {
            return Err(Refusal::LastVoter);
        }
        let member = self.live_mut(node)?;
        member.state = MemberState::Removed;
        member.removed_at_ms = Some(at_ms);
        member.lost = lost;
        Ok(())
    }

    fn live_mut(&mut self, node: NodeId) -> Result<&mut Member, Refusal> {
        let member = self.members.get_mut(&node);
        let member = member.filter(|member| member.is_live());
        member.ok_or(Refusal::UnknownNode { node })
    }
}

fn check_newcomer(newcomer: &JoinRequest) -> Result<(), Refusal> {
    let name = newcomer.name.as_str().as_bytes();
    check_length(NODE_NAME, name, NAME_BYTES_MAX)?;
    check_bound(ADDRESS, newcomer.address.as_bytes(), NAME_BYTES_MAX)
}
