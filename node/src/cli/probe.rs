//! `config check --probe`: starts every server for a moment and says what it offers and which names collide.

use std::time::Duration;

use super::doctor::{Check, Verdict};
use super::exit::{Exit, Failure};
use crate::config::Config;
use crate::route::{Collision, Router};
use crate::upstream::{Status, Upstreams};

/// Servers start at the same time and have this long: some are downloaded first.
const SETTLE_MAX: Duration = Duration::from_secs(60);
const END_MAX: Duration = Duration::from_secs(5);

pub(super) async fn run(config: &Config) -> Result<Vec<Check>, Failure> {
    let unstarted = |error: &dyn std::fmt::Display| Failure {
        exit: Exit::Unchecked,
        message: format!("the servers cannot be started: {error}"),
        remedy: "free memory and file descriptors and try again".to_owned(),
    };
    let upstreams = Upstreams::new("probe", config.node.limits.answer_bytes_max, None)
        .await
        .map_err(|error| unstarted(&error))?;
    let registry = &config.registry;
    let applied = upstreams.apply(&registry.servers).await;
    applied.map_err(|error| unstarted(&error))?;
    upstreams.settled(SETTLE_MAX).await;
    let router = Router::default();
    router.rebuild(&upstreams.all(), &registry.separator);
    let mut checks: Vec<Check> = upstreams
        .all()
        .iter()
        .map(|server| check(&server.status()))
        .collect();
    checks.append(&mut collisions(&router));
    upstreams.drain(END_MAX).await;
    Ok(checks)
}

fn check(status: &Status) -> Check {
    let name = format!("servers.{}", status.name);
    let Some(catalog) = status
        .session_catalog
        .or(status.stateless_catalog)
        .filter(|_| status.up)
    else {
        let why = match &status.last_error {
            Some(error) => error.clone(),
            None if status.settled => "no answer".to_owned(),
            None => format!("no answer within {} s", SETTLE_MAX.as_secs()),
        };
        return Check::new(name, Verdict::Failed, why, remedy(status));
    };
    let detail = [
        counted(catalog.tools, "tool"),
        counted(catalog.prompts, "prompt"),
        counted(catalog.resources, "resource"),
        counted(catalog.templates, "template"),
    ];
    let detail = detail.join(", ");
    if status.flaws.is_empty() {
        return Check::new(name, Verdict::Good, detail, "");
    }
    let flaws = status.flaws.join("; ");
    let remedy =
        "tell whoever wrote the server: clients that reach it directly may refuse its whole list";
    Check::new(name, Verdict::Warning, format!("{detail}; {flaws}"), remedy)
}

fn remedy(status: &Status) -> &'static str {
    let is_command = status
        .endpoints
        .iter()
        .any(|endpoint| endpoint.transport == Some("stdio"));
    if is_command {
        "run the command by hand, or look with `lockgate doctor`; `lockgate serve` logs what the server writes on standard error"
    } else if is_refused(status.last_error.as_deref().unwrap_or_default()) {
        "give it what it asks for: `headers: { Authorization: \"Bearer ${TOKEN}\" }`, with the server's own token in TOKEN"
    } else {
        "start the server, or correct its address: host, port and path"
    }
}

/// Whether somebody is there, who wants a credential or another one.
fn is_refused(error: &str) -> bool {
    ["HTTP status 401", "HTTP status 403"]
        .iter()
        .any(|refusal| error.contains(refusal))
}

/// `1 tool`, `2 tools`.
fn counted(n: usize, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {what}{plural}")
}

fn collisions(router: &Router) -> Vec<Check> {
    let check = |collision: Collision| {
        let Collision {
            hidden,
            name,
            kept,
            kind,
        } = collision;
        let kind = kind.item();
        Check::new(
            name,
            Verdict::Warning,
            format!("`{kept}` keeps the {kind} and hides the one of `{hidden}`"),
            format!(
                "give one of the two another `prefix` or `uri_prefix`, or place `{hidden}` first"
            ),
        )
    };
    router.collisions().into_iter().map(check).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{counted, is_refused};
    use crate::error::UpstreamError;

    #[test]
    fn whoever_is_asked_for_a_credential_is_told_so() {
        let error = |status: u16, wait: bool| {
            let retry_after = wait.then_some(Duration::from_secs(7));
            let server = "jira".into();
            let status = UpstreamError::Status {
                server,
                status,
                retry_after,
                location: None,
            };
            status.to_string()
        };
        for (status, is_so) in [(401, true), (403, true), (404, false), (503, false)] {
            for wait in [false, true] {
                assert_eq!(is_refused(&error(status, wait)), is_so, "{status} {wait}");
            }
        }
    }

    #[test]
    fn one_is_no_plural() {
        assert_eq!(counted(0, "tool"), "0 tools");
        assert_eq!(counted(1, "tool"), "1 tool");
        assert_eq!(counted(2, "tool"), "2 tools");
    }
}
