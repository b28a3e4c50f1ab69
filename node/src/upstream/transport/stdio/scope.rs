//! Who shares a child (`CONTINUITY.md` section 6).

use lockgate_proto::id::{Principal, Tenant};
use lockgate_proto::jsonrpc::members;

use crate::config::Scope;
use crate::upstream::session_key::{Owner, SessionKey};

/// Which child a caller gets. Equal keys share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ChildKey {
    /// The one of this node.
    Shared,
    /// The one of a principal; another tenant's of the same name is another.
    Principal(Option<Tenant>, Principal),
    /// The one of a session.
    Session(Box<str>),
}

/// What a client declares that a server may act on by itself, and so cannot be shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Declared(u8);

impl Declared {
    /// `roots`
    pub const ROOTS: Self = Self(1);
    /// `sampling`
    pub const SAMPLING: Self = Self(2);
    /// `elicitation`
    pub const ELICITATION: Self = Self(4);
    /// `tasks`
    pub const TASKS: Self = Self(8);
    /// Anything else: the server may offer more for it, which a child without capabilities would not.
    pub const OTHER: Self = Self(16);

    /// Reads a raw `ClientCapabilities` object.
    pub fn of(capabilities: &str) -> Self {
        let bits = members(capabilities).map(|member| match &*member.key {
            "roots" => Self::ROOTS,
            "sampling" => Self::SAMPLING,
            "elicitation" => Self::ELICITATION,
            "tasks" => Self::TASKS,
            // Open sets of names: an empty one declares nothing.
            "experimental" | "extensions" if members(member.value).next().is_none() => {
                Self::default()
            }
            _ => Self::OTHER,
        });
        bits.fold(Self::default(), Self::and)
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether nothing is declared.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Which child a session gets.
pub fn child_key(scope: Scope, declared: Declared, key: &SessionKey) -> ChildKey {
    match scope {
        Scope::Auto if declared.is_empty() => ChildKey::Shared,
        Scope::Shared => ChildKey::Shared,
        Scope::Principal => ChildKey::Principal(key.tenant.clone(), key.principal.clone()),
        Scope::Auto | Scope::Session => ChildKey::Session((&*key.session).into()),
    }
}

/// Which child a request of the stateless era gets, where there are no sessions: what one session may not share
/// with another, one principal may not share with another.
pub fn stateless_key(scope: Scope, owner: &Owner<'_>) -> ChildKey {
    match scope {
        Scope::Auto | Scope::Shared => ChildKey::Shared,
        Scope::Principal | Scope::Session => {
            ChildKey::Principal(owner.tenant.cloned(), owner.principal.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scope: Scope, capabilities: &str, expected: &str) {
        let owner = SessionKey {
            session: "s1".into(),
            principal: "ann".into(),
            tenant: None,
        };
        let key = child_key(scope, Declared::of(capabilities), &owner);
        let seen = match key {
            ChildKey::Shared => "shared".to_owned(),
            ChildKey::Principal(_, name) => format!("principal {name}"),
            ChildKey::Session(name) => format!("session {name}"),
        };
        assert_eq!(seen, expected, "{scope:?} {capabilities}");
    }

    #[test]
    fn auto_shares_among_those_who_declare_nothing() {
        check(Scope::Auto, "{}", "shared");
        check(
            Scope::Auto,
            r#"{"experimental":{},"extensions":{ }}"#,
            "shared",
        );
    }

    #[test]
    fn auto_gives_an_own_child_to_whoever_declares_something() {
        for name in ["roots", "sampling", "elicitation", "tasks", "future"] {
            check(Scope::Auto, &format!(r#"{{"{name}":{{}}}}"#), "session s1");
        }
        check(
            Scope::Auto,
            r#"{"extensions":{"io.modelcontextprotocol/ui":{}}}"#,
            "session s1",
        );
    }

    #[test]
    fn a_fixed_scope_looks_at_no_capability() {
        for capabilities in ["{}", r#"{"sampling":{}}"#] {
            check(Scope::Shared, capabilities, "shared");
            check(Scope::Session, capabilities, "session s1");
            check(Scope::Principal, capabilities, "principal ann");
        }
    }

    #[test]
    fn the_stateless_era_knows_no_sessions() {
        let (ann, acme) = (Principal::from("ann"), Tenant::from("acme"));
        let [of_acme, of_nobody] = [Some(&acme), None].map(|tenant| Owner {
            tenant,
            principal: &ann,
            scoped: false,
        });
        for scope in [Scope::Auto, Scope::Shared] {
            assert_eq!(stateless_key(scope, &of_acme), ChildKey::Shared);
        }
        for scope in [Scope::Session, Scope::Principal] {
            let key = stateless_key(scope, &of_acme);
            assert_eq!(key, ChildKey::Principal(Some(acme.clone()), ann.clone()));
            assert_ne!(
                key,
                stateless_key(scope, &of_nobody),
                "same name, another tenant"
            );
        }
    }
}
