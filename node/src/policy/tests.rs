//! Tables of verdicts, and the naive matcher that they are compared with.

use std::collections::BTreeMap;
use std::sync::Arc;

use globset::Glob;
use lockgate_proto::id::{RoleName, ServerName, Tenant};
use proptest::prelude::*;

use super::pattern::KINDS;
use super::{Access, PatternError, ToolRules, Verdict};
use crate::config::{Identity, Registry, Role, TenantSettings, ToolRule};
use crate::error::Object;

/// `roles`: `name allow,allow ! deny,deny`, all of which the caller has. `tenant`: its servers.
fn access(roles: &[&str], tenant: Option<&[&str]>) -> Access {
    let list = |text: &str| -> Vec<String> {
        text.split(',')
            .map(str::trim)
            .filter(|pattern| !pattern.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let mut table = BTreeMap::new();
    for role in roles {
        let (name, patterns) = role.split_once(' ').unwrap_or((role, ""));
        let (allow, deny) = patterns.split_once('!').unwrap_or((patterns, ""));
        table.insert(
            RoleName::from(name),
            Role {
                allow: list(allow),
                deny: list(deny),
            },
        );
    }
    let names: Vec<RoleName> = table.keys().cloned().collect();
    build(table, &names, tenant).unwrap()
}

fn build(
    roles: BTreeMap<RoleName, Role>,
    names: &[RoleName],
    servers: Option<&[&str]>,
) -> Result<Access, PatternError> {
    let tenant = Tenant::from("acme");
    let settings = TenantSettings {
        servers: servers.map(|names| names.iter().map(|name| (*name).into()).collect()),
    };
    let registry = Registry {
        identity: Identity::default(),
        servers: Vec::new(),
        roles,
        tenants: BTreeMap::from([(tenant.clone(), settings)]),
        quotas: Vec::new(),
        separator: "_".to_owned(),
        unusable: Vec::new(),
    };
    let rule = |glob: &str, allow| ToolRule {
        pattern: Glob::new(glob).unwrap().compile_matcher(),
        allow,
        retry_safe: None,
        cost_micros: None,
    };
    let rules = [
        rule("drop_table", Some(true)),
        rule("drop_*", Some(false)),
        rule("read", None),
    ];
    let tool_rules = ToolRules::from_rules([(&ServerName::from("db"), rules.as_slice())]);
    Access::new(
        &registry,
        Arc::new(tool_rules),
        names,
        servers.map(|_| &tenant),
    )
}

#[track_caller]
fn check(roles: &[&str], object: Object, name: &str, allowed: bool, rule: &str) {
    let access = access(roles, None);
    assert_eq!(
        access.decide(object, name, None),
        Verdict { allowed, rule },
        "{roles:?} on {name:?}"
    );
}

#[test]
fn what_nothing_allows_is_denied() {
    check(&[], Object::Tool, "a", false, "default");
    check(
        &["analyst github_list_*"],
        Object::Tool,
        "github_drop",
        false,
        "default",
    );
    check(
        &["analyst github_list_*"],
        Object::Method,
        "tasks/get",
        false,
        "default",
    );
}

#[test]
fn the_rule_that_decided_is_named() {
    check(
        &["analyst github_list_*"],
        Object::Tool,
        "github_list_repos",
        true,
        "role analyst: allow github_list_*",
    );
    check(
        &["dev *!db_drop_*"],
        Object::Tool,
        "db_drop_all",
        false,
        "role dev: deny db_drop_*",
    );
}

#[test]
fn deny_of_one_role_wins_over_allow_of_another() {
    check(&["a *", "b !x"], Object::Tool, "x", false, "role b: deny x");
    check(&["a x", "b !*"], Object::Tool, "x", false, "role b: deny *");
}

#[test]
fn a_typed_pattern_is_about_its_kind_only() {
    check(
        &["a tool:x"],
        Object::Tool,
        "x",
        true,
        "role a: allow tool:x",
    );
    check(&["a tool:x"], Object::Prompt, "x", false, "default");
    check(
        &["a *!method:tasks/*"],
        Object::Method,
        "tasks/get",
        false,
        "role a: deny method:tasks/*",
    );
    check(
        &["a *!method:tasks/*"],
        Object::Tool,
        "tasks/get",
        true,
        "role a: allow *",
    );
    check(
        &["a resource:*"],
        Object::Resource,
        "file:///a/b",
        true,
        "role a: allow resource:*",
    );
}

#[test]
fn a_star_matches_every_kind_and_every_character() {
    for object in KINDS {
        check(&["all *"], object, "a/b:c.d e", true, "role all: allow *");
    }
}

#[test]
fn a_resource_is_what_the_server_makes_of_its_uri() {
    let roles = ["a file:///srv/*!file:///srv/secret/*"];
    let allow = "role a: allow file:///srv/*";
    let deny = "role a: deny file:///srv/secret/*";
    check(&roles, Object::Resource, "file:///srv/x", true, allow);
    check(&roles, Object::Resource, "file:///srv/a%20b", true, allow);
    check(
        &roles,
        Object::Resource,
        "file:///srv/../etc/passwd",
        false,
        "default",
    );
    check(
        &roles,
        Object::Resource,
        "file:///srv/%73ecret/x",
        false,
        deny,
    );
    check(
        &roles,
        Object::Resource,
        "file:///srv/a/../secret/x",
        false,
        deny,
    );
    check(
        &roles,
        Object::Resource,
        "file:///srv/%2525252525252573",
        false,
        "unclear uri",
    );
}

#[test]
fn a_tenant_reaches_its_servers_only() {
    let access = access(&["all *"], Some(&["github", "files"]));
    let (github, other) = (ServerName::from("github"), ServerName::from("other"));
    assert!(access.decide(Object::Tool, "x", Some(&github)).allowed);
    assert_eq!(
        access.decide(Object::Tool, "x", Some(&other)),
        Verdict {
            allowed: false,
            rule: "tenant"
        }
    );
    assert_eq!(
        access.decide(Object::Server, "files", None),
        Verdict {
            allowed: true,
            rule: "server"
        }
    );
    assert_eq!(
        access.decide(Object::Server, "other", None),
        Verdict {
            allowed: false,
            rule: "tenant"
        }
    );
}

#[test]
fn an_unknown_tenant_has_no_servers() {
    let registry = Registry {
        identity: Identity::default(),
        servers: Vec::new(),
        roles: BTreeMap::new(),
        tenants: BTreeMap::new(),
        quotas: Vec::new(),
        separator: "_".to_owned(),
        unusable: Vec::new(),
    };
    let access = Access::new(&registry, Arc::default(), &[], Some(&Tenant::from("gone"))).unwrap();
    assert!(!access.allows_server(&ServerName::from("github")));
}

#[test]
fn a_tool_that_its_server_denies_is_denied_to_everyone() {
    let access = access(&["all *"], None);
    let db = ServerName::from("db");
    let denied = Verdict {
        allowed: false,
        rule: "server db: tools.drop_*",
    };
    assert_eq!(access.decide_tool("db_drop_all", &db, "drop_all"), denied);
    assert!(
        access
            .decide_tool("db_drop_table", &db, "drop_table")
            .allowed,
        "the first match counts"
    );
    assert!(access.decide_tool("db_read", &db, "read").allowed);
    assert!(
        access
            .decide_tool("x_drop_all", &ServerName::from("x"), "drop_all")
            .allowed
    );
}

#[test]
fn each_key_of_a_tool_counts_from_the_first_rule_that_has_it() {
    let rule = |glob: &str| ToolRule {
        pattern: Glob::new(glob).unwrap().compile_matcher(),
        allow: None,
        retry_safe: None,
        cost_micros: None,
    };
    let rules = [
        ToolRule {
            cost_micros: Some(0),
            ..rule("list_*")
        },
        ToolRule {
            retry_safe: Some(false),
            ..rule("put_*")
        },
        ToolRule {
            cost_micros: Some(10_000),
            ..rule("*")
        },
        ToolRule {
            allow: Some(false),
            cost_micros: Some(7),
            ..rule("delete_*")
        },
        ToolRule {
            retry_safe: Some(true),
            ..rule("*")
        },
    ];
    let db = ServerName::from("db");
    let rules = ToolRules::from_rules([(&db, rules.as_slice())]);
    for (tool, denied, cost, safe) in [
        ("list_all", false, 0, true),
        ("put_one", false, 10_000, false),
        ("delete_one", true, 10_000, true),
    ] {
        assert_eq!(rules.denial(&db, tool).is_some(), denied, "{tool}");
        assert_eq!(rules.cost_micros(&db, tool), cost, "{tool}");
        assert_eq!(rules.retry_safe(&db, tool), Some(safe), "{tool}");
    }
    let other = ServerName::from("x");
    assert_eq!(rules.cost_micros(&other, "put_one"), 0);
    assert_eq!(rules.retry_safe(&other, "put_one"), None);
}

#[test]
fn an_allowing_rule_of_a_server_grants_nothing() {
    let access = access(&[], None);
    assert!(
        !access
            .decide_tool("db_drop_table", &ServerName::from("db"), "drop_table")
            .allowed
    );
}

#[test]
fn a_broken_pattern_is_named() {
    let role = Role {
        allow: vec!["ok".to_owned(), "tool:[".to_owned()],
        deny: Vec::new(),
    };
    let name = RoleName::from("dev");
    let error = build(BTreeMap::from([(name.clone(), role)]), &[name], None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "pattern `tool:[` of role `dev` is not a glob"
    );
}

#[test]
fn an_unknown_role_grants_nothing() {
    let access = build(BTreeMap::new(), &[RoleName::from("gone")], None).unwrap();
    assert!(!access.decide(Object::Tool, "x", None).allowed);
}

/// The rule as the documentation states it, one character at a time.
fn naive(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            naive(rest, name)
                || name
                    .split_first()
                    .is_some_and(|(_, name)| naive(pattern, name))
        }
        (Some((b'?', rest)), Some((_, name))) => naive(rest, name),
        (Some((a, rest)), Some((b, name))) => a == b && naive(rest, name),
        _ => false,
    }
}

proptest! {
    #[test]
    fn verdicts_are_those_of_the_naive_matcher(
        allow in proptest::collection::vec("[ab_*?]{0,5}", 0..6),
        deny in proptest::collection::vec("[ab_*?]{0,5}", 0..4),
        names in proptest::collection::vec("[ab_]{0,7}", 1..8),
    ) {
        let role = Role { allow: allow.clone(), deny: deny.clone() };
        let access = build(BTreeMap::from([("r".into(), role)]), &["r".into()], None).unwrap();
        for name in names {
            let any = |patterns: &[String]| patterns.iter().any(|p| naive(p.as_bytes(), name.as_bytes()));
            let want = any(&allow) && !any(&deny);
            let verdict = access.decide(Object::Tool, &name, None);
            prop_assert_eq!(verdict.allowed, want, "{:?} by {:?}", name, verdict.rule);
        }
    }
}
