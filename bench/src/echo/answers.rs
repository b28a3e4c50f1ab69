//! Answers of the echo, built once: a call only adds its id and, for `echo`, its arguments.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    fmt::Write as _,
};

use bytes::Bytes;

use super::{body::EchoBody, message::Call};

/// Text of the tool `blob`, in bytes.
const BLOB_BYTES: usize = 64 * 1024;
/// Digits of the ids that `/sized/{bytes}/mcp` is exact for.
const ID_DIGITS: usize = 10;
/// What a stateless result has to carry.
const COMPLETE: &str = r#""resultType":"complete","#;
/// What a stateless list has to carry besides.
const CACHEABLE: &str = r#""ttlMs":60000,"cacheScope":"public","#;

/// Prepared answers.
#[derive(Debug)]
pub(super) struct Answers {
    tools: String,
    blob: [Bytes; 2],
    list: [Bytes; 2],
    sized: RefCell<HashMap<usize, Bytes>>,
}

/// Which era an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Era {
    /// With a session id.
    Session,
    /// 2026-07-28.
    Stateless,
}

impl Era {
    fn complete(self) -> &'static str {
        match self {
            Self::Session => "",
            Self::Stateless => COMPLETE,
        }
    }
}

impl Answers {
    /// Answers of a server with `tools` tools.
    pub(super) fn new(tools: usize) -> Self {
        let tools = list_of_tools(tools);
        let text = blob_text();
        let blob = |era: Era| {
            let complete = era.complete();
            Bytes::from(format!(
                r#","result":{{{complete}"content":[{{"type":"text","text":"{text}"}}]}}}}"#
            ))
        };
        Self {
            blob: [blob(Era::Session), blob(Era::Stateless)],
            list: [
                Bytes::from(format!(r#","result":{{"tools":[{tools}]}}}}"#)),
                Bytes::from(format!(
                    r#","result":{{{COMPLETE}{CACHEABLE}"tools":[{tools}]}}}}"#
                )),
            ],
            tools,
            sized: RefCell::default(),
        }
    }

    /// `tools/list`; `path` may ask for a size.
    pub(super) fn list(&self, era: Era, id: &str, path: &str) -> EchoBody {
        let tail = match path_bytes(path) {
            None => self.list[era as usize].clone(),
            Some(bytes) => self
                .sized
                .borrow_mut()
                .entry(bytes)
                .or_insert_with(|| self.sized(bytes))
                .clone(),
        };
        EchoBody::two(head(id), tail)
    }

    /// `tools/call` of `blob`.
    pub(super) fn blob(&self, era: Era, id: &str) -> EchoBody {
        EchoBody::two(head(id), self.blob[era as usize].clone())
    }

    /// A list that makes an answer of `bytes` bytes, or as near as one tool allows.
    fn sized(&self, bytes: usize) -> Bytes {
        let open = format!(
            r#","result":{{{COMPLETE}{CACHEABLE}"tools":[{},{{"name":"pad","inputSchema":{{"type":"object"}},"description":""#,
            self.tools
        );
        let close = r#""}]}}"#;
        let used = HEAD.len() + ID_DIGITS + open.len() + close.len();
        let pad = "x".repeat(bytes.saturating_sub(used));
        Bytes::from(format!("{open}{pad}{close}"))
    }
}

const HEAD: &str = r#"{"jsonrpc":"2.0","id":"#;

fn head(id: &str) -> Bytes {
    Bytes::from([HEAD, id].concat())
}

/// Bytes that `/sized/{bytes}/mcp` asks for.
fn path_bytes(path: &str) -> Option<usize> {
    path.strip_prefix("/sized/")?
        .strip_suffix("/mcp")?
        .parse()
        .ok()
}

/// The text of `blob`: every line differs, so that a missing or doubled piece shows.
pub(crate) fn blob_text() -> String {
    let mut text = String::with_capacity(BLOB_BYTES + 64);
    let mut line = 0_usize;
    while text.len() < BLOB_BYTES {
        // Writing to a string cannot fail.
        let _written = write!(text, "line {line:06} of a result that is carried whole\\n");
        line += 1;
    }
    // Cut at a line end: half an escape would not be JSON.
    let cut = text[..BLOB_BYTES].rfind("\\n").map_or(0, |at| at + 2);
    text.truncate(cut);
    while text.len() < BLOB_BYTES {
        text.push('.');
    }
    text
}

fn list_of_tools(tools: usize) -> String {
    let mut list = String::new();
    for index in 0..tools {
        let name = match index {
            0 => "echo".to_owned(),
            1 => "blob".to_owned(),
            2 => "progress".to_owned(),
            _ => format!("tool_{index:04}"),
        };
        let comma = if index == 0 { "" } else { "," };
        let _written = write!(
            list,
            r#"{comma}{{"name":"{name}","title":"Tool {index}","description":"Answers with what it was given; number {index} of this server.","inputSchema":{{"type":"object","properties":{{"message":{{"type":"string","description":"What comes back"}},"n":{{"type":"integer"}}}}}}}}"#
        );
    }
    list
}

/// `tools/call` of any tool but `blob` and `progress`: its arguments come back.
pub(super) fn echo(era: Era, id: &str, call: &Call<'_>) -> EchoBody {
    let parts = [
        HEAD,
        id,
        r#","result":{"#,
        era.complete(),
        r#""content":[{"type":"text","text":"ok"}],"structuredContent":{"tool":""#,
        &call.name,
        r#"","arguments":"#,
        call.arguments(),
        "}}}",
    ];
    EchoBody::one(Bytes::from(parts.concat()))
}

/// `tools/call` of `progress`: `n` notifications with the caller's token, then the result.
pub(super) fn progress(era: Era, id: &str, token: Option<&str>, n: usize) -> EchoBody {
    let mut events = VecDeque::with_capacity(n + 1);
    if let Some(token) = token {
        for step in 1..=n {
            events.push_back(Bytes::from(format!(
                "event: message\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progressToken\":{token},\"progress\":{step},\"total\":{n}}}}}\n\n"
            )));
        }
    }
    let complete = era.complete();
    events.push_back(Bytes::from(format!(
        "event: message\ndata: {HEAD}{id},\"result\":{{{complete}\"content\":[{{\"type\":\"text\",\"text\":\"{n} steps\"}}]}}}}\n\n"
    )));
    EchoBody::events(events)
}

/// A small result.
pub(super) fn result(id: &str, result: &str) -> EchoBody {
    EchoBody::one(Bytes::from(
        [HEAD, id, r#","result":"#, result, "}"].concat(),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{Answers, BLOB_BYTES, EchoBody, Era, blob_text, path_bytes};

    fn text(body: EchoBody) -> String {
        let EchoBody::Parts(parts) = body else {
            panic!("not a plain body");
        };
        parts
            .iter()
            .map(|part| std::str::from_utf8(part).unwrap())
            .collect()
    }

    #[test]
    fn a_sized_list_has_the_size_asked_for() {
        let answers = Answers::new(3);
        let body = text(answers.list(Era::Session, "1000000001", "/sized/20000/mcp"));
        assert_eq!(body.len(), 20_000);
        assert!(serde_json::from_str::<Value>(&body).is_ok());
    }

    #[test]
    fn a_list_names_every_tool() {
        for era in [Era::Session, Era::Stateless] {
            let body = text(Answers::new(100).list(era, "1", "/mcp"));
            let list: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(list["result"]["tools"].as_array().unwrap().len(), 100);
        }
    }

    #[test]
    fn a_blob_is_64_kib_of_json_text() {
        assert_eq!(blob_text().len(), BLOB_BYTES);
        let body = text(Answers::new(3).blob(Era::Stateless, "7"));
        assert!(serde_json::from_str::<Value>(&body).is_ok());
    }

    #[test]
    fn only_a_sized_path_has_bytes() {
        assert_eq!(path_bytes("/sized/12/mcp"), Some(12));
        assert_eq!(path_bytes("/s1/mcp"), None);
    }
}
