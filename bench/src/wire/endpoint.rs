//! Where a URL leads.

use std::net::{SocketAddr, ToSocketAddrs as _};

use crate::error::{Error, Result};

/// A plain-text HTTP URL, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// First address that the host has.
    pub(crate) address: SocketAddr,
    /// Host and port as in the URL.
    pub(crate) authority: String,
    /// Path and query; `/` when the URL has none.
    pub(crate) path: String,
}

impl Endpoint {
    /// Reads `http://host:port/path`.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let unusable = |why: &str| Error::Argument {
            key: "URL",
            value: url.to_owned(),
            why: why.to_owned(),
        };
        let rest = url
            .strip_prefix("http://")
            .ok_or_else(|| unusable("it starts with http:// (TLS is not measured)"))?;
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let named = if authority.contains(':') {
            authority.to_owned()
        } else {
            format!("{authority}:80")
        };
        let address = named
            .to_socket_addrs()
            .ok()
            .and_then(|mut addresses| addresses.next())
            .ok_or_else(|| unusable("its host has no address"))?;
        Ok(Self {
            address,
            authority: authority.to_owned(),
            path: path.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn a_url_has_address_authority_and_path() {
        let endpoint = Endpoint::parse("http://127.0.0.1:81/s/echo/mcp").unwrap();
        assert_eq!(endpoint.address, "127.0.0.1:81".parse().unwrap());
        assert_eq!(endpoint.authority, "127.0.0.1:81");
        assert_eq!(endpoint.path, "/s/echo/mcp");
    }

    #[test]
    fn port_and_path_have_defaults() {
        let endpoint = Endpoint::parse("http://127.0.0.1").unwrap();
        assert_eq!(endpoint.address.port(), 80);
        assert_eq!(endpoint.path, "/");
    }

    #[test]
    fn tls_is_refused() {
        assert!(Endpoint::parse("https://127.0.0.1/mcp").is_err());
    }
}
