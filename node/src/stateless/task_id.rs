//! Ids of tasks as clients of the stateless era know them. A server knows the gateway and not its callers, and "task
//! ids are bearer-like": so an id is sealed for whoever began the task, and says where it runs.

use crate::call::Caller;
use crate::route::Scope;
use crate::seal::Sealer;

/// Layout of the sealed fields.
const VERSION: u8 = 1;

/// Longest id that a server may give a task. Source: sealed, and with the names of server and tool, it must fit a header
/// (`Mcp-Name`) at every peer; common servers take 8 KiB of headers.
const OWN_BYTES_MAX: usize = 1_024;

/// A server's id that is too long to be given to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// What a sealed id says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TaskId {
    /// Name of the server.
    pub(super) server: String,
    /// Tool that began the task, as the client named it.
    pub(super) tool: String,
    /// Id that the server gave it.
    pub(super) own: String,
}

impl TaskId {
    /// Seals it for one caller and route. The text is no longer than a header may be.
    ///
    /// # Errors
    ///
    /// [`TooLong`].
    pub(super) fn seal(
        &self,
        sealer: &Sealer,
        who: &Caller,
        scope: Scope,
    ) -> Result<String, TooLong> {
        if self.own.len() > OWN_BYTES_MAX {
            return Err(TooLong);
        }
        let mut plain = vec![VERSION];
        for part in [&self.server, &self.tool, &self.own] {
            put(&mut plain, part);
        }
        Ok(sealer.seal(&bound_to(who, scope), &plain))
    }

    /// Opens an id. `None` for anything that was not sealed here for this caller and route.
    pub(super) fn open(sealer: &Sealer, who: &Caller, scope: Scope, text: &str) -> Option<Self> {
        let plain = sealer.open(&bound_to(who, scope), text)?;
        let (&VERSION, mut rest) = plain.split_first()? else {
            return None;
        };
        let id = Self {
            server: take(&mut rest)?,
            tool: take(&mut rest)?,
            own: take(&mut rest)?,
        };
        rest.is_empty().then_some(id)
    }
}

/// Lengths keep ("a", "bc") and ("ab", "c") apart.
fn put(out: &mut Vec<u8>, part: &str) {
    out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(part.as_bytes());
}

fn take(rest: &mut &[u8]) -> Option<String> {
    let (length, behind) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let part = behind.get(..length)?;
    *rest = behind.get(length..)?;
    String::from_utf8(part.to_vec()).ok()
}

fn bound_to(who: &Caller, scope: Scope) -> Vec<u8> {
    let mut bound = b"lockgate-task/v1\n".to_vec();
    put(
        &mut bound,
        if scope == Scope::All {
            "merged"
        } else {
            "server"
        },
    );
    match &who.tenant {
        Some(tenant) => put(&mut bound, tenant.as_str()),
        // No length is that of no tenant.
        None => bound.extend_from_slice(&u32::MAX.to_be_bytes()),
    }
    put(&mut bound, who.principal.as_str());
    bound
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use lockgate_cluster::Keyring;
    use lockgate_proto::id::{Principal, Tenant};
    use proptest::prelude::*;

    use super::*;

    fn sealer() -> Sealer {
        Sealer::new(&Keyring::generate().unwrap()).unwrap()
    }

    fn who(tenant: Option<&str>, principal: &str) -> Caller {
        Caller {
            principal: Principal::new(principal),
            tenant: tenant.map(Tenant::new),
            roles: Vec::new(),
            credential: "test".into(),
            in_audit: OnceLock::new(),
        }
    }

    fn id() -> TaskId {
        TaskId {
            server: "up".to_owned(),
            tool: "up_work".to_owned(),
            own: "t-1".to_owned(),
        }
    }

    #[test]
    fn it_opens_for_its_caller_and_route_alone() {
        let sealer = sealer();
        let ann = who(None, "ann");
        let text = id().seal(&sealer, &ann, Scope::All).unwrap();
        let open = |who: &Caller, scope| TaskId::open(&sealer, who, scope, &text);
        assert_eq!(open(&ann, Scope::All), Some(id()));
        assert_eq!(open(&ann, Scope::Server(0)), None);
        assert_eq!(open(&who(None, "bob"), Scope::All), None);
        assert_eq!(open(&who(Some(""), "ann"), Scope::All), None);
        assert_eq!(open(&who(Some("t"), "ann"), Scope::All), None);
    }

    #[test]
    fn an_id_that_fits_no_header_is_not_given_out() {
        let (sealer, ann) = (sealer(), who(None, "ann"));
        for (length, expected) in [(OWN_BYTES_MAX, true), (OWN_BYTES_MAX + 1, false)] {
            let own = "x".repeat(length);
            let sealed = TaskId { own, ..id() }.seal(&sealer, &ann, Scope::All);
            assert_eq!(sealed.is_ok(), expected, "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_id_comes_back_whole_and_can_be_a_header(server: String, tool: String, own: String) {
            let (sealer, ann) = (sealer(), who(Some("t"), "ann"));
            let id = TaskId { server, tool, own };
            let text = id.seal(&sealer, &ann, Scope::Server(1)).unwrap();
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(TaskId::open(&sealer, &ann, Scope::Server(1), &text), Some(id));
        }

        #[test]
        fn no_text_makes_it_panic(text: String, plain: Vec<u8>) {
            let (sealer, ann) = (sealer(), who(None, "ann"));
            prop_assert_eq!(TaskId::open(&sealer, &ann, Scope::All, &text), None);
            let sealed = sealer.seal(&bound_to(&ann, Scope::All), &plain);
            let _read = TaskId::open(&sealer, &ann, Scope::All, &sealed);
        }
    }
}
