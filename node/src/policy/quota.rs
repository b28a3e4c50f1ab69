//! Stage: whether a caller may use any more. Decided from what this node holds of each quota, without a wait in the
//! common case; what it costs when no quota is configured is one look at an empty list.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use lockgate_cluster::quota::{Caller as Counted, Charge, Denial, Limit, Standing, Usage, Wallet};
use lockgate_proto::id::{ServerName, Tenant};

use crate::call::Caller;
use crate::config::{Quota, QuotaPer};
use crate::error::CallError;

/// When a client should try again that this node could not serve for want of memory.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// All quotas of this node, and the count of who uses what.
#[derive(Debug)]
pub struct Quotas {
    wallet: Arc<Wallet>,
    rules: ArcSwap<Vec<Rule>>,
}

#[derive(Debug)]
struct Rule {
    id: Arc<str>,
    tenant: Option<Tenant>,
    per: QuotaPer,
    is_cost: bool,
    limit: Limit,
    safe_rate: u64,
}

/// What one call uses.
#[derive(Clone, Copy, Debug)]
pub struct Draw<'a> {
    /// Who calls.
    pub caller: &'a Caller,
    /// Server that gets the call.
    pub server: &'a ServerName,
    /// Prefixed name of the tool, when one is called.
    pub tool: Option<&'a str>,
    /// What the call costs, in millionths of a dollar.
    pub cost_micros: u64,
}

impl Quotas {
    /// No quotas yet. What is granted to this node is spent from `wallet`.
    pub fn new(wallet: Arc<Wallet>) -> Self {
        Self {
            wallet,
            rules: ArcSwap::default(),
        }
    }

    /// What the cluster has to know of `quotas`: how much each may spend.
    pub fn limits(quotas: &[Quota]) -> BTreeMap<Arc<str>, Limit> {
        let limit = |quota: &Quota| (Arc::from(quota.id.as_str()), limit_of(quota));
        quotas.iter().map(limit).collect()
    }

    /// Puts `quotas` in force, once the cluster knows their limits.
    pub fn set(&self, quotas: &[Quota]) {
        let rule = |quota: &Quota| Rule {
            id: quota.id.as_str().into(),
            tenant: quota.tenant.clone(),
            per: quota.per,
            is_cost: quota.is_cost,
            limit: limit_of(quota),
            safe_rate: quota.safe_rate,
        };
        self.rules
            .store(Arc::new(quotas.iter().map(rule).collect()));
    }

    /// Pays for a call and counts it. Waits, at most a second, only when this node holds nothing yet of a quota.
    ///
    /// # Errors
    ///
    /// [`CallError::QuotaExceeded`] for the first quota that has no more, [`CallError::QuotaUnavailable`] when nobody
    /// can say whether it has.
    pub async fn pay(&self, draw: &Draw<'_>) -> Result<(), CallError> {
        let paid = match self.charge(draw) {
            Ok(charge) if charge.is_empty() => Ok(()),
            Ok(charge) => charge.pay(&self.wallet).await,
            Err(denial) => Err(denial),
        };
        let mut usage = Usage::default();
        match &paid {
            Ok(()) => {
                usage.requests = 1;
                usage.cost_micros = draw.cost_micros;
            }
            Err(_) => usage.limited = 1,
        }
        let caller = Counted {
            tenant: draw.caller.tenant.as_ref().map_or("", Tenant::as_str),
            principal: draw.caller.principal.as_str(),
            server: draw.server.as_str(),
            tool: draw.tool.unwrap_or_default(),
        };
        self.wallet.meter().count(caller, usage);
        paid.map_err(|denial| self.refusal(denial))
    }

    /// What quotas have cost this node, and how they stand.
    pub fn standing(&self) -> Standing {
        self.wallet.standing()
    }

    fn charge(&self, draw: &Draw<'_>) -> Result<Charge, Denial> {
        let mut charge = Charge::default();
        for rule in self.rules.load().iter() {
            let tokens = if rule.is_cost { draw.cost_micros } else { 1 };
            let Some(subject) = rule.subject(draw).filter(|_| tokens > 0) else {
                continue;
            };
            let purse = self
                .wallet
                .purse(&rule.id, &subject, rule.limit, rule.safe_rate);
            let purse = purse.ok_or_else(|| Denial::Unavailable {
                rule: Arc::clone(&rule.id),
                retry_after: FULL_RETRY,
            })?;
            charge.add(purse, tokens);
        }
        Ok(charge)
    }

    fn refusal(&self, denial: Denial) -> CallError {
        let rules = self.rules.load();
        let per = rules.iter().find(|rule| rule.id == *denial.rule());
        let per = per.map_or("quota", |rule| rule.per.as_str());
        match denial {
            Denial::Exhausted { rule, retry_after } => CallError::QuotaExceeded {
                quota: rule,
                per,
                retry_after,
            },
            Denial::Unavailable { rule, retry_after } => CallError::QuotaUnavailable {
                quota: rule,
                per,
                retry_after,
            },
        }
    }
}

impl Rule {
    /// What the call is counted under, if the rule counts it.
    fn subject<'a>(&self, draw: &Draw<'a>) -> Option<Cow<'a, str>> {
        let tenant = draw.caller.tenant.as_ref();
        if self.tenant.is_some() && self.tenant.as_ref() != tenant {
            return None;
        }
        match self.per {
            // Those without one together, so that nobody is without a limit.
            QuotaPer::Tenant => Some(tenant.map_or("", Tenant::as_str).into()),
            QuotaPer::Principal => {
                let principal = draw.caller.principal.as_str();
                // Principals of two tenants may have one name.
                Some(match (tenant, &self.tenant) {
                    (Some(tenant), None) => format!("{tenant}/{principal}").into(),
                    (_, _) => principal.into(),
                })
            }
            QuotaPer::Server => Some(draw.server.as_str().into()),
            QuotaPer::Tool => draw.tool.map(Cow::Borrowed),
        }
    }
}

fn limit_of(quota: &Quota) -> Limit {
    match quota.burst {
        Some(burst) => Limit::Rate {
            amount: quota.amount,
            per_us: u64::try_from(quota.window.as_micros()).unwrap_or(u64::MAX),
            burst,
        },
        None => Limit::Budget {
            amount: quota.amount,
            window_ms: u64::try_from(quota.window.as_millis()).unwrap_or(u64::MAX),
        },
    }
}

#[cfg(test)]
impl Quotas {
    /// For tests of other stages.
    pub(crate) fn none() -> Self {
        let clock = lockgate_cluster::quota::boot_time_us;
        Self::new(Arc::new(Wallet::new(clock, None)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(tenant: Option<&str>, per: QuotaPer) -> Rule {
        Rule {
            id: "r".into(),
            tenant: tenant.map(Tenant::from),
            per,
            is_cost: false,
            limit: Limit::Budget {
                amount: 1,
                window_ms: 1,
            },
            safe_rate: 0,
        }
    }

    #[track_caller]
    fn check(rule: &Rule, tenant: Option<&str>, tool: Option<&str>, expected: Option<&str>) {
        let caller = Caller {
            principal: "bot".into(),
            tenant: tenant.map(Tenant::from),
            roles: Vec::new(),
            credential: "key".into(),
            in_audit: Default::default(),
        };
        let draw = Draw {
            caller: &caller,
            server: &ServerName::from("github"),
            tool,
            cost_micros: 0,
        };
        assert_eq!(rule.subject(&draw).as_deref(), expected);
    }

    #[test]
    fn a_rule_of_a_tenant_counts_its_callers_only() {
        let of_acme = rule(Some("acme"), QuotaPer::Tenant);
        check(&of_acme, Some("acme"), None, Some("acme"));
        check(&of_acme, Some("other"), None, None);
        check(&of_acme, None, None, None);
    }

    #[test]
    fn principals_of_two_tenants_are_two() {
        let of_all = rule(None, QuotaPer::Principal);
        check(&of_all, Some("acme"), None, Some("acme/bot"));
        check(&of_all, None, None, Some("bot"));
        let of_acme = rule(Some("acme"), QuotaPer::Principal);
        check(&of_acme, Some("acme"), None, Some("bot"));
    }

    #[test]
    fn a_tool_is_counted_when_one_is_called() {
        let of_tools = rule(None, QuotaPer::Tool);
        check(&of_tools, None, Some("github_get"), Some("github_get"));
        check(&of_tools, None, None, None);
        check(&rule(None, QuotaPer::Server), None, None, Some("github"));
    }

    #[test]
    fn callers_without_a_tenant_are_counted_as_one() {
        let of_tenants = rule(None, QuotaPer::Tenant);
        check(&of_tenants, Some("acme"), None, Some("acme"));
        check(&of_tenants, None, None, Some(""));
    }
}
