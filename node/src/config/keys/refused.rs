//! Keys of the design that this version does not enforce. They are refused by name: a gateway that accepts a rule and
//! does not hold it is worse than one that says no.

/// A row of the table.
#[derive(Debug)]
pub(in crate::config) struct RefusedKey {
    /// Path with `*` for names and list items; `=word` at the end narrows it to one value.
    pub path: &'static str,
    /// What to do instead.
    pub remedy: &'static str,
}

const REFUSED: &[RefusedKey] = &[
    row(
        "identity.api_keys.*.key",
        "put the key into an environment variable and name that in `key_env`",
    ),
    row(
        "identity.jwt",
        "give the callers keys in `identity.api_keys`, or check tokens in front of the gateway",
    ),
    row(
        "identity.mtls",
        "give the callers keys in `identity.api_keys`, or end mutual TLS in front of the gateway",
    ),
    row(
        "servers.*.tools.*.action=approve",
        "write `deny` until somebody may call it, or `allow`",
    ),
    row(
        "servers.*.tools.*.cache",
        "remove it: answers are always fetched",
    ),
    row(
        "servers.*.tools.*.checks",
        "remove it: let the server check its arguments, or deny the tool",
    ),
    row(
        "servers.*.tools.*.reason",
        "remove it, or keep it as a comment: it belongs to `action: approve`",
    ),
    row(
        "servers.*.type",
        "remove it, or write `transport: sse` in place of `type: sse`: `url` means HTTP and `command` means stdio",
    ),
];

const fn row(path: &'static str, remedy: &'static str) -> RefusedKey {
    RefusedKey { path, remedy }
}

/// All rows, for the reference.
pub(in crate::config) fn refused_keys() -> &'static [RefusedKey] {
    REFUSED
}

/// The row for `steps` (names of mappings and `*` for items of lists), if that key is refused.
pub(in crate::config) fn refusal(
    steps: &[&str],
    value: Option<&str>,
) -> Option<&'static RefusedKey> {
    REFUSED.iter().find(|row| {
        let (path, word) = match row.path.split_once('=') {
            Some((path, word)) => (path, Some(word)),
            None => (row.path, None),
        };
        let pattern: Vec<&str> = path.split('.').collect();
        word.is_none_or(|word| Some(word) == value)
            && pattern.len() == steps.len()
            && pattern
                .iter()
                .zip(steps)
                .all(|(pattern, step)| *pattern == "*" || pattern == step)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(steps: &[&str], value: Option<&str>) -> Option<&'static str> {
        refusal(steps, value).map(|row| row.path)
    }

    #[test]
    fn names_and_items_match_a_star() {
        assert_eq!(path_of(&["identity", "jwt"], None), Some("identity.jwt"));
        assert_eq!(
            path_of(&["identity", "api_keys", "*", "key"], None),
            Some("identity.api_keys.*.key")
        );
        assert_eq!(path_of(&["tenants", "acme", "servers"], None), None);
    }

    #[test]
    fn a_word_narrows_to_one_value() {
        let action = ["servers", "a", "tools", "t", "action"];
        assert_eq!(
            path_of(&action, Some("approve")),
            Some("servers.*.tools.*.action=approve")
        );
        assert_eq!(path_of(&action, Some("allow")), None);
    }
}
