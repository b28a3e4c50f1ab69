//! House rules that no lint can express: who may import whom, and how long a file may be.

#![expect(
    clippy::unwrap_used,
    reason = "a broken rule should panic with a backtrace"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms of `node/src`, each with the rooms that it may name beside itself. From the far side to the near one: a room
/// names rooms above it in this table, but for `pipeline` and `trail`, which are two halves of one.
const ROOMS: &[(&str, &[&str])] = &[
    // Nothing of ours, but for the settings of what they do and the one place where tasks start.
    ("task", &[]),
    ("timers", &[]),
    ("coalesce", &["task"]),
    ("cancel", &["task"]),
    ("config", &["task"]),
    ("telemetry", &["config"]),
    ("error", &[]),
    ("answer", &["error"]),
    ("call", &[]),
    ("room", &[]),
    ("stamp", &[]),
    // Decide and record; reach nobody.
    ("policy", &["call", "config", "error"]),
    ("audit", &["call", "config", "error", "stamp", "timers"]),
    ("identity", &["call", "config", "error", "policy"]),
    // The far side.
    ("seal", &[]),
    (
        "upstream",
        &[
            "call", "coalesce", "config", "error", "seal", "stamp", "task",
        ],
    ),
    (
        "route",
        &[
            "answer", "call", "config", "error", "identity", "policy", "seal", "upstream",
        ],
    ),
    // The life of a call.
    (
        "pipeline",
        &[
            "answer",
            "audit",
            "cancel",
            "error",
            "identity",
            "policy",
            "route",
            "seal",
            "task",
            "telemetry",
            "trail",
            "upstream",
        ],
    ),
    (
        "trail",
        &[
            "audit",
            "cancel",
            "error",
            "identity",
            "pipeline",
            "route",
            "telemetry",
        ],
    ),
    ("first_request", &[]),
    // The near side: the two eras, and the transports in front of them.
    (
        "session",
        &[
            "answer",
            "call",
            "cancel",
            "config",
            "error",
            "identity",
            "pipeline",
            "route",
            "seal",
            "task",
            "telemetry",
            "timers",
            "upstream",
        ],
    ),
    (
        "stateless",
        &[
            "answer",
            "call",
            "cancel",
            "error",
            "identity",
            "pipeline",
            "route",
            "seal",
            "telemetry",
            "timers",
            "upstream",
        ],
    ),
    (
        "ingress",
        &[
            "answer",
            // For those who are refused before a door.
            "audit",
            "cancel",
            "coalesce",
            "config",
            "error",
            "first_request",
            "identity",
            // For the gateways of its tests.
            "pipeline",
            "seal",
            "session",
            "stamp",
            "stateless",
            "task",
            "telemetry",
            "timers",
        ],
    ),
    // What operators see: handles only.
    (
        "admin",
        &[
            "audit",
            "config",
            "error",
            "first_request",
            "identity",
            "pipeline",
            // For the gateways of its tests.
            "policy",
            "route",
            "seal",
            "session",
            "stamp",
            "task",
            "telemetry",
            "upstream",
        ],
    ),
    // `doctor` reads the listener's files as `ingress` does.
    (
        "cli",
        &[
            "config", "error", "ingress", "room", "route", "task", "upstream",
        ],
    ),
    ("demo", &["task"]),
    // Puts the parts together; nobody imports it but the binary.
    (
        "app",
        &[
            "admin",
            "audit",
            "cli",
            "coalesce",
            "config",
            "demo",
            "identity",
            "ingress",
            "pipeline",
            "policy",
            "room",
            "seal",
            "session",
            "stateless",
            "task",
            "telemetry",
            "upstream",
        ],
    ),
];

/// What tests in `src` have from those of the binary; it is in no program.
const TEST_SUPPORT: &str = "port";

/// Crates of the workspace, each with those that it may depend on.
const CRATES: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("cluster", &["lockgate-proto"]),
    ("node", &["lockgate-cluster", "lockgate-proto"]),
    ("chaos", &["lockgate-proto", "lockgate-cluster"]),
    ("bench", &["lockgate-proto", "lockgate-cluster"]),
];

const FILE_LINES_MAX: usize = 500;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

#[test]
fn rooms_name_only_what_the_table_allows() {
    let src = workspace().join("node/src");
    for file in rust_files(&src) {
        let Some(room) = room_of(&src, &file) else {
            continue;
        };
        let row = ROOMS.iter().find(|(name, _)| *name == room);
        let (_, allowed) = row.unwrap_or_else(|| panic!("`{room}` is missing in ROOMS"));
        for named in named_rooms(&fs::read_to_string(&file).unwrap()) {
            assert!(
                named == room || named == TEST_SUPPORT || allowed.contains(&named.as_str()),
                "{} names `crate::{named}`, which `{room}` may not",
                file.display(),
            );
        }
    }
}

#[test]
fn the_table_of_rooms_has_no_circle_and_no_stranger() {
    let mut above = BTreeSet::new();
    for (room, allowed) in ROOMS {
        above.insert(*room);
        for name in *allowed {
            let halves = *room == "pipeline" && *name == "trail";
            assert!(
                halves || above.contains(name),
                "`{room}` comes before `{name}`"
            );
        }
    }
    let src = workspace().join("node/src");
    let rooms: BTreeSet<String> = rust_files(&src)
        .iter()
        .filter_map(|file| room_of(&src, file))
        .collect();
    for (room, _) in ROOMS {
        assert!(rooms.contains(*room), "`{room}` is no room any more");
    }
}

#[test]
fn crates_depend_one_way() {
    for (name, allowed) in CRATES {
        let text = fs::read_to_string(workspace().join(name).join("Cargo.toml")).unwrap();
        let ours = text.lines().filter(|line| line.starts_with("lockgate-"));
        for line in ours {
            let end = line.find(['.', ' ', '=']).unwrap_or(line.len());
            let dependency = &line[..end];
            assert!(
                allowed.contains(&dependency),
                "`{name}` depends on `{dependency}`"
            );
        }
    }
}

#[test]
fn files_fit_the_limit() {
    for (name, _) in CRATES {
        for file in rust_files(&workspace().join(name)) {
            let lines = fs::read_to_string(&file).unwrap().lines().count();
            assert!(
                lines <= FILE_LINES_MAX,
                "{} has {lines} lines",
                file.display()
            );
        }
    }
}

/// Where a link of a document leads inside the repository, something is.
#[test]
fn links_of_documents_lead_somewhere() {
    for file in files_of(&workspace(), "md") {
        let text = fs::read_to_string(&file).unwrap();
        let folder = file.parent().unwrap();
        for link in relative_links(&text) {
            let target = link.split('#').next().unwrap_or(link);
            assert!(
                folder.join(target).exists(),
                "{} links to `{link}`, which is not there",
                file.display()
            );
        }
    }
}

/// Who is woken by an alert finds it in the runbook.
#[test]
fn every_alert_is_in_the_runbook() {
    let deploy = workspace().join("deploy");
    let rules = fs::read_to_string(deploy.join("prometheus/lockgate.rules.yml")).unwrap();
    let runbook = fs::read_to_string(deploy.join("guide/runbook.md")).unwrap();
    let headings = runbook.lines().filter(|line| line.starts_with("### "));
    let headings: Vec<&str> = headings.collect();
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let mut n_alerts = 0;
    for alert in alerts {
        n_alerts += 1;
        let is_there = headings.iter().any(|heading| heading.contains(alert));
        assert!(is_there, "`{alert}` has no heading in the runbook");
    }
    assert!(n_alerts > 5, "the rules are written in another way");
}

/// Targets of `[…](target)` that name no host and no place in the document itself.
fn relative_links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1);
    let targets = targets.filter_map(|rest| rest.split(')').next());
    let ours = |target: &&str| !target.contains(':') && !target.starts_with('#');
    targets.filter(ours).collect()
}

#[test]
fn relative_links_are_told_from_others() {
    let text = "[a](b.md) and [`c`](../d/e.rs#L1), [f](https://g.example/h), [i](#j)";
    assert_eq!(relative_links(text), ["b.md", "../d/e.rs#L1"]);
}

/// `policy/mod.rs` and `policy.rs` both belong to `policy`; `lib.rs` and `main.rs` to none.
fn room_of(src: &Path, file: &Path) -> Option<String> {
    let first = file.strip_prefix(src).ok()?.components().next()?;
    let name = first.as_os_str().to_str()?.trim_end_matches(".rs");
    (!matches!(name, "lib" | "main")).then(|| name.to_owned())
}

/// Every `crate::room`, in imports (`crate::{a, b::c}` among them), paths and links of comments.
fn named_rooms(text: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        let word = text.trim_start().chars();
        word.take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let mut found = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => {
                found.insert(word(rest));
            }
            Some(group) => found.extend(group_members(group).map(word)),
        }
    }
    found
}

/// Members of a group at its outermost level, up to its end.
fn group_members(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    let inside = text.find(|c| {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return true,
            '}' => depth -= 1,
            _ => {}
        }
        false
    });
    let mut depth = 0_usize;
    text[..inside.unwrap_or(text.len())].split(move |c| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
}

#[test]
fn rooms_are_found_in_every_form_of_import() {
    let text = "use crate::a; use crate::{b, c::{d, e}, f::g};\n/// [`crate::h`]\nfn x() { crate::i::j() }";
    let found: Vec<String> = named_rooms(text).into_iter().collect();
    assert_eq!(found, ["a", "b", "c", "f", "h", "i"]);
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    files_of(dir, "rs")
}

/// Files with this extension in `dir` and below it.
fn files_of(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_str()
            .unwrap_or_default();
        if path.is_dir() {
            // Built and fetched things are not ours.
            if !matches!(name, "target" | "node_modules" | "vendor") && !name.starts_with('.') {
                files.extend(files_of(&path, extension));
            }
        } else if path.extension().is_some_and(|its| its == extension) {
            files.push(path);
        }
    }
    files
}
