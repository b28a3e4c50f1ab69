//! Requests without a session.

use super::*;

#[test]
fn listening_streams_are_told_apart_by_subscription() {
    let mut mux = mux(Sharing::Stateless);
    let listen = |id: &str| request(id, method::LISTEN, r#"{"notifications":{}}"#);
    begin(&mut mux, Owner::NOBODY, &listen("1"));
    begin(&mut mux, Owner::NOBODY, &listen("\"1\""));
    let meta = |n| format!(r#"{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{n}}}}}"#);
    for (n, id) in [(2, "\"1\""), (1, "1")] {
        let news = notification(method::TOOLS_CHANGED, &meta(n.to_string()));
        let told = notification(method::TOOLS_CHANGED, &meta(id.to_owned()));
        assert_eq!(hear(&mut mux, &news), [format!("pass {n} {}", told.text())]);
    }
    let end = result(2, &meta("2".to_owned()));
    let told = format!(
        r#"finish 2 {{"jsonrpc":"2.0","id":"1","result":{}}}"#,
        meta("\"1\"".to_owned())
    );
    assert_eq!(hear(&mut mux, &end), [told]);
}

#[test]
fn a_listening_stream_that_the_server_cancels_ends_in_order() {
    let mut mux = mux(Sharing::Stateless);
    begin(
        &mut mux,
        Owner::NOBODY,
        &request("\"l\"", method::LISTEN, "{}"),
    );
    let cancel = notification(method::CANCELLED, r#"{"requestId":1}"#);
    assert_eq!(
        hear(&mut mux, &cancel),
        [
            r#"finish 1 {"jsonrpc":"2.0","id":"l","result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":"l"}}}"#
        ]
    );
}

#[test]
fn a_stateless_log_message_is_told_only_if_one_call_can_be_meant() {
    let mut mux = mux(Sharing::Stateless);
    let asks = r#"{"_meta":{"io.modelcontextprotocol/logLevel":"info"}}"#;
    call(&mut mux, Owner::NOBODY, "1");
    assert_eq!(goes(&mut mux, &logged("info")), ["drop notification"]);
    begin(&mut mux, Owner::NOBODY, &request("2", "tools/call", asks));
    assert_eq!(goes(&mut mux, &logged("info")), ["pass 2"]);
    begin(&mut mux, Owner::NOBODY, &request("3", "tools/call", asks));
    assert_eq!(goes(&mut mux, &logged("info")), ["drop notification"]);
}
