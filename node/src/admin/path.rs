//! Parts of a path and of a query, percent-decoded.

/// Decodes `%41` to `A`. `None` for broken escapes and for what is not UTF-8 then.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let (high, low) = (hex(rest.next()?)?, hex(rest.next()?)?);
            bytes.push(high << 4 | low);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Value of `name` in a query. Escapes that cannot be read make a value that nothing is called.
pub(super) fn query(query: Option<&str>, name: &str) -> Option<String> {
    queries(query, name).next()
}

/// All values of `name`, which may stand there more than once.
pub(super) fn queries<'a>(
    query: Option<&'a str>,
    name: &'a str,
) -> impl Iterator<Item = String> + 'a {
    let pairs = query.unwrap_or_default().split('&');
    let found = pairs.filter_map(|pair| pair.split_once('='));
    let found = found.filter(move |(key, _)| *key == name);
    found.map(|(_, value)| decode(&value.replace('+', " ")).unwrap_or_default())
}

/// First name in a query that is none of `known`.
pub(super) fn unknown<'a>(query: Option<&'a str>, known: &[&str]) -> Option<&'a str> {
    let pairs = query.unwrap_or_default().split('&');
    let names = pairs.map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
    let mut named = names.filter(|name| !name.is_empty());
    named.find(|name| !known.contains(name))
}

fn hex(digit: u8) -> Option<u8> {
    // One hex digit is below 16.
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_once() {
        assert_eq!(decode("a%2Fb%25").as_deref(), Some("a/b%"));
        assert_eq!(decode("%C3%A9").as_deref(), Some("é"));
        for broken in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(decode(broken), None, "{broken}");
        }
    }

    #[test]
    fn a_query_is_found_by_its_whole_name() {
        assert_eq!(
            query(Some("a=1&server=x%20y"), "server").as_deref(),
            Some("x y")
        );
        let both: Vec<_> = queries(Some("a=1&b=2&a=x%3D3"), "a").collect();
        assert_eq!(both, ["1", "x=3"]);
        assert_eq!(query(Some("observer=1"), "server"), None);
        assert_eq!(query(Some("server=%"), "server").as_deref(), Some(""));
        assert_eq!(query(None, "server"), None);
    }

    #[test]
    fn a_name_that_nobody_knows_is_found() {
        let known = ["a", "b"];
        for (text, name) in [
            ("a=1&b=2&a=3", None),
            ("", None),
            ("a=1&", None),
            ("a=1&limit=3", Some("limit")),
            ("limit", Some("limit")),
            ("%61=1", Some("%61")),
        ] {
            assert_eq!(unknown(Some(text), &known), name, "{text}");
        }
        assert_eq!(unknown(None, &known), None);
    }
}
