//! What one request means: which server, which object policy decides on, and what has to change in its text.

use std::borrow::Cow;

use lockgate_proto::jsonrpc::{Frame, Span, decode_str, encode_str};
use lockgate_proto::mcp::{Era, Revision, method};

use crate::error::{CallError, Object};
use crate::upstream::catalog::Item;

use super::clear::check_clear;
use super::merge::{has, may_know};
use super::table::{Entry, Scope, Table, Target};

/// What one request means.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Index into [`Table::servers`].
    pub server: usize,
    /// Kind that policy decides on.
    pub object: Object,
    /// Name that policy decides on: prefixed name, URI as clients see it, or method.
    pub shown: Cow<'a, str>,
    /// Name or URI as the server knows it; goes into `Mcp-Name`.
    pub own: Option<Cow<'a, str>>,
    /// Where the name stands, when it has to be replaced by `own`.
    pub edit: Option<Span>,
    /// The tool or prompt, when a catalog knows it.
    pub item: Option<&'a Item>,
}

/// A task by where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRef {
    /// Server that runs it, by index.
    pub server: usize,
    /// Tool that began it.
    pub tool: String,
    /// Id that the server knows, where the client knows another.
    pub own: Option<String>,
}

/// Where a task came from, by the id that the client knows.
pub type TaskOwner<'a> = &'a (dyn Fn(&str) -> Option<TaskRef> + Sync);

/// Finds out what `frame`, a request, means at this table.
///
/// # Errors
///
/// Fails when a parameter is missing or can be read in two ways, or no server (or more than one) can be meant.
pub fn plan<'a>(
    table: &'a Table,
    scope: Scope,
    frame: &'a Frame,
    revision: Revision,
    tasks: TaskOwner<'_>,
) -> Result<Plan<'a>, CallError> {
    check_clear(frame)?;
    let method = frame.method();
    match &*method {
        // Its parameters are checked at the door of the era that has it.
        method::LISTEN if table.era == Era::Session => Err(CallError::MethodNotFound {
            method: method.into_owned(),
        }),
        method::TOOLS_CALL => named(table, scope, frame, Object::Tool, &["name"]),
        method::PROMPTS_GET => named(table, scope, frame, Object::Prompt, &["name"]),
        method::RESOURCES_READ | method::SUBSCRIBE | method::UNSUBSCRIBE => {
            resource(table, scope, frame, revision, &["uri"])
        }
        method::SKILLS_GET => skill(table, scope, frame, revision),
        method::COMPLETE => {
            let kind = string(frame, &["ref", "type"])?;
            match &*kind {
                "ref/prompt" => named(table, scope, frame, Object::Prompt, &["ref", "name"]),
                "ref/resource" => resource(table, scope, frame, revision, &["ref", "uri"]),
                _ => Err(CallError::InvalidParams {
                    what: format!("unknown reference type `{kind}`").into(),
                }),
            }
        }
        method::TASKS_GET | method::TASKS_RESULT | method::TASKS_CANCEL | method::TASKS_UPDATE => {
            task(table, scope, frame, tasks)
        }
        name if name.starts_with("resources/") => about_resource(table, scope, frame),
        _ => by_method(table, scope, frame),
    }
}

/// Whether `table` can route a request without asking the servers what they offer to its session alone.
pub fn is_known(table: &Table, frame: &Frame) -> bool {
    match &*frame.method() {
        method::TOOLS_CALL => {
            let name = frame.param_str(&["name"]);
            name.is_none_or(|name| table.tool(&name).is_some())
        }
        method::PROMPTS_GET => {
            let name = frame.param_str(&["name"]);
            name.is_none_or(|name| table.prompt(&name).is_some())
        }
        method::RESOURCES_READ | method::SUBSCRIBE | method::SKILLS_GET => {
            let uri = frame.param_str(&["uri"]);
            uri.is_none_or(|uri| table.resource(&uri).is_some())
        }
        _ => true,
    }
}

fn named<'a>(
    table: &'a Table,
    scope: Scope,
    frame: &'a Frame,
    object: Object,
    path: &[&str],
) -> Result<Plan<'a>, CallError> {
    let name = string(frame, path)?;
    if let Scope::Server(server) = scope {
        let entry = &table.servers[server];
        let shown: Cow<'a, str> = if entry.prefix.is_empty() {
            name.clone()
        } else {
            Cow::Owned(format!("{}{name}", entry.prefix))
        };
        let found = if object == Object::Tool {
            table.tool(&shown)
        } else {
            table.prompt(&shown)
        };
        let item = found
            .filter(|target| target.server == server)
            .and_then(|target| item(table, object, target));
        return Ok(Plan {
            server,
            object,
            shown,
            own: Some(name),
            edit: None,
            item,
        });
    }
    let found = if object == Object::Tool {
        table.tool(&name)
    } else {
        table.prompt(&name)
    };
    let Some(target) = found else {
        return Err(CallError::Unknown {
            object,
            name: name.into_owned(),
        });
    };
    let item = item(table, object, target);
    let own = item.map_or_else(|| name.clone(), |item| Cow::Borrowed(&*item.key));
    let edit = if own == name { None } else { frame.param(path) };
    Ok(Plan {
        server: target.server,
        object,
        shown: name,
        own: Some(own),
        edit,
        item,
    })
}

fn item(table: &Table, object: Object, target: Target) -> Option<&Item> {
    let catalog = table.servers.get(target.server)?.catalog.as_deref()?;
    let list = if object == Object::Tool {
        &catalog.tools
    } else {
        &catalog.prompts
    };
    list.items().get(target.item)
}

fn resource<'a>(
    table: &'a Table,
    scope: Scope,
    frame: &'a Frame,
    revision: Revision,
    path: &[&str],
) -> Result<Plan<'a>, CallError> {
    let uri = string(frame, path)?;
    if let Scope::Server(server) = scope {
        let shown = Cow::Owned(table.servers[server].settings.shown_uri(&uri));
        return Ok(Plan {
            server,
            object: Object::Resource,
            shown,
            own: Some(uri),
            edit: None,
            item: None,
        });
    }
    let Some(server) = table.resource(&uri) else {
        return Err(CallError::ResourceNotFound {
            uri: uri.into_owned(),
            revision,
        });
    };
    let settings = &table.servers[server].settings;
    let own = match &uri {
        Cow::Borrowed(text) => settings.own_uri(text),
        Cow::Owned(text) => Cow::Owned(settings.own_uri(text).into_owned()),
    };
    let edit = if own == uri { None } else { frame.param(path) };
    Ok(Plan {
        server,
        object: Object::Resource,
        shown: uri,
        own: Some(own),
        edit,
        item: None,
    })
}

/// A skill is a resource: who may read it may know what is in it. Routing headers know nothing of it.
fn skill<'a>(
    table: &'a Table,
    scope: Scope,
    frame: &'a Frame,
    revision: Revision,
) -> Result<Plan<'a>, CallError> {
    let plan = resource(table, scope, frame, revision, &["uri"])?;
    let own = plan.own.filter(|_| plan.edit.is_some());
    Ok(Plan { own, ..plan })
}

/// A task belongs to the tool that started it: who may call the tool may follow the task.
fn task<'a>(
    table: &Table,
    scope: Scope,
    frame: &'a Frame,
    tasks: TaskOwner<'_>,
) -> Result<Plan<'a>, CallError> {
    let id = string(frame, &["taskId"])?;
    if let Some(TaskRef { server, tool, own }) = tasks(&id) {
        let fits = scope == Scope::All || scope == Scope::Server(server);
        if fits && server < table.servers.len() {
            let edit = own.as_ref().and_then(|_| frame.param(&["taskId"]));
            return Ok(Plan {
                server,
                object: Object::Tool,
                shown: Cow::Owned(tool),
                own: Some(own.map_or(id, Cow::Owned)),
                edit,
                item: None,
            });
        }
    }
    let any = || {
        let mut servers = table.servers.iter();
        let knows = |entry: &Entry| knows(table, entry, &frame.method());
        Some(of_method(frame.method(), servers.position(knows)?))
    };
    // Nobody's task: any server that has some can say so.
    let plan = by_method(table, scope, frame);
    let mut plan = plan.or_else(|error| any().ok_or(error))?;
    plan.own = Some(id);
    Ok(plan)
}

/// A method of an extension that is about a resource (Skills: `resources/directory/read`) goes where that resource is.
/// Policy decides on the method: what a grant to read means to an extension nobody here can know.
fn about_resource<'a>(
    table: &Table,
    scope: Scope,
    frame: &'a Frame,
) -> Result<Plan<'a>, CallError> {
    let uri = (scope == Scope::All).then(|| frame.param_str(&["uri"]));
    let Some(uri) = uri.flatten() else {
        return by_method(table, scope, frame);
    };
    let Some(server) = table.resource(&uri) else {
        return by_method(table, scope, frame);
    };
    let own = table.servers[server].settings.own_uri(&uri).into_owned();
    let edit = if own == *uri {
        None
    } else {
        frame.param(&["uri"])
    };
    Ok(Plan {
        edit,
        own: edit.map(|_| Cow::Owned(own)),
        ..of_method(frame.method(), server)
    })
}

/// A method that names no object: the one server of the scope, or the only one that can be meant.
fn by_method<'a>(table: &Table, scope: Scope, frame: &'a Frame) -> Result<Plan<'a>, CallError> {
    let method = frame.method();
    let server = match scope {
        Scope::Server(server) => Some(server),
        Scope::All if table.servers.len() == 1 => Some(0),
        Scope::All => table.only(|entry| knows(table, entry, &method)),
    };
    let Some(server) = server else {
        return Err(CallError::MethodNotFound {
            method: method.into_owned(),
        });
    };
    Ok(of_method(method, server))
}

/// Policy decides on the method alone.
fn of_method(method: Cow<'_, str>, server: usize) -> Plan<'_> {
    let object = if is_own_business(&method) {
        Object::Server
    } else {
        Object::Method
    };
    Plan {
        server,
        object,
        shown: method,
        own: None,
        edit: None,
        item: None,
    }
}

/// Methods that touch no object but the connection and the caller's own view of the server: who may reach the
/// server may use them. Lists are filtered on their way back.
fn is_own_business(name: &str) -> bool {
    matches!(
        name,
        method::TOOLS_LIST
            | method::PROMPTS_LIST
            | method::RESOURCES_LIST
            | method::TEMPLATES_LIST
            | method::SKILLS_LIST
            | method::DISCOVER
            | method::LISTEN
            | method::SET_LEVEL
            | method::PING
    )
}

fn knows(table: &Table, entry: &Entry, called: &str) -> bool {
    let Some(catalog) = entry.catalog.as_deref() else {
        return false;
    };
    let capabilities = catalog.capabilities();
    if called == method::TASKS_LIST {
        return has(capabilities, &["tasks", "list"]);
    }
    may_know(capabilities, called, table.era)
        || (called.starts_with("tasks/")
            && has(
                capabilities,
                &["extensions", "io.modelcontextprotocol/tasks"],
            ))
}

fn string<'a>(frame: &'a Frame, path: &[&str]) -> Result<Cow<'a, str>, CallError> {
    let missing = || CallError::InvalidParams {
        what: format!("`params.{}` must be a string", path.join(".")).into(),
    };
    let span = frame.param(path).ok_or_else(missing)?;
    decode_str(span.of(frame.text())).ok_or_else(missing)
}

impl Plan<'_> {
    /// Raw replacement for [`Plan::edit`].
    pub fn replacement(&self) -> Option<(Span, String)> {
        Some((self.edit?, encode_str(self.own.as_deref()?)))
    }
}
