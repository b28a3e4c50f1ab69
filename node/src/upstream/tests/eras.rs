//! What is known of a server's eras, how, and for how long.

use super::fake::{Fake, Port, World, url};
use super::*;

#[tokio::test]
async fn a_verdict_is_dated_and_says_where_it_comes_from() {
    let fake = Fake::start(&World::new(true, false)).await;
    let found = spawn(server("found", &[fake.url()])).await.status();
    assert_eq!(found.eras.origin, Some("found"));
    assert!(found.eras.found_secs_ago.is_some());
    assert_eq!(found.endpoints[0].transport, Some("http"));

    let decreed = config::Server {
        era: config::EraChoice::Session,
        ..server("decreed", &[fake.url()])
    };
    let decreed = spawn(decreed).await.status();
    assert_eq!(decreed.eras.origin, Some("decreed"));
    assert_eq!(decreed.eras.found_secs_ago, None);
    assert_eq!(
        (decreed.eras.session, decreed.eras.stateless),
        (Some(true), Some(false))
    );
    assert_eq!(decreed.endpoints[0].transport, Some("http"));

    let dead = Port::reserve();
    let nobody = spawn(server("nobody", &[url(&dead)])).await;
    assert_eq!(nobody.status().eras.origin, None);
    assert_eq!(nobody.status().endpoints[0].transport, None);
}

#[tokio::test]
async fn who_speaks_no_era_or_is_not_there_is_told_with_a_reason_and_is_not_healthy() {
    let stranger = Fake::start(&World::new(false, false)).await;
    let dead = Port::reserve();
    for (url, origin, reason) in [
        (stranger.url(), Some("found"), stranger.url().to_string()),
        (url(&dead), None, "cannot be reached".to_owned()),
    ] {
        let mut settings = server("jira", &[url]);
        if let config::Transport::Http { kind, .. } = &mut settings.transport {
            // The fake's stream would be waited for as one of HTTP+SSE.
            *kind = config::HttpTransport::Streamable;
        }
        let status = spawn(settings).await.status();
        assert!(!status.up && !status.endpoints[0].healthy, "{status:?}");
        assert_eq!(status.eras.origin, origin);
        let error = status.last_error.as_deref().unwrap();
        assert!(error.contains(&reason), "{error}");
        assert!(status.last_error_secs_ago.is_some());
    }
}

#[tokio::test]
async fn a_decreed_era_is_the_only_one_that_is_spoken() {
    let world = World::new(true, true);
    let fake = Fake::start(&world).await;
    let decreed = config::Server {
        era: config::EraChoice::Stateless,
        ..server("jira", &[fake.url()])
    };
    let handle = spawn(decreed).await;
    assert!(handle.is_up());
    // Whatever becomes of a client with a session, the server never sees one.
    let _bridged = handle.open(init(), &key()).await;
    assert_eq!(world.count("initialize"), 0);
}

#[tokio::test]
async fn an_era_that_a_server_learned_in_silence_is_found_in_time() {
    let old = World::new(true, false);
    let fake = Fake::start(&old).await;
    let settings = config::Server {
        probe_interval: Duration::from_millis(50),
        ..server("jira", &[fake.url()])
    };
    let handle = spawn(settings).await;
    assert_eq!(handle.speaks(Era::Stateless), Some(false));
    // Looked at again and again, beside the session in use.
    until(&handle, |_| old.count("server/discover") >= 3).await;
    let port = fake.stop().await;
    let _newer = Fake::start_at(port, &World::new(true, true));
    until(&handle, |handle| {
        handle.speaks(Era::Stateless) == Some(true) && handle.catalog(Era::Stateless).is_some()
    })
    .await;
}

#[tokio::test]
async fn a_server_that_comes_back_in_the_other_era_is_used_as_what_it_is() {
    let all = Some(["a", "b", "c"].map(str::to_owned).to_vec());
    let mut fake = Fake::start(&World::new(false, true)).await;
    let settings = config::Server {
        probe_interval: Duration::from_millis(50),
        ..server("jira", &[fake.url()])
    };
    let handle = spawn(settings).await;
    let mut session = handle.open(init(), &key()).await.unwrap();
    let ping = request("ping", "");
    for (era, speaks) in [
        (Era::Session, (true, false)),
        (Era::Stateless, (false, true)),
    ] {
        session.call(&ping, CallClass::Repeatable).await.unwrap();
        assert!(!session.is_outlived_by(&handle));
        let port = fake.stop().await;
        // The lists are looked for while it is away, too.
        until(&handle, |handle| !handle.is_up()).await;
        fake = Fake::start_at(port, &World::new(speaks.0, speaks.1));
        until(&handle, |handle| {
            handle.speaks(era) == Some(true) && tools(handle, era) == all
        })
        .await;
        // Whoever holds the old one gets another, in the era that is spoken now.
        assert!(session.is_outlived_by(&handle));
        session = handle.open(init(), &key()).await.unwrap();
    }
    session.call(&ping, CallClass::Repeatable).await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_child_that_crashed_may_come_back_as_another_version() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("upgraded");
    let script = r#"
        while read -r line; do
            id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
            case "$line" in
                *server/discover*)
                    if [ -e "$0" ]; then
                        printf '{"jsonrpc":"2.0","id":%s,"result":{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}}\n' "$id"
                    else
                        printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}\n' "$id"
                    fi ;;
                *'"initialize"'*) printf '{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"1"}}}\n' "$id" ;;
                *tools/list*) printf '{"jsonrpc":"2.0","id":%s,"result":{"tools":[{"name":"die"}]}}\n' "$id" ;;
                *tools/call*) : > "$0"; exit 1 ;;
            esac
        done
    "#;
    let mark = mark.to_str().unwrap().to_owned();
    let settings = config::Server {
        transport: config::Transport::Stdio {
            command: "sh".to_owned(),
            args: vec!["-c".to_owned(), script.to_owned(), mark],
            env: Vec::new(),
            cwd: None,
            scope: config::Scope::Auto,
        },
        ..watched("sh", &[])
    };
    let handle = spawn(settings).await;
    assert_eq!(handle.speaks(Era::Stateless), Some(false));
    let session = handle.open(init(), &key()).await.unwrap();
    let die = request("tools/call", r#""name":"die""#);
    session.call(&die, CallClass::Effect).await.unwrap_err();
    // The crash comes within seconds of the first verdict, which is not forgotten until the next may be asked for.
    until(&handle, |handle| {
        handle.speaks(Era::Stateless) == Some(true)
    })
    .await;
    handle.drain(SOON).await;
}
