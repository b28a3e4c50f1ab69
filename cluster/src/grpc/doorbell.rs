//! `Doorbell`: the one call of a node that is no member yet.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::peer::v1 as pb;
use rustls::ClientConfig;
use tokio::time::timeout;
use tonic::Status;

use super::connector::{Connector, Trust};
use super::links::{Lane, channel};
use super::services::peer_client::PeerClient;
use crate::Clock;
use crate::tls::Credentials;

/// How long an answer may take: it is committed to the log first.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// A way to one address, to ask for admission.
#[derive(Debug)]
pub(crate) struct Doorbell {
    connector: Connector,
}

/// Why there was no answer. Asking again is safe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DoorbellError {
    /// Nobody there, or not to be trusted, or it can't tell now.
    #[error("no answer: {0}")]
    Failed(String),
    /// Somebody answers, and is of another cluster than the one that is trusted.
    #[error("its certificate is not of the CA that this node trusts")]
    OtherCa,
    /// It takes too long.
    #[error("no answer within {ANSWER_MAX:?}")]
    TooSlow,
    /// An answer that says nothing.
    #[error("an empty answer; is that node of a newer version?")]
    Empty,
}

impl Doorbell {
    /// Shows the node's certificate, and trusts every node that its CA signed.
    pub(crate) fn as_node(credentials: Credentials, address: &str) -> Self {
        Self {
            connector: Connector::new(Trust::Member(credentials), address, None),
        }
    }

    /// Shows no certificate, and trusts the cluster whose CA `config` pins.
    pub(crate) fn pinned(config: Arc<ClientConfig>, clock: Clock, address: &str) -> Self {
        Self {
            connector: Connector::new(Trust::Pinned(config, clock), address, None),
        }
    }

    /// Asks.
    pub(crate) async fn join(
        self,
        request: pb::JoinRequest,
    ) -> Result<pb::join_response::Result, DoorbellError> {
        let mut client = PeerClient::new(channel(self.connector, Lane::Calls));
        let answer = timeout(ANSWER_MAX, client.join(request)).await;
        let answer = answer.map_err(|_elapsed| DoorbellError::TooSlow)?;
        let answer = answer.map_err(|status| match is_of_other_ca(&status) {
            true => DoorbellError::OtherCa,
            false => DoorbellError::Failed(with_cause(&status)),
        })?;
        answer.into_inner().result.ok_or(DoorbellError::Empty)
    }
}

/// What went wrong with a connection stands in the causes of a status, not in its text.
pub(super) fn with_cause(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

/// Whether the handshake ended over who has signed the other's certificate.
fn is_of_other_ca(status: &Status) -> bool {
    use rustls::{CertificateError, Error};
    let is_it = |error: &(dyn std::error::Error + 'static)| {
        let refused = error.downcast_ref::<Error>();
        // The second where the other CA has the same name.
        matches!(
            refused,
            Some(Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature
            ))
        )
    };
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        // Whoever wraps an error this way has its cause as its own.
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        if is_it(error) || wrapped.is_some_and(|wrapped| is_it(wrapped)) {
            return true;
        }
        cause = error.source();
    }
    false
}
