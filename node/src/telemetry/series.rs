//! Series by their labels: found without a lock, made on first use, bounded in number.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;
use lockgate_proto::id::{ServerName, Tenant};
use papaya::{Equivalent, HashMap};

use super::histogram::{DURATION, Histogram, SIZE};
use super::metrics::{CallLabels, CallTimes};

/// Series of calls with their own `tool`. A node with 100 servers of 40 tools, two tenants and two common verdicts
/// stays below; beyond it new series come without `tool`.
const SERIES_MAX: usize = 20_000;
/// Series in all. What would exceed it is counted by `verdict` alone.
const SERIES_HARD_MAX: usize = 2 * SERIES_MAX;

/// Servers whose latency is measured. Servers come and go by the API, series stay; beyond this many names, new ones
/// are left out.
const SERVERS_MAX: usize = 4096;

/// Routes with histograms of their own, each a few KiB; beyond it new ones share one. Servers are as many as the
/// configuration names, but series of those that were removed stay.
const ROUTES_MAX: usize = 4096;

/// Owned labels of one series of calls.
#[derive(Clone, Debug)]
pub(super) struct CallKey {
    server: Option<ServerName>,
    method: &'static str,
    tool: Option<Box<str>>,
    tenant: Option<Tenant>,
    verdict: &'static str,
}

impl CallKey {
    /// The labels, borrowed; what a lookup compares and hashes.
    pub(super) fn labels(&self) -> CallLabels<'_> {
        CallLabels {
            server: self.server.as_ref(),
            method: self.method,
            tool: self.tool.as_deref(),
            tenant: self.tenant.as_ref(),
            verdict: self.verdict,
        }
    }
}

impl From<CallLabels<'_>> for CallKey {
    fn from(labels: CallLabels<'_>) -> Self {
        Self {
            server: labels.server.cloned(),
            method: labels.method,
            tool: labels.tool.map(Into::into),
            tenant: labels.tenant.cloned(),
            verdict: labels.verdict,
        }
    }
}

impl PartialEq for CallKey {
    fn eq(&self, other: &Self) -> bool {
        self.labels() == other.labels()
    }
}

impl Eq for CallKey {}

impl std::hash::Hash for CallKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.labels().hash(state);
    }
}

impl Equivalent<CallKey> for CallLabels<'_> {
    fn equivalent(&self, key: &CallKey) -> bool {
        *self == key.labels()
    }
}

/// Server and method: what the histograms are split by.
pub(super) type Route = (Option<ServerName>, &'static str);

/// Histograms of one route.
#[derive(Debug)]
pub(super) struct RouteSeries {
    pub(super) duration: Histogram,
    pub(super) size: Histogram,
}

/// One series of calls, and the histograms that its calls also go into.
#[derive(Debug)]
pub(super) struct CallSeries {
    pub(super) count: AtomicU64,
    route: Arc<RouteSeries>,
    /// Of its server, so that nobody has to look for it.
    latency: Option<Arc<Histogram>>,
}

impl CallSeries {
    fn record(&self, times: CallTimes, request_bytes: usize) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.route.duration.observe(nanos(times.whole));
        if let (Some(latency), Some(took)) = (&self.latency, times.server) {
            latency.observe(nanos(took));
        }
        let bytes = u64::try_from(request_bytes).unwrap_or(u64::MAX);
        self.route.size.observe(bytes);
    }
}

/// All series of calls.
#[derive(Debug, Default)]
pub(super) struct Calls {
    series: HashMap<CallKey, CallSeries, RandomState>,
    routes: HashMap<Route, Arc<RouteSeries>>,
    servers: HashMap<ServerName, Arc<Histogram>, RandomState>,
    folded: AtomicBool,
}

impl Calls {
    /// Counts a call.
    pub(super) fn record(&self, labels: CallLabels<'_>, times: CallTimes, request_bytes: usize) {
        let series = self.series.pin();
        if let Some(found) = series.get(&labels) {
            return found.record(times, request_bytes);
        }
        let latency = labels.server.and_then(|server| self.latency(server));
        let labels = self.bounded(labels, series.len());
        let route = self.route(labels);
        let has_server = labels.server.is_some();
        series
            .get_or_insert_with(CallKey::from(labels), || CallSeries {
                count: AtomicU64::new(0),
                route,
                latency: latency.clone().filter(|_| has_server),
            })
            .record(times, request_bytes);
        if let (Some(latency), Some(took)) = (latency.filter(|_| !has_server), times.server) {
            latency.observe(nanos(took));
        }
    }

    fn latency(&self, server: &ServerName) -> Option<Arc<Histogram>> {
        let servers = self.servers.pin();
        if let Some(latency) = servers.get(server) {
            return Some(Arc::clone(latency));
        }
        let made = || Arc::new(Histogram::new(&DURATION));
        (servers.len() < SERVERS_MAX)
            .then(|| Arc::clone(servers.get_or_insert_with(server.clone(), made)))
    }

    /// Takes labels away when there are too many series.
    fn bounded<'a>(&self, labels: CallLabels<'a>, n_series: usize) -> CallLabels<'a> {
        if n_series < SERIES_MAX {
            return labels;
        }
        if !self.folded.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                series = n_series,
                "metrics have too many series; new ones come without a tool"
            );
        }
        if n_series < SERIES_HARD_MAX {
            return CallLabels {
                tool: None,
                ..labels
            };
        }
        CallLabels {
            server: None,
            method: "other",
            tool: None,
            tenant: None,
            verdict: labels.verdict,
        }
    }

    fn route(&self, labels: CallLabels<'_>) -> Arc<RouteSeries> {
        let routes = self.routes.pin();
        let route: Route = (labels.server.cloned(), labels.method);
        let route = if routes.len() < ROUTES_MAX || routes.contains_key(&route) {
            route
        } else {
            (None, "other")
        };
        let made = routes.get_or_insert_with(route, || {
            Arc::new(RouteSeries {
                duration: Histogram::new(&DURATION),
                size: Histogram::new(&SIZE),
            })
        });
        Arc::clone(made)
    }

    /// Every series and its count, sorted by labels.
    pub(super) fn counts(&self) -> Vec<(CallKey, u64)> {
        let series = self.series.pin();
        let all = series.iter();
        let mut all: Vec<_> = all
            .map(|(key, series)| (key.clone(), series.count.load(Ordering::Relaxed)))
            .collect();
        all.sort_by(|(a, _), (b, _)| a.labels().cmp(&b.labels()));
        all
    }

    /// Latency of every server, sorted.
    pub(super) fn latencies(&self) -> Vec<(ServerName, Arc<Histogram>)> {
        let servers = self.servers.pin();
        let all = servers.iter();
        let mut all: Vec<_> = all
            .map(|(server, latency)| (server.clone(), Arc::clone(latency)))
            .collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    /// Every route, sorted.
    pub(super) fn routes(&self) -> Vec<(Route, Arc<RouteSeries>)> {
        let routes = self.routes.pin();
        let all = routes.iter();
        let mut all: Vec<_> = all
            .map(|(route, series)| (route.clone(), Arc::clone(series)))
            .collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }
}

/// Nanoseconds; 584 years at most.
pub(super) fn nanos(took: Duration) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(calls: &Calls, server: &str, tool: &str) {
        let server = ServerName::from(server);
        let labels = CallLabels {
            server: Some(&server),
            method: "tools/call",
            tool: Some(tool),
            tenant: None,
            verdict: "ok",
        };
        let whole = Duration::from_millis(1);
        let times = CallTimes {
            whole,
            server: Some(whole),
        };
        calls.record(labels, times, 10);
    }

    #[test]
    fn equal_labels_are_one_series() {
        let calls = Calls::default();
        record(&calls, "a", "x");
        record(&calls, "a", "x");
        record(&calls, "a", "y");
        let counts: Vec<u64> = calls.counts().iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 1]);
        assert_eq!(calls.routes().len(), 1);
    }

    #[test]
    fn the_number_of_series_is_bounded_and_no_call_is_lost() {
        let calls = Calls::default();
        let n_calls = SERIES_HARD_MAX + 500;
        for n in 0..n_calls {
            record(&calls, &format!("s{n}"), &format!("t{n}"));
        }
        let counts = calls.counts();
        assert!(counts.len() <= SERIES_HARD_MAX + 1, "{}", counts.len());
        let total: u64 = counts.iter().map(|(_, count)| count).sum();
        assert_eq!(total, n_calls as u64);
        assert!(calls.routes().len() <= ROUTES_MAX + 1);
        let measured = calls.routes();
        let measured = measured.iter().map(|(_, series)| series.size.read().count);
        assert_eq!(measured.sum::<u64>(), n_calls as u64);
        let with_tool = counts.iter().filter(|(key, _)| key.tool.is_some()).count();
        assert_eq!(with_tool, SERIES_MAX);
    }
}
