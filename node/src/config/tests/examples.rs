//! What is committed under `deploy/` is current and passes.

use std::path::{Path, PathBuf};

use crate::config::{load, reference, schema};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

#[track_caller]
fn current(file: &str, expected: &str, command: &str) {
    let text = std::fs::read_to_string(deploy().join(file)).unwrap_or_default();
    assert!(
        text == expected,
        "deploy/{file} is not current; run: cargo run -p lockgate-node -- {command} > deploy/{file}"
    );
}

#[test]
fn the_reference_is_current() {
    current("config-reference.md", &reference(), "config reference");
}

#[test]
fn the_schema_is_current() {
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    current("lockgate.schema.json", &text, "config schema");
}

#[test]
fn every_example_passes_and_names_the_schema() {
    let mut options = super::options();
    options.env = std::sync::Arc::new(|name| Some(format!("{name}-0123456789abcdef")));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(deploy().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("# yaml-language-server: $schema=../lockgate.schema.json\n"),
            "{}",
            path.display()
        );
        let loaded = load(&path, &options).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        names.push(path.file_name().unwrap().to_string_lossy().into_owned());
    }
    names.sort();
    assert_eq!(names, ["laptop.yaml", "team.yaml"]);
}
