//! `lockgate servers`.

use serde_json::{Map, Value, json};

use super::client::{Client, segment};
use super::exit::{Exit, Failure};
use super::out::Out;
use super::sessions::{items, text};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List servers and how they are.
    List,
    /// Add a server to the running gateway: `add NAME --url URL` or `add NAME -- COMMAND ARGS...`.
    Add(AddArgs),
    /// Remove a server that was added here.
    Remove {
        /// Server's name.
        name: String,
    },
    /// Connect to a server anew; restarts its process.
    Restart {
        /// Server's name.
        name: String,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct AddArgs {
    /// Name of the server.
    name: String,
    /// HTTP address. Repeated for several endpoints.
    #[arg(long, conflicts_with = "command")]
    url: Vec<String>,
    /// Header for every request. `${VAR}` is taken from the gateway's environment. Can be repeated.
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// Variable for the process. `${VAR}` in the value is taken from the gateway's environment. Can be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// Any other key of a server, as in the file; the value is JSON or text. Can be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, Value)>,
    /// Program and arguments of a stdio server.
    #[arg(last = true, required_unless_present = "url")]
    command: Vec<String>,
}

pub(super) async fn run(verb: Verb, client: &Client, out: &mut Out) -> Result<Exit, Failure> {
    match verb {
        Verb::List => {
            let answer = client.get("servers").await?;
            let rows: Vec<Vec<String>> = items(&answer, "servers").iter().map(row).collect();
            out.table(
                &[
                    "name",
                    "state",
                    "eras",
                    "transport",
                    "verdict",
                    "tools",
                    "healthy",
                    "in flight",
                    "hidden",
                    "last error",
                ],
                &rows,
                &answer,
            );
        }
        Verb::Add(args) => {
            let answer = client.post("servers", Some(&body(&args))).await?;
            let server = &answer["server"];
            out.done(
                &format!("{} is added{}", args.name, how_it_is(server)),
                &json!({ "name": args.name, "added": true, "server": server }),
            );
        }
        Verb::Remove { name } => {
            client
                .delete(&format!("servers/{}", segment(&name)))
                .await?;
            out.done(
                &format!("{name} is removed"),
                &json!({ "name": name, "removed": true }),
            );
        }
        Verb::Restart { name } => {
            client
                .post(&format!("servers/{}/restart", segment(&name)), None)
                .await?;
            out.done(
                &format!("{name} restarts"),
                &json!({ "name": name, "restarting": true }),
            );
        }
    }
    Ok(Exit::Done)
}

fn body(args: &AddArgs) -> Value {
    let mut body = Map::new();
    for (key, value) in &args.settings {
        body.insert(key.clone(), value.clone());
    }
    match &*args.url {
        [] => {}
        [url] => drop(body.insert("url".to_owned(), json!(url))),
        urls => drop(body.insert("endpoints".to_owned(), json!(urls))),
    }
    if let [command, rest @ ..] = &*args.command {
        body.insert("command".to_owned(), json!(command));
        if !rest.is_empty() {
            body.insert("args".to_owned(), json!(rest));
        }
    }
    for (key, pairs) in [("headers", &args.header), ("env", &args.env)] {
        if !pairs.is_empty() {
            let map: Map<String, Value> = pairs
                .iter()
                .map(|(name, value)| (name.clone(), json!(value)))
                .collect();
            body.insert(key.to_owned(), Value::Object(map));
        }
    }
    body.insert("name".to_owned(), json!(args.name));
    Value::Object(body)
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write NAME: VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// `timeout=30s` is text, `in_flight_max=8` and `breaker={"failures":2}` are JSON.
fn setting(text: &str) -> Result<(String, Value), String> {
    let (key, value) = variable(text).map_err(|_| "write KEY=VALUE")?;
    let value = serde_json::from_str(&value).unwrap_or_else(|_| Value::from(value.clone()));
    Ok((key, value))
}

/// A call that failed so long ago at a server that is well is history, which `--json` keeps.
const CALL_ERROR_SECS_MAX: u64 = 300;

/// What is said of a server that was just added, behind its name.
fn how_it_is(server: &Value) -> String {
    let state = match state(server) {
        _ if server.is_null() => return String::new(),
        "starting" => return ", and has not answered yet: see `lockgate servers list`".to_owned(),
        state => state,
    };
    match (tools(server), server["last_error"].as_str()) {
        (_, Some(error)) if state != "up" => format!(", and {state}: {error}"),
        (Value::Null, _) => format!(", and {state}"),
        (tools, _) => format!(", and {state}; its tools: {tools}"),
    }
}

fn is_open(endpoint: &Value) -> bool {
    endpoint["breaker"] == "open"
}

fn state(server: &Value) -> &'static str {
    let endpoints = items(server, "endpoints");
    let is_failing = !endpoints.is_empty() && endpoints.iter().all(is_open);
    match (&server["up"], &server["settled"]) {
        (Value::Bool(true), _) if is_failing => "failing",
        (Value::Bool(true), _) => "up",
        (_, Value::Bool(false)) => "starting",
        _ => "down",
    }
}

/// How many tools it has, by the first catalog that is known.
fn tools(server: &Value) -> &Value {
    let catalogs = ["session_catalog", "stateless_catalog"].map(|key| &server[key]);
    let known = catalogs.iter().find(|catalog| catalog.is_object());
    known.map_or(&Value::Null, |catalog| &catalog["tools"])
}

/// A server says more than fits into a line; `--json` has all of it.
fn row(server: &Value) -> Vec<String> {
    let endpoints = items(server, "endpoints");
    let eras = ["session", "stateless"]
        .iter()
        .filter(|era| server["eras"][**era] == true);
    let eras: Vec<&str> = eras.copied().collect();
    let healthy = endpoints
        .iter()
        .filter(|endpoint| endpoint["healthy"] == true && !is_open(endpoint))
        .count();
    vec![
        text(&server["name"]),
        state(server).to_owned(),
        if eras.is_empty() {
            "-".to_owned()
        } else {
            eras.join(",")
        },
        transports(endpoints),
        verdict(&server["eras"]),
        text(tools(server)),
        format!("{healthy}/{}", endpoints.len()),
        text(&server["in_flight"]),
        match items(server, "hidden") {
            [] => "-".to_owned(),
            names => names.iter().map(text).collect::<Vec<_>>().join(","),
        },
        last_error(server, healthy == endpoints.len()),
    ]
}

/// What is spoken at the endpoints, each transport once.
fn transports(endpoints: &[Value]) -> String {
    let mut names: Vec<&str> = endpoints
        .iter()
        .filter_map(|endpoint| endpoint["transport"].as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return "-".to_owned();
    }
    names.join(",")
}

/// How the eras are known, and since when: `decreed`, or `found 3m ago`; `none found 3m ago` where none is spoken.
fn verdict(eras: &Value) -> String {
    match (eras["origin"].as_str(), eras["found_secs_ago"].as_u64()) {
        (Some("found"), Some(secs)) => {
            let is_any = eras["session"] == true || eras["stateless"] == true;
            let what = if is_any { "found" } else { "none found" };
            format!("{what} {} ago", age(secs))
        }
        (Some(origin), _) => origin.to_owned(),
        (None, _) => "-".to_owned(),
    }
}

/// What is wrong, and since when it is known: with the server, or with a call there, whichever came later. Of one that is
/// well again it is history, which `--json` keeps; of a call for some minutes.
fn last_error(server: &Value, all_healthy: bool) -> String {
    let is_over = server["up"] == true && all_healthy;
    let error = |key: &str, longest: u64| {
        let error = server[key].as_str()?;
        let secs = server[format!("{key}_secs_ago")].as_u64();
        (!is_over || secs.is_some_and(|secs| secs < longest)).then_some((secs, error))
    };
    let of_server = error("last_error", 0);
    let of_call = error("last_call_error", CALL_ERROR_SECS_MAX);
    // Of a server that was never started nothing else is known: without an age it is of now.
    match of_server.into_iter().chain(of_call).min() {
        Some((Some(secs), error)) => format!("{error} ({} ago)", age(secs)),
        Some((None, error)) => error.to_owned(),
        None => "-".to_owned(),
    }
}

/// In the largest unit that is full.
fn age(secs: u64) -> String {
    match secs {
        0..60 => format!("{secs}s"),
        60..3_600 => format!("{}m", secs / 60),
        3_600..86_400 => format!("{}h", secs / 3_600),
        _ => format!("{}d", secs / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: AddArgs,
    }

    #[track_caller]
    fn sent(line: &[&str]) -> String {
        let line = Line::try_parse_from(std::iter::once(&"add").chain(line)).unwrap();
        body(&line.args).to_string()
    }

    #[test]
    fn flags_become_the_keys_of_the_file() {
        insta::assert_snapshot!(sent(&["a", "--url", "http://a/mcp", "--header", "Authorization: Bearer ${T}", "--set", "timeout=30s", "--set", "in_flight_max=8"]), @r#"{"timeout":"30s","in_flight_max":8,"url":"http://a/mcp","headers":{"Authorization":"Bearer ${T}"},"name":"a"}"#);
        insta::assert_snapshot!(sent(&["b", "--url", "http://a", "--url", "http://b"]), @r#"{"endpoints":["http://a","http://b"],"name":"b"}"#);
        insta::assert_snapshot!(sent(&["c", "--env", "A=b=c", "--", "npx", "-y", "x"]), @r#"{"command":"npx","args":["-y","x"],"env":{"A":"b=c"},"name":"c"}"#);
    }

    #[test]
    fn a_row_says_how_a_server_is() {
        let server = json!({
            "name": "github", "up": true, "settled": true, "in_flight": 3, "last_error": null,
            "eras": { "session": true, "stateless": true, "origin": "found", "found_secs_ago": 200 },
            "endpoints": [{ "healthy": true, "transport": "http" }, { "healthy": false, "transport": "http" }],
            "session_catalog": null, "stateless_catalog": { "tools": 40 }, "hidden": ["a_x", "a_y"],
        });
        assert_eq!(
            row(&server),
            [
                "github",
                "up",
                "session,stateless",
                "http",
                "found 3m ago",
                "40",
                "1/2",
                "3",
                "a_x,a_y",
                "-"
            ]
        );
        let open = json!({ "name": "b", "up": true, "settled": true, "in_flight": 0,
            "endpoints": [{ "healthy": true, "breaker": "open", "transport": "http" }],
            "last_call_error": "not MCP", "last_call_error_secs_ago": 2, "hidden": [] });
        let shown = row(&open);
        assert_eq!((&*shown[1], &*shown[6]), ("failing", "0/1"));
        assert_eq!(shown[9], "not MCP (2s ago)");
        let starting = json!({ "name": "a", "up": false, "settled": false, "endpoints": [] });
        assert_eq!(
            row(&starting),
            ["a", "starting", "-", "-", "-", "-", "0/0", "-", "-", "-"]
        );
    }

    #[test]
    fn an_error_has_an_age_and_is_gone_when_all_is_well_again() {
        let shown = |up: bool, healthy: bool| {
            let error = json!({ "up": up, "last_error": "refused", "last_error_secs_ago": 180 });
            last_error(&error, healthy)
        };
        assert_eq!(shown(false, false), "refused (3m ago)");
        assert_eq!(shown(true, false), "refused (3m ago)");
        assert_eq!(shown(true, true), "-");
        let call = |secs: u64| {
            let error = json!({ "up": true, "last_error": "refused", "last_error_secs_ago": 60,
                "last_call_error": "status 401", "last_call_error_secs_ago": secs });
            (last_error(&error, true), last_error(&error, false))
        };
        let both = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(call(7), both("status 401 (7s ago)", "status 401 (7s ago)"));
        assert_eq!(call(70), both("status 401 (1m ago)", "refused (1m ago)"));
        assert_eq!(call(300), both("-", "refused (1m ago)"));
        let never_started = json!({ "up": false, "last_error": "`TOKEN` is not set" });
        assert_eq!(last_error(&never_started, true), "`TOKEN` is not set");
    }

    #[test]
    fn a_verdict_shows_its_age_or_who_decreed_it() {
        let found = |secs: u64| {
            verdict(&json!({ "session": true, "origin": "found", "found_secs_ago": secs }))
        };
        assert_eq!(
            [0, 59, 60, 3_599, 3_600, 86_399, 86_400].map(found),
            [
                "found 0s ago",
                "found 59s ago",
                "found 1m ago",
                "found 59m ago",
                "found 1h ago",
                "found 23h ago",
                "found 1d ago"
            ]
        );
        let none =
            json!({ "session": false, "stateless": false, "origin": "found", "found_secs_ago": 7 });
        assert_eq!(verdict(&none), "none found 7s ago");
        let decreed = json!({ "origin": "decreed", "found_secs_ago": null });
        assert_eq!(verdict(&decreed), "decreed");
        assert_eq!(
            transports(&[
                json!({ "transport": "sse" }),
                json!({ "transport": "http" }),
                json!({ "transport": null })
            ]),
            "http,sse"
        );
    }

    #[test]
    fn one_way_to_reach_it_is_needed() {
        assert!(Line::try_parse_from(["add", "a"]).is_err());
        assert!(Line::try_parse_from(["add", "a", "--url", "http://a", "--", "npx"]).is_err());
    }
}
