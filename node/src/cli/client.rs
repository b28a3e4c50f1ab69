//! Client of the admin API.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use serde_json::Value;

use super::connect::{Answer, Plane, address, exchange};
use super::exit::{Exit, Failure};

/// Where the admin API is, and what opens it.
#[derive(Debug)]
pub(super) struct Client {
    base: Uri,
    token: Option<HeaderValue>,
    plane: Plane,
}

impl Client {
    pub(super) fn new(admin: &str, token: Option<String>) -> Result<Self, Failure> {
        let token = token
            .filter(|token| !token.is_empty())
            .map(|token| bearer(&token, "LOCKGATE_TOKEN"))
            .transpose()?;
        Ok(Self {
            base: address(admin)?,
            token,
            plane: Plane::Admin,
        })
    }

    /// For a verb that reads files when it is told where they are.
    pub(super) fn beside_files(self) -> Self {
        Self {
            plane: Plane::AdminBesideFiles,
            ..self
        }
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.send(Method::GET, path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        self.send(Method::POST, path, body).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.send(Method::DELETE, path, None).await
    }

    /// The answer's body as it is.
    pub(super) async fn bytes(&self, path: &str) -> Result<Bytes, Failure> {
        let answer = self.ask(Method::GET, path, None).await?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        // Says why.
        read(&answer).map(|_json| Bytes::new())
    }

    /// The answer's JSON; `null` for an answer without a body.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        read(&self.ask(method, path, body).await?)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let names = path.split('?').next().unwrap_or_default();
        if names.split('/').any(str::is_empty) {
            let remedy = "name what is meant; the verb `list` shows what there is";
            return Err(Failure::new("an empty name is nobody's", remedy));
        }
        let prefix = self.base.to_string();
        let uri = address(&format!("{}/api/v1/{path}", prefix.trim_end_matches('/')))?;
        let mut request = Request::new(Full::new(
            body.map_or_else(Bytes::new, |body| body.to_string().into()),
        ));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        if body.is_some() {
            request
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        exchange(request, self.plane).await
    }
}

/// A credential as a header. It comes from the environment's `variable`.
pub(super) fn bearer(credential: &str, variable: &str) -> Result<HeaderValue, Failure> {
    let value = HeaderValue::try_from(format!("Bearer {credential}"));
    let mut value = value.map_err(|_| Failure {
        exit: Exit::Usage,
        message: format!("{variable} holds characters that no header may carry"),
        remedy: format!("set {variable} to one line of visible ASCII"),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// One part of a path, with everything escaped that could end it.
pub(super) fn segment(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~.".contains(&byte);
    let escaped: String = name
        .bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect();
    // Dots alone would be taken for a step in the path.
    if escaped.bytes().all(|byte| byte == b'.') {
        escaped.replace('.', "%2E")
    } else {
        escaped
    }
}

fn read(answer: &Answer) -> Result<Value, Failure> {
    let json = if answer.body.is_empty() {
        Ok(Value::Null)
    } else {
        serde_json::from_slice::<Value>(&answer.body)
    };
    if answer.status.is_success() {
        return json.map_err(|error| {
            Failure::new(
                format!("the answer is not JSON: {error}"),
                "check that --admin names a gateway's admin address",
            )
        });
    }
    let error = json
        .ok()
        .map(|json| json["error"].clone())
        .unwrap_or_default();
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    let (message, remedy) = (text("message"), text("remedy"));
    if !message.is_empty() {
        return Err(Failure::new(message, remedy));
    }
    // `config/reload` answers with the problems themselves.
    if let Some(problems) = error.as_str() {
        return Err(Failure::new(problems, ""));
    }
    let remedy = match answer.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "run this on the gateway's machine, or set LOCKGATE_TOKEN to the one that the gateway was started with"
        }
        StatusCode::NOT_FOUND => {
            "check that --admin names a gateway's admin address, and the version of both ends"
        }
        _ => "see the gateway's log",
    };
    Err(Failure::new(
        format!("the gateway answered {}", answer.status),
        remedy,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_part_of_the_path() {
        assert_eq!(segment("ci-bot_1.a"), "ci-bot_1.a");
        assert_eq!(segment("a/b?c#d %"), "a%2Fb%3Fc%23d%20%25");
        assert_eq!(segment(".."), "%2E%2E");
        assert_eq!(segment("é"), "%C3%A9");
    }

    #[track_caller]
    fn refused(status: u16, body: &'static str) -> String {
        let status = StatusCode::from_u16(status).unwrap();
        let answer = Answer {
            status,
            body: Bytes::from_static(body.as_bytes()),
        };
        let failure = read(&answer).unwrap_err();
        format!("{} | {}", failure.message, failure.remedy)
    }

    #[test]
    fn refusals_say_what_the_gateway_says() {
        insta::assert_snapshot!(refused(404, r#"{"error":{"code":"no_key","message":"there is no key `a`","remedy":"see `lockgate keys list`"}}"#), @"there is no key `a` | see `lockgate keys list`");
        insta::assert_snapshot!(refused(401, ""), @"the gateway answered 401 Unauthorized | run this on the gateway's machine, or set LOCKGATE_TOKEN to the one that the gateway was started with");
        insta::assert_snapshot!(refused(422, r#"{"error":"lockgate.yaml:1: lisen: unknown key; did you mean `listen`?"}"#), @"lockgate.yaml:1: lisen: unknown key; did you mean `listen`? |");
        insta::assert_snapshot!(refused(502, "<html>"), @"the gateway answered 502 Bad Gateway | see the gateway's log");
        insta::assert_snapshot!(refused(200, "<html>"), @"the answer is not JSON: expected value at line 1 column 1 | check that --admin names a gateway's admin address");
    }
}
