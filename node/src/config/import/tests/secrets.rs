//! Each form in which clients' files hold secrets; the secret is `s3cret…` throughout.

use serde_json::{Value, json};

use super::import;

/// Settings, variables and notes of the one server `s`.
fn one(server: &Value) -> (Value, Vec<(String, String)>, Vec<String>) {
    let file = json!({ "mcpServers": { "s": server } }).to_string();
    let imported = import(file.as_bytes()).unwrap();
    let json: Value = serde_saphyr::from_str(&imported.yaml).unwrap();
    (
        json["servers"]["s"].clone(),
        imported.variables.into_iter().collect(),
        imported.notes,
    )
}

#[track_caller]
fn arg(args: &[&str], last: &str, variable: &str, about: &str) {
    let (server, variables, notes) = one(&json!({ "command": "x", "args": args }));
    assert_eq!(server["args"].as_array().unwrap().last().unwrap(), last);
    assert_eq!(
        variables,
        [(variable.to_owned(), about.to_owned())],
        "{args:?}"
    );
    assert_eq!(notes, [""; 0], "{args:?}");
}

#[track_caller]
fn env(name: &str, value: &str, ours: &str, variable: &str, about: &str) {
    let (server, variables, notes) = one(&json!({ "command": "x", "env": { name: value } }));
    assert_eq!(server["env"][name], ours);
    assert_eq!(
        variables,
        [(variable.to_owned(), about.to_owned())],
        "{value}"
    );
    assert_eq!(notes, [""; 0], "{value}");
}

#[track_caller]
fn url(url: &str, ours: &str, variable: &str, about: &str) {
    let (server, variables, notes) = one(&json!({ "url": url }));
    assert_eq!(server["url"], ours);
    assert_eq!(
        variables,
        [(variable.to_owned(), about.to_owned())],
        "{url}"
    );
    assert_eq!(notes, [""; 0], "{url}");
}

/// Stays as it is, without a word.
#[track_caller]
fn plain(value: &str) {
    for server in [
        json!({ "command": "x", "args": [value] }),
        json!({ "command": "x", "env": { "X": value } }),
    ] {
        let (ours, variables, notes) = one(&server);
        assert_eq!(ours, server);
        assert_eq!((variables, notes), (Vec::new(), Vec::new()), "{value}");
    }
}

#[test]
fn headers_as_arguments() {
    let bearer = "`Authorization` of `s`, without `Bearer`, which stands in the file";
    arg(
        &["--header", "X-Api-Key:s3cret"],
        "X-Api-Key:${S_X_API_KEY}",
        "S_X_API_KEY",
        "`X-Api-Key` of `s`",
    );
    arg(
        &["--header", "Api-Key:s3cret"],
        "Api-Key:${S_API_KEY}",
        "S_API_KEY",
        "`Api-Key` of `s`",
    );
    arg(
        &["-H", "X-Tok: s3cret"],
        "X-Tok: ${S_X_TOK}",
        "S_X_TOK",
        "`X-Tok` of `s`",
    );
    arg(
        &["--header=X-Api-Key:s3cret"],
        "--header=X-Api-Key:${S_X_API_KEY}",
        "S_X_API_KEY",
        "`X-Api-Key` of `s`",
    );
    arg(
        &["X-Api-Key:s3cret"],
        "X-Api-Key:${S_X_API_KEY}",
        "S_X_API_KEY",
        "`X-Api-Key` of `s`",
    );
    arg(
        &["--header", "Authorization:Bearer s3cret"],
        "Authorization:Bearer ${S_AUTHORIZATION}",
        "S_AUTHORIZATION",
        bearer,
    );
    arg(
        &["Authorization: Bearer s3cret"],
        "Authorization: Bearer ${S_AUTHORIZATION}",
        "S_AUTHORIZATION",
        bearer,
    );
}

#[test]
fn variables_as_arguments() {
    for (args, ours) in [
        (&["-e", "API_KEY=s3cret"][..], "API_KEY=${API_KEY}"),
        (&["--env=API_KEY=s3cret"], "--env=API_KEY=${API_KEY}"),
        (&["--env", "API_KEY=s3cret and more"], "API_KEY=${API_KEY}"),
    ] {
        arg(args, ours, "API_KEY", "`API_KEY` of `s`");
    }
    arg(
        &[
            "-e",
            "H={\"Authorization\": \"Bearer s3cret\", \"V\": \"2022-06-28\"}",
        ],
        "H={\"Authorization\": \"Bearer ${S_AUTHORIZATION}\", \"V\": \"2022-06-28\"}",
        "S_AUTHORIZATION",
        "`Authorization` of `s`, without `Bearer`, which stands in the file",
    );
    arg(
        &["-e", "DB=pg://u:s3cret@h/d"],
        "DB=pg://u:${S_PASSWORD}@h/d",
        "S_PASSWORD",
        "`password` in `DB` of `s`",
    );
}

#[test]
fn arguments_by_themselves() {
    arg(
        &["-y", "ghp_0123456789abcdef"],
        "${S_Y}",
        "S_Y",
        "`-y` of `s`",
    );
    arg(
        &["x", "ghp_0123456789abcdef"],
        "${S_ARGUMENT_2}",
        "S_ARGUMENT_2",
        "argument 2 of `s`",
    );
    arg(
        &["b7f3c2d1e4a5968778695a4b3c2d1e0f"],
        "${S_ARGUMENT_1}",
        "S_ARGUMENT_1",
        "argument 1 of `s`",
    );
    arg(
        &["-c", "KEY=s3cret npx x --port 1"],
        "KEY=${S_KEY} npx x --port 1",
        "S_KEY",
        "`KEY` of `s`",
    );
    arg(
        &["-c", "npx x --token 's3cret'"],
        "npx x --token '${S_TOKEN}'",
        "S_TOKEN",
        "`--token` of `s`",
    );
    arg(
        &["-c", "curl -H \"A: Bearer s3cret\" h"],
        "curl -H \"A: Bearer ${S_C}\" h",
        "S_C",
        "`-c` of `s`",
    );
}

#[test]
fn connection_strings() {
    let about = "`password` in `DB_URL` of `s`";
    for (value, ours) in [
        (
            "postgres://u:s3cret@h/db",
            "postgres://u:${DB_URL_PASSWORD}@h/db",
        ),
        (
            "mongodb+srv://u:s3cret@h/db?w=majority",
            "mongodb+srv://u:${DB_URL_PASSWORD}@h/db?w=majority",
        ),
        (
            "redis://:s3cret@h:6379",
            "redis://:${DB_URL_PASSWORD}@h:6379",
        ),
        ("amqp://u:s3/cr@et@h", "amqp://u:${DB_URL_PASSWORD}@h"),
        (
            "u:s3cret@tcp(h:3306)/db",
            "u:${DB_URL_PASSWORD}@tcp(h:3306)/db",
        ),
        (
            "host=h password=s3cret dbname=d",
            "host=h password=${DB_URL_PASSWORD} dbname=d",
        ),
        (
            "jdbc:postgresql://h/d?user=u&password=s3cret",
            "jdbc:postgresql://h/d?user=u&password=${DB_URL_PASSWORD}",
        ),
        (
            "jdbc:sqlserver://h:1;user=u;password=s3cret",
            "jdbc:sqlserver://h:1;user=u;password=${DB_URL_PASSWORD}",
        ),
    ] {
        env("DB_URL", value, ours, "DB_URL_PASSWORD", about);
    }
    env(
        "DB_URL",
        "Server=h;Password=s3 cr&et;",
        "Server=h;Password=${DB_URL_PASSWORD};",
        "DB_URL_PASSWORD",
        "`Password` in `DB_URL` of `s`",
    );
    env(
        "DB_URL",
        "Endpoint=sb://h/;AccessKey=s3cret=",
        "Endpoint=sb://h/;AccessKey=${DB_URL_ACCESSKEY}",
        "DB_URL_ACCESSKEY",
        "`AccessKey` in `DB_URL` of `s`",
    );
    env(
        "DB_URL",
        "https://s3cret@h/1",
        "https://${DB_URL_USER}@h/1",
        "DB_URL_USER",
        "`user` in `DB_URL` of `s`",
    );
}

#[test]
fn variables_of_the_environment() {
    env(
        "PGPASS",
        "s3cret",
        "${S_PGPASS}",
        "S_PGPASS",
        "`PGPASS` of `s`",
    );
    env(
        "NOTION",
        "ntn_0123456789",
        "${S_NOTION}",
        "S_NOTION",
        "`NOTION` of `s`",
    );
    env(
        "DEFAULTS",
        "a8Xk29dQwe71mZpL0sYc",
        "${S_DEFAULTS}",
        "S_DEFAULTS",
        "`DEFAULTS` of `s`",
    );
    // Its variable is the one of the client's file: who copies the value copies all of it.
    env(
        "AUTH_HEADER",
        "Bearer s3cret",
        "${AUTH_HEADER}",
        "AUTH_HEADER",
        "`AUTH_HEADER` of `s`",
    );
    env(
        "OPENAPI_MCP_HEADERS",
        r#"{"Authorization": "Bearer s3cret", "n": 1.10}"#,
        r#"{"Authorization": "Bearer ${OPENAPI_MCP_HEADERS_AUTHORIZATION}", "n": 1.10}"#,
        "OPENAPI_MCP_HEADERS_AUTHORIZATION",
        "`Authorization` in `OPENAPI_MCP_HEADERS` of `s`, without `Bearer`, which stands in the file",
    );
    // What JSON has to escape cannot be put into it from outside.
    env(
        "CONFIG_JSON",
        r#"{"password": "s3\"cret"}"#,
        "${CONFIG_JSON}",
        "CONFIG_JSON",
        "`CONFIG_JSON` of `s`",
    );
}

#[test]
fn addresses() {
    let path = "`path` in `url` of `s`";
    url(
        "https://h/mcp?sig=s3cret&v=1",
        "https://h/mcp?sig=${S_SIG}&v=1",
        "S_SIG",
        "`sig` in `url` of `s`",
    );
    url(
        "https://h/mcp?code=s3cret",
        "https://h/mcp?code=${S_CODE}",
        "S_CODE",
        "`code` in `url` of `s`",
    );
    url(
        "https://h/mcp#access_token=s3cret",
        "https://h/mcp#access_token=${S_ACCESS_TOKEN}",
        "S_ACCESS_TOKEN",
        "`access_token` in `url` of `s`",
    );
    url(
        "https://h/s/ZDk4NzY1NDMyMTAtYWJjZA/mcp",
        "https://h/s/${S_PATH}/mcp",
        "S_PATH",
        path,
    );
    url(
        "https://h/8f14e45f-ceea-467f-9b2c-1a2b3c4d5e6f/mcp",
        "https://h/${S_PATH}/mcp",
        "S_PATH",
        path,
    );
}

#[test]
fn user_and_password_of_an_address_become_a_header() {
    let (server, variables, notes) = one(&json!({ "url": "https://u:s3cret@h/mcp" }));
    let ours = json!({ "url": "https://h/mcp", "headers": { "Authorization": "Basic ${S_AUTHORIZATION}" } });
    assert_eq!(server, ours);
    let about = "base64 of `USER:PASSWORD` in the address of `s`, without `Basic`, which stands in the file";
    assert_eq!(
        variables,
        [("S_AUTHORIZATION".to_owned(), about.to_owned())]
    );
    assert_eq!(notes, [""; 0]);
    let own =
        json!({ "url": "https://u:s3cret@h/mcp", "headers": { "authorization": "Bearer t" } });
    let (server, _, notes) = one(&own);
    assert_eq!(server["url"], "https://h/mcp");
    assert_eq!(
        notes,
        ["`s`: user and password of the address are left out; write them as a header"]
    );
}

#[test]
fn settings_stay() {
    for value in [
        "@modelcontextprotocol/server-filesystem@2025.8.21",
        "git+https://github.com/o/r@9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
        "mcp/fetch@sha256:9f86d081884c7d659a2feaa0c55ad015",
        "company/auth-server:latest",
        "npm:left-pad@1.0.0",
        "git@github.com:o/r.git",
        "/nix/store/0c5kfnvnkgqqcd9wvdd81h7d9fqqcd7d-x/bin/x",
        "/usr/bin:/opt/python@3.11/bin",
        "C:\\Users\\me\\x",
        "http://localhost:3000/mcp?v=1",
        "postgres://me@h/db",
        "gpt-4o-mini",
        "--max-old-space-size=4096",
        "{\"a\": [1, \"b\"]}",
        "two words",
        "a; b",
    ] {
        plain(value);
    }
}

#[test]
fn where_nobody_can_be_sure_a_note_tells_to_look() {
    let note = |place: &str| {
        vec![format!(
            "`s`: {place} may hold a secret and stays in the file; look before you commit it"
        )]
    };
    for (server, place) in [
        (
            json!({ "command": "x", "args": ["hunter22"] }),
            "argument 1",
        ),
        (json!({ "command": "x", "env": { "X": "pa$$word" } }), "`X`"),
        (
            json!({ "command": "x", "env": { "A_TOKEN": "abc${B}" } }),
            "`A_TOKEN`",
        ),
        (json!({ "url": "https://h/mcp?q=hunter22" }), "`q` in `url`"),
        (
            json!({ "url": "https://h", "headers": { "X-Q": "hunter22" } }),
            "`X-Q`",
        ),
        (
            json!({ "command": "/x", "args": ["-p", "hunter22"] }),
            "`-p`",
        ),
    ] {
        assert_eq!(one(&server).2, note(place), "{server}");
    }
    let (_, _, notes) = one(&json!({ "command": "npx x --token abc" }));
    assert_eq!(notes[1..], note("`command`"));
}

#[test]
fn one_secret_is_one_variable_with_all_its_places() {
    let (_, variables, _) = one(&json!({
        "command": "x",
        "args": ["--token", "s3cret", "--password", "other"],
        "env": { "A_TOKEN": "s3cret", "S_PASSWORD": "third" },
    }));
    let expected = [
        ("S_PASSWORD", "`--password` of `s`"),
        ("S_S_PASSWORD", "`S_PASSWORD` of `s`"),
        ("S_TOKEN", "`--token` of `s`, `A_TOKEN` of `s`"),
    ];
    assert_eq!(
        variables,
        expected.map(|(name, about)| (name.to_owned(), about.to_owned()))
    );
}
