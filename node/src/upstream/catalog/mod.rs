//! What a server offers, per era: raw items that are shown as they are, and the few facts about them that routing,
//! policy and retries need.

mod fetch;
mod fit;
mod intern;
mod item;
mod list;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lockgate_proto::jsonrpc::{find, find_path};
use lockgate_proto::mcp::method;

pub use self::fetch::{Ask, fetch, fetch_tools};
pub use self::intern::Interner;
pub use self::item::Item;
pub use self::list::List;

/// Everything that one server offers in one era.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// Raw pieces of the answer to `initialize` or `server/discover`.
    pub server: ServerInfo,
    /// Tools, by name.
    pub tools: Arc<List>,
    /// Prompts, by name.
    pub prompts: Arc<List>,
    /// Resources, by URI.
    pub resources: Arc<List>,
    /// Resource templates, by URI template.
    pub templates: Arc<List>,
    /// Skills, by the URI of their `SKILL.md`.
    pub skills: Arc<List>,
    /// How long the shortest-lived page may be kept. `None` when the server said nothing (session era).
    pub ttl: Option<Duration>,
    /// Whether every page may be shown to any user (`cacheScope: public`).
    pub public: bool,
}

impl Catalog {
    /// The list of one kind.
    pub fn list(&self, kind: ListKind) -> &Arc<List> {
        match kind {
            ListKind::Tools => &self.tools,
            ListKind::Prompts => &self.prompts,
            ListKind::Resources => &self.resources,
            ListKind::Templates => &self.templates,
            ListKind::Skills => &self.skills,
        }
    }

    /// Raw `ServerCapabilities`; `{}` when the server named none.
    pub fn capabilities(&self) -> &str {
        self.server.capabilities.as_deref().unwrap_or("{}")
    }

    /// What was wrong with entries of its lists, a sentence each.
    pub fn flaws(&self) -> impl Iterator<Item = &str> {
        let lists = ListKind::ALL.into_iter().map(|kind| self.list(kind));
        lists.flat_map(|list| list.flaws())
    }

    /// Whether it holds what no notification of the server tells of.
    pub fn has_untold(&self) -> bool {
        ListKind::Skills.is_offered(self.capabilities())
    }

    /// Whether both offer the same. Lists that are shared are compared by identity first, so intern them.
    pub fn same_as(&self, other: &Self) -> bool {
        self.server == other.server
            && ListKind::ALL
                .iter()
                .all(|kind| self.list(*kind) == other.list(*kind))
    }
}

/// Raw pieces of the answer that introduced the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// Raw `ServerCapabilities`.
    pub capabilities: Option<Arc<str>>,
    /// Raw `instructions` string, with quotes.
    pub instructions: Option<Arc<str>>,
    /// Raw `Implementation` of the server.
    pub implementation: Option<Arc<str>>,
    /// Raw `supportedVersions` of a `DiscoverResult`.
    pub versions: Option<Arc<str>>,
}

impl ServerInfo {
    /// From a raw `InitializeResult` or `DiscoverResult`.
    pub fn read(result: &str) -> Self {
        let piece = |path: &[&str]| find_path(result, path).map(|span| Arc::from(span.of(result)));
        Self {
            capabilities: piece(&["capabilities"]),
            instructions: piece(&["instructions"]),
            versions: piece(&["supportedVersions"]),
            implementation: piece(&["serverInfo"])
                .or_else(|| piece(&["_meta", "io.modelcontextprotocol/serverInfo"])),
        }
    }
}

/// Kind of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListKind {
    /// `tools/list`
    Tools,
    /// `prompts/list`
    Prompts,
    /// `resources/list`
    Resources,
    /// `resources/templates/list`
    Templates,
    /// `skills/list` of the extension
    Skills,
}

/// Extension whose servers list skills (SEP-2640).
const SKILLS: &str = "io.modelcontextprotocol/skills";

impl ListKind {
    /// All kinds, in the order in which they are fetched.
    pub const ALL: [Self; 5] = [
        Self::Tools,
        Self::Prompts,
        Self::Resources,
        Self::Templates,
        Self::Skills,
    ];

    /// Method that lists it.
    pub fn method(self) -> &'static str {
        match self {
            Self::Tools => method::TOOLS_LIST,
            Self::Prompts => method::PROMPTS_LIST,
            Self::Resources => method::RESOURCES_LIST,
            Self::Templates => method::TEMPLATES_LIST,
            Self::Skills => method::SKILLS_LIST,
        }
    }

    /// One item of it, in messages.
    pub fn item(self) -> &'static str {
        match self {
            Self::Tools => "tool",
            Self::Prompts => "prompt",
            Self::Resources => "resource",
            Self::Templates => "resource template",
            Self::Skills => "skill",
        }
    }

    /// Member of the result that holds the items.
    pub fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
            Self::Skills => "skills",
        }
    }

    /// Member of an item that names it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources | Self::Skills => "uri",
            Self::Templates => "uriTemplate",
        }
    }

    /// Server capability whose notifications tell that it changed. Skills have none of their own; they are resources.
    pub fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources | Self::Templates | Self::Skills => "resources",
        }
    }

    /// Whether a server with these raw capabilities has such a list.
    pub fn is_offered(self, capabilities: &str) -> bool {
        match self {
            Self::Skills => find_path(capabilities, &["extensions", SKILLS]).is_some(),
            _ => find(capabilities, self.capability()).is_some(),
        }
    }
}

/// Raw bytes of `text`, which lies inside `whole`: shares the allocation where it can.
fn share(whole: &Bytes, text: &str) -> Bytes {
    let (outer, inner) = (whole.as_ptr_range(), text.as_bytes().as_ptr_range());
    if outer.start <= inner.start && inner.end <= outer.end {
        whole.slice_ref(text.as_bytes())
    } else {
        Bytes::copy_from_slice(text.as_bytes())
    }
}
