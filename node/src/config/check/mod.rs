//! From what the file says to what the code may rely on. Collects everything that is wrong instead of stopping at the
//! first problem.

mod address;
mod cluster;
mod identity;
mod node;
mod quota;
mod redact;
mod server;

pub(super) use self::node::exposure;

use std::path::{Path, PathBuf};

use super::checked::{Config, Registry, Server};
use super::interpolate::{Gap, Lookup, interpolate};
use super::problem::{Problem, Rigour};
use super::raw;
use super::tree::{KeyPath, Lines};

/// What a check depends on beside the text.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    /// Directory of the file: where relative paths start.
    pub dir: &'a Path,
    /// The gateway's environment.
    pub env: Lookup<'a>,
    /// The operator takes the blame for listening openly.
    pub unsafe_no_auth: bool,
}

impl Context<'_> {
    fn path(&self, path: &Path) -> PathBuf {
        // `./` would otherwise stay in the middle of every message.
        self.dir.join(path.strip_prefix(".").unwrap_or(path))
    }
}

/// What a check found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
    /// What would be refused of whoever writes it now.
    pub tolerated: Vec<Problem>,
    rigour: Rigour,
}

impl Findings {
    pub(super) fn of(rigour: Rigour) -> Self {
        Self {
            rigour,
            ..Self::default()
        }
    }

    /// Something is wrong that an earlier version took. Whether it is taken here, too.
    pub(super) fn slip(&mut self, problem: Problem) -> bool {
        let is_taken = self.rigour == Rigour::InForce;
        match is_taken {
            true => self.tolerated.push(problem),
            false => self.problems.push(problem),
        }
        is_taken
    }

    /// Something is wrong. It is never taken.
    pub(super) fn refuse_as(&mut self, problem: Problem) -> bool {
        self.problems.push(problem);
        false
    }

    fn refuse(&mut self, at: &KeyPath, what: impl Into<String>, remedy: impl Into<String>) {
        self.problems.push(problem(at, what, remedy));
    }

    /// Whether something was refused at `at` or below.
    fn is_wrong(&self, at: &KeyPath) -> bool {
        let refused = |problem: &Problem| is_at_or_below(&problem.key, at.as_str());
        self.problems.iter().any(refused)
    }

    fn warn(&mut self, at: &KeyPath, what: impl Into<String>, remedy: impl Into<String>) {
        self.warnings.push(problem(at, what, remedy));
    }

    /// Completes `text`, or reports why that is not possible.
    fn interpolate(&mut self, text: &str, at: &KeyPath, env: Lookup<'_>) -> Option<String> {
        let gap = match interpolate(text, env) {
            Ok(full) => return Some(full),
            Err(gap) => gap,
        };
        match gap {
            Gap::Unset(name) => self.refuse(
                at,
                format!("the environment variable `{name}` is not set"),
                format!("set `{name}`, or write `$${{` for a literal `${{`"),
            ),
            Gap::Misnamed(name) => self.refuse(
                at,
                format!("`${{{name}}}` does not name a variable"),
                "write `${NAME}` with letters, digits and `_`, or `$${` for a literal `${`",
            ),
            Gap::Unclosed => {
                self.refuse(
                    at,
                    "`${` is not closed",
                    "add `}`, or write `$${` for a literal `${`",
                );
            }
        }
        None
    }

    /// Adds lines, and drops what only follows from a problem that `known` already names.
    pub(super) fn finish(&mut self, known: &[Problem], lines: &Lines) {
        self.problems.retain(|problem| {
            !known
                .iter()
                .any(|known| is_at_or_below(&known.key, &problem.key))
        });
        for problem in self.problems.iter_mut().chain(&mut self.warnings) {
            problem.line = lines.of(&problem.key);
        }
    }
}

fn problem(at: &KeyPath, what: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem {
        line: None,
        key: at.as_str().to_owned(),
        what: what.into(),
        remedy: remedy.into(),
    }
}

fn is_at_or_below(key: &str, top: &str) -> bool {
    key.strip_prefix(top)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Checks a whole file. The value is only to be used when nothing was found.
pub(super) fn file(mut raw: raw::File, context: &Context<'_>, found: &mut Findings) -> Config {
    let servers = server::all(raw.servers.take(), context, found);
    let roles = identity::roles(raw.roles.take(), found);
    let quotas = quota::all(raw.quotas.take(), raw.tenants.as_mut(), found);
    let tenants = identity::tenants(raw.tenants.take(), &servers, found);
    let names = identity::Names {
        roles: &roles,
        tenants: &tenants,
    };
    let identity = identity::identity(raw.identity.take(), &names, context, found);
    let separator = node::separator(raw.separator.take(), found);
    let node = node::node(raw, &identity, context, found);
    let servers = servers.into_iter().map(std::sync::Arc::new).collect();
    Config {
        node,
        registry: Registry {
            identity,
            servers,
            roles,
            tenants,
            quotas,
            separator,
            unusable: Vec::new(),
        },
    }
}

/// Checks one entry of `servers`. `None` when something was found.
pub(super) fn one_server(
    name: &str,
    raw: raw::Server,
    context: &Context<'_>,
    found: &mut Findings,
) -> Option<Server> {
    server::one(name, raw, &KeyPath::root(), context, found)
}

/// Why a glob is none, in the form of our own messages.
fn reason(error: &globset::Error) -> String {
    error.kind().to_string().replace(';', ",")
}
