//! `Identity`: from the headers of a request to its caller.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use http::HeaderMap;
use lockgate_cluster::{KeyMac, View};
use lockgate_proto::id::{Principal, RoleName, Tenant};
use secrecy::ExposeSecret;
use smallvec::SmallVec;

use super::credential;
use super::key::KeyHasher;
use crate::call::Caller;
use crate::config::Registry;
use crate::error::CallError;
use crate::policy::{Access, PatternError, ToolRules};

/// Principal, and credential, of a caller that sent none.
const ANONYMOUS: &str = "anonymous";

/// A caller and what it may use, made once per credential.
#[derive(Debug)]
pub struct Authenticated {
    /// Who.
    pub caller: Arc<Caller>,
    /// What it may use.
    pub access: Arc<Access>,
    /// Hash of the credential; `None` for a caller that needed none.
    mac: Option<KeyMac>,
    version: u64,
}

impl Authenticated {
    /// Whether the caller may come in on a route of a tenant (`/t/{tenant}/…`), which is for its own callers.
    ///
    /// # Errors
    ///
    /// [`CallError::ForeignTenant`] for somebody known; [`CallError::Unauthenticated`] for an anonymous caller, who
    /// can do something about it.
    pub fn enter(&self, route_tenant: Option<&Tenant>) -> Result<(), CallError> {
        if route_tenant.is_none() || self.caller.tenant.as_ref() == route_tenant {
            return Ok(());
        }
        Err(match self.mac {
            Some(_) => CallError::ForeignTenant,
            None => CallError::Unauthenticated {
                what: "an API key of this URL's tenant is required",
            },
        })
    }

    /// Version of the identity that let the caller in.
    pub(super) fn version(&self) -> u64 {
        self.version
    }
}

/// Settings from which no identity can be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Two keys of the file could not be told apart.
    #[error("API keys `{first}` and `{second}` have the same value; give each its own")]
    SameValue {
        /// The one that stands first.
        first: String,
        /// The other one.
        second: String,
    },
    /// A role's pattern can't be read.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

/// All credentials that are good at one moment. Immutable: a change of configuration or registry makes a new one,
/// which replaces the old one whole.
#[derive(Debug)]
pub struct Identity {
    /// Unique per process.
    version: u64,
    hasher: KeyHasher,
    by_mac: HashMap<KeyMac, Arc<Authenticated>, BuildHasherDefault<MacHasher>>,
    anonymous: Option<Arc<Authenticated>>,
    /// All of them, by whom they stand for.
    by_owner: HashMap<Owner, SmallVec<[Arc<Authenticated>; 1]>>,
}

/// Whom a session belongs to: any credential of the same principal and tenant opens it.
type Owner = (Principal, Option<Tenant>);

impl Identity {
    /// Compiles the keys of the file and of the cluster's registry. A key of the file wins over one of the registry
    /// with the same value; a role that is not configured grants nothing.
    ///
    /// # Errors
    ///
    /// [`IdentityError`]; the identity in use stays what it is.
    pub fn new(registry: &Registry, view: &View) -> Result<Self, IdentityError> {
        let hasher = KeyHasher::new(view.keyring().pepper());
        let mut builder = Builder::new(registry);
        let mut by_mac = HashMap::with_hasher(BuildHasherDefault::default());
        for (id, key) in view
            .keys()
            .iter()
            .filter(|(_, key)| key.revoked_at_ms.is_none())
        {
            let caller = Builder::caller(id, &key.principal, key.tenant.as_ref(), &key.roles);
            by_mac.insert(key.mac, builder.build(caller, Some(key.mac))?);
        }
        let mut file_ids: HashMap<KeyMac, &str> = HashMap::new();
        for key in &registry.identity.api_keys {
            let mac = hasher.mac(key.secret.expose_secret());
            if let Some(first) = file_ids.insert(mac, &key.id) {
                return Err(IdentityError::SameValue {
                    first: first.to_owned(),
                    second: key.id.clone(),
                });
            }
            let caller = Builder::caller(&key.id, &key.principal, key.tenant.as_ref(), &key.roles);
            by_mac.insert(mac, builder.build(caller, Some(mac))?);
        }
        let anonymous = match &registry.identity.anonymous {
            Some(roles) => {
                let caller = Builder::caller(ANONYMOUS, &ANONYMOUS.into(), None, roles);
                Some(builder.build(caller, None)?)
            }
            None => None,
        };
        let mut by_owner: HashMap<Owner, SmallVec<_>> = HashMap::new();
        for who in by_mac.values().chain(&anonymous) {
            let owner = (who.caller.principal.clone(), who.caller.tenant.clone());
            by_owner.entry(owner).or_default().push(Arc::clone(who));
        }
        Ok(Self {
            version: builder.version,
            hasher,
            by_mac,
            anonymous,
            by_owner,
        })
    }

    /// Tells this identity from the one before.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Who somebody is now that was let in by an earlier identity; `None` when the credential is not good any more, or
    /// stands for somebody else.
    pub(super) fn renewed(&self, was: &Authenticated) -> Option<&Arc<Authenticated>> {
        let now = match &was.mac {
            Some(mac) => self.by_mac.get(mac),
            None => self.anonymous.as_ref(),
        };
        now.filter(|now| {
            let (now, was) = (&now.caller, &was.caller);
            now.principal == was.principal && now.tenant == was.tenant
        })
    }

    /// All who can come in as the principal and tenant of `caller`, and so into the same sessions.
    pub fn peers(&self, caller: &Caller) -> &[Arc<Authenticated>] {
        let owner = (caller.principal.clone(), caller.tenant.clone());
        self.by_owner.get(&owner).map_or(&[], SmallVec::as_slice)
    }

    /// Finds out who sent `headers`.
    ///
    /// Costs one HMAC and one look-up in a table, and allocates nothing. The table is keyed by the MAC, which nobody
    /// without the pepper can steer, so the time of a look-up tells nothing about the keys in it.
    ///
    /// # Errors
    ///
    /// [`CallError::Unauthenticated`] with what is missing or wrong.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Authenticated>, CallError> {
        let refuse = |what| CallError::Unauthenticated { what };
        let authenticated = match credential::find(headers).map_err(refuse)? {
            Some(key) => self
                .by_mac
                .get(&self.hasher.mac(key))
                .ok_or_else(|| refuse("the API key is not valid"))?,
            None => self
                .anonymous
                .as_ref()
                .ok_or_else(|| refuse("an API key is required"))?,
        };
        Ok(Arc::clone(authenticated))
    }

    /// The caller behind `lockgate stdio` and other ways in that have no headers, if anonymous callers are welcome.
    pub fn anonymous(&self) -> Option<&Arc<Authenticated>> {
        self.anonymous.as_ref()
    }

    /// Hashes keys as this identity does, for those that create them.
    pub fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }
}

/// Compiles each combination of roles and tenant once, however many keys have it.
struct Builder<'a> {
    version: u64,
    registry: &'a Registry,
    tool_rules: Arc<ToolRules>,
    compiled: HashMap<(Vec<RoleName>, Option<Tenant>), Arc<Access>>,
}

impl<'a> Builder<'a> {
    fn new(registry: &'a Registry) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let tool_rules = Arc::new(ToolRules::new(&registry.servers));
        Self {
            version: NEXT.fetch_add(1, Ordering::Relaxed),
            registry,
            tool_rules,
            compiled: HashMap::new(),
        }
    }

    fn caller(
        id: &str,
        principal: &Principal,
        tenant: Option<&Tenant>,
        roles: &[RoleName],
    ) -> Caller {
        let mut roles = roles.to_vec();
        roles.sort();
        roles.dedup();
        Caller {
            principal: principal.clone(),
            tenant: tenant.cloned(),
            roles,
            credential: id.into(),
            in_audit: OnceLock::new(),
        }
    }

    fn build(
        &mut self,
        caller: Caller,
        mac: Option<KeyMac>,
    ) -> Result<Arc<Authenticated>, PatternError> {
        let combination = (caller.roles.clone(), caller.tenant.clone());
        let access = match self.compiled.get(&combination) {
            Some(access) => Arc::clone(access),
            None => {
                let rules = Arc::clone(&self.tool_rules);
                let tenant = caller.tenant.as_ref();
                let access = Access::new(self.registry, rules, &caller.roles, tenant)?;
                let access = Arc::new(access);
                self.compiled.insert(combination, Arc::clone(&access));
                access
            }
        };
        Ok(Arc::new(Authenticated {
            caller: Arc::new(caller),
            access,
            mac,
            version: self.version,
        }))
    }
}

/// Takes the hash that a [`KeyMac`] brings along as it is.
#[derive(Debug, Default)]
pub(super) struct MacHasher(u64);

impl Hasher for MacHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // A `KeyMac` only calls `write_u64`; whatever else comes here still gets a hash that depends on it.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::UNIX_EPOCH;

    use http::{HeaderName, HeaderValue};
    use lockgate_cluster::{Cluster, NewKey, RegistryCommand};
    use secrecy::SecretString;

    use super::*;
    use crate::config::{ApiKey, Identity as Settings, Role};
    use crate::error::Object;

    const REGISTRY_KEY: &str = "lg_registry";

    fn registry(keys: &[(&str, &str)], anonymous: Option<&[&str]>) -> Registry {
        let role = Role {
            allow: vec!["*".to_owned()],
            deny: Vec::new(),
        };
        let api_keys = keys.iter().map(|(id, value)| ApiKey {
            id: (*id).to_owned(),
            secret: SecretString::from(*value),
            principal: format!("{id}-bot").as_str().into(),
            tenant: (*id == "acme").then(|| Tenant::from("acme")),
            roles: vec!["dev".into(), "all".into(), "dev".into()],
        });
        Registry {
            identity: Settings {
                api_keys: api_keys.collect(),
                anonymous: anonymous.map(|roles| roles.iter().map(|role| (*role).into()).collect()),
            },
            servers: Vec::new(),
            roles: BTreeMap::from([("all".into(), role)]),
            tenants: BTreeMap::from([(Tenant::from("acme"), Default::default())]),
            quotas: Vec::new(),
            separator: "_".to_owned(),
            unusable: Vec::new(),
        }
    }

    /// A cluster with one key in its registry.
    async fn cluster() -> (Cluster, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster::open(dir.path(), || UNIX_EPOCH).unwrap();
        let mac = KeyHasher::new(cluster.view().keyring().pepper()).mac(REGISTRY_KEY);
        let key = NewKey {
            id: "dynamic".to_owned(),
            mac,
            principal: "dynamic-bot".into(),
            tenant: None,
            roles: vec!["all".into()],
        };
        let create = RegistryCommand::CreateKey(key);
        cluster.propose(create.into()).await.unwrap();
        (cluster, dir)
    }

    /// Principal of a caller with these headers, or why there is none.
    fn who(
        identity: &Identity,
        headers: &[(&str, &str)],
        tenant: Option<&str>,
    ) -> Result<String, String> {
        let headers = headers.iter().map(|(name, value)| {
            (
                HeaderName::try_from(*name).unwrap(),
                HeaderValue::try_from(*value).unwrap(),
            )
        });
        let tenant = tenant.map(Tenant::from);
        let found = identity.authenticate(&headers.collect());
        let entered = found.and_then(|who| who.enter(tenant.as_ref()).map(|()| who));
        match entered {
            Ok(who) => Ok(who.caller.principal.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[tokio::test]
    async fn keys_of_file_and_registry_come_in_by_either_header() {
        let (cluster, _dir) = cluster().await;
        let identity =
            Identity::new(&registry(&[("ci", "secret")], None), &cluster.view()).unwrap();
        assert_eq!(
            who(&identity, &[("authorization", "Bearer secret")], None),
            Ok("ci-bot".to_owned())
        );
        assert_eq!(
            who(&identity, &[("x-api-key", "secret")], None),
            Ok("ci-bot".to_owned())
        );
        assert_eq!(
            who(&identity, &[("x-api-key", REGISTRY_KEY)], None),
            Ok("dynamic-bot".to_owned())
        );
    }

    #[tokio::test]
    async fn a_wrong_key_is_refused_even_where_anonymous_callers_are_welcome() {
        let (cluster, _dir) = cluster().await;
        let identity = Identity::new(&registry(&[], Some(&["all"])), &cluster.view()).unwrap();
        assert_eq!(who(&identity, &[], None), Ok("anonymous".to_owned()));
        let refused = Err("the API key is not valid".to_owned());
        assert_eq!(who(&identity, &[("x-api-key", "guess")], None), refused);
        let malformed = Err("the Authorization header must be `Bearer <API key>`".to_owned());
        assert_eq!(
            who(&identity, &[("authorization", "Basic Zm9v")], None),
            malformed
        );
    }

    #[tokio::test]
    async fn without_a_key_nobody_comes_in_by_default() {
        let (cluster, _dir) = cluster().await;
        let identity = Identity::new(&registry(&[], None), &cluster.view()).unwrap();
        assert_eq!(
            who(&identity, &[], None),
            Err("an API key is required".to_owned())
        );
    }

    #[tokio::test]
    async fn a_refusal_never_repeats_the_credential() {
        let (cluster, _dir) = cluster().await;
        let identity = Identity::new(&registry(&[], None), &cluster.view()).unwrap();
        for value in ["Bearer canary", "canary", "Bearer canary x", "Basic canary"] {
            assert!(
                !who(&identity, &[("authorization", value)], None)
                    .unwrap_err()
                    .contains("canary")
            );
        }
        assert!(!format!("{identity:?}").contains("canary"));
    }

    #[tokio::test]
    async fn a_revoked_or_rotated_key_opens_nothing() {
        let (cluster, _dir) = cluster().await;
        let registry = registry(&[], None);
        let hasher = KeyHasher::new(cluster.view().keyring().pepper());
        let id = || "dynamic".to_owned();
        let rotate = RegistryCommand::RotateKey {
            id: id(),
            mac: hasher.mac("lg_new"),
        };
        cluster.propose(rotate.into()).await.unwrap();
        let identity = Identity::new(&registry, &cluster.view()).unwrap();
        assert!(who(&identity, &[("x-api-key", REGISTRY_KEY)], None).is_err());
        assert!(who(&identity, &[("x-api-key", "lg_new")], None).is_ok());
        cluster
            .propose(RegistryCommand::RevokeKey { id: id() }.into())
            .await
            .unwrap();
        let identity = Identity::new(&registry, &cluster.view()).unwrap();
        assert!(who(&identity, &[("x-api-key", "lg_new")], None).is_err());
    }

    #[tokio::test]
    async fn a_route_of_a_tenant_is_for_its_own_callers() {
        let (cluster, _dir) = cluster().await;
        let settings = registry(&[("acme", "a"), ("ci", "b")], Some(&["all"]));
        let identity = Identity::new(&settings, &cluster.view()).unwrap();
        let refused = Err("the caller does not belong to the tenant of this URL".to_owned());
        assert_eq!(
            who(&identity, &[("x-api-key", "a")], Some("acme")),
            Ok("acme-bot".to_owned())
        );
        assert_eq!(
            who(&identity, &[("x-api-key", "a")], Some("other")),
            refused
        );
        assert_eq!(who(&identity, &[("x-api-key", "b")], Some("acme")), refused);
        let unknown = Err("an API key of this URL's tenant is required".to_owned());
        assert_eq!(who(&identity, &[], Some("acme")), unknown);
    }

    #[tokio::test]
    async fn keys_with_the_same_roles_share_their_access() {
        let (cluster, _dir) = cluster().await;
        let identity = Identity::new(
            &registry(&[("one", "a"), ("two", "b")], None),
            &cluster.view(),
        )
        .unwrap();
        let get = |value: &'static str| {
            let headers = HeaderMap::from_iter([(
                HeaderName::from_static("x-api-key"),
                HeaderValue::from_static(value),
            )]);
            identity.authenticate(&headers).unwrap()
        };
        assert!(Arc::ptr_eq(&get("a").access, &get("b").access));
        assert_eq!(get("a").caller.roles, ["all".into(), "dev".into()]);
        assert!(get("a").access.decide(Object::Tool, "x", None).allowed);
    }

    #[tokio::test]
    async fn two_keys_with_one_value_are_a_mistake() {
        let (cluster, _dir) = cluster().await;
        let error = Identity::new(
            &registry(&[("one", "a"), ("two", "a")], None),
            &cluster.view(),
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "API keys `one` and `two` have the same value; give each its own"
        );
    }
}
