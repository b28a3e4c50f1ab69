//! How much callers may use.

use std::collections::BTreeMap;
use std::time::Duration;

use lockgate_proto::id::Tenant;

use super::{Findings, problem};
use crate::config::raw;
use crate::config::tree::KeyPath;
use crate::config::unit::Time;
use crate::config::{Quota, QuotaPer};

/// Quotas over everybody, then those of each tenant.
pub(super) fn all(
    raw: Option<Vec<raw::Quota>>,
    tenants: Option<&mut BTreeMap<String, raw::Tenant>>,
    found: &mut Findings,
) -> Vec<Quota> {
    let mut quotas = Vec::new();
    let at = KeyPath::root().key("quotas");
    list(raw, None, &at, &mut quotas, found);
    let at = KeyPath::root().key("tenants");
    for (name, tenant) in tenants.into_iter().flatten() {
        let at = at.key(name).key("quotas");
        let tenant_name = Tenant::new(name.as_str());
        list(
            tenant.quotas.take(),
            Some(&tenant_name),
            &at,
            &mut quotas,
            found,
        );
    }
    quotas
}

fn list(
    raw: Option<Vec<raw::Quota>>,
    tenant: Option<&Tenant>,
    at: &KeyPath,
    quotas: &mut Vec<Quota>,
    found: &mut Findings,
) {
    for (index, raw) in raw.unwrap_or_default().into_iter().enumerate() {
        let at = at.index(index);
        let Some(quota) = one(&raw, tenant, &at, found) else {
            continue;
        };
        if quotas.iter().any(|other| other.id == quota.id) {
            found.refuse(
                &at,
                format!("the quota `{}` is there twice", quota.id),
                "keep the one that is meant: both would count the same calls",
            );
        }
        quotas.push(quota);
    }
}

fn one(
    raw: &raw::Quota,
    tenant: Option<&Tenant>,
    at: &KeyPath,
    found: &mut Findings,
) -> Option<Quota> {
    // Both are required: the shape check has told.
    let (per, Time(window)) = (raw.per?, raw.window?);
    let (is_cost, amount) = match (raw.requests, raw.cost_usd) {
        (Some(requests), None) => (false, requests),
        (None, Some(usd)) => (true, micros(usd, &at.key("cost_usd"), found)),
        (Some(_), Some(_)) => {
            let what = "`requests` and `cost_usd` stand together";
            found.refuse(at, what, "write two quotas: both will hold");
            return None;
        }
        (None, None) => {
            let what = "it does not say how much";
            found.refuse(at, what, "add `requests` or `cost_usd`");
            return None;
        }
    };
    if is_cost && raw.burst.is_some() {
        let what = "money does not flow in evenly";
        found.refuse(&at.key("burst"), what, "remove it, or limit `requests`");
        return None;
    }
    let per = match per {
        raw::QuotaPer::Tenant => QuotaPer::Tenant,
        raw::QuotaPer::Principal => QuotaPer::Principal,
        raw::QuotaPer::Server => QuotaPer::Server,
        raw::QuotaPer::Tool => QuotaPer::Tool,
    };
    Some(Quota {
        id: id(tenant, per, is_cost, window, raw.burst.is_some()),
        tenant: tenant.cloned(),
        per,
        is_cost,
        amount,
        window,
        burst: raw.burst,
        safe_rate: raw.safe_rate.unwrap_or(0),
    })
}

/// What it counts, without how much. `*` is no name of a tenant.
fn id(
    tenant: Option<&Tenant>,
    per: QuotaPer,
    is_cost: bool,
    window: Duration,
    is_bucket: bool,
) -> String {
    let scope = tenant.map_or("*", Tenant::as_str);
    let unit = if is_cost { "cost" } else { "requests" };
    let shape = if is_bucket { "/rate" } else { "" };
    format!("{scope}/{}/{unit}/{}{shape}", per.as_str(), Time(window))
}

/// Dollars in millionths, rounded to the nearest. The shape check has bounded them.
pub(super) fn micros(usd: f64, at: &KeyPath, found: &mut Findings) -> u64 {
    let micros = (usd.max(0.0) * 1e6).round();
    // A decimal of six places is the number that is nearest to its millionths.
    if micros / 1e6 != usd {
        found.slip(problem(
            at,
            format!("{usd} dollars are no whole number of millionths"),
            "write six decimal places at most, or count what is cheaper by `requests`",
        ));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and far below 2^53"
    )]
    let micros = micros as u64;
    micros
}
