use bytes::Bytes;
use lockgate_proto::jsonrpc::{Batch, Frame, Kind, Limits, ParseError, Splice, Unfit};

fn parse(text: &str) -> Result<Frame, ParseError> {
    Frame::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default())
}

/// Kind, id, method, params and body of a message.
fn accepts(text: &str, kind: Kind, parts: [Option<&str>; 4]) {
    let frame = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let method = frame.method();
    let found = [
        frame.id(),
        (!method.is_empty()).then_some(&*method),
        frame.params(),
        frame.body(),
    ];
    assert_eq!((frame.kind(), found), (kind, parts), "{text}");
    assert_eq!(frame.text(), text);
}

fn refuses(text: &str, message: &str, code: i32) {
    let error = parse(text).expect_err(text);
    assert_eq!((error.to_string().as_str(), error.code()), (message, code));
}

fn breaks(text: &str, rule: &str) {
    refuses(text, &format!("not a JSON-RPC message: {rule}"), -32600);
}

#[test]
fn each_kind_is_told_by_its_members() {
    accepts(
        r#" {"method":"a\/b","params":{"x":1.0},"id":"q","jsonrpc":"2.0"} "#,
        Kind::Request,
        [Some("\"q\""), Some("a/b"), Some("{\"x\":1.0}"), None],
    );
    accepts(
        r#"{"jsonrpc":"2.0","method":"m","params":[]}"#,
        Kind::Notification,
        [None, Some("m"), Some("[]"), None],
    );
    accepts(
        r#"{"jsonrpc":"2.0","id":123456789012345678901234567890,"result":null}"#,
        Kind::Result,
        [
            Some("123456789012345678901234567890"),
            None,
            None,
            Some("null"),
        ],
    );
    accepts(
        r#"{"jsonrpc":"2.0","id":-7,"error":{"code":-1,"message":""}}"#,
        Kind::Error,
        [Some("-7"), None, None, Some(r#"{"code":-1,"message":""}"#)],
    );
}

#[test]
fn an_error_may_lack_its_id() {
    for text in [
        r#"{"jsonrpc":"2.0","error":{}}"#,
        r#"{"jsonrpc":"2.0","id":null,"error":{}}"#,
    ] {
        accepts(text, Kind::Error, [None, None, None, Some("{}")]);
    }
}

#[test]
fn unknown_members_and_escaped_names_pass() {
    accepts(
        r#"{"\u006asonrpc":"2\u002e0","x":[{}],"\u0069d":1,"method":"\u006d","y":null}"#,
        Kind::Request,
        [Some("1"), Some("m"), None, None],
    );
}

#[test]
fn broken_rules_are_named() {
    breaks("1", "not an object");
    breaks("[{}]", "a batch is not allowed here");
    breaks("{}", "`jsonrpc` must be \"2.0\"");
    breaks(
        r#"{"jsonrpc":2.0,"method":"m"}"#,
        "`jsonrpc` must be \"2.0\"",
    );
    breaks(
        r#"{"jsonrpc":"1.0","method":"m"}"#,
        "`jsonrpc` must be \"2.0\"",
    );
    let one_of = "exactly one of `method`, `result` and `error` must be present";
    breaks(r#"{"jsonrpc":"2.0"}"#, one_of);
    breaks(r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{}}"#, one_of);
    breaks(
        r#"{"jsonrpc":"2.0","id":1,"method":"m","result":1}"#,
        one_of,
    );
    breaks(r#"{"jsonrpc":"2.0","result":1}"#, "`result` without `id`");
    breaks(
        r#"{"jsonrpc":"2.0","id":1,"error":"e"}"#,
        "`error` must be an object",
    );
    for method in ["1", "null", r#""\ud800""#] {
        breaks(
            &format!(r#"{{"jsonrpc":"2.0","method":{method}}}"#),
            "`method` must be a string of whole characters",
        );
    }
    for params in ["1", "null", "\"\""] {
        breaks(
            &format!(r#"{{"jsonrpc":"2.0","method":"m","params":{params}}}"#),
            "`params` must be an object or an array",
        );
    }
    for id in ["null", "1.0", "1e2", "true", "{}", "[]"] {
        for rest in [r#""method":"m""#, r#""result":{}"#] {
            breaks(
                &format!(r#"{{"jsonrpc":"2.0","id":{id},{rest}}}"#),
                "`id` must be a string or an integer",
            );
        }
    }
}

#[test]
fn no_member_comes_twice() {
    for (key, value) in [
        ("jsonrpc", "\"2.0\""),
        ("id", "1"),
        ("method", "\"m\""),
        ("params", "{}"),
    ] {
        breaks(
            &format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{}},"{key}":{value}}}"#),
            &format!("duplicate member `{key}`"),
        );
    }
    breaks(
        r#"{"jsonrpc":"2.0","id":1,"result":1,"result":1}"#,
        "duplicate member `result`",
    );
    breaks(
        r#"{"jsonrpc":"2.0","error":{},"error":{}}"#,
        "duplicate member `error`",
    );
    breaks(
        r#"{"jsonrpc":"2.0","id":1,"method":"m","i\u0064":1}"#,
        "duplicate member `id`",
    );
    breaks(
        r#"{"jsonrpc":"2.0","method":"m","x":1,"\u0078":2}"#,
        "duplicate member",
    );
}

#[test]
fn text_that_is_no_json_comes_before_a_bad_envelope() {
    refuses("", "not JSON: expected a value at byte 0", -32700);
    refuses(
        "{\"id\":1,\"id\":1,",
        "not JSON: expected a member name at byte 15",
        -32700,
    );
    refuses("[] x", "not JSON: text after the value at byte 3", -32700);
    refuses("{}{}", "not JSON: text after the value at byte 2", -32700);
    refuses("\u{feff}{}", "not JSON: byte order mark at byte 0", -32700);
    let error = Frame::parse(Bytes::from_static(b"{\"\xff\":1}"), &Limits::default());
    assert_eq!(
        error.unwrap_err(),
        ParseError::Syntax {
            what: "invalid UTF-8",
            at: 2
        }
    );
}

#[test]
fn limits_are_named_with_their_value() {
    let limits = Limits {
        body_bytes_max: 64,
        depth_max: 3,
        batch_max: 2,
    };
    let parse = |text: &str| Batch::parse(Bytes::copy_from_slice(text.as_bytes()), &limits);
    let message = |text: &str| parse(text).unwrap_err().to_string();
    assert_eq!(
        message(&" ".repeat(65)),
        "message of 65 bytes is over the limit of 64"
    );
    assert!(parse(r#"{"jsonrpc":"2.0","method":"m","params":[[]]}"#).is_ok());
    assert_eq!(
        message(r#"{"jsonrpc":"2.0","method":"m","params":[[[]]]}"#),
        "nesting at byte 41 is deeper than 3"
    );
    // The array of the batch is a level too.
    assert_eq!(
        message(r#"[{"jsonrpc":"2.0","method":"m","params":[[]]}]"#),
        "nesting at byte 41 is deeper than 3"
    );
    assert_eq!(message("[]"), "batch of 0 messages, allowed are 1 to 2");
    assert_eq!(
        message("[1,{},[]]"),
        "batch of 3 messages, allowed are 1 to 2"
    );
}

#[test]
fn a_batch_keeps_the_order_and_the_bytes_of_its_messages() {
    let text = Bytes::from_static(
        br#" [ {"jsonrpc":"2.0","id":1,"method":"a","params":{"k":"v"}} ,{"method":"b","jsonrpc":"2.0"}] "#,
    );
    let Ok(Batch::Many(elements)) = Batch::parse(text.clone(), &Limits::default()) else {
        panic!("not a batch");
    };
    let frames: Vec<_> = elements.into_iter().map(Result::unwrap).collect();
    let methods: Vec<_> = frames.iter().map(Frame::method).collect();
    assert_eq!(methods, ["a", "b"]);
    assert_eq!(frames[0].param_str(&["k"]).as_deref(), Some("v"));
    assert_eq!(frames[0].id(), Some("1"));
    assert_eq!(frames[1].text(), r#"{"method":"b","jsonrpc":"2.0"}"#);
    for frame in &frames {
        let reread = parse(frame.text()).unwrap();
        assert_eq!(reread.params_span(), frame.params_span());
        assert!(text.as_ptr_range().contains(&frame.bytes().as_ptr()));
    }
}

#[test]
fn an_element_that_is_no_message_leaves_the_others() {
    let text = r#"[ {"jsonrpc":"2.0","method":"m"}, {"jsonrpc":"2.0","id":3} ,[],1, {"method":"n","jsonrpc":"2.0"}]"#;
    let Ok(Batch::Many(elements)) = Batch::parse(text.into(), &Limits::default()) else {
        panic!("not a batch");
    };
    let told = elements.iter().map(|element| match element {
        Ok(frame) => frame.method().into_owned(),
        Err(Unfit { text, error }) => format!("{}: {error}", String::from_utf8_lossy(text)),
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            "m",
            r#"{"jsonrpc":"2.0","id":3}: not a JSON-RPC message: exactly one of `method`, `result` and `error` must be present"#,
            "[]: not a JSON-RPC message: a batch is not allowed here",
            "1: not a JSON-RPC message: not an object",
            "n",
        ]
    );
    let broken = Batch::parse("[1,[],nul]".into(), &Limits::default()).unwrap_err();
    assert_eq!(broken.to_string(), "not JSON: expected a value at byte 6");
}

#[test]
fn another_id_moves_what_stands_behind_it() {
    let frame = parse(r#"{"params":{"a":1},"jsonrpc":"2.0","id":1,"method":"m"}"#).unwrap();
    for id in ["\"longer-than-before\"", "2", "-1"] {
        let other = frame.with_id(id);
        assert_eq!(other.id(), Some(id));
        assert_eq!(other.method(), "m");
        assert_eq!(other.params(), Some("{\"a\":1}"));
        assert_eq!(
            other.text(),
            frame.text().replace("\"id\":1", &format!("\"id\":{id}"))
        );
        assert_eq!(other.with_id("1").text(), frame.text());
    }
    let result = parse(r#"{"jsonrpc":"2.0","id":"x","result":{"a":[]}}"#).unwrap();
    assert_eq!(result.with_id("12345").body(), Some("{\"a\":[]}"));
    let notification = parse(r#"{"jsonrpc":"2.0","method":"m"}"#).unwrap();
    assert_eq!(notification.with_id("1").text(), notification.text());
}

#[test]
fn an_edited_message_is_read_again() {
    let frame = parse(r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"name":"s_t"}}"#).unwrap();
    let mut splice = Splice::new(frame.text());
    splice.replace(frame.param(&["name"]).unwrap(), "\"t\"");
    splice.set_member(frame.params_span().unwrap(), "_meta", "{}");
    let edited = Frame::edited(splice).unwrap();
    assert_eq!(edited.params(), Some(r#"{"name":"t","_meta":{}}"#));
    assert_eq!(edited.param_str(&["name"]).as_deref(), Some("t"));

    let mut splice = Splice::new(frame.text());
    splice.replace(frame.id_span().unwrap(), "null");
    assert_eq!(Frame::edited(splice).unwrap_err().code(), -32600);
}

#[test]
fn a_line_has_no_breaks() {
    let frame = parse("{\"jsonrpc\":\"2.0\",\r\n \"method\":\"a\\nb\"\n}").unwrap();
    assert_eq!(
        frame.line(),
        "{\"jsonrpc\":\"2.0\",   \"method\":\"a\\nb\" }"
    );
    let flat = parse(r#"{"jsonrpc":"2.0","method":"m"}"#).unwrap();
    assert_eq!(flat.line().as_ptr(), flat.bytes().as_ptr());
}

#[test]
fn debug_output_carries_no_payload() {
    let frame = parse(r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"s":"secret"}}"#).unwrap();
    assert_eq!(
        format!("{frame:?}"),
        r#"Frame { kind: Request, id: Some("1"), method: "m", bytes: 61, .. }"#
    );
}
