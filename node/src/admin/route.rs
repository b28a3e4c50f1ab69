//! The table of paths. Pure.

use http::Method;

use super::path::decode;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Alive,
    Ready,
    Metrics,
    OpenApi,
    Info,
    Runtime,
    KeysList,
    KeyCreate,
    KeyRevoke,
    KeyRotate,
    ServersList,
    ServerAdd,
    ServerRemove,
    ServerRestart,
    ToolsList,
    SessionsList,
    SessionShow,
    SessionEnd,
    Usage,
    AuditRecords,
    AuditStats,
    AuditKeys,
    AuditRotateKey,
    ConfigShow,
    ConfigReload,
    ConfigApply,
    ConfigHistory,
    ConfigRollback,
    Members,
    ClusterHealth,
    Shards,
    MemberPromote,
    MemberRemove,
    TransferLeader,
    TokensList,
    TokenCreate,
    TokenRevoke,
    KeyringRotate,
    SnapshotStatus,
    SnapshotSave,
    SnapshotPiece,
    RegisterShow,
    RegisterWrite,
}

/// All paths. `{…}` stands for one part, percent-encoded in the request.
pub(super) const ROUTES: &[(Method, &str, Operation)] = &[
    (Method::GET, "/healthz", Operation::Alive),
    (Method::GET, "/readyz", Operation::Ready),
    (Method::GET, "/metrics", Operation::Metrics),
    (Method::GET, "/openapi.json", Operation::OpenApi),
    (Method::GET, "/api/v1/info", Operation::Info),
    (Method::GET, "/api/v1/runtime", Operation::Runtime),
    (Method::GET, "/api/v1/keys", Operation::KeysList),
    (Method::POST, "/api/v1/keys", Operation::KeyCreate),
    (Method::DELETE, "/api/v1/keys/{id}", Operation::KeyRevoke),
    (
        Method::POST,
        "/api/v1/keys/{id}/rotate",
        Operation::KeyRotate,
    ),
    (Method::GET, "/api/v1/servers", Operation::ServersList),
    (Method::POST, "/api/v1/servers", Operation::ServerAdd),
    (
        Method::DELETE,
        "/api/v1/servers/{name}",
        Operation::ServerRemove,
    ),
    (
        Method::POST,
        "/api/v1/servers/{name}/restart",
        Operation::ServerRestart,
    ),
    (Method::GET, "/api/v1/tools", Operation::ToolsList),
    (Method::GET, "/api/v1/sessions", Operation::SessionsList),
    (Method::GET, "/api/v1/sessions/{id}", Operation::SessionShow),
    (
        Method::DELETE,
        "/api/v1/sessions/{id}",
        Operation::SessionEnd,
    ),
    (Method::GET, "/api/v1/usage", Operation::Usage),
    (
        Method::GET,
        "/api/v1/audit/records",
        Operation::AuditRecords,
    ),
    (Method::GET, "/api/v1/audit/stats", Operation::AuditStats),
    (Method::GET, "/api/v1/audit/keys", Operation::AuditKeys),
    (
        Method::POST,
        "/api/v1/audit/rotate-key",
        Operation::AuditRotateKey,
    ),
    (Method::GET, "/api/v1/config", Operation::ConfigShow),
    (
        Method::POST,
        "/api/v1/config/reload",
        Operation::ConfigReload,
    ),
    (Method::POST, "/api/v1/config/apply", Operation::ConfigApply),
    (
        Method::GET,
        "/api/v1/config/history",
        Operation::ConfigHistory,
    ),
    (
        Method::POST,
        "/api/v1/config/rollback",
        Operation::ConfigRollback,
    ),
    (Method::GET, "/api/v1/cluster/members", Operation::Members),
    (
        Method::GET,
        "/api/v1/cluster/health",
        Operation::ClusterHealth,
    ),
    (Method::GET, "/api/v1/cluster/shards", Operation::Shards),
    (
        Method::POST,
        "/api/v1/cluster/members/{name}/promote",
        Operation::MemberPromote,
    ),
    (
        Method::POST,
        "/api/v1/cluster/members/{name}/remove",
        Operation::MemberRemove,
    ),
    (
        Method::POST,
        "/api/v1/cluster/transfer-leader",
        Operation::TransferLeader,
    ),
    (Method::GET, "/api/v1/cluster/tokens", Operation::TokensList),
    (
        Method::POST,
        "/api/v1/cluster/tokens",
        Operation::TokenCreate,
    ),
    (
        Method::DELETE,
        "/api/v1/cluster/tokens/{id}",
        Operation::TokenRevoke,
    ),
    (
        Method::POST,
        "/api/v1/keyring/rotate",
        Operation::KeyringRotate,
    ),
    (Method::GET, "/api/v1/snapshot", Operation::SnapshotStatus),
    (Method::POST, "/api/v1/snapshot", Operation::SnapshotSave),
    (
        Method::GET,
        "/api/v1/snapshot/{id}",
        Operation::SnapshotPiece,
    ),
    (
        Method::GET,
        "/api/v1/registers/{key}",
        Operation::RegisterShow,
    ),
    (
        Method::PUT,
        "/api/v1/registers/{key}",
        Operation::RegisterWrite,
    ),
];

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// To an operation, with the named part of the path, if it has one.
    Operation(Operation, String),
    /// Nowhere: the path takes other methods only, as `Allow` lists them.
    OtherMethods(String),
    /// Nowhere.
    Nothing,
}

/// Finds the operation. HEAD goes where GET goes; the server leaves the body out.
pub(super) fn find(method: &Method, path: &str) -> Found {
    let method = if method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    let mut allow: Vec<&str> = Vec::new();
    for (takes, template, operation) in ROUTES {
        let Some(part) = fit(template, path) else {
            continue;
        };
        if takes == method {
            return Found::Operation(*operation, part);
        }
        allow.push(takes.as_str());
    }
    if allow.is_empty() {
        return Found::Nothing;
    }
    Found::OtherMethods(allow.join(", "))
}

/// The named part of `path` if it has the form of `template`; empty for a template without one.
fn fit(template: &str, path: &str) -> Option<String> {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    let mut named = String::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(named),
            (Some(want), Some(part)) if want.starts_with('{') => {
                named = decode(part).filter(|part| !part.is_empty())?;
            }
            (Some(want), Some(part)) if want == part => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &str, path: &str, found: &Found) {
        assert_eq!(find(&method.parse().unwrap(), path), *found);
    }

    fn to(operation: Operation, part: &str) -> Found {
        Found::Operation(operation, part.to_owned())
    }

    #[test]
    fn paths_lead_to_operations() {
        check("GET", "/api/v1/keys", &to(Operation::KeysList, ""));
        check("HEAD", "/healthz", &to(Operation::Alive, ""));
        check(
            "DELETE",
            "/api/v1/keys/a%2Fb",
            &to(Operation::KeyRevoke, "a/b"),
        );
        check(
            "POST",
            "/api/v1/keys/%2E%2E/rotate",
            &to(Operation::KeyRotate, ".."),
        );
    }

    #[test]
    fn other_paths_lead_nowhere() {
        let paths = [
            "/",
            "/api/v1",
            "/api/v1/keys/",
            "/api/v1/keys/%zz",
            "/healthz/x",
            "//healthz",
        ];
        for path in paths {
            check("GET", path, &Found::Nothing);
        }
    }

    #[test]
    fn other_methods_are_told_which_there_are() {
        check(
            "PUT",
            "/api/v1/keys",
            &Found::OtherMethods("GET, POST".to_owned()),
        );
        check(
            "GET",
            "/api/v1/config/reload",
            &Found::OtherMethods("POST".to_owned()),
        );
    }

    /// Methods of every path in the table, as the description should have them.
    fn table() -> Vec<(String, String)> {
        let entry = |(method, path, _): &(Method, &str, Operation)| {
            (path.to_string(), method.as_str().to_lowercase())
        };
        let mut all: Vec<_> = ROUTES.iter().map(entry).collect();
        all.sort();
        all
    }

    #[test]
    fn the_description_lists_every_path_and_no_other() {
        let text = include_str!("openapi.json");
        let description: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(description["openapi"], "3.1.0");
        assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
        let mut listed = Vec::new();
        for (path, methods) in description["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                if method == "parameters" {
                    continue;
                }
                assert!(operation["operationId"].is_string(), "{method} {path}");
                assert!(operation["responses"].is_object(), "{method} {path}");
                listed.push((path.clone(), method.clone()));
            }
            let named = path.split('/').any(|part| part.starts_with('{'));
            assert_eq!(methods["parameters"].is_array(), named, "{path}");
        }
        listed.sort();
        assert_eq!(listed, table());
    }

    #[test]
    fn every_reference_of_the_description_resolves() {
        let text = include_str!("openapi.json");
        let description: serde_json::Value = serde_json::from_str(text).unwrap();
        let mut open = vec![&description];
        while let Some(value) = open.pop() {
            if let Some(to) = value.get("$ref") {
                let pointer = to.as_str().unwrap().strip_prefix('#').unwrap();
                assert!(description.pointer(pointer).is_some(), "{pointer}");
            }
            match value {
                serde_json::Value::Object(members) => open.extend(members.values()),
                serde_json::Value::Array(items) => open.extend(items),
                _ => {}
            }
        }
    }
}
