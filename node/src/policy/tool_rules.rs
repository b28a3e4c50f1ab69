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
    setting: ToolSetting,
}

/// What one rule says about the tools that it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolSetting {
    /// `action: deny`: nobody may call them, whatever their roles say. `action: allow` grants nothing by itself, it
    /// shields a tool from a later rule.
    pub denied: bool,
    /// `retry: safe`.
    pub retry_safe: bool,
    /// What one call costs, in millionths of a dollar.
    pub cost_micros: u64,
    rule: Box<str>,
}

impl ToolSetting {
    /// Where the rule stands, for audit lines: `server github: tools.drop_*`.
    pub fn rule(&self) -> &str {
        &self.rule
    }
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
                setting: ToolSetting {
                    denied: rule.allow == Some(false),
                    retry_safe: rule.retry_safe,
                    cost_micros: rule.cost_micros,
                    rule: format!("server {server}: tools.{}", rule.pattern.glob().glob()).into(),
                },
            });
            (server.clone(), rules.collect())
        });
        Self {
            by_server: by_server.collect(),
        }
    }

    /// The first rule of `server` that matches the tool's own name, without prefix.
    pub fn tool_rule(&self, server: &ServerName, own_name: &str) -> Option<&ToolSetting> {
        let rules = self.by_server.get(server)?;
        rules
            .iter()
            .find(|rule| rule.pattern.is_match(own_name))
            .map(|rule| &rule.setting)
    }

    /// The denial of the tool, if a rule denies it.
    pub(super) fn denial(&self, server: &ServerName, own_name: &str) -> Option<Verdict<'_>> {
        let setting = self
            .tool_rule(server, own_name)
            .filter(|setting| setting.denied)?;
        Some(Verdict {
            allowed: false,
            rule: &setting.rule,
        })
    }
}
