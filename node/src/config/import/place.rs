//! Where a text stands in a server's settings.

#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Name that tells of a secret: of the variable, header, option or parameter. Empty for an argument by itself.
    name: String,
    /// What a variable for all of it would be called.
    variable: String,
    /// What the list of variables calls it.
    label: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Env,
    Argument,
    Url,
    Named,
}

impl Place {
    pub(super) fn env(name: &str) -> Self {
        Self {
            kind: Kind::Env,
            ..Self::named(name)
        }
    }

    /// A header, or the value of an option.
    pub(super) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            variable: name.to_owned(),
            label: format!("`{name}`"),
            kind: Kind::Named,
        }
    }

    /// The argument at `index`, behind the option `option`, which is empty where there is none.
    pub(super) fn argument(index: usize, option: &str) -> Self {
        if !option.is_empty() {
            return Self {
                kind: Kind::Argument,
                ..Self::named(option)
            };
        }
        Self {
            name: String::new(),
            variable: format!("argument_{}", index + 1),
            label: format!("argument {}", index + 1),
            kind: Kind::Argument,
        }
    }

    pub(super) fn url() -> Self {
        Self {
            kind: Kind::Url,
            ..Self::named("url")
        }
    }

    /// Part of this text that is called `name`.
    pub(super) fn inner(&self, name: &str) -> Self {
        // `-e NAME=VALUE` and `--env=NAME=VALUE`: the option says nothing of the value.
        if self.kind == Kind::Argument && !matches!(name, "password" | "user" | "path" | "query") {
            return Self {
                kind: Kind::Argument,
                ..Self::named(name)
            };
        }
        let variable = match self.kind {
            Kind::Env => {
                let name = name.to_ascii_uppercase();
                let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
                format!("{}_{name}", self.variable)
            }
            Kind::Argument | Kind::Url | Kind::Named => name.to_owned(),
        };
        Self {
            name: name.to_owned(),
            variable,
            label: format!("`{name}` in {}", self.label),
            kind: Kind::Named,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn variable(&self) -> &str {
        &self.variable
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    pub(super) fn is_env(&self) -> bool {
        self.kind == Kind::Env
    }

    pub(super) fn is_argument(&self) -> bool {
        self.kind == Kind::Argument
    }

    /// Whether it is the value of `--header`, `-H` and the like.
    pub(super) fn is_header_option(&self) -> bool {
        self.kind == Kind::Argument
            && self.name.starts_with('-')
            && (self.name == "-H" || self.name.to_ascii_lowercase().contains("header"))
    }

    /// Whether it is the line of a shell: `sh -c`, `powershell -Command`.
    pub(super) fn is_shell(&self) -> bool {
        self.kind == Kind::Argument
            && matches!(
                self.name.as_str(),
                "-c" | "-lc" | "-ic" | "-ec" | "-Command"
            )
    }

    pub(super) fn is_url(&self) -> bool {
        self.kind == Kind::Url
    }
}
