//! Real processes: small POSIX shell programs that speak just enough MCP.

mod calls;
mod pool;
mod process;
mod sessions;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::jsonrpc::{Frame, Limits};
use lockgate_proto::mcp::Revision;
use rustix::process::{Pid, Signal, kill_process};
use secrecy::SecretString;
use tokio::time::timeout;

use super::{ChildSettings, child};
use crate::error::UpstreamError;
use crate::upstream::link::{MessageStream, Outgoing, Reply, SessionInit};
use crate::upstream::transport::channel::{Channel, ChannelSession};

/// No test waits longer for anything; a machine under load may need most of it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Functions for the programs below: `read_line` puts a line into `$line`, its id into `$id`.
const PRELUDE: &str = r#"
read_line() {
    IFS= read -r line || exit 0
    case $line in
        *'"id":'*) id=${line#*\"id\":}; id=${id%%[,\}]*} ;;
        *) id= ;;
    esac
}
say() { printf '%s\n' "$1"; }
result() { say "{\"jsonrpc\":\"2.0\",\"id\":$1,\"result\":$2}"; }
agree() { result "$id" '{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"sh","version":"1"}}'; }
"#;

/// A server of the session era. Tools by name; `$LOG`, where it is set, gets what is set for good.
const SERVER: &str = r#"
while :; do
    read_line
    case $line in
        *'"initialize"'*) agree ;;
        *'"logging/setLevel"'* | *'"resources/'*) [ -z "$LOG" ] || say "$line" >> "$LOG"; result "$id" '{}' ;;
        *'"pid"'*) result "$id" "$$" ;;
        *'"hang"'*) say '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"hangs"}}' ;;
        *'"last"'*) result "$id" "$last" ;;
        *'"ask"'*) asked=$id; say '{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{}}' ;;
        *'"id":"q"'*) result "$asked" "$line" ;;
        *'"change"'*) say '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'; result "$id" '{}' ;;
        *'"exit"'*) exit 3 ;;
    esac
    last=$line
done
"#;

fn program(script: &str) -> Arc<ChildSettings> {
    program_with(script, &[])
}

fn program_with(script: &str, env: &[(&str, &str)]) -> Arc<ChildSettings> {
    let secret = |value: &str| SecretString::from(value.to_owned());
    let env = env
        .iter()
        .map(|(key, value)| ((*key).to_owned(), secret(value)));
    Arc::new(ChildSettings {
        server: "sh".into(),
        command: "sh".to_owned(),
        args: vec!["-c".to_owned(), format!("{PRELUDE}\n{script}")],
        env: env.collect(),
        cwd: None,
        answer_bytes_max: 1 << 20,
    })
}

async fn start(script: &str) -> Channel {
    child::start(program(script)).await.unwrap()
}

fn init() -> SessionInit {
    SessionInit {
        revision: Revision::V2025_11_25,
        capabilities: "{}".into(),
        client_info: r#"{"name":"test","version":"1"}"#.into(),
        now_ms: 0,
    }
}

fn frame(text: &str) -> Frame {
    Frame::parse(text.to_owned().into(), &Limits::default()).unwrap()
}

fn out(text: &str) -> Outgoing {
    out_within(text, PATIENCE)
}

fn out_within(text: &str, timeout: Duration) -> Outgoing {
    Outgoing {
        frame: frame(text),
        headers: Vec::new(),
        timeout,
    }
}

/// A `tools/call` with raw id.
fn tool(id: &str, name: &str) -> Outgoing {
    out(&format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{name}"}}}}"#
    ))
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, Box::pin(future)).await.expect("in time")
}

/// The answer, whatever comes before it.
async fn answer(reply: Result<Reply, UpstreamError>) -> Result<String, UpstreamError> {
    let reply = reply?;
    match reply {
        Reply::Single { frame, .. } => Ok(frame.text().to_owned()),
        Reply::Stream(mut stream) => {
            let mut last = String::new();
            while let Some(text) = next(&mut stream).await? {
                last = text;
            }
            Ok(last)
        }
    }
}

async fn next(stream: &mut MessageStream) -> Result<Option<String>, UpstreamError> {
    let frame = soon(stream.next()).await?;
    Ok(frame.map(|frame| frame.text().to_owned()))
}

async fn ask(session: &ChannelSession, out: Outgoing) -> String {
    soon(async { answer(session.call(&out).await).await })
        .await
        .unwrap()
}

/// The process id that the server says.
async fn pid(session: &ChannelSession) -> i32 {
    let text = ask(session, tool("1", "pid")).await;
    let frame = frame(&text);
    frame.body().unwrap().parse().unwrap()
}

fn kill(pid: i32) {
    let pid = Pid::from_raw(pid).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// Whether the process is neither running nor waiting to be reaped.
fn is_gone(pid: i32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

/// Whether it does not run any more; somebody else may have to reap it.
fn is_dead(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    status.map_or(true, |status| status.contains(") Z "))
}

/// Looks again and again, for what nobody announces.
async fn becomes_true(fact: impl Fn() -> bool) {
    soon(async {
        while !fact() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
