//! Refusals of the admin API, and the one place that maps causes to them.

use std::borrow::Cow;

use http::StatusCode;
use lockgate_cluster::{ProposeError, ReadError, Refusal};

use crate::error::CallError;

/// One refusal.
///
/// ```json
/// {"error":{"code":"unknown_key","message":"there is no API key `ci`","remedy":"see `lockgate keys list`"}}
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    /// For programs; never changes.
    pub(super) code: &'static str,
    pub(super) message: String,
    /// What helps.
    pub(super) remedy: Cow<'static, str>,
}

impl ApiError {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    /// The request names something that does not exist.
    pub(super) fn not_found(
        code: &'static str,
        message: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message, remedy)
    }

    /// The request does not fit what there is.
    pub(super) fn conflict(
        code: &'static str,
        message: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Self::new(StatusCode::CONFLICT, code, message, remedy)
    }

    /// The request can be read and means nothing.
    pub(super) fn invalid(
        code: &'static str,
        message: impl Into<String>,
        remedy: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message, remedy)
    }

    /// The node cannot do it now.
    pub(super) fn unavailable(
        code: &'static str,
        message: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message, remedy)
    }

    /// What is stored now could not be made effective.
    pub(super) fn not_applied(cause: &str) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "not_applied",
            format!("the change is stored and not in force on this node: {cause}"),
            "see the node's log; a restart applies what is stored",
        )
    }
}

impl From<ProposeError> for ApiError {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::Refused(refusal) => refusal.into(),
            // Told apart by its status: here the change may have been made.
            ProposeError::Unknown => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "outcome_unknown",
                ProposeError::Unknown.to_string(),
                "list what is there, at another node if this one has no leader",
            ),
            ProposeError::NoLeader => Self::unavailable(
                "no_leader",
                ProposeError::NoLeader.to_string(),
                "see `lockgate cluster health`",
            ),
            other => Self::unavailable(
                "store_unavailable",
                other.to_string(),
                "see the node's log, then restart the node",
            ),
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        Self::unavailable(
            "no_leader",
            error.to_string(),
            "see `lockgate cluster health`",
        )
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::UnknownKey { .. } => {
                Self::not_found("unknown_key", message, "see `lockgate keys list`")
            }
            Refusal::UnknownServer { .. } => {
                Self::not_found("unknown_server", message, "see `lockgate servers list`")
            }
            Refusal::KeyExists { .. } => Self::conflict("key_exists", message, ""),
            Refusal::KeyRevoked { .. } => Self::conflict("key_revoked", message, ""),
            Refusal::ServerExists { .. } => Self::conflict("server_exists", message, ""),
            Refusal::StaleRegister { .. } => Self::conflict("stale_register", message, ""),
            Refusal::StaleConfig { .. } => Self::conflict("stale_config", message, ""),
            Refusal::UnknownVersion { .. } => Self::not_found("unknown_version", message, ""),
            Refusal::UnknownToken { .. } => Self::not_found("unknown_token", message, ""),
            Refusal::UnknownNode { .. } | Refusal::UnknownNodeName { .. } => {
                Self::not_found("unknown_node", message, "see `lockgate cluster members`")
            }
            Refusal::HoldsShards { .. } => Self::conflict("holds_shards", message, ""),
            Refusal::LastVoter => Self::conflict("last_voter", message, ""),
            Refusal::BadLength { .. } => Self::invalid("bad_length", message, ""),
            _ => Self::conflict("refused", message, ""),
        }
    }
}

/// Only the audit log refuses with the call path's own errors here.
impl From<CallError> for ApiError {
    fn from(error: CallError) -> Self {
        Self::unavailable(
            "audit_unavailable",
            error.to_string(),
            "what cannot be recorded is not done; free the disk of the audit log",
        )
    }
}
