//! 2026-07-28: every request stands for itself.

use http::request;
use hyper::{HeaderMap, Response, StatusCode};

use super::{
    Echo, STATELESS,
    answers::{self, Era},
    body::EchoBody,
    json,
    message::Message,
    refuse, session_era, status,
};

/// Code of a header that differs from the body.
const HEADER_MISMATCH: i32 = -32020;

/// Answers one message.
pub(super) fn answer(
    echo: &Echo,
    head: &request::Parts,
    message: &Message<'_>,
) -> Response<EchoBody> {
    let Some(id) = message.id.map(|id| id.get()) else {
        return status(StatusCode::ACCEPTED);
    };
    if !same(&head.headers, "mcp-method", &message.method) {
        let why = "Mcp-Method differs from the method";
        return refuse(StatusCode::BAD_REQUEST, id, HEADER_MISMATCH, why);
    }
    match &*message.method {
        "tools/call" => {
            let named = message
                .call()
                .is_none_or(|call| same(&head.headers, "mcp-name", &call.name));
            if !named {
                let why = "Mcp-Name differs from the name";
                return refuse(StatusCode::BAD_REQUEST, id, HEADER_MISMATCH, why);
            }
            session_era::call(echo, Era::Stateless, id, message)
        }
        "tools/list" => json(echo.answers.list(Era::Stateless, id, head.uri.path())),
        "server/discover" => json(answers::result(
            id,
            &format!(
                r#"{{"resultType":"complete","supportedVersions":["{STATELESS}"],"capabilities":{{"tools":{{}}}},"ttlMs":60000,"cacheScope":"public","_meta":{{"io.modelcontextprotocol/serverInfo":{{"name":"lockgate-echo","version":"1"}}}}}}"#
            ),
        )),
        _ => refuse(StatusCode::NOT_FOUND, id, -32601, "method is not known"),
    }
}

fn same(headers: &HeaderMap, name: &str, value: &str) -> bool {
    headers
        .get(name)
        .is_some_and(|header| header.as_bytes() == value.as_bytes())
}
