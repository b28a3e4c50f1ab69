//! The prefix that tells the tools and prompts of several servers apart: `github_list_repos`.
//!
//! A name is found by looking it up in a catalog, never by splitting it: both the server's and the tool's name
//! may hold the separator.

/// Name under which `name` of `server` is offered.
pub fn join(server: &str, separator: &str, name: &str) -> String {
    [server, separator, name].concat()
}

/// Undoes [`join`] for a server that is known. `None` when the prefix is not there.
pub fn strip<'a>(prefixed: &'a str, server: &str, separator: &str) -> Option<&'a str> {
    prefixed.strip_prefix(server)?.strip_prefix(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_taken_off_where_it_was_put_on() {
        assert_eq!(join("git_hub", "_", "list_repos"), "git_hub_list_repos");
        assert_eq!(
            strip("git_hub_list_repos", "git_hub", "_"),
            Some("list_repos")
        );
        assert_eq!(strip("git_hub", "git_hub", "_"), None);
        assert_eq!(strip("gitlab_x", "git", "_"), None);
        assert_eq!(strip("git_", "git", "_"), Some(""));
        assert_eq!(strip("gitx", "git", ""), Some("x"));
    }
}
