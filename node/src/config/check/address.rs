//! How the address of an endpoint is shown.

use http::Uri;

/// Address of an endpoint for people, metrics and logs, which a secret must not get into: without user, password and
/// query, and with the path as it was written, where a variable stands by its name. `text`: what `url` was made of.
pub(super) fn shown(text: &str, url: &Uri) -> String {
    let scheme = url.scheme_str().unwrap_or("http");
    let host = url.host().unwrap_or_default();
    let port = url
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    format!("{scheme}://{host}{port}{}", path(text, url.path()))
}

fn path(text: &str, full: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    if !text.contains("${") {
        return full.to_owned();
    }
    if let Some((_, behind)) = text.split_once("://") {
        return match behind.find('/') {
            Some(at) => behind[at..].to_owned(),
            // A variable may hold it, too.
            None => "/".to_owned(),
        };
    }
    // What the variable holds may be host and path.
    let tail = text.rsplit('}').next().unwrap_or_default();
    match full == tail {
        true => tail.to_owned(),
        false => format!("/…{tail}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_shown_by_its_name() {
        for (text, full, expected) in [
            (
                "http://a:8001/mcp?key=s",
                "http://a:8001/mcp?key=s",
                "http://a:8001/mcp",
            ),
            (
                "https://a/${S}/mcp",
                "https://a/s/mcp",
                "https://a/${S}/mcp",
            ),
            (
                "https://a/mcp?key=${S}",
                "https://a/mcp?key=s",
                "https://a/mcp",
            ),
            ("https://${HOST}/mcp", "https://a/mcp", "https://a/mcp"),
            ("https://${HOST}", "https://a/s", "https://a/"),
            ("${BASE}/mcp", "https://a/mcp", "https://a/mcp"),
            ("${BASE}/mcp", "https://a/s/mcp", "https://a/…/mcp"),
            ("${URL}", "https://a/s/mcp", "https://a/…"),
        ] {
            assert_eq!(shown(text, &full.parse().unwrap()), expected, "{text}");
        }
    }
}
