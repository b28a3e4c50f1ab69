//! The table of keys: one row a key, and everything that is said about keys comes from it: shape checks, defaults in
//! `config show`, the JSON schema and the reference.

mod node;
mod refused;
mod server;

pub(super) use self::refused::{refusal, refused_keys};

/// One key of a mapping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub name: &'static str,
    pub kind: Kind,
    /// As JSON text. `None`: no default, or one that depends on other keys, which `doc` then says.
    pub default: Option<&'static str>,
    pub required: bool,
    /// Whole sentences for schema and reference.
    pub doc: &'static str,
}

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Text without `${VAR}`.
    Text,
    /// Letters, digits, `_`, `-` and `.`, at most 64, the first a letter or digit.
    Name,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Exactly `false`.
    False,
    /// A whole number from the first to the second, both included.
    Int(i64, i64),
    /// A number from 0 to 1.
    Ratio,
    /// An amount of money in dollars, from 0 to the given one.
    Usd(u32),
    /// A time of at least the first and at most the second, as text.
    Time(&'static str, &'static str),
    /// Bytes, at least the first and at most the second, as text.
    Size(&'static str, &'static str),
    /// IP address and port.
    Address,
    /// Path; relative ones start at the file's directory.
    File,
    /// `http://HOST:PORT`, without `${VAR}`.
    Collector,
    /// Regular expression, without `${VAR}`.
    Pattern,
    /// HTTP address in which `${VAR}` stands for a variable of the gateway's environment.
    Url,
    /// Text in which `${VAR}` stands for a variable of the gateway's environment.
    Template,
    /// The same, and never shown.
    Secret,
    /// A list of these.
    List(&'static Self),
    /// A list of these with at least one item.
    Filled(&'static Self),
    /// A mapping with these keys.
    Object(&'static [Key]),
    /// A mapping from names (see `Name`) to these.
    Named(&'static Self),
    /// A mapping from any text to these.
    Free(&'static Self),
    /// The first of these that has the value's form.
    OneOf(&'static [Self]),
}

/// The whole file.
pub(super) const FILE: &[Key] = node::FILE;

/// One entry under `servers`.
pub(super) const SERVER: &[Key] = server::SERVER;

/// Top-level keys that a reload replaces, and that several nodes share. All others belong to the node.
pub(super) const REGISTRY: &[&str] = &[
    "identity",
    "servers",
    "separator",
    "roles",
    "tenants",
    "quotas",
];

const fn key(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        default: None,
        required: false,
        doc,
    }
}

const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        default: None,
        required: true,
        doc,
    }
}

const fn with(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        default: Some(default),
        required: false,
        doc,
    }
}
