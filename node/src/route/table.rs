//! Names to servers. Names resolve by this table, never by splitting at the separator.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use lockgate_proto::mcp::Era;

use crate::config;
use crate::error::{CallError, Object};
use crate::identity::Authenticated;
use crate::upstream::UpstreamHandle;
use crate::upstream::catalog::{Catalog, Item, ListKind};

use super::list::ListCache;
use super::merge::{Merged, has};
use super::rewrite::ui_uris;
use super::skills::Skills;
use super::template::Template;

/// Servers that one request may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All of them, names prefixed (`/mcp`).
    All,
    /// One, names as they are (`/s/{server}/mcp`). Index into [`Table::servers`].
    Server(usize),
}

/// One server as this table sees it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Way to reach it.
    pub handle: UpstreamHandle,
    /// Its settings.
    pub settings: Arc<config::Server>,
    /// Put before names of tools and prompts, separator included; empty for none.
    pub prefix: Box<str>,
    /// What it offers in this era; `None` while that is not known.
    pub catalog: Option<Arc<Catalog>>,
}

/// One item of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Index into [`Table::servers`].
    pub server: usize,
    /// Index into the catalog's list of that kind.
    pub item: usize,
}

/// An item that another server's item of the same name hides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// Kind of list.
    pub kind: ListKind,
    /// Name as clients would see it.
    pub name: Box<str>,
    /// Index of the server that keeps the name.
    pub kept: usize,
    /// Index of the server whose item is hidden.
    pub hidden: usize,
}

/// Looked into by every call.
type ByName = HashMap<Box<str>, Target, RandomState>;

/// Immutable routing table of one era.
#[derive(Debug)]
pub struct Table {
    /// Unique per process: names this table in caches.
    pub id: u64,
    /// Era it serves.
    pub era: Era,
    /// In the order of the configuration.
    pub servers: Vec<Entry>,
    /// Collisions.
    pub hidden: Vec<Hidden>,
    /// What the servers offer together.
    pub merged: Merged,
    /// Rendered lists by caller's rights.
    pub lists: ListCache,
    tools: ByName,
    prompts: ByName,
    resources: ByName,
    /// Resources that tools name as their interface, and that need not be listed (MCP Apps). Server by URI.
    apps: HashMap<Box<str>, usize, RandomState>,
    templates: Vec<(Template, usize)>,
    skills: Skills,
}

impl Table {
    /// Builds the table. The server that stands first keeps a name.
    pub fn new(era: Era, servers: Vec<Entry>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mut hidden = Vec::new();
        let tools = index(&servers, ListKind::Tools, &mut hidden);
        let prompts = index(&servers, ListKind::Prompts, &mut hidden);
        let resources = index(&servers, ListKind::Resources, &mut hidden);
        let apps = apps(&servers);
        let skills = Skills::new(&servers, &mut hidden);
        let mut templates: Vec<(Template, usize)> = Vec::new();
        for (at, entry) in servers.iter().enumerate() {
            for item in entry.items(ListKind::Templates) {
                templates.push((
                    Template::new(&entry.shown(ListKind::Templates, &item.key)),
                    at,
                ));
            }
        }
        // The most specific template decides; among equals the first server (the sort is stable).
        templates.sort_by_key(|(template, _)| std::cmp::Reverse(template.literal_len()));
        let merged = Merged::of(servers.iter().filter_map(|entry| entry.catalog.as_deref()));
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            era,
            servers,
            hidden,
            merged,
            lists: ListCache::default(),
            tools,
            prompts,
            resources,
            apps,
            templates,
            skills,
        }
    }

    /// Index of the server called `name`.
    pub fn server(&self, name: &str) -> Option<usize> {
        self.servers
            .iter()
            .position(|entry| entry.settings.name.as_str() == name)
    }

    /// What `who` may reach from a path: one server's own reaches that one, the others all.
    ///
    /// # Errors
    ///
    /// [`CallError::Unknown`] for a server that does not exist or, which looks the same, is not the caller's.
    pub fn scope(&self, server: Option<&str>, who: &Authenticated) -> Result<Scope, CallError> {
        let Some(name) = server else {
            return Ok(Scope::All);
        };
        let at = self.server(name);
        let at = at.filter(|at| {
            let server = &self.servers[*at].settings.name;
            who.access.allows_server(server)
        });
        at.map(Scope::Server).ok_or_else(|| CallError::Unknown {
            object: Object::Server,
            name: name.to_owned(),
        })
    }

    /// The server that a name of a tool or prompt points at by its prefix, and which has not said yet what it offers.
    /// Good for an explanation only: names resolve by what servers list.
    pub fn unheard(&self, name: &str) -> Option<&Entry> {
        self.servers
            .iter()
            .filter(|entry| entry.catalog.is_none() && !entry.prefix.is_empty())
            .filter(|entry| name.starts_with(&*entry.prefix))
            .max_by_key(|entry| entry.prefix.len())
    }

    /// Tool by the name that clients see.
    pub fn tool(&self, name: &str) -> Option<Target> {
        self.tools.get(name).copied()
    }

    /// Prompt by the name that clients see.
    pub fn prompt(&self, name: &str) -> Option<Target> {
        self.prompts.get(name).copied()
    }

    /// Server of a resource: listed, else by template, else named by a tool, else in a skill, else the only one with that
    /// scheme, else the only one that has resources at all.
    pub fn resource(&self, uri: &str) -> Option<usize> {
        if let Some(target) = self.resources.get(uri) {
            return Some(target.server);
        }
        if let Some((_, server)) = self
            .templates
            .iter()
            .find(|(template, _)| template.matches(uri))
        {
            return Some(*server);
        }
        if let Some(server) = self.apps.get(uri) {
            return Some(*server);
        }
        if uri.starts_with("skill://")
            && let Some(server) = self.skills.server(uri)
        {
            return Some(server);
        }
        let scheme = uri.split_once(':').map(|(scheme, _)| scheme)?;
        let has_scheme = |entry: &Entry| {
            [ListKind::Resources, ListKind::Templates]
                .iter()
                .any(|kind| {
                    entry.items(*kind).iter().any(|item| {
                        entry
                            .shown(*kind, &item.key)
                            .split_once(':')
                            .is_some_and(|(s, _)| s == scheme)
                    })
                })
        };
        // "A server MUST answer for every skill it serves, whether or not that skill appears in its `skills/list`".
        let of_skills = || self.only(|entry| scheme == "skill" && entry.has_skills());
        self.only(has_scheme)
            // By naming a skill no server draws what is another's to itself, but for what is nothing but skills.
            .or_else(|| self.skills.server(uri))
            .or_else(of_skills)
            .or_else(|| self.only(Entry::has_resources))
    }

    /// Whether any server has the extension of skills.
    pub(super) fn has_skills(&self) -> bool {
        self.servers.iter().any(Entry::has_skills)
    }

    /// Index of the only server for which `test` holds.
    pub fn only(&self, test: impl Fn(&Entry) -> bool) -> Option<usize> {
        let mut found = self
            .servers
            .iter()
            .enumerate()
            .filter(|(_, entry)| test(entry));
        let (at, _) = found.next()?;
        found.next().is_none().then_some(at)
    }
}

impl Entry {
    /// Items of one list.
    pub fn items(&self, kind: ListKind) -> &[Item] {
        self.catalog
            .as_deref()
            .map_or(&[], |catalog| catalog.list(kind).items())
    }

    /// Name or URI of an item as clients see it.
    pub fn shown(&self, kind: ListKind, key: &str) -> String {
        match kind {
            ListKind::Tools | ListKind::Prompts => format!("{}{key}", self.prefix),
            ListKind::Resources | ListKind::Templates | ListKind::Skills => {
                self.settings.shown_uri(key)
            }
        }
    }

    fn has_skills(&self) -> bool {
        let catalog = self.catalog.as_deref();
        catalog.is_some_and(|catalog| ListKind::Skills.is_offered(catalog.capabilities()))
    }

    fn has_resources(&self) -> bool {
        self.catalog
            .as_deref()
            .is_some_and(|catalog| has(catalog.capabilities(), &["resources"]))
    }
}

fn index(servers: &[Entry], kind: ListKind, hidden: &mut Vec<Hidden>) -> ByName {
    let mut found = ByName::default();
    for (server, entry) in servers.iter().enumerate() {
        for (item, known) in entry.items(kind).iter().enumerate() {
            let name: Box<str> = entry.shown(kind, &known.key).into();
            match found.get(&name) {
                // A server that repeats itself hides nothing of another.
                Some(target) if target.server == server => {}
                Some(target) => hidden.push(Hidden {
                    kind,
                    name,
                    kept: target.server,
                    hidden: server,
                }),
                None => {
                    found.insert(name, Target { server, item });
                }
            }
        }
    }
    found
}

/// Interfaces of tools, by their URIs as clients see them. The server that stands first keeps one. They are `ui://`
/// ("URI MUST start with `ui://`"): a server must not draw what is another's to itself by naming it.
fn apps(servers: &[Entry]) -> HashMap<Box<str>, usize, RandomState> {
    let mut found = HashMap::default();
    for (at, entry) in servers.iter().enumerate() {
        for tool in entry.items(ListKind::Tools) {
            let text = std::str::from_utf8(&tool.raw).unwrap_or_default();
            for uri in ui_uris(text).filter(|uri| uri.starts_with("ui://")) {
                let shown = entry.settings.shown_uri(&uri);
                found.entry(shown.into()).or_insert(at);
            }
        }
    }
    found
}
