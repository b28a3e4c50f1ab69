//! The credential in the headers of a request: none, one, or a refusal that says what is wrong and never repeats it.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Second place for an API key, used by clients that can't set `Authorization`.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Longest key. Ours have 46 bytes; keys from the file are whatever the operator chose.
const KEY_BYTES_MAX: usize = 512;

/// Finds the API key of a request. `Ok(None)` means that no credential was sent.
///
/// A credential that is there but can't be used is an error even where anonymous callers are welcome: a client that
/// means to be somebody must not be served as nobody.
pub(super) fn find(headers: &HeaderMap) -> Result<Option<&str>, &'static str> {
    let bearer = single(headers, &AUTHORIZATION, "several Authorization headers")?;
    let plain = single(headers, &X_API_KEY, "several X-Api-Key headers")?;
    match (bearer, plain) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err("send either Authorization or X-Api-Key, not both"),
        (Some(value), None) => bearer_token(value).map(Some),
        (None, Some(value)) => check(
            value.as_bytes(),
            "the X-Api-Key header does not hold an API key",
        )
        .map(Some),
    }
}

fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    several: &'static str,
) -> Result<Option<&'a HeaderValue>, &'static str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(several),
    }
}

/// `Bearer`, in any case (RFC 9110, 11.1), one or more spaces, the token.
fn bearer_token(value: &HeaderValue) -> Result<&str, &'static str> {
    const MALFORMED: &str = "the Authorization header does not hold one bearer token";
    let value = value.as_bytes();
    let Some((scheme, rest)) = value.split_first_chunk::<6>() else {
        return Err("the Authorization header must be `Bearer <API key>`");
    };
    if !scheme.eq_ignore_ascii_case(b"bearer") || !rest.starts_with(b" ") {
        return Err("the Authorization header must be `Bearer <API key>`");
    }
    check(rest.trim_ascii_start(), MALFORMED)
}

/// Visible ASCII without a comma, which would join two credentials.
fn check<'a>(key: &'a [u8], malformed: &'static str) -> Result<&'a str, &'static str> {
    let fits = !key.is_empty() && key.len() <= KEY_BYTES_MAX;
    if !fits
        || !key
            .iter()
            .all(|byte| byte.is_ascii_graphic() && *byte != b',')
    {
        return Err(malformed);
    }
    std::str::from_utf8(key).map_err(|_| malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `headers`: lines of `name: value`.
    #[track_caller]
    fn check_find(headers: &str, want: Result<Option<&str>, &str>) {
        let mut map = HeaderMap::new();
        for line in headers.lines() {
            let (name, value) = line.split_once(": ").unwrap();
            map.append(
                HeaderName::try_from(name).unwrap(),
                HeaderValue::try_from(value).unwrap(),
            );
        }
        assert_eq!(find(&map), want, "{headers:?}");
    }

    #[test]
    fn both_headers_carry_a_key() {
        check_find("authorization: Bearer lg_abc", Ok(Some("lg_abc")));
        check_find("authorization: bEARER   lg_abc", Ok(Some("lg_abc")));
        check_find("x-api-key: lg_abc", Ok(Some("lg_abc")));
    }

    #[test]
    fn no_header_is_no_credential() {
        check_find("accept: */*", Ok(None));
    }

    #[test]
    fn more_than_one_credential_is_refused() {
        check_find(
            "authorization: Bearer a\nauthorization: Bearer a",
            Err("several Authorization headers"),
        );
        check_find(
            "x-api-key: a\nx-api-key: b",
            Err("several X-Api-Key headers"),
        );
        check_find(
            "authorization: Bearer a\nx-api-key: a",
            Err("send either Authorization or X-Api-Key, not both"),
        );
        check_find(
            "authorization: Bearer a, Bearer b",
            Err("the Authorization header does not hold one bearer token"),
        );
    }

    #[test]
    fn other_schemes_are_refused() {
        let want = Err("the Authorization header must be `Bearer <API key>`");
        check_find("authorization: Basic YTpi", want);
        check_find("authorization: Bearer", want);
        check_find("authorization: BearerX", want);
        check_find("authorization: lg_abc", want);
    }

    #[test]
    fn malformed_keys_are_refused() {
        let want = Err("the Authorization header does not hold one bearer token");
        check_find("authorization: Bearer  ", want);
        check_find("authorization: Bearer a b", want);
        check_find(&format!("authorization: Bearer {}", "a".repeat(513)), want);
        check_find(
            "x-api-key: ",
            Err("the X-Api-Key header does not hold an API key"),
        );
        check_find(
            "x-api-key: h\u{e9}",
            Err("the X-Api-Key header does not hold an API key"),
        );
    }
}
