//! `${VAR}` in a text stands for a variable of the environment; `$${` stands for `${` itself.

/// Looks a variable up.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why a text cannot be completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Gap {
    /// This variable is not set.
    Unset(String),
    /// This is between the braces, and no name of a variable.
    Misnamed(String),
    /// `${` without `}`.
    Unclosed,
}

/// Puts the variables' values in.
pub(super) fn interpolate(text: &str, env: Lookup<'_>) -> Result<String, Gap> {
    let mut full = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let before = &rest[..start];
        rest = &rest[start + 2..];
        if let Some(before) = before.strip_suffix('$') {
            full.push_str(before);
            full.push_str("${");
            continue;
        }
        full.push_str(before);
        let (name, after) = rest.split_once('}').ok_or(Gap::Unclosed)?;
        if !is_variable(name) {
            return Err(Gap::Misnamed(name.to_owned()));
        }
        full.push_str(&env(name).ok_or_else(|| Gap::Unset(name.to_owned()))?);
        rest = after;
    }
    full.push_str(rest);
    Ok(full)
}

/// Whether `name` can be a variable's name.
pub(super) fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Writes `text` so that it stands for itself.
pub(super) fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, Gap>) {
        let env = |name: &str| (name == "A").then(|| "1${A}".to_owned());
        assert_eq!(
            interpolate(text, &env),
            expected.map(str::to_owned),
            "{text}"
        );
    }

    #[test]
    fn values_are_put_in_once() {
        check("x", Ok("x"));
        check("", Ok(""));
        check("a ${A} b", Ok("a 1${A} b"));
        check("${A}${A}", Ok("1${A}1${A}"));
    }

    #[test]
    fn dollars_alone_stay() {
        check("$5 $A $$ {A}", Ok("$5 $A $$ {A}"));
        check("$${A} ${A}", Ok("${A} 1${A}"));
    }

    #[test]
    fn gaps_are_told_apart() {
        check("${B}", Err(Gap::Unset("B".to_owned())));
        check("${A:-x}", Err(Gap::Misnamed("A:-x".to_owned())));
        check("${}", Err(Gap::Misnamed(String::new())));
        check("${A", Err(Gap::Unclosed));
    }

    proptest::proptest! {
        #[test]
        fn an_escaped_text_stands_for_itself(text in "[$x{}A]{0,12}") {
            let none = |_: &str| None;
            proptest::prop_assert_eq!(interpolate(&escape(&text), &none), Ok(text));
        }
    }
}
