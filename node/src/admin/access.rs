//! Who may use the admin plane. Pure.
//!
//! On its own machine a node trusts whoever reaches its loopback address, except a web page in a browser there and
//! what a proxy there passes on and marks as that; one that adds no header cannot be told from an operator. Everybody
//! else shows the token.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::{constant_time, digest};
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, StatusCode, Uri};
use secrecy::{ExposeSecret, SecretString};

use super::error::ApiError;

/// Headers that proxies add (RFC 9110, section 7.6.3; RFC 7239). With one of them, the peer is not who asks.
const FORWARDED: [&str; 3] = ["forwarded", "via", "x-real-ip"];
/// How the names of others begin.
const FORWARDED_PREFIX: &str = "x-forwarded-";

/// Who asks, as audit lines name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    /// Somebody on this machine.
    Local(IpAddr),
    /// Somebody with the token.
    Token(IpAddr),
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(from) => write!(f, "local:{from}"),
            Self::Token(from) => write!(f, "token:{from}"),
        }
    }
}

/// Decides who may.
#[derive(Clone, Debug)]
pub(super) struct Access {
    token: Option<SecretString>,
}

impl Access {
    /// An empty token is none.
    pub(super) fn new(token: Option<SecretString>) -> Self {
        let token = token.filter(|token| !token.expose_secret().is_empty());
        Self { token }
    }

    /// Finds out who asks.
    pub(super) fn check(
        &self,
        peer: SocketAddr,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Operator, ApiError> {
        let from = peer.ip().to_canonical();
        // A token that is sent along on this machine neither helps nor hurts.
        if is_local(from, uri, headers) {
            return Ok(Operator::Local(from));
        }
        if let Some(sent) = headers.get(AUTHORIZATION) {
            let sent = sent.to_str().ok().and_then(bearer);
            return match (sent, &self.token) {
                (Some(sent), Some(token)) if same(sent, token.expose_secret()) => {
                    Ok(Operator::Token(from))
                }
                _ => Err(refused("the token is not valid")),
            };
        }
        Err(match &self.token {
            Some(_) => refused("a token is required"),
            None => refused("this node takes operators on its own machine only"),
        })
    }
}

fn refused(message: &str) -> ApiError {
    ApiError::new(
        StatusCode::UNAUTHORIZED,
        "unauthenticated",
        message,
        "use the loopback address without a proxy, or start the node with LOCKGATE_TOKEN and send it as `Authorization: Bearer`",
    )
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Digests have one length, so that the comparison takes one time.
fn same(sent: &str, token: &str) -> bool {
    let hash = |text: &str| digest::digest(&digest::SHA256, text.as_bytes());
    let (sent, token) = (hash(sent), hash(token));
    constant_time::verify_slices_are_equal(sent.as_ref(), token.as_ref()).is_ok()
}

/// Loopback from end to end, and no web page: a page has an `Origin` or fetch metadata, and one that had its name
/// rebound to this machine has a foreign `Host`.
fn is_local(from: IpAddr, uri: &Uri, headers: &HeaderMap) -> bool {
    let host = match headers.get(HOST) {
        Some(host) => host.to_str().unwrap_or_default(),
        None => uri.authority().map_or("", |authority| authority.as_str()),
    };
    let typed_or_own = headers
        .get("sec-fetch-site")
        .is_none_or(|site| site == "none" || site == "same-origin");
    from.is_loopback()
        && is_loopback_host(host)
        && typed_or_own
        && !headers.contains_key(ORIGIN)
        && !headers.keys().any(|name| {
            FORWARDED.contains(&name.as_str()) || name.as_str().starts_with(FORWARDED_PREFIX)
        })
}

/// `localhost`, `127.0.0.1`, `[::1]`, each with or without a port.
fn is_loopback_host(host: &str) -> bool {
    let Ok(authority) = host.parse::<http::uri::Authority>() else {
        return false;
    };
    let name = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let is_name = name.eq_ignore_ascii_case("localhost");
    let is_address = || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    !host.contains('@') && (is_name || is_address())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: &str = "127.0.0.1:5000";
    const REMOTE: &str = "10.0.0.5:5000";

    fn check(token: Option<&str>, peer: &str, headers: &[(&'static str, &str)]) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let access = Access::new(token.map(SecretString::from));
        let operator = access.check(peer.parse().unwrap(), &Uri::from_static("/x"), &map);
        operator.ok().map(|operator| operator.to_string())
    }

    #[test]
    fn this_machine_comes_in_without_a_token() {
        for host in [
            "127.0.0.1:7778",
            "localhost",
            "LOCALHOST:1",
            "[::1]:7778",
            "127.9.9.9",
        ] {
            let operator = check(Some("t"), LOCAL, &[("host", host)]);
            assert_eq!(operator.as_deref(), Some("local:127.0.0.1"), "{host}");
        }
        let mapped = check(None, "[::ffff:127.0.0.1]:9", &[("host", "localhost")]);
        assert_eq!(mapped.as_deref(), Some("local:127.0.0.1"));
    }

    #[test]
    fn a_web_page_does_not_come_in() {
        for host in [
            "rebound.example:7778",
            "localhost.example",
            "a@127.0.0.1",
            "",
        ] {
            assert_eq!(check(None, LOCAL, &[("host", host)]), None, "{host}");
        }
        assert_eq!(check(None, LOCAL, &[]), None);
        let host = ("host", "127.0.0.1:7778");
        assert_eq!(
            check(None, LOCAL, &[host, ("origin", "http://127.0.0.1:7778")]),
            None
        );
        assert_eq!(check(None, LOCAL, &[host, ("origin", "null")]), None);
        assert_eq!(
            check(None, LOCAL, &[host, ("sec-fetch-site", "cross-site")]),
            None
        );
        assert!(check(None, LOCAL, &[host, ("sec-fetch-site", "none")]).is_some());
    }

    #[test]
    fn a_proxy_on_this_machine_does_not_lend_its_address() {
        for name in [
            "forwarded",
            "via",
            "x-real-ip",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-forwarded-server",
        ] {
            let headers = [("host", "127.0.0.1"), (name, "10.0.0.5")];
            assert_eq!(check(None, LOCAL, &headers), None, "{name}");
        }
    }

    #[test]
    fn everybody_else_shows_the_token() {
        let host = ("host", "gate.example:7778");
        let with = |value| [host, ("authorization", value)];
        let operator = check(Some("s3cret"), REMOTE, &with("Bearer s3cret"));
        assert_eq!(operator.as_deref(), Some("token:10.0.0.5"));
        assert!(check(Some("s3cret"), REMOTE, &with("bearer s3cret")).is_some());
        for value in [
            "Bearer wrong",
            "Bearer s3cret2",
            "Bearer ",
            "s3cret",
            "Basic s3cret",
        ] {
            assert_eq!(check(Some("s3cret"), REMOTE, &with(value)), None, "{value}");
        }
        assert_eq!(check(Some("s3cret"), REMOTE, &[host]), None);
        assert_eq!(
            check(Some("s3cret"), REMOTE, &[("host", "127.0.0.1")]),
            None
        );
    }

    #[test]
    fn without_a_token_nobody_else_comes_in() {
        for token in [None, Some("")] {
            let headers = [("host", "gate.example"), ("authorization", "Bearer ")];
            assert_eq!(check(token, REMOTE, &headers), None);
            assert_eq!(check(token, REMOTE, &headers[..1]), None);
        }
    }

    #[test]
    fn a_credential_of_the_data_plane_does_not_hurt_on_this_machine() {
        let headers = [("host", "127.0.0.1"), ("authorization", "Bearer lg_key")];
        let operator = check(Some("s3cret"), LOCAL, &headers);
        assert_eq!(operator.as_deref(), Some("local:127.0.0.1"));
    }

    #[test]
    fn a_proxy_with_the_token_is_somebody_else() {
        let proxied = [("host", "gate.example"), ("x-forwarded-for", "10.0.0.5")];
        let with = |value| [proxied[0], proxied[1], ("authorization", value)];
        let operator = check(Some("s3cret"), LOCAL, &with("Bearer s3cret"));
        assert_eq!(operator.as_deref(), Some("token:127.0.0.1"));
        assert_eq!(check(Some("s3cret"), LOCAL, &with("Bearer wrong")), None);
    }
}
