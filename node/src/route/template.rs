//! URI templates (RFC 6570), as far as routing needs them: literals in order, anything for an expression.

/// A template taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    literals: Vec<Box<str>>,
}

impl Template {
    /// Splits at `{…}`. An unclosed brace is a literal.
    pub(super) fn new(text: &str) -> Self {
        let mut literals = Vec::new();
        let mut rest = text;
        while let Some((literal, tail)) = rest.split_once('{') {
            let Some((_, after)) = tail.split_once('}') else {
                break;
            };
            literals.push(literal.into());
            rest = after;
        }
        literals.push(rest.into());
        Self { literals }
    }

    /// Bytes of literal text: the more, the more specific.
    pub(super) fn literal_len(&self) -> usize {
        self.literals.iter().map(|literal| literal.len()).sum()
    }

    /// Whether `uri` can be an expansion.
    pub(super) fn matches(&self, uri: &str) -> bool {
        let Some((first, others)) = self.literals.split_first() else {
            return false;
        };
        let Some(mut rest) = uri.strip_prefix(&**first) else {
            return false;
        };
        let Some((last, middle)) = others.split_last() else {
            return rest.is_empty();
        };
        for literal in middle {
            let Some(at) = rest.find(&**literal) else {
                return false;
            };
            rest = &rest[at + literal.len()..];
        }
        rest.ends_with(&**last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, uri: &str, matches: bool) {
        assert_eq!(
            Template::new(template).matches(uri),
            matches,
            "{template} {uri}"
        );
    }

    #[test]
    fn literals_stand_in_order() {
        check("file:///{path}", "file:///srv/a.txt", true);
        check("file:///{path}", "http://x", false);
        check("db://{table}/row/{id}", "db://users/row/7", true);
        check("db://{table}/row/{id}", "db://users/col/7", false);
        check("test://static", "test://static", true);
        check("test://static", "test://static2", false);
        check("a://{x}.json", "a://b.json", true);
        check("a://{x}.json", "a://b.yaml", false);
        check("a://{x", "a://{x", true);
    }
}
