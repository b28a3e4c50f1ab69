//! `Access`: everything that decides what one kind of caller may use.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockgate_proto::id::{RoleName, ServerName, Tenant};
use lockgate_proto::mcp::method;

use super::ToolRules;
use super::pattern::{KINDS, Pattern, PatternError, Shape};
use super::pattern_set::PatternSet;
use super::uri::{Meaning, meaning};
use crate::config::{Registry, Role};
use crate::error::Object;

/// Rule named when no pattern matched.
const DEFAULT: &str = "default";
/// Rule named when the caller's tenant doesn't have the server.
const TENANT: &str = "tenant";
/// Rule named when the caller's tenant has the server that is itself the object.
const SERVER: &str = "server";

/// Place of methods in [`KINDS`].
const METHOD: usize = 3;

/// Rule named when a resource URI can't be read in one way.
const UNCLEAR_URI: &str = "unclear uri";

/// A decision, and the rule that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// Yes or no.
    pub allowed: bool,
    /// `role engineer: deny database_drop_*`, `server x: tools.drop_*`, or a word: `default`, `tenant`, `server`,
    /// `unclear uri`.
    pub rule: &'a str,
}

/// The union of a caller's roles, the servers of its tenant, and the rules for single tools. Deny wins over allow;
/// what no pattern allows is denied.
#[derive(Debug)]
pub struct Access {
    allow: [PatternSet; KINDS.len()],
    deny: [PatternSet; KINDS.len()],
    /// Those of `deny` that say `method:`.
    deny_methods: PatternSet,
    /// Sorted. `None`: all servers.
    servers: Option<Vec<ServerName>>,
    tool_rules: Arc<ToolRules>,
}

impl Access {
    /// Compiles what `roles` and `tenant` stand for in `registry`. A role that is not there grants nothing; a tenant
    /// that is not there has no servers.
    ///
    /// # Errors
    ///
    /// [`PatternError`] when a pattern of one of the roles is not a glob.
    pub fn new(
        registry: &Registry,
        tool_rules: Arc<ToolRules>,
        roles: &[RoleName],
        tenant: Option<&Tenant>,
    ) -> Result<Self, PatternError> {
        let allow = by_kind(&read(&registry.roles, roles, "allow", |role| &role.allow)?);
        let deny = read(&registry.roles, roles, "deny", |role| &role.deny)?;
        let deny_methods = set(&deny, |kind| kind == Some(Object::Method));
        let deny = by_kind(&deny);
        let servers = tenant.and_then(|tenant| match registry.tenants.get(tenant) {
            Some(settings) => settings.servers.clone(),
            None => Some(Vec::new()),
        });
        let servers = servers.map(|mut servers| {
            servers.sort();
            servers
        });
        Ok(Self {
            allow,
            deny,
            deny_methods,
            servers,
            tool_rules,
        })
    }

    /// Decides on a tool or prompt by its prefixed name, a resource by its URI, a method or a server by its name.
    /// `server` is the one that would get the call, where that is known.
    pub fn decide(&self, object: Object, name: &str, server: Option<&ServerName>) -> Verdict<'_> {
        if server.is_some_and(|server| !self.allows_server(server)) {
            return Verdict {
                allowed: false,
                rule: TENANT,
            };
        }
        let kind = match object {
            Object::Tool => 0,
            Object::Prompt => 1,
            Object::Resource => 2,
            Object::Method => METHOD,
            Object::Server => {
                let allowed = self.allows_server_named(name);
                return Verdict {
                    allowed,
                    rule: if allowed { SERVER } else { TENANT },
                };
            }
        };
        let verdict = self.match_patterns(kind, name);
        if verdict.allowed && object == Object::Resource {
            // Both must pass: what is written, and what the server will make of it.
            return match meaning(name) {
                Meaning::AsWritten => verdict,
                Meaning::Also(uri) => self.match_patterns(kind, &uri),
                Meaning::Unclear => Verdict {
                    allowed: false,
                    rule: UNCLEAR_URI,
                },
            };
        }
        verdict
    }

    /// The refusal of `method`, where a pattern denies it by its name. Where policy decides on something else, the name of
    /// a tool for one, only a pattern that says `method:` means the method.
    pub fn method_denial(&self, method: &str) -> Option<Verdict<'_>> {
        let patterns = match method {
            method::SKILLS_LIST | method::SKILLS_GET => &self.deny[METHOD],
            _ => &self.deny_methods,
        };
        let rule = patterns.find(method)?;
        Some(Verdict {
            allowed: false,
            rule,
        })
    }

    /// Decides on a tool whose server is known: its rules there come first, then [`Access::decide`].
    pub fn decide_tool(&self, name: &str, server: &ServerName, own_name: &str) -> Verdict<'_> {
        match self.tool_rules.denial(server, own_name) {
            Some(denial) => denial,
            None => self.decide(Object::Tool, name, Some(server)),
        }
    }

    /// Whether the caller's tenant has the server.
    pub fn allows_server(&self, server: &ServerName) -> bool {
        self.allows_server_named(server.as_str())
    }

    /// Rules for single tools, the same for every caller.
    pub fn tool_rules(&self) -> &ToolRules {
        &self.tool_rules
    }

    fn match_patterns(&self, kind: usize, name: &str) -> Verdict<'_> {
        if let Some(rule) = self.deny[kind].find(name) {
            return Verdict {
                allowed: false,
                rule,
            };
        }
        match self.allow[kind].find(name) {
            Some(rule) => Verdict {
                allowed: true,
                rule,
            },
            None => Verdict {
                allowed: false,
                rule: DEFAULT,
            },
        }
    }

    fn allows_server_named(&self, name: &str) -> bool {
        match &self.servers {
            Some(servers) => servers
                .binary_search_by(|server| server.as_str().cmp(name))
                .is_ok(),
            None => true,
        }
    }
}

/// Patterns of roles, each with the rule that it makes.
fn read(
    table: &BTreeMap<RoleName, Role>,
    roles: &[RoleName],
    word: &str,
    patterns: impl Fn(&Role) -> &[String],
) -> Result<Vec<(Pattern, Arc<str>)>, PatternError> {
    let mut parsed = Vec::new();
    for name in roles {
        let Some(role) = table.get(name) else {
            continue;
        };
        for text in patterns(role) {
            let pattern = Pattern::parse(text).map_err(|source| PatternError {
                role: name.to_string(),
                pattern: text.clone(),
                source,
            })?;
            let rule: Arc<str> = format!("role {name}: {word} {text}").into();
            parsed.push((pattern, rule));
        }
    }
    Ok(parsed)
}

fn by_kind(patterns: &[(Pattern, Arc<str>)]) -> [PatternSet; KINDS.len()] {
    KINDS.map(|kind| set(patterns, |only| only.is_none_or(|only| only == kind)))
}

fn set(patterns: &[(Pattern, Arc<str>)], wanted: impl Fn(Option<Object>) -> bool) -> PatternSet {
    let wanted = patterns.iter().filter(|(pattern, _)| wanted(pattern.kind));
    PatternSet::new(
        wanted.map(|(pattern, rule)| -> (Shape, Arc<str>) {
            (pattern.shape.clone(), Arc::clone(rule))
        }),
    )
}
