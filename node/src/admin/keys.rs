//! API keys.

use aws_lc_rs::rand;
use http::StatusCode;
use lockgate_cluster::{KeyMac, NewKey, RegistryCommand, Reply};
use lockgate_proto::id::{Principal, RoleName, Tenant};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::acting::Acting;
use super::answer::{self, Answer};
use super::body;
use super::error::ApiError;
use super::parts::Parts;
use super::status::timestamp_ms;
use crate::config::{NAME_REMEDY, Registry, is_name};
use crate::identity::{KeyHasher, generate_key};

/// Longest principal, in bytes.
const PRINCIPAL_BYTES_MAX: usize = 128;

/// One key in the list; its value is nowhere.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    id: &'a str,
    principal: &'a Principal,
    tenant: Option<&'a Tenant>,
    roles: &'a [RoleName],
    /// `file` or `registry`.
    source: &'static str,
    /// Not known of keys of the file.
    created_at: Option<String>,
    revoked: bool,
    /// Those of `roles` that are not configured, and grant nothing.
    missing_roles: Vec<&'a RoleName>,
    /// Whether `tenant` is not configured, and reaches no server.
    is_tenant_missing: bool,
}

/// Body of POST.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    principal: String,
    tenant: Option<String>,
    roles: Vec<String>,
    id: Option<String>,
}

impl<'a> Shown<'a> {
    /// Notes what the configuration does not have of what the key names: it may have been taken away since.
    fn held_to(mut self, registry: &Registry) -> Self {
        let roles = self.roles.iter();
        self.missing_roles = roles
            .filter(|role| !registry.roles.contains_key(*role))
            .collect();
        let tenant = self.tenant;
        self.is_tenant_missing = tenant.is_some_and(|one| !registry.tenants.contains_key(one));
        self
    }
}

/// Keys of the file, then those of the registry by id.
pub(super) fn list(parts: &Parts) -> Answer {
    let (registry, view) = (parts.registry.load(), parts.cluster.view());
    let of_file = registry.identity.api_keys.iter().map(|key| Shown {
        id: &key.id,
        principal: &key.principal,
        tenant: key.tenant.as_ref(),
        roles: &key.roles,
        source: "file",
        created_at: None,
        revoked: false,
        missing_roles: Vec::new(),
        is_tenant_missing: false,
    });
    let of_registry = view.keys().iter().map(|(id, key)| Shown {
        id,
        principal: &key.principal,
        tenant: key.tenant.as_ref(),
        roles: &key.roles,
        source: "registry",
        created_at: Some(timestamp_ms(key.created_at_ms)),
        revoked: key.revoked_at_ms.is_some(),
        missing_roles: Vec::new(),
        is_tenant_missing: false,
    });
    let keys = of_file.chain(of_registry);
    let keys: Vec<_> = keys.map(|key| key.held_to(&registry)).collect();
    answer::ok(&json!({ "keys": keys }))
}

/// Makes a key. Its value is in this answer and nowhere else.
pub(super) async fn create(acting: &Acting<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let wanted: Wanted = body::parse(body)?;
    let registry = acting.parts.registry.load_full();
    check(&wanted, &registry)?;
    let id = match wanted.id {
        Some(id) => id,
        None => random_id()?,
    };
    refuse_written_key(acting.parts, &id, "key_exists", "choose another id")?;
    let (value, mac) = draw(acting.parts)?;
    let mut roles = Vec::new();
    for role in wanted.roles.into_iter().map(RoleName::new) {
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    let key = NewKey {
        id: id.clone(),
        mac,
        principal: Principal::new(wanted.principal),
        tenant: wanted.tenant.map(Tenant::new),
        roles,
    };
    acting.record("keys.create", &id)?;
    acting
        .parts
        .cluster
        .propose(RegistryCommand::CreateKey(key).into())
        .await?;
    acting.apply().await?;
    Ok(shown_once(StatusCode::CREATED, &id, &value))
}

/// Ends a key. When the answer is sent, the key opens nothing on any node any more: each has applied it, or is cut
/// off and serves nothing.
pub(super) async fn revoke(acting: &Acting<'_>, id: &str) -> Result<Answer, ApiError> {
    let (_, remedy) = acting.parts.written();
    refuse_written_key(acting.parts, id, "file_key", remedy)?;
    acting.record("keys.revoke", id)?;
    let command = RegistryCommand::RevokeKey { id: id.to_owned() };
    let reply = acting.parts.cluster.propose(command.into()).await?;
    acting.apply().await?;
    if let Reply::Revoked { index } = reply {
        acting.settle(index).await?;
    }
    Ok(answer::done())
}

/// Replaces the value of a key.
pub(super) async fn rotate(acting: &Acting<'_>, id: &str) -> Result<Answer, ApiError> {
    let remedy = match acting.parts.has_others() {
        true => "change the variable that it names on every node, and restart one after the other",
        false => "change the variable that the configuration file names, then restart",
    };
    refuse_written_key(acting.parts, id, "file_key", remedy)?;
    let (value, mac) = draw(acting.parts)?;
    acting.record("keys.rotate", id)?;
    let command = RegistryCommand::RotateKey {
        id: id.to_owned(),
        mac,
    };
    acting.parts.cluster.propose(command.into()).await?;
    acting.apply().await?;
    Ok(shown_once(StatusCode::OK, id, &value))
}

fn shown_once(status: StatusCode, id: &str, value: &SecretString) -> Answer {
    answer::json(status, &json!({ "id": id, "key": value.expose_secret() }))
}

/// A key that names what the configuration does not have grants nothing, so it is a mistake.
fn check(wanted: &Wanted, registry: &Registry) -> Result<(), ApiError> {
    check_principal(&wanted.principal)?;
    // The file takes no other ids, and a path of this API holds them.
    if let Some(id) = wanted.id.as_ref().filter(|id| !is_name(id)) {
        let message = format!("{id:?} is not a name");
        return Err(ApiError::invalid("invalid_name", message, NAME_REMEDY));
    }
    if wanted.roles.is_empty() {
        let message = "a key without roles may do nothing";
        return Err(ApiError::invalid(
            "no_roles",
            message,
            "name at least one role",
        ));
    }
    for role in &wanted.roles {
        if !registry.roles.contains_key(role.as_str()) {
            let known = listed(registry.roles.keys().map(RoleName::as_str));
            let message = format!("there is no role `{role}`");
            return Err(ApiError::invalid(
                "unknown_role",
                message,
                format!("known roles: {known}"),
            ));
        }
    }
    match &wanted.tenant {
        Some(tenant) if !registry.tenants.contains_key(tenant.as_str()) => {
            let known = listed(registry.tenants.keys().map(Tenant::as_str));
            let message = format!("there is no tenant `{tenant}`");
            Err(ApiError::invalid(
                "unknown_tenant",
                message,
                format!("known tenants: {known}"),
            ))
        }
        _ => Ok(()),
    }
}

/// Principals stand in log lines, audit lines and tables.
fn check_principal(text: &str) -> Result<(), ApiError> {
    let fits = !text.trim().is_empty() && text.len() <= PRINCIPAL_BYTES_MAX;
    if fits && !text.chars().any(char::is_control) {
        return Ok(());
    }
    let message = "`principal` is not a name";
    let remedy = format!("use 1 to {PRINCIPAL_BYTES_MAX} visible bytes");
    Err(ApiError::invalid("invalid_name", message, remedy))
}

/// Keys that stand beside the servers and roles are changed there.
fn refuse_written_key(
    parts: &Parts,
    id: &str,
    code: &'static str,
    remedy: &'static str,
) -> Result<(), ApiError> {
    let registry = parts.registry.load();
    if !registry.identity.api_keys.iter().any(|key| key.id == id) {
        return Ok(());
    }
    let message = format!("API key `{id}` {}", parts.written().0);
    Err(ApiError::conflict(code, message, remedy))
}

fn draw(parts: &Parts) -> Result<(SecretString, KeyMac), ApiError> {
    let value = generate_key().ok_or_else(no_randomness)?;
    let hasher = KeyHasher::new(parts.cluster.view().keyring().pepper());
    let mac = hasher.mac(value.expose_secret());
    Ok((value, mac))
}

fn random_id() -> Result<String, ApiError> {
    let mut bytes = [0; 6];
    rand::fill(&mut bytes).map_err(|_| no_randomness())?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("key-{digits}"))
}

fn no_randomness() -> ApiError {
    let message = "the system's random generator has failed";
    ApiError::unavailable("no_randomness", message, "see the system's log")
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
