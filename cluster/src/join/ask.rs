//! Asks the members of a cluster to be admitted.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use lockgate_proto::peer::v1 as pb;
use pb::join_response::Result as Answer;
use tokio::time::{Instant, sleep};

use super::token::JoinToken;
use crate::Clock;
use crate::audit::Guards;
use crate::command::{Speaks, wire};
use crate::grpc::{Doorbell, DoorbellError};
use crate::tls::{Credentials, SigningRequest, TlsError, pinned_client};

/// Pause after nobody could be reached, from the first to the longest.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How a node wants to join.
pub(crate) struct JoinOptions {
    /// Its name.
    pub(crate) name: String,
    /// Where it will listen for the others.
    pub(crate) address: String,
    /// Members to ask: host and port.
    pub(crate) members: Vec<String>,
    /// How it shows who it is.
    pub(crate) papers: Papers,
    /// How long to try.
    pub(crate) limit: Duration,
    /// Drawn for this attempt to join.
    pub(crate) nonce: [u8; 16],
    /// Whether it wants no vote, also where it may have one.
    pub(crate) learner: bool,
    /// Secrets of the audit log that it was given.
    pub(crate) guards: Guards,
}

/// How a joining node shows who it is.
pub(crate) enum Papers {
    /// By its certificate, and a token if its name is not among the peers.
    Certificate(Credentials, Option<JoinToken>),
    /// By a token alone; it gets a certificate for the key of the request.
    Token {
        /// The token.
        token: JoinToken,
        /// For what to sign.
        request: SigningRequest,
        /// Decides whether the members' certificates are good now.
        clock: Clock,
    },
}

impl fmt::Debug for JoinOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinOptions")
            .field("name", &self.name)
            .field("members", &self.members)
            .finish_non_exhaustive()
    }
}

/// Why a node was not admitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AskError {
    /// A member said no, and asking again won't help.
    #[error("`{member}` does not admit this node: {detail}")]
    Refused {
        /// Who was asked.
        member: String,
        /// Kind of refusal.
        reason: pb::join_refused::Reason,
        /// What it says.
        detail: String,
    },
    /// Nobody answered in time.
    #[error("no member of the cluster has admitted this node within {limit:?}")]
    Nobody {
        /// How long it was tried.
        limit: Duration,
        /// What the last one said.
        #[source]
        last: Option<DoorbellError>,
    },
    /// All members are of another CA than this node's, or the token's.
    #[error(
        "all members have certificates of another CA than {}",
        if *.is_pinned { "the one that the join token names: is it whole, and of this cluster?" } else { "`cluster.tls.ca`" }
    )]
    Strangers {
        /// Whether the token says which CA it is.
        is_pinned: bool,
    },
    /// The token's CA can't be used.
    #[error("cannot set up TLS with the token's CA")]
    Tls(#[source] TlsError),
}

/// Asks the members in turn until one admits this node, says no, or the time is over.
pub(crate) async fn ask(options: &JoinOptions) -> Result<pb::Admitted, AskError> {
    let request = request(options);
    let deadline = Instant::now() + options.limit;
    let mut pause = PAUSE_MIN;
    let mut last = None;
    let mut said: BTreeMap<&str, String> = BTreeMap::new();
    loop {
        let mut are_strangers = !options.members.is_empty();
        for member in &options.members {
            let bell = doorbell(options, member)?;
            match bell.join(request.clone()).await {
                Ok(Answer::Admitted(admitted)) => return Ok(admitted),
                Ok(Answer::Refused(refused)) => {
                    return Err(AskError::Refused {
                        member: member.clone(),
                        reason: refused.reason(),
                        detail: refused.detail,
                    });
                }
                Err(error) => {
                    are_strangers &= matches!(error, DoorbellError::OtherCa);
                    // Once, and again when it is another reason.
                    let text = error.to_string();
                    if said.get(&**member) != Some(&text) {
                        tracing::warn!(member, %error, "not admitted yet");
                        said.insert(member, text);
                    }
                    last = Some(error);
                }
            }
        }
        if are_strangers {
            return Err(AskError::Strangers {
                is_pinned: matches!(options.papers, Papers::Token { .. }),
            });
        }
        if Instant::now() + pause > deadline {
            let limit = options.limit;
            return Err(AskError::Nobody { limit, last });
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn request(options: &JoinOptions) -> pb::JoinRequest {
    let (token, csr) = match &options.papers {
        Papers::Certificate(_, token) => (token.as_ref(), Bytes::new()),
        Papers::Token { token, request, .. } => (Some(token), request.der()),
    };
    pb::JoinRequest {
        name: options.name.clone(),
        address: options.address.clone(),
        nonce: Bytes::copy_from_slice(&options.nonce),
        speaks: Some(wire::speaks_to(&Speaks::ours())),
        token: token.map(|token| pb::JoinTokenProof {
            id: token.id().to_owned(),
            secret: Bytes::copy_from_slice(token.secret().expose()),
        }),
        csr,
        learner: options.learner,
        audit_proofs: (options.guards)
            .join_proofs(&options.nonce, &options.name)
            .iter()
            .map(|proof| Bytes::copy_from_slice(proof))
            .collect(),
    }
}

fn doorbell(options: &JoinOptions, member: &str) -> Result<Doorbell, AskError> {
    match &options.papers {
        Papers::Certificate(credentials, _) => Ok(Doorbell::as_node(credentials.clone(), member)),
        Papers::Token { token, clock, .. } => {
            let config = pinned_client(token.ca_sha256(), *clock).map_err(AskError::Tls)?;
            Ok(Doorbell::pinned(config, *clock, member))
        }
    }
}
