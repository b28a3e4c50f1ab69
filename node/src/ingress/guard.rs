//! `Host` and `Origin` checks against DNS rebinding (MCP 2025-11-25, "Security Warning" of Streamable HTTP). Pure.

use std::net::{IpAddr, SocketAddr};

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Uri};

use crate::error::CallError;

/// Which hosts and origins are ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    listen: SocketAddr,
    /// `listen` as clients write it.
    own: String,
    hosts: Vec<String>,
    origins: Vec<HeaderValue>,
}

impl Guard {
    /// `listen` is the address as bound.
    pub fn new(listen: SocketAddr, hosts: &[String], origins: &[String]) -> Self {
        let lower = |text: &String| text.to_ascii_lowercase();
        // Nobody says what is no header.
        let origin = |text| {
            let lower = lower(text);
            HeaderValue::from_bytes(without_default_port(lower.as_bytes())).ok()
        };
        Self {
            listen,
            own: listen.to_string(),
            hosts: hosts.iter().map(lower).collect(),
            origins: origins.iter().filter_map(origin).collect(),
        }
    }

    /// Whether pages of some origin may read what they are answered.
    pub(super) fn lists_origins(&self) -> bool {
        !self.origins.is_empty()
    }

    /// The listed origin that a page has which asks. Nothing is read where none is listed.
    pub(super) fn page(&self, headers: &HeaderMap) -> Option<&HeaderValue> {
        if self.origins.is_empty() {
            return None;
        }
        self.listed(headers.get(ORIGIN)?.as_bytes())
    }

    /// Checks one request. `open`: callers need no credential, so that a page whose name was rebound to this address
    /// would be as welcome as anybody, and only what such a page cannot say is ours.
    ///
    /// # Errors
    ///
    /// Fails when `Host` or `Origin` is not one of ours.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap, open: bool) -> Result<(), CallError> {
        let host = match headers.get(HOST) {
            Some(value) => value.to_str().unwrap_or_default(),
            None => uri.authority().map_or("", |authority| authority.as_str()),
        };
        if !self.host_is_ours(host, open) {
            return Err(CallError::ForeignOrigin {
                header: "Host",
                value: host.to_owned(),
            });
        }
        let Some(origin) = headers.get(ORIGIN) else {
            return Ok(());
        };
        let origin = origin.to_str().unwrap_or_default();
        if self.origin_is_ours(origin, host, open) {
            return Ok(());
        }
        Err(CallError::ForeignOrigin {
            header: "Origin",
            value: origin.to_owned(),
        })
    }

    fn host_is_ours(&self, host: &str, open: bool) -> bool {
        // Nearly all that reach a loopback listener; the rules below say the same of it, at some length.
        if host == self.own {
            return true;
        }
        let (name, port) = split_port(host);
        let port_fits = port.is_none_or(|port| port == self.listen.port());
        if port_fits && (self.is_listened_on(name) || self.is_local() && is_loopback(name)) {
            return true;
        }
        let listed = |allowed: &String| {
            host.eq_ignore_ascii_case(allowed) || name.eq_ignore_ascii_case(allowed)
        };
        if self.hosts.iter().any(listed) {
            return true;
        }
        if self.is_local() || !self.hosts.is_empty() {
            return false;
        }
        // Off loopback names are the operator's choice: a rebound page has no credential. Where none is asked for, an
        // address will do, because no name was resolved for it.
        if open {
            name.parse::<IpAddr>().is_ok()
        } else {
            !host.is_empty()
        }
    }

    /// An address that is listened on. No name was resolved for it, so that none can have been rebound.
    fn is_listened_on(&self, name: &str) -> bool {
        let own = self.listen.ip();
        name.parse::<IpAddr>()
            .is_ok_and(|ip| ip == own || own.is_unspecified())
    }

    fn origin_is_ours(&self, origin: &str, host: &str, open: bool) -> bool {
        if self.listed(origin.as_bytes()).is_some() {
            return true;
        }
        let lower = origin.to_ascii_lowercase();
        let authority = lower.split_once("://").map(|(_, authority)| authority);
        let Some(authority) = authority else {
            return false;
        };
        if self.is_local() {
            is_loopback(split_port(authority).0)
        } else {
            !open && authority.eq_ignore_ascii_case(host)
        }
    }

    fn listed(&self, origin: &[u8]) -> Option<&HeaderValue> {
        let origin = without_default_port(origin);
        let mut listed = self.origins.iter();
        listed.find(|listed| origin.eq_ignore_ascii_case(listed.as_bytes()))
    }

    fn is_local(&self) -> bool {
        self.listen.ip().is_loopback()
    }
}

/// An origin as browsers write it: they leave out the port that its scheme has.
fn without_default_port(origin: &[u8]) -> &[u8] {
    let begins = |scheme: &str| {
        let start = origin.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
    };
    let port: &[u8] = if begins("https://") {
        b":443"
    } else if begins("http://") {
        b":80"
    } else {
        return origin;
    };
    origin.strip_suffix(port).unwrap_or(origin)
}

fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// `host:port`, `[v6]:port`, `host`.
fn split_port(host: &str) -> (&str, Option<u16>) {
    if let Some(rest) = host.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((name, tail)) => (
                name,
                tail.strip_prefix(':').and_then(|port| port.parse().ok()),
            ),
            None => (host, None),
        };
    }
    match host.rsplit_once(':') {
        // A port that is none makes the whole a name, which is not ours.
        Some((name, port)) => port.parse().map_or((host, None), |port| (name, Some(port))),
        None => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(listen: &str, hosts: &[&str], host: &str, origin: Option<&str>, passes: bool) {
        check_open(listen, hosts, (host, origin), false, passes);
    }

    #[track_caller]
    fn check_open(
        listen: &str,
        hosts: &[&str],
        (host, origin): (&str, Option<&str>),
        open: bool,
        passes: bool,
    ) {
        let hosts: Vec<String> = hosts.iter().map(|text| (*text).to_owned()).collect();
        let origins = ["https://app.example", "https://Page.example:443"];
        let guard = Guard::new(listen.parse().unwrap(), &hosts, &origins.map(str::to_owned));
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        assert_eq!(
            guard
                .check(&Uri::from_static("/mcp"), &headers, open)
                .is_ok(),
            passes,
            "{host} {origin:?}"
        );
    }

    #[test]
    fn a_loopback_listener_takes_loopback_names_only() {
        for host in [
            "127.0.0.1:7777",
            "localhost:7777",
            "localhost",
            "[::1]:7777",
        ] {
            check("127.0.0.1:7777", &[], host, None, true);
        }
        for host in [
            "evil.example",
            "evil.example:7777",
            "localhost:1",
            "127.0.0.1.evil.example",
            "",
        ] {
            check("127.0.0.1:7777", &[], host, None, false);
        }
    }

    #[test]
    fn origins_are_loopback_or_listed() {
        for origin in [
            "http://localhost:3000",
            "http://127.0.0.1",
            "https://app.example",
            "https://app.example:443",
            "https://page.example",
            "http://[::1]:1",
        ] {
            check("127.0.0.1:7777", &[], "localhost", Some(origin), true);
        }
        for origin in [
            "http://evil.example",
            "null",
            "http://localhost.evil.example",
            "app.example",
            "https://app.example:80",
            "http://page.example:443",
        ] {
            check("127.0.0.1:7777", &[], "localhost", Some(origin), false);
        }
    }

    #[test]
    fn off_loopback_names_are_the_operators_choice() {
        check("0.0.0.0:443", &[], "gate.example", None, true);
        check("0.0.0.0:443", &["gate.example"], "gate.example", None, true);
        check(
            "0.0.0.0:443",
            &["gate.example"],
            "other.example",
            None,
            false,
        );
        check(
            "0.0.0.0:443",
            &[],
            "gate.example",
            Some("https://gate.example"),
            true,
        );
        check(
            "0.0.0.0:443",
            &[],
            "gate.example",
            Some("https://evil.example"),
            false,
        );
    }

    #[test]
    fn an_address_that_is_listened_on_is_ours_whatever_names_are_listed() {
        let check = |listen, host, passes| {
            check(listen, &["gate.example"], host, None, passes);
            check_open(listen, &["gate.example"], (host, None), true, passes);
        };
        for host in ["192.0.2.2:7777", "192.0.2.2", "gate.example"] {
            check("192.0.2.2:7777", host, true);
        }
        for host in ["192.0.2.2:1", "evil.example:7777", "192.0.2.2.evil.example"] {
            check("192.0.2.2:7777", host, false);
        }
        for host in ["127.0.0.1:7777", "192.0.2.2:7777", "[2001:db8::1]:7777"] {
            check("0.0.0.0:7777", host, true);
            check("[::]:7777", host, true);
        }
        check("0.0.0.0:7777", "127.0.0.1:1", false);
        check("0.0.0.0:7777", "localhost:7777", false);
    }

    #[test]
    fn an_open_gateway_off_loopback_is_reached_by_address_or_by_a_listed_name() {
        let check = |hosts: &[&str], host, origin, passes| {
            check_open("0.0.0.0:7777", hosts, (host, origin), true, passes);
        };
        check(&[], "192.0.2.1:7777", None, true);
        check(&[], "[2001:db8::1]:7777", None, true);
        check(&["gate.example"], "gate.example:7777", None, true);
        for host in [
            "evil.example:7777",
            "192.0.2.1.evil.example",
            "localhost:7777",
            "",
        ] {
            check(&[], host, None, false);
        }
        check(&["gate.example"], "evil.example", None, false);
        check(&[], "192.0.2.1", Some("https://app.example"), true);
        for origin in ["http://192.0.2.1", "http://evil.example", "null"] {
            check(&[], "192.0.2.1", Some(origin), false);
        }
    }
}
