//! Who may come in, and what for.

use std::collections::BTreeMap;

use globset::Glob;
use lockgate_proto::id::{Principal, RoleName, ServerName, Tenant};
use secrecy::{ExposeSecret, SecretString};

use super::{Context, Findings, problem};
use crate::config::checked::{ApiKey, Identity, Role, Server, TenantSettings};
use crate::config::interpolate::is_variable;
use crate::config::raw;
use crate::config::tree::KeyPath;

/// Shorter keys can be guessed: 16 characters of 6 bits are 96 bits.
const KEY_LEN_MIN: usize = 16;
/// Marks that narrow a glob to one kind of object.
const KINDS: &[&str] = &["tool", "prompt", "resource", "method"];

/// What names must refer to.
pub(super) struct Names<'a> {
    pub roles: &'a BTreeMap<RoleName, Role>,
    pub tenants: &'a BTreeMap<Tenant, TenantSettings>,
}

pub(super) fn roles(
    raw: Option<BTreeMap<String, raw::Role>>,
    found: &mut Findings,
) -> BTreeMap<RoleName, Role> {
    let at = KeyPath::root().key("roles");
    let check = |(name, role): (String, raw::Role)| {
        let at = at.key(&name);
        let role = Role {
            allow: role.allow.unwrap_or_default(),
            deny: role.deny.unwrap_or_default(),
        };
        for (key, globs) in [("allow", &role.allow), ("deny", &role.deny)] {
            for (index, glob) in globs.iter().enumerate() {
                pattern(glob, &at.key(key).index(index), found);
            }
        }
        (RoleName::new(name), role)
    };
    raw.unwrap_or_default().into_iter().map(check).collect()
}

fn pattern(text: &str, at: &KeyPath, found: &mut Findings) {
    let glob = KINDS
        .iter()
        .find_map(|kind| text.strip_prefix(kind)?.strip_prefix(':'))
        .unwrap_or(text);
    if glob.is_empty() {
        found.refuse(
            at,
            format!("{text:?} matches nothing"),
            "write a glob, for example github_list_*",
        );
    } else if let Err(error) = Glob::new(glob) {
        found.refuse(
            at,
            format!("{text:?} is not a glob: {}", super::reason(&error)),
            "put special characters in brackets, for example [*]",
        );
    } else if let Some((what, remedy)) = slip(text, glob) {
        found.slip(problem(at, format!("{text:?} {what}"), remedy));
    }
}

/// What is wrong with a pattern that is a glob, but hardly the one that was meant: in `deny` it would deny nothing.
fn slip(text: &str, glob: &str) -> Option<(&'static str, String)> {
    if glob.trim() != glob {
        return Some((
            "begins or ends with a blank, which no name does",
            "remove it".to_owned(),
        ));
    }
    if glob.starts_with('!') {
        return Some((
            "begins with `!`, which negates nothing",
            "put the glob without it into the other list".to_owned(),
        ));
    }
    let (mark, rest) = text.split_once(':')?;
    let word = mark.trim().to_ascii_lowercase();
    let kind = KINDS
        .iter()
        .find(|kind| word.strip_suffix('s').unwrap_or(&word) == **kind)?;
    // Not the scheme of a URI, nor a kind as it has to be.
    let is_slip = mark != *kind && !rest.starts_with("//");
    is_slip.then(|| {
        (
            "begins with no kind of object",
            format!("write `{kind}:`; put `resource:` before a URI that begins so"),
        )
    })
}

pub(super) fn tenants(
    raw: Option<BTreeMap<String, raw::Tenant>>,
    servers: &[Server],
    found: &mut Findings,
) -> BTreeMap<Tenant, TenantSettings> {
    let at = KeyPath::root().key("tenants");
    let check = |(name, tenant): (String, raw::Tenant)| {
        let at = at.key(&name).key("servers");
        let names = tenant
            .servers
            .map(|names| names.into_iter().map(ServerName::new).collect::<Vec<_>>());
        for (index, server) in names.iter().flatten().enumerate() {
            if !servers.iter().any(|known| known.name == *server) {
                let known = listed(servers.iter().map(|server| server.name.as_str()));
                found.refuse(
                    &at.index(index),
                    format!("there is no server `{server}`"),
                    format!("add it under `servers`, known: {known}"),
                );
            }
        }
        (Tenant::new(name), TenantSettings { servers: names })
    };
    raw.unwrap_or_default().into_iter().map(check).collect()
}

pub(super) fn identity(
    raw: Option<raw::Identity>,
    names: &Names<'_>,
    context: &Context<'_>,
    found: &mut Findings,
) -> Identity {
    let raw = raw.unwrap_or_default();
    let at = KeyPath::root().key("identity");
    let mut api_keys: Vec<ApiKey> = Vec::new();
    for (index, raw) in raw.api_keys.unwrap_or_default().into_iter().enumerate() {
        let at = at.key("api_keys").index(index);
        let Some(key) = api_key(raw, &at, names, context, found) else {
            continue;
        };
        if api_keys.iter().any(|other| other.id == key.id) {
            found.refuse(
                &at.key("id"),
                format!("the id `{}` is there twice", key.id),
                "give each key its own id",
            );
        }
        let same = |other: &&ApiKey| other.secret.expose_secret() == key.secret.expose_secret();
        if let Some(other) = api_keys.iter().find(same) {
            found.refuse(
                &at.key("key_env"),
                format!("holds the same key as `{}`", other.id),
                "give each id its own key",
            );
        }
        api_keys.push(key);
    }
    let anonymous = match raw.anonymous {
        None | Some(raw::Anonymous::Word(raw::Deny::Deny)) => None,
        Some(raw::Anonymous::Roles(roles)) => {
            Some(known_roles(roles, &at.key("anonymous"), names, found))
        }
    };
    Identity {
        api_keys,
        anonymous,
    }
}

/// `None` when a required key is missing, which the shape check reports, or the value is not there.
fn api_key(
    raw: raw::ApiKey,
    at: &KeyPath,
    names: &Names<'_>,
    context: &Context<'_>,
    found: &mut Findings,
) -> Option<ApiKey> {
    let roles = known_roles(
        raw.roles.unwrap_or_default(),
        &at.key("roles"),
        names,
        found,
    );
    let tenant = raw.tenant.map(Tenant::new);
    if let Some(tenant) = tenant
        .as_ref()
        .filter(|tenant| !names.tenants.contains_key(*tenant))
    {
        let known = listed(names.tenants.keys().map(Tenant::as_str));
        found.refuse(
            &at.key("tenant"),
            format!("there is no tenant `{tenant}`"),
            format!("add it under `tenants`, known: {known}"),
        );
    }
    let secret = secret(&raw.key_env?, &at.key("key_env"), context, found)?;
    Some(ApiKey {
        id: raw.id?,
        secret,
        principal: Principal::new(raw.principal?),
        tenant,
        roles,
    })
}

fn secret(
    variable: &str,
    at: &KeyPath,
    context: &Context<'_>,
    found: &mut Findings,
) -> Option<SecretString> {
    if !is_variable(variable) {
        // The text is not repeated: it may well be the key itself.
        found.refuse(
            at,
            "this is not the name of an environment variable",
            "write a name with letters, digits and `_`, and put the key into that variable",
        );
        return None;
    }
    let Some(key) = (context.env)(variable) else {
        found.refuse(at, format!("the environment variable `{variable}` is not set"), format!("set `{variable}` to the key, for example: export {variable}=lg_$(openssl rand -hex 24)"));
        return None;
    };
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        found.refuse(
            at,
            format!("`{variable}` is empty, or holds characters that no header may carry"),
            "use visible ASCII without spaces",
        );
        return None;
    }
    if key.len() < KEY_LEN_MIN {
        found.warn(at, format!("the key in `{variable}` has only {} characters", key.len()), format!("use at least {KEY_LEN_MIN} random ones, for example: export {variable}=lg_$(openssl rand -hex 24)"));
    }
    Some(SecretString::from(key))
}

fn known_roles(
    raw: Vec<String>,
    at: &KeyPath,
    names: &Names<'_>,
    found: &mut Findings,
) -> Vec<RoleName> {
    let roles: Vec<RoleName> = raw.into_iter().map(RoleName::new).collect();
    for (index, role) in roles.iter().enumerate() {
        if !names.roles.contains_key(role) {
            let known = listed(names.roles.keys().map(RoleName::as_str));
            found.refuse(
                &at.index(index),
                format!("there is no role `{role}`"),
                format!("add it under `roles`, known: {known}"),
            );
        }
    }
    roles
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
