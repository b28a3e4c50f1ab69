//! Numbers of records in the lives of their nodes: without a gap, but for those that the log itself names.

use lockgate_proto::jsonrpc::{decode_str, find_path};

use super::report::Reason;
use crate::audit::guard::Mark;
use crate::audit::leaf::Head;
use crate::audit::record::Origin;
use crate::machine::audit::{LOG_ITSELF, METHOD_GAP, METHOD_NODE_LOST, METHOD_ROTATE_KEY};

/// What a record says that lets another MAC key begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rotation {
    pub(super) old: u32,
    pub(super) new: u32,
    /// Secret from which the new one follows; `None` when that is the keyring.
    pub(super) guard: Option<Mark>,
}

/// How far each life of each node has come.
#[derive(Debug)]
pub(super) struct Origins {
    /// The ones that wrote last come first.
    tails: Vec<Tail>,
    /// Whether all lives begin behind the start, so that each must begin with 1.
    is_whole: bool,
}

#[derive(Debug)]
struct Tail {
    node: String,
    boot: u64,
    last: u64,
    is_lost: bool,
}

impl Origins {
    pub(super) fn starting(is_whole: bool) -> Self {
        Self {
            tails: Vec::new(),
            is_whole,
        }
    }

    /// Accepts the next record, if its number follows. Answers with the rotation that it is of.
    pub(super) fn accept(
        &mut self,
        head: &Head<'_>,
        line: &[u8],
    ) -> Result<Option<Rotation>, Reason> {
        let Origin {
            node,
            boot,
            local_seq,
        } = head.origin;
        let is_whole = self.is_whole;
        let tail = self.tail(node, boot);
        let want = tail.last + 1;
        let is_first = tail.last == 0 && !is_whole;
        if (local_seq != want && !is_first) || tail.is_lost {
            return Err(Reason::LocalSeq {
                node: node.to_owned(),
                boot,
                found: local_seq,
                want,
            });
        }
        tail.last = local_seq;
        if node == LOG_ITSELF {
            self.own(line)
        } else {
            Ok(None)
        }
    }

    /// Acts on what the log says itself.
    fn own(&mut self, line: &[u8]) -> Result<Option<Rotation>, Reason> {
        let own = Own::read(line).ok_or(Reason::Own)?;
        let is_whole = self.is_whole;
        match own {
            Own::Gap {
                node,
                boot,
                first,
                last,
            } => {
                let tail = self.tail(&node, boot);
                let follows = first == tail.last + 1 || (tail.last == 0 && !is_whole);
                if !follows || last < first || tail.is_lost {
                    return Err(Reason::Own);
                }
                tail.last = last;
                Ok(None)
            }
            Own::NodeLost { node, boot, last } => {
                let tail = self.tail(&node, boot);
                if tail.last != last && (tail.last != 0 || is_whole) {
                    return Err(Reason::Own);
                }
                tail.is_lost = true;
                Ok(None)
            }
            Own::Rotation(rotation) => Ok(Some(rotation)),
            Own::Other => Ok(None),
        }
    }

    fn tail(&mut self, node: &str, boot: u64) -> &mut Tail {
        let at = self
            .tails
            .iter()
            .position(|tail| tail.boot == boot && tail.node == node);
        let at = at.unwrap_or_else(|| {
            self.tails.push(Tail {
                node: node.to_owned(),
                boot,
                last: 0,
                is_lost: false,
            });
            self.tails.len() - 1
        });
        // A few lives write at a time; they are found at once.
        if at > 8 {
            self.tails.swap(at, at / 2);
            return &mut self.tails[at / 2];
        }
        &mut self.tails[at]
    }
}

/// What the log says itself.
enum Own {
    Gap {
        node: String,
        boot: u64,
        first: u64,
        last: u64,
    },
    NodeLost {
        node: String,
        boot: u64,
        last: u64,
    },
    Rotation(Rotation),
    Other,
}

impl Own {
    fn read(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let raw = |path: &[&str]| find_path(line, path).map(|span| span.of(line));
        let text = |path: &[&str]| Some(decode_str(raw(path)?)?.into_owned());
        let number = |key| raw(&["args", key])?.parse::<u64>().ok();
        let id = |key| u32::try_from(number(key)?).ok();
        Some(match text(&["method"])?.as_str() {
            METHOD_GAP => Self::Gap {
                node: text(&["args", "node"])?,
                boot: number("boot")?,
                first: number("first")?,
                last: number("last")?,
            },
            METHOD_NODE_LOST => Self::NodeLost {
                node: text(&["args", "node"])?,
                boot: number("boot")?,
                last: number("last_local_seq")?,
            },
            METHOD_ROTATE_KEY => Self::Rotation(Rotation {
                old: id("old")?,
                new: id("new")?,
                guard: match raw(&["args", "guard"]) {
                    Some(_) => Some(Mark::parse(&text(&["args", "guard"])?)?),
                    None => None,
                },
            }),
            _ => Self::Other,
        })
    }
}
