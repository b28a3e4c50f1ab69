//! Life and death of a process.

use super::*;

#[tokio::test]
async fn a_killed_child_ends_its_calls_at_once_and_leaves_no_zombie() {
    let child = start(SERVER).await;
    let session = soon(child.open(init())).await.unwrap();
    let pid = pid(&session).await;
    let reply = soon(session.call(&tool("2", "hang"))).await.unwrap();
    let Reply::Stream(mut stream) = reply else {
        panic!("answered at once");
    };
    assert!(next(&mut stream).await.unwrap().unwrap().contains("hangs"));
    kill(pid);
    let error = next(&mut stream).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Broken { .. }), "{error:?}");
    let how = soon(child.ended()).await;
    assert!(how.contains("signal 9"), "{how}");
    assert!(is_gone(pid));
    let later = soon(session.call(&tool("3", "pid"))).await.unwrap_err();
    assert!(later.nothing_sent(), "{later:?}");
}

#[tokio::test]
async fn an_exit_is_described() {
    let child = start(SERVER).await;
    let session = soon(child.open(init())).await.unwrap();
    let error = soon(session.call(&tool("1", "exit"))).await.unwrap_err();
    assert!(
        error.to_string().contains("exited with status 3"),
        "{error}"
    );
}

#[tokio::test]
async fn a_last_answer_is_read_though_the_process_is_gone() {
    let child = start(r#"read_line; printf '%s' "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":1}""#);
    let child = child.await;
    let last = answer(soon(child.call(&tool("8", "a"))).await)
        .await
        .unwrap();
    assert_eq!(last, r#"{"jsonrpc":"2.0","id":8,"result":1}"#);
}

#[tokio::test]
async fn a_program_that_is_not_there_is_unreachable_and_named() {
    for (command, cwd, expected) in [
        (
            "/nowhere/program",
            None,
            "`/nowhere/program` cannot be started: No such file",
        ),
        (
            "true",
            Some("/nowhere"),
            "`true` cannot be started in /nowhere: No such file",
        ),
    ] {
        let settings = ChildSettings {
            command: command.to_owned(),
            cwd: cwd.map(Into::into),
            ..ChildSettings::clone(&program(""))
        };
        let error = child::start(Arc::new(settings)).await.unwrap_err();
        assert!(error.nothing_sent(), "{error:?}");
        let UpstreamError::Unreachable { source, .. } = error else {
            panic!("{error:?}");
        };
        assert!(source.to_string().contains(expected), "{source}");
    }
}

#[tokio::test]
async fn stop_lets_a_program_end_by_itself_when_its_input_closes() {
    let child = start("cat > /dev/null; exit 7").await;
    child.stop().await;
    let how = child.ended().await;
    assert!(how.ends_with("exited with status 7"), "{how}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_child_gains_no_rights_and_leaves_no_dump() {
    let child = start(
        r#"read_line
rights=$(sed -n 's/^NoNewPrivs:[[:space:]]*//p' /proc/self/status)
result "$id" "[$rights,$(ulimit -c),$(ulimit -Hc),$(ulimit -Hn)]""#,
    );
    let child = child.await;
    let text = answer(soon(child.call(&tool("1", "a"))).await)
        .await
        .unwrap();
    let found: Vec<u64> = serde_json::from_str(frame(&text).body().unwrap()).unwrap();
    let [rights, core, core_max, descriptors_max] = found[..] else {
        panic!("{found:?}");
    };
    assert_eq!((rights, core, core_max), (1, 0, 0));
    assert!(descriptors_max <= 16_384, "{descriptors_max}");
    // What the gateway itself may do is another matter.
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    assert!(own.contains("NoNewPrivs:\t0"), "{own}");
}

/// Ignores what it can, says so and stays.
const STUBBORN: &str = r#"
trap '' TERM
sleep 1000 &
read_line; result "$id" "[$$,$!]"
while :; do sleep 1000; done
"#;

#[tokio::test]
async fn stop_ends_what_ignores_it_and_its_whole_group() {
    let child = start(STUBBORN).await;
    let text = answer(soon(child.call(&tool("1", "a"))).await)
        .await
        .unwrap();
    let pids: Vec<i32> = serde_json::from_str(frame(&text).body().unwrap()).unwrap();
    // The waits between the signals pass at once.
    tokio::time::pause();
    child.stop().await;
    tokio::time::resume();
    let how = child.ended().await;
    assert!(how.ends_with("ended by signal 9"), "{how}");
    assert!(is_gone(pids[0]));
    becomes_true(|| is_dead(pids[1])).await;
}

#[tokio::test]
async fn a_group_does_not_outlive_its_leader() {
    let child = start(r#"sleep 1000 & read_line; result "$id" $!; read_line; exit 1"#).await;
    let text = answer(soon(child.call(&tool("1", "a"))).await)
        .await
        .unwrap();
    let grandchild: i32 = frame(&text).body().unwrap().parse().unwrap();
    assert!(!is_dead(grandchild));
    let error = soon(child.call(&tool("2", "a"))).await.unwrap_err();
    assert!(error.to_string().contains("status 1"), "{error}");
    becomes_true(|| is_dead(grandchild)).await;
}

#[tokio::test]
async fn the_last_handle_takes_the_process_along() {
    let child = start(SERVER).await;
    let session = soon(child.open(init())).await.unwrap();
    let pid = pid(&session).await;
    drop(child);
    assert!(!is_dead(pid), "the session still has it");
    drop(session);
    becomes_true(|| is_gone(pid)).await;
}

#[test]
fn a_runtime_that_is_dropped_takes_the_group_along() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.unwrap();
    let (_child, grandchild) = runtime.block_on(async {
        let child = start(r#"sleep 1000 & read_line; result "$id" $!; read_line"#).await;
        let text = answer(soon(child.call(&tool("1", "a"))).await)
            .await
            .unwrap();
        let grandchild: i32 = frame(&text).body().unwrap().parse().unwrap();
        (child, grandchild)
    });
    assert!(!is_dead(grandchild));
    drop(runtime);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .unwrap()
        .block_on(becomes_true(|| is_dead(grandchild)));
}

#[tokio::test]
async fn lines_that_are_not_mcp_are_counted_and_passed_over() {
    let child = start(
        r#"
        say 'Server 1.0 running on stdio'; say '{"level":"info"}'; say ''; printf '\377\376\n'
        read_line; say 'debug: got it'; result "$id" '1'; read_line
        "#,
    )
    .await;
    let text = answer(soon(child.call(&tool("1", "a"))).await)
        .await
        .unwrap();
    assert_eq!(text, r#"{"jsonrpc":"2.0","id":1,"result":1}"#);
    assert_eq!(child.losses().stray_lines, 4);
}

#[tokio::test]
async fn a_line_without_end_ends_the_child() {
    let child = start(r#"read_line; tr '\0' x < /dev/zero"#).await;
    let error = soon(child.call(&tool("1", "a"))).await.unwrap_err();
    let what = error.to_string();
    assert!(what.contains("a line of more than 1048576 bytes"), "{what}");
    assert!(child.has_ended());
}

#[tokio::test]
async fn a_flood_on_one_call_drops_news_but_no_result() {
    let child = start(
        r#"
        read_line; flooded=$id
        yes "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":$id,\"progress\":1}}" | head -n 50000
        read_line; result "$id" '"other"'; result "$flooded" '"flooded"'; read_line
        "#,
    )
    .await;
    let flooded = out(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":1}}}"#,
    );
    let Reply::Stream(mut stream) = soon(child.call(&flooded)).await.unwrap() else {
        panic!("answered at once");
    };
    let other = answer(soon(child.call(&tool("2", "b"))).await)
        .await
        .unwrap();
    assert!(other.contains("other"));
    let (mut n, mut last) = (0, String::new());
    while let Some(text) = next(&mut stream).await.unwrap() {
        n += 1;
        last = text;
    }
    assert!(last.contains("flooded"), "{last}");
    assert!(n < 1000, "{n} messages were kept");
    assert!(child.losses().dropped > 40_000, "{:?}", child.losses());
}

#[tokio::test]
async fn a_child_sees_nothing_of_our_environment_but_the_basics() {
    // The canary: cargo sets it for every test.
    assert!(std::env::var("CARGO_MANIFEST_DIR").is_ok());
    let settings = program_with(
        r#"read_line; names=$(env | sed -n 's/^\([A-Za-z_]*\)=.*/"\1",/p' | tr -d '\n'); result "$id" "[$names\"\"]""#,
        &[("TOKEN", "s3cret")],
    );
    let child = child::start(settings).await.unwrap();
    let text = answer(soon(child.call(&tool("1", "a"))).await)
        .await
        .unwrap();
    let names: Vec<String> = serde_json::from_str(frame(&text).body().unwrap()).unwrap();
    assert!(names.iter().any(|name| name == "TOKEN"));
    let basics = [
        "PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL", "TERM",
    ];
    // The shell sets some by itself.
    let shell = ["TOKEN", "PWD", "OLDPWD", "SHLVL", "_", ""];
    for name in &names {
        let known = basics.iter().chain(&shell).any(|known| known == name);
        assert!(known, "{name} of {names:?}");
    }
}

#[tokio::test]
async fn secrets_do_not_show_in_settings_that_are_printed() {
    let settings = program_with("", &[("TOKEN", "s3cret")]);
    assert!(!format!("{settings:?}").contains("s3cret"));
}
