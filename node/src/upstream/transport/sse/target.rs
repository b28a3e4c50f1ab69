//! Where messages go: the URI of the `endpoint` event. Pure.

use http::Uri;
use http::uri::PathAndQuery;

/// Why a server's `endpoint` cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TargetError {
    /// It cannot be read.
    #[error("its `endpoint` event holds no URI")]
    NoUri,
    /// Whoever is named there would get what is meant for this server, credentials included.
    #[error("its `endpoint` event names another origin")]
    ForeignOrigin,
}

/// Resolves `reference` against the address of the stream (RFC 3986, section 5.2), whose origin it must have.
///
/// # Errors
///
/// See [`TargetError`].
pub(super) fn resolve(base: &Uri, reference: &str) -> Result<PathAndQuery, TargetError> {
    let reference = reference.trim();
    // A fragment is never sent.
    let reference = reference.split('#').next().unwrap_or_default();
    if reference.is_empty() {
        return Err(TargetError::NoUri);
    }
    if let Some(rest) = reference.strip_prefix("//") {
        let scheme = base.scheme_str().unwrap_or("http");
        return of_whole(base, &format!("{scheme}://{rest}"));
    }
    if has_scheme(reference) {
        return of_whole(base, reference);
    }
    let (path, query) = match reference.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (reference, None),
    };
    let path = match path {
        "" => base.path().to_owned(),
        path if path.starts_with('/') => without_dots(path),
        path => {
            let folder = base
                .path()
                .rsplit_once('/')
                .map_or("", |(folder, _)| folder);
            without_dots(&format!("{folder}/{path}"))
        }
    };
    let text = match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    text.parse().map_err(|_| TargetError::NoUri)
}

fn of_whole(base: &Uri, text: &str) -> Result<PathAndQuery, TargetError> {
    let uri: Uri = text.parse().map_err(|_| TargetError::NoUri)?;
    if origin(&uri).is_none() || origin(&uri) != origin(base) {
        return Err(TargetError::ForeignOrigin);
    }
    uri.path_and_query().cloned().ok_or(TargetError::NoUri)
}

/// Scheme, host and port. `None` for what is no HTTP address, and for one that carries a user's name.
fn origin(uri: &Uri) -> Option<(&str, String, u16)> {
    let scheme = uri.scheme_str()?;
    let port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = uri
        .authority()
        .filter(|text| !text.as_str().contains('@'))?;
    let host = authority.host().to_ascii_lowercase();
    Some((scheme, host, uri.port_u16().unwrap_or(port)))
}

/// Whether a reference begins with `scheme:`.
fn has_scheme(reference: &str) -> bool {
    let Some((scheme, _)) = reference.split_once(':') else {
        return false;
    };
    let is_of_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(is_of_scheme)
}

/// Follows `.` and `..` (RFC 3986, section 5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(base: &str, reference: &str, expected: Result<&str, TargetError>) {
        let found = resolve(&base.parse().unwrap(), reference);
        assert_eq!(
            found.as_ref().map(PathAndQuery::as_str),
            expected.as_ref().map(|text| *text),
            "{reference} at {base}"
        );
    }

    const BASE: &str = "http://example.org:8080/a/sse?key=1";

    #[test]
    fn a_path_replaces_the_path() {
        check(BASE, "/message?sessionId=7", Ok("/message?sessionId=7"));
        check(BASE, "/message", Ok("/message"));
        check(BASE, " /message\n", Ok("/message"));
        check(BASE, "/b/../message/./x", Ok("/message/x"));
    }

    #[test]
    fn a_relative_path_starts_in_the_folder() {
        check(BASE, "message?s=1", Ok("/a/message?s=1"));
        check(BASE, "./message", Ok("/a/message"));
        check(BASE, "../message", Ok("/message"));
        check(BASE, "../../../message", Ok("/message"));
        check(BASE, "..", Ok("/"));
        check("http://example.org", "message", Ok("/message"));
    }

    #[test]
    fn a_query_alone_keeps_the_path() {
        check(BASE, "?s=1", Ok("/a/sse?s=1"));
    }

    #[test]
    fn a_colon_behind_a_slash_is_no_scheme() {
        check(BASE, "/m?u=http://x/", Ok("/m?u=http://x/"));
        check(BASE, "m/a:b", Ok("/a/m/a:b"));
    }

    #[test]
    fn a_whole_address_of_the_same_origin_counts_by_its_path() {
        check(BASE, "http://example.org:8080/m?s=1", Ok("/m?s=1"));
        check(BASE, "HTTP://EXAMPLE.org:8080/m", Ok("/m"));
        check(BASE, "//example.org:8080/m", Ok("/m"));
        check(
            "https://example.org/sse",
            "https://example.org:443/m",
            Ok("/m"),
        );
        check("http://[::1]:80/sse", "http://[::1]/m", Ok("/m"));
    }

    #[test]
    fn another_origin_is_refused() {
        let refused = Err(TargetError::ForeignOrigin);
        check(BASE, "http://example.org/m", refused);
        check(BASE, "https://example.org:8080/m", refused);
        check(BASE, "http://evil.example:8080/m", refused);
        check(BASE, "http://example.org.evil.example:8080/m", refused);
        check(BASE, "http://example.org:8080@evil.example/m", refused);
        check(BASE, "http://user@example.org:8080/m", refused);
        check(BASE, "//evil.example/m", refused);
        check(BASE, "ftp://example.org:8080/m", refused);
    }

    #[test]
    fn garbage_is_no_uri() {
        for text in ["", "  ", "#x", "/a b", "/\u{1}", "http://", "mailto:"] {
            assert!(resolve(&BASE.parse().unwrap(), text).is_err(), "{text:?}");
        }
    }
}
