//! `Admission`: what a member answers to a node that wants to join.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use lockgate_proto::id::{NodeId, NodeName};
use lockgate_proto::peer::v1 as pb;
use pb::join_refused::Reason;
use pb::join_response::Result as Answer;

use super::token::digest_of;
use crate::audit::{Guard, Guards};
use crate::command::{JoinProof, JoinRequest, NodesCommand, wire};
use crate::guarding;
use crate::machine::{Parts, Refusal};
use crate::secret::Secret;
use crate::tls::{Authority, Identity, is_name};

/// Longest address of a node.
const ADDRESS_BYTES_MAX: usize = 260;

/// Decides who may join, and writes the answer.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    /// Names of the configured peers: a node whose certificate bears one needs no token.
    pub(crate) peers: Arc<BTreeSet<String>>,
    /// The cluster's part of the names in certificates.
    pub(crate) trust_domain: Arc<str>,
    /// Signs the certificates of nodes that have none, when this node holds the CA's key.
    pub(crate) authority: Option<Arc<Authority>>,
    /// Opens the secrets in the replicated state. A member gets it, for it holds that state.
    pub(crate) key: Secret,
    /// Secrets of the audit log that this node was given.
    pub(crate) guards: Guards,
}

/// What to propose for a node, and what it is to get when the machine agrees.
#[derive(Debug)]
pub(crate) struct Proposal {
    /// The command.
    pub(crate) command: NodesCommand,
    certificates: Vec<Bytes>,
}

/// The cluster as the answering node knows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// Id of the cluster.
    pub(crate) cluster: Bytes,
    /// Who are members, and since which entry.
    pub(crate) membership_log_id: Option<pb::RaftLogId>,
    /// Who are members.
    pub(crate) membership: pb::RaftMembership,
}

impl Admission {
    /// Answers a request. `propose` has the machine decide whether the name is free and the token is good.
    pub(crate) async fn answer<E, F>(
        &self,
        identity: Option<&Identity>,
        request: pb::JoinRequest,
        now: SystemTime,
        propose: impl FnOnce(NodesCommand) -> F,
        known: impl FnOnce() -> Known,
    ) -> Result<Answer, E>
    where
        F: Future<Output = Result<Result<NodeId, Refusal>, E>>,
    {
        let proposal = match self.examine(identity, request, now) {
            Ok(proposal) => proposal,
            Err(refused) => return Ok(Answer::Refused(refused)),
        };
        let number = match propose(proposal.command).await? {
            Ok(number) => number,
            Err(refusal) => return Ok(Answer::Refused(refused_by_machine(&refusal))),
        };
        let known = known();
        Ok(Answer::Admitted(pb::Admitted {
            cluster: known.cluster,
            raft_id: number.0,
            membership_log_id: known.membership_log_id,
            membership: Some(known.membership),
            certificates: proposal.certificates,
            key: Bytes::copy_from_slice(self.key.expose()),
        }))
    }

    /// Refuses a node that does not show that it was given the secret which guards the audit log, or which is about to.
    ///
    /// # Errors
    ///
    /// The refusal.
    pub(crate) fn check_guard(
        &self,
        parts: &Parts,
        request: &pb::JoinRequest,
    ) -> Result<(), pb::JoinRefused> {
        let Some(genesis) = parts.audit().genesis() else {
            return Ok(());
        };
        let (proofs, nonce) = (&request.audit_proofs, &request.nonce);
        let proves = |guard: &Guard| guard.is_proved(proofs, nonce, &request.name);
        let is_fit = match guarding::in_force(parts) {
            Some(mark) => self.guards.find(&genesis.log, mark).is_some_and(proves),
            // A node may come before its secret does, but not with another one.
            None => proofs.is_empty() || self.guards.first().is_none_or(proves),
        };
        match is_fit {
            true => Ok(()),
            false => Err(refused(
                Reason::Other,
                "a secret guards the audit log of this cluster, and the node was given another one or none; give it, as \
                 `audit.hmac_key_env`, the variable that the members have",
            )),
        }
    }

    /// What can be decided without the machine.
    pub(crate) fn examine(
        &self,
        identity: Option<&Identity>,
        request: pb::JoinRequest,
        now: SystemTime,
    ) -> Result<Proposal, pb::JoinRefused> {
        if !is_name(&request.name) || !is_address(&request.address) {
            return Err(refused(
                Reason::Malformed,
                "the node's name or address is malformed",
            ));
        }
        if let Some(identity) = identity
            && identity.name() != request.name
        {
            let why = format!("the certificate is for `{}`", identity.name());
            return Err(refused(Reason::Malformed, &why));
        }
        let malformed = |_| refused(Reason::Malformed, "the request is malformed");
        let nonce = wire::array("nonce", &request.nonce).map_err(malformed)?;
        let speaks = wire::speaks_from(request.speaks).map_err(malformed)?;
        let proof = self.proof(identity, request.token)?;
        let certificates = match identity {
            // It has a certificate; a new one would be of no use to it.
            Some(_) => Vec::new(),
            None => self.certificates(&request.name, &request.csr, now)?,
        };
        let command = NodesCommand::Join(JoinRequest {
            name: NodeName::new(request.name),
            address: request.address,
            nonce,
            speaks,
            proof,
            learner: request.learner,
        });
        Ok(Proposal {
            command,
            certificates,
        })
    }

    fn proof(
        &self,
        identity: Option<&Identity>,
        token: Option<pb::JoinTokenProof>,
    ) -> Result<JoinProof, pb::JoinRefused> {
        match (token, identity) {
            (Some(token), _) => Ok(JoinProof::Token {
                id: token.id,
                digest: digest_of(&token.secret),
            }),
            (None, Some(identity)) if self.peers.contains(identity.name()) => Ok(JoinProof::Peer),
            (None, _) => Err(refused(
                Reason::UnknownNode,
                "no token, and no certificate with a name among `cluster.peers`",
            )),
        }
    }

    fn certificates(
        &self,
        name: &str,
        csr: &[u8],
        now: SystemTime,
    ) -> Result<Vec<Bytes>, pb::JoinRefused> {
        let Some(authority) = &self.authority else {
            let why =
                "this node holds no CA key; give the new node a certificate, or ask one that does";
            return Err(refused(Reason::NoCaKey, why));
        };
        let bad = |why: String| refused(Reason::Csr, &why);
        let identity =
            Identity::new(&self.trust_domain, name).map_err(|error| bad(error.to_string()))?;
        let signed = authority
            .sign_request(csr, &identity, now)
            .map_err(|error| bad(error.to_string()))?;
        let chain = [signed.der(), authority.certificate()];
        Ok(chain.map(|der| Bytes::copy_from_slice(der)).to_vec())
    }
}

fn refused_by_machine(refusal: &Refusal) -> pb::JoinRefused {
    match refusal {
        // Whether it never was, or was used, or is too old helps only one who guesses.
        Refusal::UnknownToken { .. } => refused(
            Reason::Token,
            "the token is not good: used already, too old, or never made",
        ),
        Refusal::NodeExists { .. } => refused(Reason::NameTaken, &refusal.to_string()),
        other => refused(Reason::Other, &other.to_string()),
    }
}

fn refused(reason: Reason, detail: &str) -> pb::JoinRefused {
    pb::JoinRefused {
        reason: reason.into(),
        detail: detail.to_owned(),
    }
}

/// Host and port. Whether there is such a host shows when it is dialled.
fn is_address(address: &str) -> bool {
    address.len() <= ADDRESS_BYTES_MAX
        && address.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty()
                && port.parse::<u16>().is_ok_and(|port| port > 0)
                && !host.contains(|c: char| c.is_whitespace() || c.is_control())
        })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;
    use crate::command::Speaks;
    use crate::join::JoinToken;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn admission(with_ca: bool) -> Admission {
        let authority = Authority::generate("prod", now()).unwrap();
        Admission {
            peers: Arc::new(BTreeSet::from(["n2".to_owned(), "n3".to_owned()])),
            trust_domain: Arc::from("prod"),
            authority: with_ca.then(|| Arc::new(authority)),
            key: Secret::from_bytes([3; 32]),
            guards: Guards::default(),
        }
    }

    fn request(name: &str, token: Option<&JoinToken>) -> pb::JoinRequest {
        pb::JoinRequest {
            name: name.to_owned(),
            address: "10.0.0.1:7800".to_owned(),
            nonce: vec![1; 16].into(),
            speaks: Some(wire::speaks_to(&Speaks::ours())),
            token: token.map(|token| pb::JoinTokenProof {
                id: token.id().to_owned(),
                secret: token.secret().expose().to_vec().into(),
            }),
            csr: Bytes::new(),
            learner: false,
            audit_proofs: Vec::new(),
        }
    }

    fn csr(name: &str) -> Bytes {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        let uri = format!("spiffe://prod/node/{name}");
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params
            .serialize_request(&key)
            .unwrap()
            .der()
            .to_vec()
            .into()
    }

    fn check(
        admission: &Admission,
        identity: Option<&str>,
        request: pb::JoinRequest,
        expected: Result<(), Reason>,
    ) {
        let identity = identity.map(|name| Identity::new("prod", name).unwrap());
        let shown = format!("{identity:?} {request:?}");
        let examined = admission.examine(identity.as_ref(), request, now());
        let found = examined.map(drop).map_err(|refused| refused.reason());
        assert_eq!(found, expected, "{shown}");
    }

    #[test]
    fn a_peer_by_certificate_or_a_token_may_ask_the_machine() {
        let it = admission(false);
        let token = JoinToken::generate([0; 32]).unwrap();
        check(&it, Some("n2"), request("n2", None), Ok(()));
        check(&it, Some("n9"), request("n9", Some(&token)), Ok(()));
        check(
            &it,
            Some("n9"),
            request("n9", None),
            Err(Reason::UnknownNode),
        );
        check(&it, None, request("n2", None), Err(Reason::UnknownNode));
        check(&it, Some("n2"), request("n3", None), Err(Reason::Malformed));
        check(
            &it,
            Some("n2"),
            request("n3", Some(&token)),
            Err(Reason::Malformed),
        );
        check(&it, None, request("n9", Some(&token)), Err(Reason::NoCaKey));
    }

    #[test]
    fn malformed_requests_are_refused() {
        let it = admission(false);
        for address in [
            "",
            "n2",
            "n2:",
            ":7800",
            "n2:0",
            "n2:70000",
            "n 2:7800",
            "n2:7800\n",
        ] {
            let request = pb::JoinRequest {
                address: address.to_owned(),
                ..request("n2", None)
            };
            check(&it, Some("n2"), request, Err(Reason::Malformed));
        }
        let short = pb::JoinRequest {
            nonce: vec![1; 15].into(),
            ..request("n2", None)
        };
        check(&it, Some("n2"), short, Err(Reason::Malformed));
        check(&it, None, request("a/b", None), Err(Reason::Malformed));
        check(&it, None, request("", None), Err(Reason::Malformed));
    }

    #[test]
    fn a_node_without_a_certificate_gets_one_for_its_own_name_only() {
        let it = admission(true);
        let token = JoinToken::generate([0; 32]).unwrap();
        let ask = |csr| pb::JoinRequest {
            csr,
            ..request("n9", Some(&token))
        };
        check(&it, None, ask(csr("n1")), Err(Reason::Csr));
        check(&it, None, ask(Bytes::new()), Err(Reason::Csr));
        let proposal = it.examine(None, ask(csr("n9")), now()).unwrap();
        let leaf = proposal.certificates[0].to_vec().into();
        assert_eq!(Identity::of_certificate(&leaf).unwrap().name(), "n9");
    }

    async fn answer(outcome: Result<NodeId, Refusal>) -> Answer {
        let identity = Identity::new("prod", "n2").unwrap();
        let propose = |command| async move {
            assert!(matches!(command, NodesCommand::Join(_)));
            Ok::<_, std::convert::Infallible>(outcome)
        };
        let it = admission(false);
        let answer = it.answer(
            Some(&identity),
            request("n2", None),
            now(),
            propose,
            Known::default,
        );
        answer.await.unwrap()
    }

    #[tokio::test]
    async fn the_machine_decides_about_names_and_tokens() {
        let Answer::Admitted(admitted) = answer(Ok(NodeId(77))).await else {
            panic!("refused");
        };
        assert_eq!(
            (admitted.raft_id, admitted.key.as_ref()),
            (77, &[3; 32][..])
        );
        let check = async |refusal, expected| match answer(Err(refusal)).await {
            Answer::Refused(refused) => assert_eq!(refused.reason(), expected),
            Answer::Admitted(_) => panic!("admitted"),
        };
        let name = NodeName::new("n2");
        check(Refusal::NodeExists { name }, Reason::NameTaken).await;
        check(Refusal::UnknownToken { id: "x".into() }, Reason::Token).await;
        check(Refusal::NotFounded, Reason::Other).await;
    }
}
