//! What a listen needs rights for, when it opens and for as long as it goes on.

use std::sync::Arc;

use lockgate_proto::mcp::method;

use crate::error::{CallError, Object};
use crate::identity::Authenticated;
use crate::route::{self, Entry, Scope};
use crate::seal::Sealer;

use super::door::{Ask, Door};
use super::task_names::TaskNames;
use super::validate;

/// One thing that a listen names.
struct Subscribed<'a> {
    object: Object,
    shown: String,
    entry: Option<&'a Entry>,
}

/// The methods that a listen is: its own, and those that tell the same when they are asked.
fn methods(ask: &Ask) -> impl Iterator<Item = &'static str> {
    let subscribes = !validate::subscriptions(&ask.frame).is_empty();
    let follows = validate::follows_tasks(&ask.frame);
    [
        (true, method::LISTEN),
        (subscribes, method::SUBSCRIBE),
        (follows, method::TASKS_GET),
    ]
    .into_iter()
    .filter_map(|(is_meant, method)| is_meant.then_some(method))
}

/// A subscription reads: every URI must be allowed, and of every task the tool that began it. An id that says nothing
/// of a tool needs the method that reads tasks. Nor may a role deny what the listen is.
///
/// # Errors
///
/// [`CallError::Denied`].
pub(super) fn allow(door: &Door, ask: &Ask) -> Result<(), CallError> {
    for method in methods(ask) {
        door.pipeline.permit(&ask.incoming(), method)?;
    }
    route::check_clear(&ask.frame)?;
    for Subscribed {
        object,
        shown,
        entry,
    } in subscribed(&door.sealer, ask)
    {
        door.pipeline
            .allow(&ask.incoming(), object, &shown, entry)?;
    }
    Ok(())
}

/// Waits until a listen has to end: the node closes, or the caller may not hear all of it any more.
pub(super) async fn until_over(door: Door, ask: Arc<Ask>) {
    let mut standing = door.pipeline.identities.standing(&ask.who);
    let lost = async {
        while let Some(who) = standing.changed().await {
            if !may_listen(&door.sealer, &ask, &who) {
                break;
            }
        }
        let audit = &door.pipeline.audit;
        audit.security("listen_ended", &ask.who.caller, &ask.frame.method());
    };
    tokio::select! {
        () = door.closing.cancelled() => {}
        () = lost => {}
    }
}

fn may_listen(sealer: &Sealer, ask: &Ask, who: &Authenticated) -> bool {
    let access = &who.access;
    let in_reach = match ask.scope {
        Scope::All => true,
        Scope::Server(at) => access.allows_server(&ask.table.servers[at].settings.name),
    };
    in_reach
        && methods(ask).all(|method| access.method_denial(method).is_none())
        && subscribed(sealer, ask).iter().all(|one| {
            let server = one.entry.map(|entry| &entry.settings.name);
            access.decide(one.object, &one.shown, server).allowed
        })
}

fn subscribed<'a>(sealer: &Sealer, ask: &'a Ask) -> Vec<Subscribed<'a>> {
    let own = match ask.scope {
        Scope::Server(at) => ask.table.servers.get(at),
        Scope::All => None,
    };
    let mut found = Vec::new();
    for uri in validate::subscriptions(&ask.frame) {
        let listed = || ask.table.servers.get(ask.table.resource(&uri)?);
        let Some(entry) = own.or_else(listed) else {
            continue;
        };
        let shown = match own {
            Some(own) => own.settings.shown_uri(&uri),
            None => uri,
        };
        found.push(Subscribed {
            object: Object::Resource,
            shown,
            entry: Some(entry),
        });
    }
    let tasks = TaskNames::tools(ask, sealer);
    found.extend(tasks.into_iter().map(|task| match task {
        Some((tool, server)) => Subscribed {
            object: Object::Tool,
            shown: tool,
            entry: ask.table.server(&server).map(|at| &ask.table.servers[at]),
        },
        None => Subscribed {
            object: Object::Method,
            shown: method::TASKS_GET.to_owned(),
            entry: own,
        },
    }));
    found
}
