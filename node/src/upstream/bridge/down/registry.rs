//! The owned sessions of one server: who gets which, and how many.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lockgate_proto::jsonrpc::{Span, Splice, decode_str, elements, encode_str, members};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::upstream::bridge::clock::Clock;
use crate::upstream::bridge::tasks::EXTENSION;

use super::key::Key;
use super::owned::Owned;

/// An owned session that nobody uses is kept this long. It may hold state of its caller, who has no other place for it,
/// so as long as a client's own session is kept by default. In milliseconds.
const IDLE_MS_MAX: u64 = 1_800_000;
/// Owned sessions of one server.
const SESSIONS_MAX: usize = 4_096;
/// Owned sessions of one caller at one server: as many sets of capabilities, or of lanes, are in use.
const SESSIONS_OWNER_MAX: usize = 64;
/// Sessions that one caller has at a server which can put one question at a time: one for each call that runs, or that
/// waits for its client.
pub(super) const LANES_MAX: u8 = 16;
/// One beside a caller's first that nobody uses is kept this long: it was opened for calls at once, and what a call leaves
/// in it the next one does not find. In milliseconds.
const IDLE_BESIDE_MS_MAX: u64 = 60_000;
/// Spellings of capabilities that are remembered.
const SPELLINGS_MAX: usize = 1_024;

/// The owned sessions of one server. An index of this node: what a session is stands in its own account.
#[derive(Debug)]
pub(super) struct Registry {
    clock: Clock,
    /// `None` when the server has ended.
    slots: Mutex<Option<HashMap<Key, Arc<Slot>>>>,
    /// Raw capabilities as clients write them, and their one spelling.
    spellings: Mutex<HashMap<Arc<str>, Arc<str>>>,
    names: AtomicU64,
    /// Whether the server has asked on a session's own stream.
    pub(super) has_asked_apart: Arc<AtomicBool>,
}

/// How many there may be, and of what.
pub(super) type Bound = (usize, &'static str);

/// A place, and the session that has to be closed for it.
pub(super) type Found = (Arc<Slot>, Option<Arc<Owned>>);

/// Why there is no place for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoSlot {
    /// All are in use.
    Full(Bound),
    /// The server has ended.
    Ended,
}

/// Place of one session; opened by whoever needs it first.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) cell: OnceCell<Arc<Owned>>,
    made_ms: u64,
}

impl Slot {
    /// Whether nobody but the registry knows it, or its session.
    fn is_unused(self: &Arc<Self>) -> bool {
        let session = self.cell.get().map_or(1, Arc::strong_count);
        Arc::strong_count(self) == 1 && session == 1
    }

    fn used_ms(&self) -> u64 {
        self.cell
            .get()
            .map_or(self.made_ms, |owned| owned.used_ms())
    }
}

impl Registry {
    /// Without sessions.
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            slots: Mutex::new(Some(HashMap::new())),
            spellings: Mutex::default(),
            names: AtomicU64::new(0),
            has_asked_apart: Arc::default(),
        }
    }

    /// The place for `key`; also gives the session that has to be closed for it.
    ///
    /// # Errors
    ///
    /// See [`NoSlot`].
    pub(super) fn slot(&self, key: &Key) -> Result<Found, NoSlot> {
        let mut slots = self.slots.lock();
        self.place(slots.as_mut().ok_or(NoSlot::Ended)?, key)
    }

    /// A place beside the sessions that the caller of `key` has, which nobody opens yet. `None` where there are as many as
    /// there may be.
    pub(super) fn free_lane(&self, key: &Key) -> Option<Result<(Key, Found), NoSlot>> {
        let mut slots = self.slots.lock();
        let Some(slots) = slots.as_mut() else {
            return Some(Err(NoSlot::Ended));
        };
        let mut lanes = (0..LANES_MAX).map(|lane| key.in_lane(lane));
        let free = lanes.find(|key| match slots.get(key) {
            // One that could not be opened is free for the next attempt.
            Some(slot) => slot.cell.get().is_none() && Arc::strong_count(slot) == 1,
            None => true,
        })?;
        let found = self.place(slots, &free);
        Some(found.map(|found| (free, found)))
    }

    /// The sessions that the caller of `key` has, as far as they are open.
    pub(super) fn lanes(&self, key: &Key) -> Vec<Arc<Owned>> {
        let slots = self.slots.lock();
        let lanes = (0..LANES_MAX).map(|lane| key.in_lane(lane));
        lanes
            .filter_map(|key| slots.as_ref()?.get(&key)?.cell.get().cloned())
            .collect()
    }

    fn place(&self, slots: &mut HashMap<Key, Arc<Slot>>, key: &Key) -> Result<Found, NoSlot> {
        if let Some(slot) = slots.get(key) {
            return Ok((Arc::clone(slot), None));
        }
        let is_mine = |other: &Key| other.owner() == key.owner();
        let n_mine = slots.keys().filter(|other| is_mine(other)).count();
        let mut evicted = None;
        if n_mine >= SESSIONS_OWNER_MAX || slots.len() >= SESSIONS_MAX {
            let candidates = slots.iter().filter(|(other, slot)| {
                (n_mine < SESSIONS_OWNER_MAX || is_mine(other)) && slot.is_unused()
            });
            let oldest = candidates.min_by_key(|(_, slot)| slot.used_ms());
            let full = match n_mine < SESSIONS_OWNER_MAX {
                true => (SESSIONS_MAX, "sessions of callers"),
                false => (SESSIONS_OWNER_MAX, "sessions of this caller"),
            };
            let oldest = oldest.map(|(key, _)| key.clone());
            let oldest = oldest.ok_or(NoSlot::Full(full))?;
            evicted = slots
                .remove(&oldest)
                .and_then(|slot| slot.cell.get().cloned());
        }
        let slot = Arc::new(Slot {
            cell: OnceCell::new(),
            made_ms: self.clock.now_ms(),
        });
        slots.insert(key.clone(), Arc::clone(&slot));
        Ok((slot, evicted))
    }

    /// Forgets a session that is of no use any more.
    pub(super) fn forget(&self, owned: &Arc<Owned>) {
        let mut slots = self.slots.lock();
        let Some(slots) = slots.as_mut() else { return };
        let known = slots.get(&owned.key).and_then(|slot| slot.cell.get());
        if known.is_some_and(|known| Arc::ptr_eq(known, owned)) {
            slots.remove(&owned.key);
        }
    }

    /// Takes out the sessions that nobody has used for long.
    pub(super) fn idle(&self) -> Vec<Arc<Owned>> {
        let now_ms = self.clock.now_ms();
        let idle_ms = |slot: &Slot| now_ms.saturating_sub(slot.used_ms());
        let kept_ms = |key: &Key| match key.is_first() {
            true => IDLE_MS_MAX,
            false => IDLE_BESIDE_MS_MAX,
        };
        let is_over =
            |key: &Key, slot: &Arc<Slot>| slot.is_unused() && idle_ms(slot) >= kept_ms(key);
        let mut slots = self.slots.lock();
        let Some(slots) = slots.as_mut() else {
            return Vec::new();
        };
        let over = slots.extract_if(|key, slot| is_over(key, slot));
        over.filter_map(|(_, slot)| slot.cell.get().cloned())
            .collect()
    }

    /// Takes out all sessions; there will be no others.
    pub(super) fn end(&self) -> Vec<Arc<Owned>> {
        let slots = self.slots.lock().take().unwrap_or_default();
        let slots = slots.into_values();
        slots.filter_map(|slot| slot.cell.get().cloned()).collect()
    }

    /// Whether there will be no others.
    pub(super) fn has_ended(&self) -> bool {
        self.slots.lock().is_none()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.lock().as_ref().is_none_or(HashMap::is_empty)
    }

    /// A name for a new session, unique in this registry.
    pub(super) fn name(&self) -> Arc<str> {
        let n = self.names.fetch_add(1, Ordering::Relaxed);
        format!("stateless-{n}").into()
    }

    /// The one spelling of raw `ClientCapabilities` that a session-era server is told: what the client declares, less
    /// tasks: those of 2025-11-25 it cannot run, and those of the extension the server does not know.
    pub(super) fn spelling(&self, capabilities: &str) -> Arc<str> {
        let mut spellings = self.spellings.lock();
        if let Some(known) = spellings.get(capabilities) {
            return Arc::clone(known);
        }
        if spellings.len() >= SPELLINGS_MAX {
            spellings.clear();
        }
        let mut spelling = String::new();
        let kept = members(capabilities).filter(|member| member.key != "tasks");
        let others: Vec<_> = kept
            .map(|member| match &*member.key {
                "extensions" => (member.key, without_tasks(member.value)),
                _ => (member.key, member.value.into()),
            })
            .filter(|(key, value)| key != "extensions" || value != "{}")
            .collect();
        let kept = others.iter().map(|(key, value)| (key.clone(), &**value));
        spell_object(&mut spelling, kept);
        let spelling: Arc<str> = spelling.into();
        spellings.insert(capabilities.into(), Arc::clone(&spelling));
        spelling
    }
}

/// Raw `extensions` without tasks.
fn without_tasks(extensions: &str) -> Cow<'_, str> {
    let whole = Span::new(0, extensions.len());
    let mut splice = Splice::new(extensions);
    splice.remove_member(whole, EXTENSION);
    if splice.is_empty() {
        return extensions.into();
    }
    String::from_utf8_lossy(&splice.finish())
        .into_owned()
        .into()
}

/// Members in order of their keys, without blanks.
fn spell_object<'a>(out: &mut String, found: impl Iterator<Item = (Cow<'a, str>, &'a str)>) {
    let mut found: Vec<_> = found.collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    out.push('{');
    for (at, (key, value)) in found.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str(&encode_str(&key));
        out.push(':');
        spell(out, value);
    }
    out.push('}');
}

fn spell(out: &mut String, raw: &str) {
    match raw.as_bytes().first() {
        Some(b'{') => spell_object(out, members(raw).map(|member| (member.key, member.value))),
        Some(b'[') => {
            out.push('[');
            for (at, element) in elements(raw).enumerate() {
                if at > 0 {
                    out.push(',');
                }
                spell(out, element.of(raw));
            }
            out.push(']');
        }
        Some(b'"') => match decode_str(raw) {
            Some(text) => out.push_str(&encode_str(&text)),
            None => out.push_str(raw),
        },
        _ => out.push_str(raw),
    }
}

#[cfg(test)]
mod tests {
    use lockgate_proto::id::Principal;

    use super::*;
    use crate::upstream::Owner;

    #[tokio::test]
    async fn an_ended_server_gets_no_more_sessions() {
        let registry = Registry::new(Clock::set_to(0));
        let principal = Principal::new("ann");
        let owner = Owner {
            tenant: None,
            principal: &principal,
            scoped: false,
        };
        let key = Key::new(&owner, registry.spelling("{}"));
        assert!(registry.slot(&key).is_ok());
        assert!(registry.end().is_empty(), "it was not opened");
        assert_eq!(registry.slot(&key).err(), Some(NoSlot::Ended));
        assert!(registry.has_ended());
        assert!(registry.is_empty());
    }

    #[tokio::test]
    async fn a_free_lane_is_one_that_nobody_opens() {
        let registry = Registry::new(Clock::set_to(0));
        let principal = Principal::new("ann");
        let owner = Owner {
            tenant: None,
            principal: &principal,
            scoped: false,
        };
        let key = Key::new(&owner, registry.spelling("{}"));
        let free = || registry.free_lane(&key).map(Result::unwrap);
        let mut opening = Vec::new();
        for lane in 0..LANES_MAX {
            let found = free().unwrap();
            assert!(found.0 == key.in_lane(lane), "{lane}");
            opening.push(found);
        }
        assert!(free().is_none());
        // Whoever opened it has failed.
        drop(opening.remove(3));
        assert!(free().unwrap().0 == key.in_lane(3));
        assert!(registry.lanes(&key).is_empty(), "none is open");
    }

    #[tokio::test]
    async fn capabilities_have_one_spelling() {
        let registry = Registry::new(Clock::set_to(0));
        for same in [
            r#"{"a":{"y":[1, "b"],"x":{}},"c":null}"#,
            r#"{"c":null, "a" : {"x":{ },"y":[1,"\u0062"]}, "tasks":{"list":{}}}"#,
        ] {
            let spelling = registry.spelling(same);
            assert_eq!(&*spelling, r#"{"a":{"x":{},"y":[1,"b"]},"c":null}"#);
            assert!(Arc::ptr_eq(&spelling, &registry.spelling(same)));
        }
        assert_eq!(&*registry.spelling("{}"), "{}");
    }
}
