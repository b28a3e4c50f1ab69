//! Merged lists: rendered once per table and set of rights, then sliced into pages without copying.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use lockgate_proto::jsonrpc::{Span, Splice, encode_str};
use parking_lot::Mutex;

use crate::error::Object;
use crate::policy::Access;
use crate::upstream::catalog::{Item, ListKind};

use super::rewrite;
use super::skills;
use super::table::{Entry, Scope, Table};

/// Kind of object that policy decides on.
pub(super) fn object(kind: ListKind) -> Object {
    match kind {
        ListKind::Tools => Object::Tool,
        ListKind::Prompts => Object::Prompt,
        ListKind::Resources | ListKind::Templates | ListKind::Skills => Object::Resource,
    }
}

/// Kind that `method` lists.
pub fn kind_of(method: &str) -> Option<ListKind> {
    ListKind::ALL
        .into_iter()
        .find(|kind| kind.method() == method)
}

/// One list as one set of rights sees it.
#[derive(Debug)]
pub struct Rendered {
    /// Items, joined by commas.
    joined: Bytes,
    /// Where each item starts in `joined`, and one past the end (as if another comma followed).
    starts: Vec<u32>,
    /// Names as clients see them.
    names: Vec<Box<str>>,
}

/// How long a client may keep a merged list, in milliseconds; a change is announced at once to those who listen.
/// Source: the shortest value that still spares a polling client half of its requests (polls every 5 s).
pub const TTL_MS: u32 = 10_000;
/// Most items of one page. Source: four times what the largest catalogs of the field hold (2026).
const PAGE_ITEMS_MAX: usize = 4096;
/// Most bytes of one page; the bound of a body in the official SDKs.
const PAGE_BYTES_MAX: usize = 4 << 20;

impl Rendered {
    /// Number of items.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Names as clients see them, in order.
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// Position that continues after `last`, which stood just before `at` when its page was made.
    pub fn position_after(&self, at: usize, last: &str) -> usize {
        if at > 0 && self.names.get(at - 1).is_some_and(|name| **name == *last) {
            return at;
        }
        let moved = self.names.iter().position(|name| **name == *last);
        moved.map_or(at, |position| position + 1).min(self.len())
    }

    /// Items from `from` on that fit one page, joined, and the position after them.
    pub fn page(&self, from: usize) -> (Bytes, usize) {
        let from = from.min(self.len());
        let mut to = from;
        while to < self.len() && to - from < PAGE_ITEMS_MAX {
            let bytes = (self.starts[to + 1] - self.starts[from]) as usize;
            if to > from && bytes > PAGE_BYTES_MAX {
                break;
            }
            to += 1;
        }
        if from == to {
            return (Bytes::new(), to);
        }
        let range = self.starts[from] as usize..self.starts[to] as usize - 1;
        (self.joined.slice(range), to)
    }
}

/// Rendered lists of one table. Bounded by the number of distinct sets of rights in use.
#[derive(Debug, Default)]
pub struct ListCache(Mutex<Vec<Slot>>);

#[derive(Debug)]
struct Slot {
    kind: ListKind,
    scope: Scope,
    access: Arc<Access>,
    list: Arc<Rendered>,
}

/// Distinct (kind, scope, rights) kept per table; beyond it the oldest is rendered again when it is asked for.
const CACHE_SLOTS_MAX: usize = 256;

impl Table {
    /// The list as a caller with these rights sees it.
    pub fn list(&self, kind: ListKind, scope: Scope, access: &Arc<Access>) -> Arc<Rendered> {
        let mut slots = self.lists.0.lock();
        let same = |slot: &&Slot| {
            slot.kind == kind && slot.scope == scope && Arc::ptr_eq(&slot.access, access)
        };
        if let Some(slot) = slots.iter().find(same) {
            return Arc::clone(&slot.list);
        }
        let list = Arc::new(self.render(kind, scope, access));
        if slots.len() >= CACHE_SLOTS_MAX {
            slots.remove(0);
        }
        slots.push(Slot {
            kind,
            scope,
            access: Arc::clone(access),
            list: Arc::clone(&list),
        });
        list
    }

    fn render(&self, kind: ListKind, scope: Scope, access: &Access) -> Rendered {
        let mut out = BytesMut::new();
        let (mut starts, mut names) = (vec![0_u32], Vec::new());
        for (at, entry) in self.servers.iter().enumerate() {
            if scope != Scope::All && scope != Scope::Server(at) {
                continue;
            }
            for item in entry.items(kind) {
                let shown = entry.shown(kind, &item.key);
                if self.is_hidden(kind, at, &shown)
                    || !entry.allows(access, kind, &item.key, &shown)
                {
                    continue;
                }
                out.put_slice(&render_item(entry, kind, (scope, access), item, &shown));
                out.put_u8(b',');
                starts.push(u32::try_from(out.len()).unwrap_or(u32::MAX));
                names.push(shown.into());
            }
        }
        Rendered {
            joined: out.freeze(),
            starts,
            names,
        }
    }

    fn is_hidden(&self, kind: ListKind, server: usize, shown: &str) -> bool {
        self.hidden
            .iter()
            .any(|h| h.kind == kind && h.hidden == server && &*h.name == shown)
    }
}

impl Entry {
    /// Whether the server lists `key` although nobody can use it.
    pub(super) fn is_unfit(&self, kind: ListKind, key: &str) -> bool {
        let catalog = self.catalog.as_deref();
        kind == ListKind::Tools && catalog.is_some_and(|catalog| catalog.tools.is_unfit(key))
    }

    /// Whether a caller with these rights may know of the item `key`, which clients see as `shown`.
    pub(super) fn allows(&self, access: &Access, kind: ListKind, key: &str, shown: &str) -> bool {
        let server = &self.settings.name;
        match kind {
            ListKind::Tools => access.decide_tool(shown, server, key).allowed,
            _ => access.decide(object(kind), shown, Some(server)).allowed,
        }
    }
}

fn render_item(
    entry: &Entry,
    kind: ListKind,
    (scope, access): (Scope, &Access),
    item: &Item,
    shown: &str,
) -> Bytes {
    let text = std::str::from_utf8(&item.raw).unwrap_or_default();
    let mut splice = Splice::new(text);
    if kind == ListKind::Skills {
        let is_merged = scope == Scope::All;
        let reader = skills::Reader {
            entry,
            access,
            is_merged,
        };
        reader.skill(text, Span::new(0, text.len()), &mut splice);
    } else if scope == Scope::All && *item.key != *shown {
        splice.replace(item.key_span, encode_str(shown));
    }
    if scope == Scope::All && kind == ListKind::Tools {
        rewrite::ui_resource(&entry.settings, text, &mut splice);
    }
    if splice.is_empty() {
        item.raw.clone()
    } else {
        splice.finish()
    }
}
