//! What clients write in other ways, and what is left out is said.

use serde_json::{Value, json};

use super::{ImportError, import};

/// Servers, variables and notes.
#[track_caller]
fn check(file: &str, servers: &Value, variables: &[(&str, &str)], notes: &[&str]) {
    let imported = import(file.as_bytes()).unwrap();
    let ours: Value = serde_saphyr::from_str(&imported.yaml).unwrap();
    assert_eq!(&ours["servers"], servers);
    let found: Vec<_> = (imported.variables.iter())
        .map(|(name, about)| (name.as_str(), about.as_str()))
        .collect();
    assert_eq!(found, variables);
    assert_eq!(imported.notes, notes);
}

#[test]
fn numbers_and_booleans_are_text() {
    check(
        r#"{"servers": {"a": {"command": "x", "args": ["--port", 8080, "--v", true, 1.5],
                              "env": {"P": 1, "Q": false}}}}"#,
        &json!({"a": {"command": "x", "args": ["--port", "8080", "--v", "true", "1.5"],
                      "env": {"P": "1", "Q": "false"}}}),
        &[],
        &[],
    );
}

#[test]
fn what_is_left_out_is_said() {
    check(
        r#"{"servers": {
            "a": {"command": "x", "args": "--flag v", "env": ["A=b"], "timeout": 3},
            "b": {"command": "x", "args": ["y", null, {}], "env": {"X": null, "Y": [1]}},
            "c": {"command": "x", "url": "https://h", "env": {"A": "b"}},
            "d": {"command": " "},
            "c": {"command": "z", "headers": {}}
        }}"#,
        &json!({"a": {"command": "x"}, "b": {"command": "x", "args": ["y"]}, "c": {"command": "z"}}),
        &[],
        &[
            "`servers.c` stands twice in the file: the last is taken",
            "`a`: `args` is no list and is not taken over; write one text for each argument",
            "`a`: `env` is no object and is not taken over",
            "`a`: not taken over: timeout",
            "`b`: argument 2 is left out: it is neither text nor number",
            "`b`: argument 3 is left out: it is neither text nor number",
            "`b`: `X` of `env` is left out: it is neither text nor number",
            "`b`: `Y` of `env` is left out: it is neither text nor number",
            "`c`: not taken over: headers",
            "`d` is left out: it has neither `command` nor `url`",
        ],
    );
    check(
        r#"{"servers": {"c": {"command": "x", "url": "https://h", "env": {"A": "b"}}}}"#,
        &json!({"c": {"url": "https://h"}}),
        &[],
        &[
            "`c` has an address and a `command`: the address is taken",
            "`c`: not taken over: env",
        ],
    );
}

#[test]
fn a_command_completes_references_to_its_own_environment() {
    check(
        r#"{"servers": {
            "s": {"command": "npx", "args": ["--header", "Authorization:${AUTH_HEADER}", "${OTHER}"],
                  "env": {"AUTH_HEADER": "Bearer abc"}},
            "t": {"command": "x", "args": ["${A}"], "env": {"A": "${A}"}}
        }}"#,
        &json!({
            "s": {"command": "npx", "args": ["--header", "Authorization:$${AUTH_HEADER}", "${OTHER}"],
                  "env": {"AUTH_HEADER": "${AUTH_HEADER}"}},
            "t": {"command": "x", "args": ["${A}"], "env": {"A": "${A}"}}
        }),
        &[
            ("A", "taken from the environment"),
            ("AUTH_HEADER", "`AUTH_HEADER` of `s`"),
            ("OTHER", "taken from the environment"),
        ],
        &["`s`: `${AUTH_HEADER}` in `args` stays as text, for the command to read from its `env`"],
    );
}

#[test]
fn a_secret_gets_no_name_that_is_taken_from_the_environment() {
    check(
        r#"{"inputs": [{"id": "github-token"}], "servers": {
            "b": {"command": "x", "env": {"GITHUB_TOKEN": "one"}},
            "d": {"command": "x", "env": {"GITHUB_TOKEN": "${env:GITHUB_TOKEN}", "X": "${input:github-token}"}}
        }}"#,
        &json!({
            "b": {"command": "x", "env": {"GITHUB_TOKEN": "${B_GITHUB_TOKEN}"}},
            "d": {"command": "x", "env": {"GITHUB_TOKEN": "${GITHUB_TOKEN}", "X": "${GITHUB_TOKEN_2}"}}
        }),
        &[
            ("B_GITHUB_TOKEN", "`GITHUB_TOKEN` of `b`"),
            ("GITHUB_TOKEN", "taken from the environment"),
            ("GITHUB_TOKEN_2", "asked for by the client"),
        ],
        &[],
    );
}

#[test]
fn a_dollar_before_a_reference_leaves_it_as_text() {
    let file = r#"{"servers": {"a": {"command": "x", "args": ["$${x}", "$${", "${a b}"]}}}"#;
    check(
        file,
        &json!({"a": {"command": "x", "args": ["$$${x}", "$$${", "$${a b}"]}}),
        &[],
        &[
            "`${x}` has no counterpart and stays as text; write the value",
            "`${a b}` has no counterpart and stays as text; write the value",
        ],
    );
}

#[test]
fn servers_of_projects_are_taken() {
    let project = r#""projects": {"/p": {"mcpServers": {"a": {"command": "x"}, "b": {"command": "y"}}}, "/q": {}}"#;
    let of_p =
        "is a server of /p alone; here it is for all callers, and starts elsewhere without `cwd`";
    let (of_a, of_a2, of_b) = (
        format!("`a` {of_p}"),
        format!("`a-2` {of_p}"),
        format!("`b` {of_p}"),
    );
    check(
        &format!("{{{project}}}"),
        &json!({"a": {"command": "x"}, "b": {"command": "y"}}),
        &[],
        &[&of_a, &of_b],
    );
    check(
        &format!(r#"{{"mcpServers": {{"a": {{"command": "x"}}}}, {project}}}"#),
        &json!({"a": {"command": "x"}, "b": {"command": "y"}}),
        &[],
        &[&of_b],
    );
    check(
        &format!(r#"{{"mcpServers": {{"a": {{"command": "z"}}}}, {project}}}"#),
        &json!({"a": {"command": "z"}, "a-2": {"command": "x"}, "b": {"command": "y"}}),
        &[],
        &[
            "another `a` is called `a-2`: two servers have that name",
            &of_a2,
            &of_b,
        ],
    );
}

#[test]
fn a_file_of_another_encoding_is_read_or_refused() {
    let text = r#"{"servers": {"a": {"command": "x"}}}"#;
    let wide = std::iter::once(0xfeff).chain(text.encode_utf16());
    let wide: Vec<u8> = wide.flat_map(u16::to_le_bytes).collect();
    assert_eq!(import(&wide).unwrap(), import(text.as_bytes()).unwrap());
    assert!(matches!(import(b"\xe4"), Err(ImportError::Encoding)));
}
