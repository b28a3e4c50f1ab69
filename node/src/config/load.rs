//! Reads a file, or one server's settings that came over the API, and checks it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check::{self, Context, Findings};
use super::checked::{Config, Server};
use super::interpolate::Lookup;
use super::keys::{FILE, Kind, SERVER};
use super::problem::{Problem, Problems, Rigour};
use super::shape;
use super::tree::{KeyPath, Tree};

/// Larger files are refused: a configuration of this size is a mistake.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Looks a variable of the environment up.
pub type Env = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What loading depends on beside the file.
#[derive(Clone)]
pub struct Options {
    /// Accepts a listener that others reach without a key (`--unsafe-no-auth`).
    pub unsafe_no_auth: bool,
    /// The gateway's environment, for `${VAR}` and `key_env`.
    pub env: Env,
}

impl Options {
    /// Takes variables from the environment of this process.
    pub fn from_process(unsafe_no_auth: bool) -> Self {
        Self {
            unsafe_no_auth,
            env: Arc::new(|name| std::env::var(name).ok()),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("unsafe_no_auth", &self.unsafe_no_auth)
            .finish_non_exhaustive()
    }
}

/// A file that passed.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the code relies on.
    pub config: Config,
    /// What the file says, `${VAR}` as written. Literal secrets are still inside: show it through
    /// [`redacted`](super::redacted) only.
    pub written: Arc<serde_json::Value>,
    /// SHA-256 of the text, in hex.
    pub hash: String,
    /// What is allowed and yet unwise.
    pub warnings: Vec<Problem>,
}

/// Reads and checks the file at `path`.
///
/// # Errors
///
/// Everything that is wrong with the file, with line, key and remedy.
pub fn load(path: &Path, options: &Options) -> Result<Loaded, Problems> {
    let text = read(path)?;
    // An absolute directory, so that nothing depends on the working directory later.
    let dir = std::path::absolute(path)
        .ok()
        .and_then(|path| path.parent().map(Path::to_owned));
    parse(
        &text,
        Some(path),
        &dir.unwrap_or_else(|| PathBuf::from(".")),
        options,
    )
}

fn read(path: &Path) -> Result<String, Problems> {
    let refused = |what: String, remedy: &str| Problems::one(Some(path), what, remedy);
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => refused(
            "there is no such file".to_owned(),
            "make one with `lockgate init`, or name another with --config",
        ),
        _ => refused(
            format!("the file cannot be read: {error}"),
            "check path and permissions",
        ),
    })?;
    if !metadata.is_file() {
        return Err(refused("this is not a file".to_owned(), "name a file"));
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(refused(
            format!("the file has {} bytes", metadata.len()),
            "name a configuration of at most 16 MiB",
        ));
    }
    let bytes = std::fs::read(path).map_err(|error| {
        refused(
            format!("the file cannot be read: {error}"),
            "check path and permissions",
        )
    })?;
    let text = String::from_utf8(bytes)
        .map_err(|_| refused("the file is not UTF-8".to_owned(), "save it as UTF-8"))?;
    // Whoever writes with `>` empties the file first: that takes nothing away.
    if says_nothing(&text) {
        return Err(refused(
            "the file is empty".to_owned(),
            "write what it should say; `{}` alone stands for the defaults",
        ));
    }
    Ok(text)
}

/// Whether a text has no content; `{}` is some.
fn says_nothing(text: &str) -> bool {
    text.trim_start_matches('\u{feff}').lines().all(|line| {
        let line = line.split('#').next().unwrap_or("").trim();
        matches!(line, "" | "---" | "..." | "~" | "null")
    })
}

/// Checks a text as [`load`] does. `file` is for messages; relative paths start at `dir`.
///
/// # Errors
///
/// Everything that is wrong, with line, key and remedy.
pub fn parse(
    text: &str,
    file: Option<&Path>,
    dir: &Path,
    options: &Options,
) -> Result<Loaded, Problems> {
    let refused = |list: Vec<Problem>| Problems {
        file: file.map(Path::to_owned),
        list,
    };
    let tree = Tree::parse(text).map_err(|error| {
        refused(vec![Problem {
            line: error.line,
            key: String::new(),
            what: error.what,
            remedy: "correct the YAML".to_owned(),
        }])
    })?;
    let parsed = parse_tree(tree, file, dir, options, Rigour::Written)?;
    Ok(Loaded {
        config: parsed.config,
        written: Arc::new(parsed.written),
        hash: hash(text),
        warnings: parsed.warnings,
    })
}

/// What [`parse_tree`] makes of a tree.
pub(super) struct Parsed {
    pub(super) config: Config,
    written: serde_json::Value,
    warnings: Vec<Problem>,
    /// What would be refused of whoever writes it now.
    pub(super) tolerated: Vec<Problem>,
}

/// [`parse`] of what was read already.
pub(super) fn parse_tree(
    mut tree: Tree,
    file: Option<&Path>,
    dir: &Path,
    options: &Options,
    rigour: Rigour,
) -> Result<Parsed, Problems> {
    let lines = tree.lines();
    let root = KeyPath::root();
    let shaped = shape::check(&mut tree, Kind::Object(FILE), &root, &[], rigour);
    let (mut problems, mut tolerated) = (shaped.problems, shaped.tolerated);
    let written = tree.to_json();
    let mut found = Findings::of(rigour);
    let env: Lookup<'_> = &*options.env;
    let context = Context {
        dir,
        env,
        unsafe_no_auth: options.unsafe_no_auth,
    };
    match serde_json::from_value(written.clone()) {
        Ok(raw) => {
            let config = check::file(raw, &context, &mut found);
            found.finish(&problems, &lines);
            problems.append(&mut found.problems);
            tolerated.append(&mut found.tolerated);
            if problems.is_empty() {
                return Ok(Parsed {
                    config,
                    written,
                    warnings: found.warnings,
                    tolerated,
                });
            }
        }
        Err(error) => problems.push(untyped(&error)),
    }
    problems.sort_by_key(|problem| problem.line);
    Err(Problems {
        file: file.map(Path::to_owned),
        list: problems,
    })
}

/// What a file says, unchecked: for those who pass it on to a node that checks it.
///
/// # Errors
///
/// The file is unreadable or no YAML.
pub fn read_written(path: &Path) -> Result<serde_json::Value, Problems> {
    let text = read(path)?;
    let tree = Tree::parse(&text).map_err(|error| Problems {
        file: Some(path.to_owned()),
        list: vec![Problem {
            line: error.line,
            key: String::new(),
            what: error.what,
            remedy: "correct the YAML".to_owned(),
        }],
    })?;
    Ok(tree.to_json())
}

/// Checks the settings of one server as the admin API takes them: the keys of an entry under `servers`.
///
/// # Errors
///
/// Everything that is wrong; keys are relative to the server.
pub fn parse_server(
    name: &str,
    json: &serde_json::Value,
    dir: &Path,
    options: &Options,
) -> Result<Server, Problems> {
    let (server, _none) = parse_entry(name, json, dir, options, Rigour::Written)?;
    Ok(server)
}

/// [`parse_server`] of settings that a cluster runs with. What would be refused of whoever writes them now comes beside
/// the server.
///
/// # Errors
///
/// Everything else that is wrong.
pub fn parse_server_in_force(
    name: &str,
    json: &serde_json::Value,
    dir: &Path,
    options: &Options,
) -> Result<(Server, Vec<Problem>), Problems> {
    parse_entry(name, json, dir, options, Rigour::InForce)
}

pub(super) fn parse_entry(
    name: &str,
    json: &serde_json::Value,
    dir: &Path,
    options: &Options,
    rigour: Rigour,
) -> Result<(Server, Vec<Problem>), Problems> {
    let mut problems = Vec::new();
    if !shape::is_name(name) {
        problems.push(Problem {
            line: None,
            key: "name".to_owned(),
            what: format!("{name:?} is not a name"),
            remedy:
                "use letters, digits, `_`, `-` and `.`, at most 64, starting with a letter or digit"
                    .to_owned(),
        });
    }
    let mut tree = Tree::from_json(json);
    let (root, steps) = (KeyPath::root(), ["servers", name]);
    let mut shaped = shape::check(&mut tree, Kind::Object(SERVER), &root, &steps, rigour);
    problems.append(&mut shaped.problems);
    let mut found = Findings::of(rigour);
    let env: Lookup<'_> = &*options.env;
    let context = Context {
        dir,
        env,
        unsafe_no_auth: options.unsafe_no_auth,
    };
    match serde_json::from_value(tree.to_json()) {
        Ok(raw) => {
            let server = check::one_server(name, raw, &context, &mut found);
            found.finish(&problems, &tree.lines());
            problems.append(&mut found.problems);
            if let Some(server) = server.filter(|_| problems.is_empty()) {
                shaped.tolerated.append(&mut found.tolerated);
                return Ok((server, shaped.tolerated));
            }
        }
        Err(error) => problems.push(untyped(&error)),
    }
    Err(Problems {
        file: None,
        list: problems,
    })
}

/// The table of keys and the typed form disagree about a value that passed the shape check.
fn untyped(error: &serde_json::Error) -> Problem {
    Problem {
        line: None,
        key: String::new(),
        what: format!("a value has the wrong type: {error}"),
        remedy: "compare it with `lockgate config reference`".to_owned(),
    }
}

fn hash(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_content_says_nothing() {
        for text in [
            "",
            "\n",
            "# only a comment\n",
            "---\n",
            "~ # none",
            "\u{feff}null\n...\n",
        ] {
            assert!(says_nothing(text), "{text:?}");
        }
        for text in ["{}", "listen: 127.0.0.1:0", "# a\nservers:\n", "[]"] {
            assert!(!says_nothing(text), "{text:?}");
        }
    }
}
