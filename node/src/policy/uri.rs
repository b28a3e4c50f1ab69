//! What a resource URI may come to mean at the server.
//!
//! Servers decode `%2e` and follow `..`, so that a URI which passes a pattern as it is written can name something else
//! than the pattern's author meant. Policy therefore asks about both: the URI as written, and this form of it.

/// A URI that is still encoded after so many rounds is up to no good.
const DECODE_ROUNDS_MAX: usize = 4;

/// The other form of a URI, if it has one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// What is written is what is meant.
    AsWritten,
    /// It also means this.
    Also(String),
    /// It is encoded over and over.
    Unclear,
}

/// Scheme in lower case, percent signs decoded, backslashes turned, dot segments and empty segments of the path gone.
/// What stands behind `?` or `#` is not part of the path and stays.
pub(super) fn meaning(uri: &str) -> Meaning {
    let path_end = uri.find(['?', '#']).unwrap_or(uri.len());
    let (path, rest) = uri.split_at(path_end);
    if is_plain(path) {
        return Meaning::AsWritten;
    }
    let Some(path) = decode_fully(path) else {
        return Meaning::Unclear;
    };
    let mut normal = normalize(&path.replace('\\', "/"));
    normal.push_str(rest);
    if normal == uri {
        Meaning::AsWritten
    } else {
        Meaning::Also(normal)
    }
}

/// Most URIs have nothing that could be read in two ways; one pass tells.
fn is_plain(path: &str) -> bool {
    let (scheme, after) = split_scheme(path);
    let after = after.strip_prefix("//").unwrap_or(after);
    let mut before = 0;
    let doubtful = after.bytes().any(|byte| {
        let doubtful = matches!((before, byte), (_, b'%' | b'\\') | (b'/', b'/' | b'.'));
        before = byte;
        doubtful
    });
    !doubtful && !after.starts_with('.') && !scheme.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// `https:` and the rest; an empty scheme when there is none.
fn split_scheme(uri: &str) -> (&str, &str) {
    let end = uri.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')));
    match end {
        Some(end) if end > 0 && uri[end..].starts_with(':') => uri.split_at(end + 1),
        _ => ("", uri),
    }
}

fn normalize(uri: &str) -> String {
    let (scheme, after) = split_scheme(uri);
    let mut normal = scheme.to_ascii_lowercase();
    let path = match after.strip_prefix("//") {
        Some(hierarchical) => {
            let authority_end = hierarchical.find('/').unwrap_or(hierarchical.len());
            let (authority, path) = hierarchical.split_at(authority_end);
            normal.push_str("//");
            normal.push_str(authority);
            path
        }
        None => after,
    };
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let ends_in_directory = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    if path.starts_with('/') {
        normal.push('/');
    }
    normal.push_str(&segments.join("/"));
    if ends_in_directory && !segments.is_empty() {
        normal.push('/');
    }
    normal
}

/// Decodes until nothing changes any more. `None` when that takes too long.
fn decode_fully(path: &str) -> Option<String> {
    let mut text = path.to_owned();
    for _ in 0..=DECODE_ROUNDS_MAX {
        let decoded = decode(&text);
        if decoded == text {
            return Some(text);
        }
        text = decoded;
    }
    None
}

/// One round. A percent sign that starts no code stays; bytes that are no UTF-8 become U+FFFD.
fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.split_first_chunk::<2>().filter(|_| byte == b'%');
        let value =
            code.and_then(|(&[high, low], after)| Some((hex(high)? << 4 | hex(low)?, after)));
        match value {
            Some((decoded, after)) => {
                out.push(decoded);
                rest = after;
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uri: &str, means: &str) {
        let want = if uri == means {
            Meaning::AsWritten
        } else {
            Meaning::Also(means.to_owned())
        };
        assert_eq!(meaning(uri), want, "{uri}");
    }

    #[test]
    fn plain_uris_mean_what_they_say() {
        check("file:///srv/files/a.txt", "file:///srv/files/a.txt");
        check(
            "https://host:8080/a/b?x=%20/../y",
            "https://host:8080/a/b?x=%20/../y",
        );
        check("memo:insights", "memo:insights");
        check("test://static-text", "test://static-text");
        check("no uri at all", "no uri at all");
        check("", "");
    }

    #[test]
    fn dot_segments_are_followed() {
        check("file:///srv/../etc/passwd", "file:///etc/passwd");
        check("file:///srv/./a/", "file:///srv/a/");
        check("file:///../../etc", "file:///etc");
        check("file:///srv/a/..", "file:///srv/");
        check("srv:../a", "srv:a");
    }

    #[test]
    fn codes_are_decoded_however_often_they_were_made() {
        check("file:///srv/%73ecret", "file:///srv/secret");
        check("file:///srv/%2e%2e/etc", "file:///etc");
        check("file:///srv/%252e%252e%252fetc", "file:///etc");
        check("file:///100%", "file:///100%");
        assert_eq!(meaning("file:///%25252525252525252525"), Meaning::Unclear);
    }

    #[test]
    fn other_spellings_of_one_path_are_one() {
        check("FILE:///srv/a", "file:///srv/a");
        check("file:////srv//a", "file:///srv/a");
        check(r"file:///srv\..\etc", "file:///etc");
    }

    proptest::proptest! {
        #[test]
        fn the_meaning_of_a_meaning_is_itself(uri in "[a-zA-Z:/.%25e\\\\?]{0,24}") {
            if let Meaning::Also(means) = meaning(&uri) {
                proptest::prop_assert_ne!(meaning(&means), Meaning::Unclear);
            }
        }
    }
}
