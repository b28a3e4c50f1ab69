//! Verbs against an admin API that answers as the contract says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use super::lockgate;
use crate::cli::Exit;

/// Answers requests in turn with `(status, body)` and returns what was asked: `METHOD path [body]`.
fn gateway(answers: Vec<(u16, String)>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let serve = |(status, body): (u16, String)| {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let (mut header, mut length) = (String::new(), 0);
            while reader.read_line(&mut header).unwrap() > 2 {
                if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                header.clear();
            }
            let mut asked = vec![0; length];
            reader.read_exact(&mut asked).unwrap();
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nmcp-session-id: s1\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            reader
                .into_inner()
                .write_all(format!("{head}{body}").as_bytes())
                .unwrap();
            let line = line.trim_end().trim_end_matches(" HTTP/1.1");
            format!("{line} {}", String::from_utf8(asked).unwrap())
                .trim_end()
                .to_owned()
        };
        answers.into_iter().map(serve).collect()
    });
    (url, served)
}

#[track_caller]
fn check(args: &[&str], status: u16, body: &str, asked: &str) -> (Exit, String) {
    let (url, served) = gateway(vec![(status, body.to_owned())]);
    let ran = lockgate(&[args, &["--admin", &url]].concat());
    assert_eq!(served.join().unwrap(), [asked]);
    (ran.exit, format!("{}{}", ran.out, ran.err))
}

#[test]
fn keys_are_listed_made_rotated_and_revoked() {
    let list = r#"{"keys":[{"id":"ci","principal":"bot","tenant":null,"roles":["a","b"],"source":"file","created_at":null,"revoked":false},{"id":"x","principal":"p","tenant":"t","roles":[],"source":"registry","created_at":"2026-11-21","revoked":true},{"id":"p","principal":"p","tenant":null,"roles":["a","b"],"source":"registry","created_at":"2026-11-21","revoked":false,"missing_roles":["b"],"is_tenant_missing":false},{"id":"q","principal":"p","tenant":"t","roles":["a"],"source":"registry","created_at":"2026-11-21","revoked":false,"missing_roles":["a"],"is_tenant_missing":true}]}"#;
    let (exit, text) = check(&["keys", "list"], 200, list, "GET /api/v1/keys");
    assert_eq!(exit, Exit::Done);
    insta::assert_snapshot!(text, @"
    ID  PRINCIPAL  TENANT  ROLES  SOURCE    CREATED     STATE
    ci  bot        -       a,b    file      -           active
    x   p          t              registry  2026-11-21  revoked
    p   p          -       a,b    registry  2026-11-21  active, but no role `b`
    q   p          t       a      registry  2026-11-21  useless: no role `a`, no tenant `t`
    ");
    let (_, text) = check(
        &[
            "keys",
            "create",
            "--principal",
            "bot",
            "--role",
            "a",
            "--role",
            "b",
            "--tenant",
            "t",
        ],
        201,
        r#"{"id":"k1","key":"lg_abc"}"#,
        r#"POST /api/v1/keys {"principal":"bot","roles":["a","b"],"tenant":"t"}"#,
    );
    insta::assert_snapshot!(text, @"
    lg_abc
    key `k1`; it is not shown again
    ");
    let (_, text) = check(
        &["keys", "rotate", "k/1"],
        200,
        r#"{"id":"k/1","key":"lg_new"}"#,
        "POST /api/v1/keys/k%2F1/rotate",
    );
    assert!(text.starts_with("lg_new\n"), "{text}");
    let (_, text) = check(
        &["keys", "revoke", "k1", "--json"],
        204,
        "",
        "DELETE /api/v1/keys/k1",
    );
    insta::assert_snapshot!(text, @r#"
    {
      "id": "k1",
      "revoked": true
    }
    "#);
}

#[test]
fn refusals_carry_message_and_remedy() {
    let body = r#"{"error":{"code":"no_key","message":"there is no key `k1`","remedy":"see `lockgate keys list`"}}"#;
    let (exit, text) = check(
        &["keys", "revoke", "k1"],
        404,
        body,
        "DELETE /api/v1/keys/k1",
    );
    assert_eq!(exit, Exit::Failed);
    insta::assert_snapshot!(text, @"
    error: there is no key `k1`
      try: see `lockgate keys list`
    ");
    let (_, text) = check(
        &["keys", "revoke", "k1", "--json"],
        404,
        body,
        "DELETE /api/v1/keys/k1",
    );
    insta::assert_snapshot!(text, @r#"
    {
      "error": {
        "message": "there is no key `k1`",
        "remedy": "see `lockgate keys list`"
      }
    }
    "#);
}

#[test]
fn a_tail_begins_with_as_many_records_as_there_are_and_leaves_none_out() {
    let answers = [
        r#"{"previous":50,"next":100,"records":[{"seq":99}]}"#,
        r#"{"previous":null,"next":50,"records":[{"seq":3}]}"#,
        r#"{"previous":100,"next":101,"records":[{"seq":100}]}"#,
    ];
    let (url, served) = gateway(answers.map(|body| (200, body.to_owned())).to_vec());
    let ran = lockgate(&["audit", "tail", "--lines", "2", "--json", "--admin", &url]);
    assert_eq!(
        served.join().unwrap(),
        [
            "GET /api/v1/audit/records?limit=2",
            "GET /api/v1/audit/records?limit=1&before=50",
            "GET /api/v1/audit/records?from=100&wait=3&limit=1000",
        ]
    );
    // The gateway has gone.
    assert_eq!(ran.exit, Exit::Failed);
    let records = "{\"seq\":3}\n{\"seq\":99}\n{\"seq\":100}\n";
    assert!(ran.out.starts_with(records), "{}", ran.out);
}

#[test]
fn servers_are_added_restarted_and_removed() {
    check(
        &["servers", "add", "a", "--url", "http://a/mcp"],
        201,
        "{}",
        r#"POST /api/v1/servers {"url":"http://a/mcp","name":"a"}"#,
    );
    let up = r#"{"name":"a","server":{"up":true,"settled":true,"session_catalog":{"tools":3},"endpoints":[{}]}}"#;
    let down =
        r#"{"name":"a","server":{"up":false,"settled":true,"last_error":"it is not there"}}"#;
    let starting = r#"{"name":"a","server":{"up":false,"settled":false}}"#;
    for (answer, told) in [
        (up, "a is added, and up; its tools: 3\n"),
        (down, "a is added, and down: it is not there\n"),
        (
            starting,
            "a is added, and has not answered yet: see `lockgate servers list`\n",
        ),
    ] {
        let add = ["servers", "add", "a", "--url", "http://a/mcp"];
        let asked = r#"POST /api/v1/servers {"url":"http://a/mcp","name":"a"}"#;
        let (_, text) = check(&add, 201, answer, asked);
        assert_eq!(text, told);
    }
    check(
        &["servers", "restart", "a"],
        202,
        "",
        "POST /api/v1/servers/a/restart",
    );
    check(
        &["servers", "remove", "a"],
        204,
        "",
        "DELETE /api/v1/servers/a",
    );
}

#[test]
fn sessions_are_listed_and_ended() {
    let list = r#"{"sessions":[{"id":"s1","principal":"bot","tenant":null,"revision":"2025-11-25","client":"x/1","state":"active","age_s":5,"idle_s":1,"in_flight":0,"route":"/mcp"}]}"#;
    let (_, text) = check(&["sessions", "list"], 200, list, "GET /api/v1/sessions");
    insta::assert_snapshot!(text, @"
    ID  PRINCIPAL  TENANT  REVISION    CLIENT  STATE   AGE S  IDLE S  IN FLIGHT  ROUTE
    s1  bot        -       2025-11-25  x/1     active  5      1       0          /mcp
    ");
    let (_, text) = check(
        &["sessions", "show", "s1"],
        200,
        r#"{"id":"s1","in_flight":0}"#,
        "GET /api/v1/sessions/s1",
    );
    insta::assert_snapshot!(text, @"
    KEY        VALUE
    id         s1
    in_flight  0
    ");
    check(
        &["sessions", "end", "s1"],
        204,
        "",
        "DELETE /api/v1/sessions/s1",
    );
}

#[test]
fn tools_are_listed_without_what_could_paint_the_terminal() {
    let list = r#"{"tools":[{"name":"a_b","server":"a","description":"one\n\u001b[31mtwo"}]}"#;
    let (_, text) = check(
        &["tools", "list", "--server", "a b"],
        200,
        list,
        "GET /api/v1/tools?server=a%20b",
    );
    insta::assert_snapshot!(text, @"
    NAME  SERVER  DESCRIPTION
    a_b   a       one  [31mtwo
    ");
}

#[test]
fn servers_that_have_not_told_their_tools_are_named() {
    let list = r#"{"tools":[],"missing":[{"server":"a","error":"HTTP status 401"},{"server":"b","error":null}]}"#;
    let all = ["tools", "list"];
    let (exit, text) = check(&all, 200, list, "GET /api/v1/tools");
    assert_eq!(exit, Exit::Done);
    insta::assert_snapshot!(text, @"
    NAME  SERVER  DESCRIPTION
    server `a` has not told its tools: HTTP status 401
    server `b` has not told its tools yet
    ");
    let list = r#"{"tools":[],"missing":[{"server":"a","error":"HTTP status 401"}]}"#;
    let one = ["tools", "list", "--server", "a"];
    let (exit, _) = check(&one, 200, list, "GET /api/v1/tools?server=a");
    assert_eq!(exit, Exit::Unchecked);
}

#[test]
fn the_configuration_in_force_is_shown() {
    let body = r#"{"version":3,"hash":"ab","reloaded_at":"now","last_error":"x.yaml:1: bad","config":{"separator":"_"}}"#;
    let (_, text) = check(&["config", "show"], 200, body, "GET /api/v1/config");
    insta::assert_snapshot!(text, @"
    separator: _
    # version 3, hash ab, reloaded_at now
    # the file as it is now was refused: x.yaml:1: bad
    ");
    let body = r#"{"version":3,"hash":"ab","needs_restart":["listen","limits.body_max"],"last_error":null,"config":{"separator":"_"}}"#;
    let (_, text) = check(&["config", "show"], 200, body, "GET /api/v1/config");
    insta::assert_snapshot!(text, @"
    separator: _
    # version 3, hash ab
    # not in force until the gateway is started again: listen, limits.body_max
    ");
}

#[test]
fn the_audit_log_is_asked_until_enough_is_found_or_nothing_is_left() {
    let page = |seqs: &[u64], previous: Option<u64>| {
        let records: Vec<_> = seqs
            .iter()
            .map(|seq| serde_json::json!({ "seq": seq }))
            .collect();
        let body = serde_json::json!({ "next": 9, "previous": previous, "records": records });
        (200, body.to_string())
    };
    let log = |lines: &str, pages: Vec<(u16, String)>| {
        let (url, served) = gateway(pages);
        let filter = ["--where", "tool=t"];
        let verb = ["--json", "--admin", &url, "audit", "log", "--lines", lines];
        let ran = lockgate(&[&verb[..], &filter].concat());
        assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
        let printed: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        let records = printed["records"].as_array().unwrap().iter();
        let seqs: Vec<_> = records.map(|one| one["seq"].as_u64().unwrap()).collect();
        (seqs, served.join().unwrap())
    };
    let (seqs, asked) = log("3", vec![page(&[7, 8], Some(5)), page(&[4], Some(4))]);
    assert_eq!(seqs, [4, 7, 8]);
    assert_eq!(
        asked,
        [
            "GET /api/v1/audit/records?limit=3&where=tool%3Dt",
            "GET /api/v1/audit/records?limit=1&before=5&where=tool%3Dt"
        ]
    );
    let (seqs, asked) = log("2000", vec![page(&[8], Some(5)), page(&[], None)]);
    assert_eq!((&seqs[..], asked.len()), (&[8][..], 2));
    assert!(asked[0].contains("limit=1000&"), "{asked:?}");
    // A node that does not come nearer to the beginning is not asked for ever.
    let (seqs, asked) = log("9", vec![page(&[8], Some(5)), page(&[], Some(5))]);
    assert_eq!((&seqs[..], asked.len()), (&[8][..], 2));
}

#[test]
fn a_call_goes_through_the_data_plane() {
    let (url, served) = gateway(vec![
        (200, r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25"}}"#.to_owned()),
        (202, String::new()),
        (200, r#"{"jsonrpc":"2.0","id":2,"result":{"content":[{"type":"text","text":"hi"}],"isError":true}}"#.to_owned()),
        (200, String::new()),
    ]);
    let ran = lockgate(&[
        "tools",
        "call",
        "a_echo",
        r#"{"x":1}"#,
        "--url",
        &format!("{url}/mcp"),
    ]);
    assert_eq!(
        (ran.exit, &*ran.out, &*ran.err),
        (Exit::Failed, "hi\n", "the tool reports an error\n")
    );
    let asked = served.join().unwrap();
    assert!(
        asked[0].starts_with("POST /mcp {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\""),
        "{asked:?}"
    );
    assert_eq!(
        asked[2],
        r#"POST /mcp {"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"a_echo","arguments":{"x":1}}}"#
    );
    assert_eq!(asked[3], "DELETE /mcp");
}

#[test]
fn a_called_tool_gets_and_gives_every_number_and_every_text_as_written() {
    let call = |json: bool, result: &str| {
        let (url, served) = gateway(vec![
            (200, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#.into()),
            (202, String::new()),
            (
                200,
                format!(r#"{{"jsonrpc":"2.0","id":2,"result":{result}}}"#),
            ),
            (200, String::new()),
        ]);
        let url = format!("{url}/mcp");
        let arguments = r#" {"a": 12345678901234567890123, "b": 1e400, "c": "\ud800"} "#;
        let verb = ["tools", "call", "w", arguments, "--url", &url];
        let ran = lockgate(&[&verb[..], if json { &["--json"] } else { &[] }].concat());
        assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
        let asked = served.join().unwrap().swap_remove(2);
        assert!(asked.contains(arguments.trim()), "{asked}");
        ran.out
    };
    assert_eq!(
        call(
            false,
            r#"{"content":[{"type":"text","text":"cut \ud83d"},{"type":"x","n":1e400}]}"#
        ),
        "cut \u{fffd}\n{\"type\":\"x\",\"n\":1e400}\n"
    );
    let numbers = r#"{"content":[],"structuredContent":{"n":123456789012345678901234567890,"m":1e400,"s":"\ud800{,","e":{},"l":[1,[]]}}"#;
    insta::assert_snapshot!(call(false, numbers), @r#"
    {
      "n": 123456789012345678901234567890,
      "m": 1e400,
      "s": "\ud800{,",
      "e": {},
      "l": [
        1,
        []
      ]
    }
    "#);
    let whole = call(true, numbers);
    assert!(
        whole.contains("\"n\": 123456789012345678901234567890,"),
        "{whole}"
    );
}

#[test]
fn a_client_lists_tools_of_which_no_other_reader_would_take_the_text() {
    let list =
        r#"{"tools":[{"name":"w","description":"cut \ud83d","inputSchema":{"maximum":1e400}}]}"#;
    let run = |json: &[&str]| {
        let (url, served) = gateway(vec![
            (200, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#.into()),
            (202, String::new()),
            (
                200,
                format!(r#"{{"jsonrpc":"2.0","id":2,"result":{list}}}"#),
            ),
            (200, String::new()),
        ]);
        let url = format!("{url}/mcp");
        let ran = lockgate(&[&["tools", "list", "--url", &url], json].concat());
        assert_eq!(ran.exit, Exit::Done, "{}", ran.err);
        served.join().unwrap();
        ran.out
    };
    insta::assert_snapshot!(run(&[]), @"
    NAME  DESCRIPTION
    w     cut \u{fffd}
    ");
    assert!(run(&["--json"]).contains(r#""maximum": 1e400"#));
}
