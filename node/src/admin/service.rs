//! One request: path, access, operation.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Body;
use secrecy::SecretString;

use super::access::Access;
use super::acting::Acting;
use super::answer::{self, Answer};
use super::body;
use super::early::Early;
use super::error::ApiError;
use super::parts::Parts;
use super::route::{self, Found, Operation};
use super::{
    audit, cluster, health, keyring, keys, registers, registry, servers, sessions, settings,
    shards, snapshot, status, tools, usage,
};

/// Longest time for an answer. What was stored by then stays stored.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// The admin plane behind its listener. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Service {
    early: Early,
    /// Empty until the node is put together.
    parts: Arc<OnceLock<Parts>>,
    access: Arc<Access>,
}

impl Service {
    /// Serves what is known early. `token` opens it from elsewhere; without one only this machine comes in.
    pub fn new(token: Option<SecretString>, early: Early) -> Self {
        Self {
            early,
            parts: Arc::default(),
            access: Arc::new(Access::new(token)),
        }
    }

    /// Serves everything from now on. The first parts count.
    pub fn open(&self, parts: Parts) {
        let _second = self.parts.set(parts);
    }

    /// Answers one request. Never fails: every error is an answer.
    pub async fn answer<B>(&self, peer: SocketAddr, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let answered = tokio::time::timeout(ANSWER_MAX, self.route(peer, request)).await;
        let answered = answered.unwrap_or_else(|_elapsed| {
            let message = "the answer took too long";
            Err(ApiError::unavailable(
                "too_slow",
                message,
                "see the node's log",
            ))
        });
        answered.unwrap_or_else(|error| answer::refused(&error))
    }

    async fn route<B>(&self, peer: SocketAddr, request: Request<B>) -> Result<Answer, ApiError>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let found = route::find(&head.method, head.uri.path());
        let operator = self.access.check(peer, &head.uri, &head.headers);
        let operator = match (operator, &found) {
            (Ok(operator), _) => operator,
            // Whoever balances load has no token, and learns no more than whether to send it here.
            (Err(_), Found::Operation(Operation::Alive, _)) => return Ok(health::alive()),
            (Err(_), Found::Operation(Operation::Ready, _)) => {
                return Ok(match self.parts.get() {
                    Some(parts) => health::ready(parts, false),
                    None => self.early.ready(false),
                });
            }
            (Err(error), _) => {
                self.refused(peer, &error);
                return Err(error);
            }
        };
        let (operation, part) = match found {
            Found::Operation(operation, part) => (operation, part),
            Found::OtherMethods(allow) => return Ok(answer::not_allowed(&allow)),
            Found::Nothing => {
                let remedy = "see /openapi.json for what there is";
                return Err(ApiError::not_found(
                    "no_such_path",
                    "there is nothing here",
                    remedy,
                ));
            }
        };
        let Some(parts) = self.parts.get() else {
            return self.early.answer(operation);
        };
        let body = match operation {
            Operation::KeyCreate
            | Operation::ServerAdd
            | Operation::MemberRemove
            | Operation::TransferLeader
            | Operation::TokenCreate
            | Operation::RegisterWrite
            | Operation::ConfigApply
            | Operation::ConfigRollback => body::read(body).await?,
            _ => Bytes::new(),
        };
        let acting = Acting::new(parts, operator);
        let query = head.uri.query();
        let answered = perform(operation, &acting, &part, query, &body).await;
        acting.ended(&answered);
        answered
    }

    fn refused(&self, peer: SocketAddr, error: &ApiError) {
        let why = format!("admin plane: {}", error.message);
        let peer = peer.ip().to_string();
        let Some(parts) = self.parts.get() else {
            // There is no audit log yet, and nothing that could be read or changed.
            tracing::warn!(why, peer, "credential refused");
            return;
        };
        parts.pipeline.metrics.auth_failed();
        parts.pipeline.audit.credential_refused(&why, &peer);
    }
}

async fn perform(
    operation: Operation,
    acting: &Acting<'_>,
    part: &str,
    query: Option<&str>,
    body: &[u8],
) -> Result<Answer, ApiError> {
    let parts = acting.parts;
    match operation {
        Operation::Alive => Ok(health::alive()),
        Operation::Ready => Ok(health::ready(parts, true)),
        Operation::Metrics => health::metrics(parts).await,
        Operation::OpenApi => Ok(answer::openapi()),
        Operation::Info => Ok(status::info(parts)),
        Operation::Runtime => Ok(status::runtime(parts)),
        Operation::KeysList => Ok(keys::list(parts)),
        Operation::KeyCreate => keys::create(acting, body).await,
        Operation::KeyRevoke => keys::revoke(acting, part).await,
        Operation::KeyRotate => keys::rotate(acting, part).await,
        Operation::ServersList => Ok(servers::list(parts)),
        Operation::ServerAdd => servers::add(acting, body).await,
        Operation::ServerRemove => servers::remove(acting, part).await,
        Operation::ServerRestart => servers::restart(acting, part).await,
        Operation::ToolsList => tools::list(parts, query),
        Operation::SessionsList => sessions::list(parts).await,
        Operation::SessionShow => sessions::show(parts, part).await,
        Operation::SessionEnd => sessions::end(acting, part).await,
        Operation::Usage => usage::list(parts, query),
        Operation::AuditRecords => audit::records(parts, query).await,
        Operation::AuditStats => audit::stats(parts, query).await,
        Operation::AuditKeys => audit::keys(parts).await,
        Operation::AuditRotateKey => audit::rotate_key(acting).await,
        Operation::ConfigShow => settings::show(parts),
        Operation::ConfigReload => settings::reload(acting).await,
        Operation::ConfigApply => registry::apply(acting, body).await,
        Operation::ConfigHistory => registry::history(parts),
        Operation::ConfigRollback => registry::roll_back(acting, body).await,
        Operation::Members => Ok(cluster::members(parts).await),
        Operation::Shards => Ok(shards::map(parts)),
        Operation::ClusterHealth => Ok(cluster::health(parts).await),
        Operation::MemberPromote => cluster::promote(acting, part).await,
        Operation::MemberRemove => cluster::remove(acting, part, body).await,
        Operation::TransferLeader => cluster::transfer_leader(acting, body).await,
        Operation::TokensList => Ok(cluster::tokens(parts)),
        Operation::TokenCreate => cluster::create_token(acting, body).await,
        Operation::TokenRevoke => cluster::revoke_token(acting, part).await,
        Operation::KeyringRotate => keyring::rotate(acting).await,
        Operation::SnapshotStatus => Ok(snapshot::status(parts)),
        Operation::SnapshotSave => snapshot::save(acting).await,
        Operation::SnapshotPiece => snapshot::piece(parts, part, query).await,
        Operation::RegisterShow => registers::show(parts, part, query).await,
        Operation::RegisterWrite => registers::write(acting, part, body).await,
    }
}
