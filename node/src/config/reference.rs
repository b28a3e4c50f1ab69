//! The reference of all keys, as Markdown.

use std::fmt::Write;

use super::keys::{FILE, Key, Kind, refused_keys};

const HEAD: &str = "\
# Configuration reference

Written by `lockgate config reference`; a test keeps it current.

One YAML file, `lockgate.yaml`. Unknown keys, duplicate names, missing variables and values out of range are errors at
start, each with file, line, key and remedy; `lockgate config check` says the same without starting.
`lockgate config schema` gives the JSON schema for editors.

- **Times** are whole numbers with a unit: `100ms`, `30s`, `5m`, `1h`, `1d`. **Sizes** likewise: `512KiB`, `4MiB`.
- **Names** have letters, digits, `_`, `-` and `.`, at most 64, the first a letter or digit.
- **Paths** that are relative start at the directory of the file.
- **Templates** take `${VAR}` from the gateway's environment; a variable that is not set is an error. `$${` stands for
  `${` itself. Other values are taken as they are.
- `identity`, `servers`, `separator`, `roles`, `tenants` and `quotas` follow the file while the gateway runs; the other
  keys need a restart, and a change to them is reported. A bad file changes nothing, and so does an empty one.
";

const TAIL_HEAD: &str = "
## Keys that are refused

These keys are known and not enforced by this version. A file that has one is refused.

| key | what to do |
|---|---|
";

/// The whole text.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    section(&mut text, "", FILE);
    text.push_str(TAIL_HEAD);
    for row in refused_keys() {
        // Writing into a String cannot fail.
        _ = writeln!(
            text,
            "| `{}` | {} |",
            row.path.replace('=', ": "),
            sentence(row.remedy)
        );
    }
    text
}

fn section(text: &mut String, path: &str, keys: &[Key]) {
    let title = if path.is_empty() {
        "Top level".to_owned()
    } else {
        format!("`{path}`")
    };
    _ = write!(
        text,
        "\n## {title}\n\n| key | value | default | meaning |\n|---|---|---|---|\n"
    );
    for key in keys {
        let default = match (key.required, key.default) {
            (true, _) => "**needed**".to_owned(),
            (false, Some(default)) => format!("`{}`", default.trim_matches('"')),
            (false, None) => String::new(),
        };
        _ = writeln!(
            text,
            "| `{}` | {} | {default} | {} |",
            key.name,
            name(key.kind).replace('|', "\\|"),
            key.doc
        );
    }
    for key in keys {
        let path = if path.is_empty() {
            key.name.to_owned()
        } else {
            format!("{path}.{}", key.name)
        };
        below(text, &path, key.kind);
    }
}

/// Sections of what a key holds.
fn below(text: &mut String, path: &str, kind: Kind) {
    match kind {
        Kind::Object(keys) => section(text, path, keys),
        Kind::Named(of) => below(text, &format!("{path}.NAME"), *of),
        Kind::Free(of) => below(text, &format!("{path}.GLOB"), *of),
        Kind::List(of) | Kind::Filled(of) => below(text, &format!("{path}[]"), *of),
        Kind::OneOf(kinds) => kinds.iter().for_each(|of| below(text, path, *of)),
        _ => {}
    }
}

fn name(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Name => "name".to_owned(),
        Kind::Choice(words) => words
            .iter()
            .map(|word| format!("`{word}`"))
            .collect::<Vec<_>>()
            .join(" | "),
        Kind::False => "`false`".to_owned(),
        Kind::Int(min, max) => format!("{min} to {max}"),
        Kind::Ratio => "0 to 1".to_owned(),
        Kind::Usd(max) => format!("dollars, 0 to {max}"),
        Kind::Time(min, max) => format!("time, {min} to {max}"),
        Kind::Size(min, max) => format!("size, {min} to {max}"),
        Kind::Address => "address".to_owned(),
        Kind::File => "path".to_owned(),
        Kind::Collector => "`http://HOST:PORT`".to_owned(),
        Kind::Pattern => "regular expression".to_owned(),
        Kind::Url | Kind::Template => "template".to_owned(),
        Kind::Secret => "secret template".to_owned(),
        Kind::List(of) | Kind::Filled(of) => format!("list of {}", name(*of)),
        Kind::Object(_) => "section".to_owned(),
        Kind::Named(of) => format!("name to {}", name(*of)),
        Kind::Free(of) => format!("text to {}", name(*of)),
        Kind::OneOf(kinds) => kinds
            .iter()
            .map(|of| name(*of))
            .collect::<Vec<_>>()
            .join(" | "),
    }
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        format!("{}{}.", first.to_uppercase(), chars.as_str())
    })
}
