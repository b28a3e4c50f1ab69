//! Calls in flight on one child.

use super::*;

/// Collects two requests and answers the second first.
const CROSSED: &str = r#"
read_line; first=$id
read_line; second=$id
result "$second" '"second"'
result "$first" '"first"'
cat > /dev/null
"#;

/// Tells its next request what it heard before it.
const ECHO_BEFORE: &str = r#"
while :; do
    before=$line; read_line
    case $line in *'"tell"'*) result "$id" "$before" ;; esac
done
"#;

/// Answers in ways that no message has, under the right id.
const MISSHAPEN: &str = r#"
while :; do
    read_line
    case $line in
        *'"both"'*) say "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":{},\"error\":{}}" ;;
        *'"neither"'*) say "{\"jsonrpc\":\"2.0\",\"id\":$id}" ;;
        *'"boom"'*) say "{\"jsonrpc\":\"2.0\",\"id\":$id,\"error\":\"boom\"}" ;;
        *'"versionless"'*) say "{\"id\":$id,\"result\":{}}" ;;
        *'"fraction"'*) result "$id.0" '{}' ;;
        *'"mark"'*) printf '\357\273\277'; result "$id" '{}' ;;
        *'"deep"'*) zeros=$(printf '%0200d' 0); result "$id" "$(echo "$zeros" | tr 0 '[')$(echo "$zeros" | tr 0 ']')" ;;
        *'"number"'*) result "$id" '{"x":NaN}' ;;
        *'"log"'*) say "{\"level\":\"error\",\"id\":$id,\"error\":\"boom\"}"; result "$id" '{}' ;;
    esac
done
"#;

const CANCEL_1: &str =
    r#""result":{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;

#[tokio::test]
async fn equal_ids_of_two_callers_do_not_meet() {
    let child = start(CROSSED).await;
    let one = tool(r#""x""#, "a");
    let one = child.call(&one);
    let two = tool(r#""x""#, "b");
    let two = child.call(&two);
    let (one, two) = soon(async { tokio::join!(one, two) }).await;
    // Which is first on the pipe is the order in which they were polled.
    assert_eq!(
        answer(one).await.unwrap(),
        r#"{"jsonrpc":"2.0","id":"x","result":"first"}"#
    );
    assert_eq!(
        answer(two).await.unwrap(),
        r#"{"jsonrpc":"2.0","id":"x","result":"second"}"#
    );
    child.stop().await;
}

#[tokio::test]
async fn a_stateless_call_that_is_dropped_is_cancelled() {
    let child = start(ECHO_BEFORE).await;
    let call = tool("5", "silent");
    let call = child.call(&call);
    let dropped = timeout(Duration::from_millis(1), call).await;
    assert!(dropped.is_err());
    let heard = answer(child.call(&tool("6", "tell")).await).await.unwrap();
    assert!(heard.contains(CANCEL_1), "{heard}");
}

#[tokio::test]
async fn a_stateless_stream_that_is_dropped_is_cancelled() {
    let child = start(
        r#"
        read_line
        say "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":$id,\"progress\":1}}"
        read_line; before=$line; read_line; result "$id" "$before"
        "#,
    )
    .await;
    let listening = out(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":"p"}}}"#,
    );
    let Reply::Stream(mut stream) = soon(child.call(&listening)).await.unwrap() else {
        panic!("answered at once");
    };
    let progress = next(&mut stream).await.unwrap().unwrap();
    assert!(progress.contains(r#""progressToken":"p""#), "{progress}");
    drop(stream);
    let heard = answer(child.call(&tool("2", "tell")).await).await.unwrap();
    assert!(heard.contains(CANCEL_1), "{heard}");
}

#[tokio::test]
async fn a_silent_server_is_given_up_and_told() {
    let child = start(ECHO_BEFORE).await;
    let limit = Duration::from_millis(20);
    let silent = out_within(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#, limit);
    let error = soon(child.call(&silent)).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Timeout { .. }), "{error:?}");
    let heard = answer(child.call(&tool("2", "tell")).await).await.unwrap();
    assert!(heard.contains(CANCEL_1), "{heard}");
}

#[tokio::test]
async fn a_server_that_waits_for_the_client_is_not_silent() {
    let child = start(SERVER).await;
    let session = soon(child.open(init())).await.unwrap();
    let reply = soon(session.call(&tool("1", "ask"))).await.unwrap();
    let Reply::Stream(mut stream) = reply else {
        panic!("answered at once");
    };
    assert!(
        next(&mut stream)
            .await
            .unwrap()
            .unwrap()
            .contains("elicitation/create")
    );
    tokio::time::pause();
    let waited = timeout(20 * PATIENCE, stream.next()).await;
    assert!(waited.is_err(), "{waited:?}");
    tokio::time::resume();
    let answer = r#"{"jsonrpc":"2.0","id":"q","result":{"action":"accept"}}"#;
    session.send(out(answer)).await.unwrap();
    let last = next(&mut stream).await.unwrap().unwrap();
    assert_eq!(
        last,
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{answer}}}"#)
    );
}

#[tokio::test]
async fn a_child_that_does_not_read_takes_no_more_than_its_queue() {
    let child = start("sleep 1000").await;
    // More than the pipe and the queue hold.
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"x":"{}"}}}}"#,
        "x".repeat(64 << 10)
    );
    let calls = (0..64).map(async |_| {
        child
            .call(&out_within(&text, Duration::from_millis(100)))
            .await
    });
    let replies = soon(futures_util::future::join_all(calls)).await;
    let not_sent = replies
        .iter()
        .filter(|reply| reply.as_ref().is_err_and(UpstreamError::nothing_sent))
        .count();
    assert!((1..64).contains(&not_sent), "{not_sent}");
    child.begin_stop();
}

#[tokio::test]
async fn a_batch_of_answers_is_taken_apart() {
    let child = start(
        r#"
        read_line; one=$id; read_line
        say "[{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":2},{\"jsonrpc\":\"2.0\",\"id\":$one,\"result\":1}]"
        "#,
    )
    .await;
    let call = tool("1", "a");
    let both = async { tokio::join!(child.call(&call), child.call(&call)) };
    let (one, two) = soon(both).await;
    assert!(answer(one).await.unwrap().ends_with("1}"));
    assert!(answer(two).await.unwrap().ends_with("2}"));
}

#[tokio::test]
async fn an_answer_of_a_wrong_shape_ends_its_call_at_once() {
    let child = start(MISSHAPEN).await;
    for (name, expected) in [
        ("both", "exactly one of `method`, `result` and `error`"),
        ("neither", "exactly one of `method`, `result` and `error`"),
        ("boom", "`error` must be an object"),
        ("versionless", "`jsonrpc` must be"),
        ("fraction", "`id` must be a string or an integer"),
        ("mark", "byte order mark"),
        ("deep", "is deeper than 128"),
        ("number", "not JSON: expected a value"),
    ] {
        let mut call = tool("1", name);
        call.timeout = Duration::from_secs(3600);
        let error = soon(async { answer(child.call(&call).await).await }).await;
        let error = error.unwrap_err();
        assert!(matches!(error, UpstreamError::Garbage { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    // A line of a log is no answer, whatever number it tells.
    let logged = soon(async { answer(child.call(&tool("1", "log")).await).await }).await;
    assert!(logged.unwrap().ends_with(r#""result":{}}"#));
    child.stop().await;
}
