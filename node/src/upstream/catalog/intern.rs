//! Equal lists share their memory: a thousand sessions that were shown the same tools hold them once.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::{Catalog, List};

/// Lists in use, by content. Holds none alive.
#[derive(Debug, Default)]
pub struct Interner {
    lists: Mutex<HashMap<u64, Weak<List>>>,
}

impl Interner {
    /// The same catalog over lists that everybody shares.
    pub fn intern(&self, catalog: Catalog) -> Arc<Catalog> {
        let mut lists = self.lists.lock();
        lists.retain(|_, list| list.strong_count() > 0);
        let mut shared = |list: Arc<List>| {
            let known = lists.get(&list.content_hash()).and_then(Weak::upgrade);
            match known {
                Some(known) if known == list && known.flaws().eq(list.flaws()) => known,
                // Of two lists with one hash, or with other flaws, the later stays unshared.
                Some(_) => list,
                None => {
                    lists.insert(list.content_hash(), Arc::downgrade(&list));
                    list
                }
            }
        };
        Arc::new(Catalog {
            tools: shared(catalog.tools),
            prompts: shared(catalog.prompts),
            resources: shared(catalog.resources),
            templates: shared(catalog.templates),
            skills: shared(catalog.skills),
            ..catalog
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lockgate_proto::mcp::Era;

    use super::super::{Item, ListKind, ServerInfo};
    use super::*;

    fn catalog(tool: &str) -> Catalog {
        let raw = Bytes::from(format!(r#"{{"name":"{tool}"}}"#));
        let item = Item::read(ListKind::Tools, Era::Session, raw).unwrap();
        Catalog {
            server: ServerInfo::default(),
            tools: Arc::new(List::new(vec![item])),
            prompts: Arc::default(),
            resources: Arc::default(),
            templates: Arc::default(),
            skills: Arc::default(),
            ttl: None,
            public: false,
        }
    }

    #[test]
    fn equal_lists_share_memory_and_others_do_not() {
        let interner = Interner::default();
        let first = interner.intern(catalog("a"));
        let second = interner.intern(catalog("a"));
        let other = interner.intern(catalog("b"));
        assert!(first.same_as(&second));
        assert!(!first.same_as(&other));
    }

    #[test]
    fn another_flaw_alone_is_no_change() {
        let interner = Interner::default();
        let flawed = |flaw: &str| {
            let catalog = catalog("a");
            let list = catalog.tools.with_items(catalog.tools.items().to_vec());
            let tools = Arc::new(list.with_flaws(vec![flaw.into()]));
            interner.intern(Catalog { tools, ..catalog })
        };
        let (first, second) = (flawed("one"), flawed("two"));
        assert!(first.same_as(&second));
        let flaws = [&first, &second].map(|catalog| catalog.flaws().collect::<String>());
        assert_eq!(flaws, ["one", "two"]);
    }

    #[test]
    fn unused_lists_are_forgotten() {
        let interner = Interner::default();
        drop(interner.intern(catalog("a")));
        let kept = interner.intern(catalog("b"));
        // The tools of `b`, and the empty list of all other kinds.
        assert_eq!(interner.lists.lock().len(), 2);
        drop(kept);
    }
}
