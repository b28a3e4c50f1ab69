//! Who has used what, as the cluster has counted it.

use lockgate_cluster::quota::Dimension;
use serde::Serialize;
use serde_json::json;

use super::answer::{self, Answer};
use super::error::ApiError;
use super::parts::Parts;
use super::path;

/// Days that can be asked for; as many as are kept.
const DAYS_MAX: u64 = 35;

/// What was used under one name.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    /// `*` for all names beyond those that are told apart.
    name: &'a str,
    /// Calls that were let through.
    requests: u64,
    /// Calls that a quota refused.
    limited: u64,
    /// What the calls cost, in millionths of a dollar.
    cost_micros: u64,
}

/// Usage by tenant, principal, server or tool (`?by=`) over the last days (`?days=`), today in UTC included; the most
/// used first. All nodes are in it, each up to at most a second ago.
pub(super) fn list(parts: &Parts, query: Option<&str>) -> Result<Answer, ApiError> {
    let by = path::query(query, "by").unwrap_or_else(|| "principal".to_owned());
    let dimension = match by.as_str() {
        "tenant" => Dimension::Tenant,
        "principal" => Dimension::Principal,
        "server" => Dimension::Server,
        "tool" => Dimension::Tool,
        _ => {
            let message = format!("usage is not counted by `{by}`");
            let remedy = "choose tenant, principal, server or tool";
            return Err(ApiError::invalid("unknown_dimension", message, remedy));
        }
    };
    let days = match path::query(query, "days").map(|days| days.parse::<u64>()) {
        None => 1,
        Some(Ok(days)) if (1..=DAYS_MAX).contains(&days) => days,
        Some(_) => {
            let remedy = format!("use a whole number from 1 to {DAYS_MAX}");
            return Err(ApiError::invalid(
                "invalid_days",
                "`days` is out of range",
                remedy,
            ));
        }
    };
    let view = parts.cluster.view();
    let usage = view.quota().usage(dimension, days);
    let mut shown: Vec<_> = usage
        .iter()
        .map(|(name, usage)| Shown {
            name,
            requests: usage.requests,
            limited: usage.limited,
            cost_micros: usage.cost_micros,
        })
        .collect();
    // The sort is stable, so that equal ones stay in the order of their names.
    shown.sort_by_key(|one| std::cmp::Reverse((one.cost_micros, one.requests, one.limited)));
    Ok(answer::ok(
        &json!({ "by": by, "days": days, "usage": shown }),
    ))
}
