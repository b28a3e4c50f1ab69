//! What the configuration says about single tools of a server, under the tool's own name.

use std::collections::HashMap;
use std::sync::Arc;

use globset::GlobMatcher;
use lockgate_proto::id::ServerName;

use super::Verdict;
use crate::config::{Server, ToolRule};

/// `tools:` of all servers.
#[derive(Debug, Default)]
pub struct ToolRules {
    by_server: HashMap<ServerName, Vec<Compiled>>,
}

#[derive(Debug)]
struct Compiled {
    pattern: GlobMatcher,
    /// `action:`. What is allowed here is only shielded from a later rule.
    allow: Option<bool>,
    retry_safe: Option<bool>,
    cost_micros: Option<u64>,
    /// Where it stands, for audit lines: `server github: tools.drop_*`.
    name: Box<str>,
}

impl ToolRules {
    /// Takes over the rules of `servers`.
    pub fn new(servers: &[Arc<Server>]) -> Self {
        Self::from_rules(
            servers
                .iter()
                .map(|server| (&server.name, server.tools.as_slice())),
        )
    }

    pub(super) fn from_rules<'a>(
        servers: impl IntoIterator<Item = (&'a ServerName, &'a [ToolRule])>,
    ) -> Self {
        let with_rules = servers.into_iter().filter(|(_, rules)| !rules.is_empty());
        let by_server = with_rules.map(|(server, rules)| {
            let rules = rules.iter().map(|rule| Compiled {
                pattern: rule.pattern.clone(),
                allow: rule.allow,
                retry_safe: rule.retry_safe,
                cost_micros: rule.cost_micros,
                name: format!("server {server}: tools.{}", rule.pattern.glob().glob()).into(),
            });
            (server.clone(), rules.collect())
        });
        Self {
            by_server: by_server.collect(),
        }
    }

    /// What one call of the tool costs, in millionths of a dollar.
    pub fn cost_micros(&self, server: &ServerName, own_name: &str) -> u64 {
        self.first(server, own_name, |rule| rule.cost_micros)
            .unwrap_or(0)
    }

    /// Whether the tool may run twice. `None` when no rule says so or otherwise.
    pub fn retry_safe(&self, server: &ServerName, own_name: &str) -> Option<bool> {
        self.first(server, own_name, |rule| rule.retry_safe)
    }

    /// The denial of the tool, if a rule denies it.
    pub(super) fn denial(&self, server: &ServerName, own_name: &str) -> Option<Verdict<'_>> {
        let (allowed, rule) =
            self.first(server, own_name, |rule| Some((rule.allow?, &rule.name)))?;
        (!allowed).then_some(Verdict { allowed, rule })
    }

    /// What the first rule says about it of those of `server` that match the tool's own name, without prefix, and say
    /// anything about it: a rule about the cost of all tools takes none out of a later denial.
    fn first<'a, T>(
        &'a self,
        server: &ServerName,
        own_name: &str,
        said: impl Fn(&'a Compiled) -> Option<T>,
    ) -> Option<T> {
        let rules = self.by_server.get(server)?;
        rules
            .iter()
            .filter_map(|rule| Some((rule, said(rule)?)))
            .find(|(rule, _)| rule.pattern.is_match(own_name))
            .map(|(_, said)| said)
    }
}
