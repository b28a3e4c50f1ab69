//! Parts of an address as client files have it: not always one that the standard would take.

/// All parts together are the text, but for the `@` behind the login.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    /// With `://`; empty where a reference stands for it.
    pub(super) scheme: &'a str,
    /// User, or user and password.
    pub(super) login: Option<&'a str>,
    pub(super) host: &'a str,
    /// With its slash.
    pub(super) path: &'a str,
    /// With its `?`, `#` or, with JDBC, `;`.
    pub(super) query: &'a str,
}

impl<'a> Parts<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let (scheme, rest) = text.split_at(text.find("://").map_or(0, |at| at + 3));
        let (login, rest) = if scheme.is_empty() {
            (None, rest)
        } else {
            split_login(rest)
        };
        let (rest, query) = rest.split_at(rest.find(['?', '#', ';']).unwrap_or(rest.len()));
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        Self {
            scheme,
            login,
            host,
            path,
            query,
        }
    }

    pub(super) fn is_http(&self) -> bool {
        matches!(self.scheme, "http://" | "https://")
    }
}

fn split_login(rest: &str) -> (Option<&str>, &str) {
    let end = rest.find(['/', '?', '#', ';']).unwrap_or(rest.len());
    if let Some(at) = rest[..end].rfind('@') {
        return (Some(&rest[..at]), &rest[at + 1..]);
    }
    // A password with `/`, `?` or `#` that nobody encoded: what follows the colon is no port then.
    let port = rest[..end].split_once(':').map(|(_, port)| port);
    let is_port = port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    match rest.rfind('@') {
        Some(at) if !is_port && !rest.starts_with('[') => (Some(&rest[..at]), &rest[at + 1..]),
        _ => (None, rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: [&str; 5]) {
        let parts = Parts::new(text);
        let [scheme, login, host, path, query] = expected;
        let expected = Parts {
            scheme,
            login: (login != "-").then_some(login),
            host,
            path,
            query,
        };
        assert_eq!(parts, expected, "{text}");
    }

    #[test]
    fn addresses_are_taken_apart() {
        check("https://h", ["https://", "-", "h", "", ""]);
        check(
            "https://h:1/a/b?c=d#e",
            ["https://", "-", "h:1", "/a/b", "?c=d#e"],
        );
        check("a://u:p@h/b", ["a://", "u:p", "h", "/b", ""]);
        check("a://:p@h1:1,h2:2/b", ["a://", ":p", "h1:1,h2:2", "/b", ""]);
        check("a://u:p@q@h", ["a://", "u:p@q", "h", "", ""]);
        check(
            "jdbc:x://h:1;user=u",
            ["jdbc:x://", "-", "h:1", "", ";user=u"],
        );
        check("/mcp?a=b", ["", "-", "", "/mcp", "?a=b"]);
    }

    #[test]
    fn a_password_may_hold_what_should_be_encoded() {
        check("a://u:p/w#?@h/b", ["a://", "u:p/w#?", "h", "/b", ""]);
        check("a://h:80/@b/c", ["a://", "-", "h:80", "/@b/c", ""]);
        check("a://[::1]:80/@b", ["a://", "-", "[::1]:80", "/@b", ""]);
    }
}
