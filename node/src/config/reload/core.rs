//! What a newly read file means, decided without clock, file or channel.

use std::sync::Arc;
use std::time::SystemTime;

use crate::config::check::exposure;
use crate::config::checked::Config;
use crate::config::document::document;
use crate::config::load::Loaded;
use crate::config::problem::{Problem, Problems};
use crate::config::show::{node_changes, redacted};

/// One accepted state of the configuration.
#[derive(Clone, Debug)]
pub struct Versioned {
    /// Counts accepted files since start, from 1.
    pub version: u64,
    /// SHA-256 of the file's text, in hex.
    pub hash: String,
    /// When the file was read.
    pub loaded_at: SystemTime,
    /// Keys of the node are those of the start; all others are those of the file.
    pub config: Config,
    written: Arc<serde_json::Value>,
}

impl Versioned {
    /// What the file says, with defaults, without secrets.
    pub fn redacted(&self) -> serde_json::Value {
        redacted(&self.written)
    }

    /// The registry part of what the file says.
    pub fn document(&self) -> serde_json::Value {
        document(&self.written)
    }
}

/// How the last reading went.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Why the file as it is now was refused. `None`: it is in force.
    pub last_error: Option<Problems>,
    /// Keys in which the file differs from the running node: they need a restart.
    pub needs_restart: Vec<String>,
    /// What is allowed and yet unwise.
    pub warnings: Vec<Problem>,
}

/// Versions of one process.
#[derive(Debug)]
pub(super) struct Core {
    current: Arc<Versioned>,
    status: Arc<Status>,
    /// What the file said at start, for the node's keys.
    started_with: Arc<serde_json::Value>,
    unsafe_no_auth: bool,
}

/// What a reading led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The file is the one in force.
    Unchanged,
    /// The file was refused before for another reason and is now the one in force again.
    Recovered,
    /// A new version is in force.
    Replaced,
    /// The file was refused.
    Refused,
}

impl Core {
    pub(super) fn new(first: Loaded, unsafe_no_auth: bool, now: SystemTime) -> Self {
        let Loaded {
            config,
            written,
            hash,
            warnings,
        } = first;
        let started_with = Arc::clone(&written);
        let current = Arc::new(Versioned {
            version: 1,
            hash,
            loaded_at: now,
            config,
            written,
        });
        let status = Arc::new(Status {
            warnings,
            ..Status::default()
        });
        Self {
            current,
            status,
            started_with,
            unsafe_no_auth,
        }
    }

    pub(super) fn current(&self) -> &Arc<Versioned> {
        &self.current
    }

    pub(super) fn status(&self) -> &Arc<Status> {
        &self.status
    }

    pub(super) fn on_read(&mut self, read: Result<Loaded, Problems>, now: SystemTime) -> Outcome {
        let accepted = read.and_then(|loaded| self.fits_this_node(loaded));
        let loaded = match accepted {
            Ok(loaded) => loaded,
            Err(problems) => {
                self.status = Arc::new(Status {
                    last_error: Some(problems),
                    ..Status::clone(&self.status)
                });
                return Outcome::Refused;
            }
        };
        if loaded.hash == self.current.hash {
            if self.status.last_error.is_none() {
                return Outcome::Unchanged;
            }
            self.status = Arc::new(Status {
                last_error: None,
                ..Status::clone(&self.status)
            });
            return Outcome::Recovered;
        }
        let Loaded {
            config,
            written,
            hash,
            warnings,
        } = loaded;
        let needs_restart = node_changes(&self.started_with, &written);
        let config = Config {
            node: self.current.config.node.clone(),
            registry: config.registry,
        };
        let version = self.current.version + 1;
        self.current = Arc::new(Versioned {
            version,
            hash,
            loaded_at: now,
            config,
            written,
        });
        self.status = Arc::new(Status {
            last_error: None,
            needs_restart,
            warnings,
        });
        Outcome::Replaced
    }

    /// The file was checked with its own `listen`, but this node keeps the one it started with: a file that turns to
    /// loopback and to anonymous callers at once must not open a node that others reach.
    fn fits_this_node(&self, loaded: Loaded) -> Result<Loaded, Problems> {
        let node = &self.current.config.node;
        let list = exposure(
            node.listen,
            node.admin_listen,
            &loaded.config.registry.identity,
            self.unsafe_no_auth,
        );
        if list.is_empty() {
            Ok(loaded)
        } else {
            Err(Problems { file: None, list })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;
    use crate::config::tests::options;

    fn read(text: &str) -> Result<Loaded, Problems> {
        parse(text, None, Path::new("/"), &options())
    }

    fn core(text: &str) -> Core {
        Core::new(read(text).unwrap(), false, SystemTime::UNIX_EPOCH)
    }

    #[track_caller]
    fn step(core: &mut Core, text: &str, outcome: Outcome, version: u64) {
        assert_eq!(
            core.on_read(read(text), SystemTime::UNIX_EPOCH),
            outcome,
            "{text}"
        );
        assert_eq!(core.current().version, version, "{text}");
        assert_eq!(
            core.status().last_error.is_some(),
            outcome == Outcome::Refused,
            "{text}"
        );
    }

    const A: &str = "servers: { a: { command: a } }";
    const B: &str = "servers: { b: { command: b } }";

    #[test]
    fn versions_count_accepted_files_only() {
        let mut core = core(A);
        step(&mut core, A, Outcome::Unchanged, 1);
        step(&mut core, B, Outcome::Replaced, 2);
        step(&mut core, "servers: [", Outcome::Refused, 2);
        assert_eq!(core.current().config.registry.servers[0].name.as_str(), "b");
        step(&mut core, B, Outcome::Recovered, 2);
        step(&mut core, A, Outcome::Replaced, 3);
    }

    #[test]
    fn keys_of_the_node_wait_for_a_restart() {
        let mut core = core("listen: 127.0.0.1:1000");
        step(
            &mut core,
            "listen: 127.0.0.1:2000\nlimits: { depth_max: 9 }\nseparator: '-'",
            Outcome::Replaced,
            2,
        );
        assert_eq!(core.current().config.node.listen.port(), 1000);
        assert_eq!(core.current().config.registry.separator, "-");
        assert_eq!(core.status().needs_restart, ["listen", "limits.depth_max"]);
        step(
            &mut core,
            "listen: 127.0.0.1:1000\nseparator: '-'",
            Outcome::Replaced,
            3,
        );
        assert!(core.status().needs_restart.is_empty());
    }

    #[test]
    fn a_reload_does_not_open_a_node_that_others_reach() {
        let key = "api_keys: [{ id: a, key_env: CI_KEY, principal: p, roles: [r] }]";
        let mut core = core(&format!(
            "listen: 0.0.0.0:1\nroles: {{ r: }}\nidentity: {{ {key} }}"
        ));
        step(
            &mut core,
            "roles: { r: }\nidentity: { anonymous: [r] }",
            Outcome::Refused,
            1,
        );
        assert!(core.current().config.registry.identity.anonymous.is_none());
    }
}
