//! `lockgate tools`.

use clap::builder::NonEmptyStringValueParser;
use http::header::HeaderValue;
use lockgate_proto::jsonrpc::encode_str;
use serde_json::Value;

use super::client::{Client, bearer, segment};
use super::connect::address;
use super::exit::{Exit, Failure};
use super::mcp::Mcp;
use super::out::Out;
use super::raw::{self, checked, member, pretty};
use super::sessions::{items, text};

/// Key of the caller, as for `lockgate stdio`.
const KEY: &str = "LOCKGATE_API_KEY";

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List tools under their full names: all that there are, or, as a client, those that its key may call.
    List(ListArgs),
    /// Call a tool as a client would, through the data plane, with the API key in LOCKGATE_API_KEY.
    Call(CallArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct CallArgs {
    /// Full name of the tool, as listed.
    name: String,
    /// Arguments, as a JSON object.
    #[arg(default_value = "{}", value_parser = arguments)]
    arguments: String,
    /// What to answer when the tool asks for input, as a JSON object. Without it the tool is told that there is no
    /// answer, and the exit status is 1.
    #[arg(long, value_name = "JSON", value_parser = arguments)]
    answer: Option<String>,
    #[command(flatten)]
    door: Door,
}

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Of this server only.
    #[arg(long, conflicts_with_all = ["as_client", "url", "key_env"])]
    server: Option<String>,
    /// What a client gets to see, through the data plane, with the API key in LOCKGATE_API_KEY. So do --url and --key-env.
    #[arg(long)]
    as_client: bool,
    #[command(flatten)]
    door: Door,
}

/// Where and as whom clients come in.
#[derive(Debug, clap::Args)]
pub(super) struct Door {
    /// Data plane. Asked from the admin API if left out.
    #[arg(long)]
    url: Option<String>,
    /// Variable of the environment that holds the API key, instead of LOCKGATE_API_KEY.
    #[arg(long, value_name = "VARIABLE", value_parser = NonEmptyStringValueParser::new())]
    key_env: Option<String>,
}

impl Door {
    fn is_named(&self) -> bool {
        self.url.is_some() || self.key_env.is_some()
    }

    async fn enter(&self, client: &Client) -> Result<Mcp, Failure> {
        let key = key(self.key_env.as_deref(), |name| std::env::var(name).ok())?;
        let url = match &self.url {
            Some(url) => url.clone(),
            None => data_plane(&client.get("info").await?)?,
        };
        Mcp::open(address(&url)?, key).await
    }
}

pub(super) async fn run(verb: Verb, client: &Client, out: &mut Out) -> Result<Exit, Failure> {
    match verb {
        Verb::List(args) if args.as_client || args.door.is_named() => {
            list_as_client(&args.door, client, out).await
        }
        Verb::List(args) => list(args.server, client, out).await,
        Verb::Call(args) => call(args, client, out).await,
    }
}

async fn list(server: Option<String>, client: &Client, out: &mut Out) -> Result<Exit, Failure> {
    let is_of_one = server.is_some();
    let query = server
        .map(|server| format!("?server={}", segment(&server)))
        .unwrap_or_default();
    let answer = client.get(&format!("tools{query}")).await?;
    let heads = ["name", "server", "description"];
    let row = |tool: &Value| heads.iter().map(|key| text(&tool[*key])).collect();
    let rows: Vec<Vec<String>> = items(&answer, "tools").iter().map(row).collect();
    out.table(&heads, &rows, &answer);
    let missing = items(&answer, "missing");
    if !out.json {
        missing.iter().for_each(|server| out.note(&untold(server)));
    }
    Ok(match is_of_one && !missing.is_empty() {
        true => Exit::Unchecked,
        false => Exit::Done,
    })
}

/// Why the tools of a server are not in the list.
fn untold(missing: &Value) -> String {
    let server = text(&missing["server"]);
    match missing["error"].as_str() {
        Some(error) => format!("server `{server}` has not told its tools: {error}"),
        None => format!("server `{server}` has not told its tools yet"),
    }
}

async fn list_as_client(door: &Door, client: &Client, out: &mut Out) -> Result<Exit, Failure> {
    let mut mcp = door.enter(client).await?;
    let listed = all_tools(&mut mcp).await;
    mcp.close().await;
    let tools = listed?;
    if out.json {
        out.text(&pretty(&format!(r#"{{"tools":[{}]}}"#, tools.join(","))));
        return Ok(Exit::Done);
    }
    let heads = ["name", "description"];
    let cell =
        |tool: &str, key| raw::string(tool, &[key]).map_or_else(|| "-".to_owned(), String::from);
    let row = |tool: &String| heads.map(|key| cell(tool, key)).to_vec();
    let rows: Vec<Vec<String>> = tools.iter().map(row).collect();
    out.table(&heads, &rows, &Value::Null);
    Ok(Exit::Done)
}

async fn all_tools(mcp: &mut Mcp) -> Result<Vec<String>, Failure> {
    let (mut tools, mut params) = (Vec::new(), "{}".to_owned());
    loop {
        let page = mcp.call("tools/list", &params).await?;
        let items = raw::items(&page, &["tools"]);
        tools.extend(items.into_iter().map(str::to_owned));
        match member(&page, &["nextCursor"]) {
            Some(cursor) if cursor != "null" => params = format!(r#"{{"cursor":{cursor}}}"#),
            _ => return Ok(tools),
        }
    }
}

async fn call(args: CallArgs, client: &Client, out: &mut Out) -> Result<Exit, Failure> {
    let mut mcp = args.door.enter(client).await?;
    let is_answered = args.answer.is_some();
    mcp.answer_with(args.answer);
    let (name, arguments) = (encode_str(&args.name), args.arguments);
    let params = format!(r#"{{"name":{name},"arguments":{arguments}}}"#);
    let result = mcp.call("tools/call", &params).await;
    let asked = mcp.asked().join("; ");
    let is_open = !mcp.asked().is_empty() && !is_answered;
    mcp.close().await;
    if is_open {
        out.note(&format!("the tool asks for input: {asked}"));
        out.note("  try: --answer JSON, or a client that can be asked");
    }
    let result = result?;
    if out.json {
        out.text(&pretty(&result));
    } else {
        shown(&result).iter().for_each(|text| out.text(text));
    }
    let is_error = member(&result, &["isError"]) == Some("true");
    if is_error {
        out.note("the tool reports an error");
    }
    Ok(if is_open || is_error {
        Exit::Failed
    } else {
        Exit::Done
    })
}

/// The caller's key as a header. A gateway that lets anybody in needs none, unless one was named.
fn key(
    named: Option<&str>,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Option<HeaderValue>, Failure> {
    let variable = named.unwrap_or(KEY);
    match env(variable).filter(|key| !key.is_empty()) {
        Some(key) => bearer(&key, variable).map(Some),
        None if named.is_none() => Ok(None),
        None => Err(Failure {
            exit: Exit::Usage,
            message: format!("the environment variable `{variable}` is not set"),
            remedy: format!("set {variable} to an API key of the gateway"),
        }),
    }
}

/// A listener on all addresses is reached on the loopback one.
fn data_plane(info: &Value) -> Result<String, Failure> {
    let listen: Option<std::net::SocketAddr> = info["listen"]
        .as_str()
        .and_then(|listen| listen.parse().ok());
    let mut listen = listen.ok_or_else(|| {
        Failure::new(
            "the gateway does not say where its data plane is",
            "name it with --url",
        )
    })?;
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen.ip() {
            std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    let scheme = if info["tls"] == true { "https" } else { "http" };
    Ok(format!("{scheme}://{listen}/mcp"))
}

/// Texts as they are, anything else as JSON.
fn shown(result: &str) -> Vec<String> {
    let shown = |content: &str| match raw::string(content, &["text"]) {
        Some(text) => text.into_owned(),
        None => content.to_owned(),
    };
    let contents = raw::items(result, &["content"]);
    match member(result, &["structuredContent"]) {
        Some(structured) if contents.is_empty() => vec![pretty(structured)],
        _ => contents.into_iter().map(shown).collect(),
    }
}

/// An object as written: the tool is to get it like that.
fn arguments(text: &str) -> Result<String, String> {
    match checked(text.as_bytes()) {
        Ok(object) if object.starts_with('{') => Ok(object),
        Ok(_) => Err("write a JSON object, for example {\"path\": \"a\"}".to_owned()),
        Err(error) => Err(format!("not JSON: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_reached_on_loopback() {
        let url = |listen: &str| data_plane(&json!({ "listen": listen })).ok();
        assert_eq!(
            url("0.0.0.0:7777").as_deref(),
            Some("http://127.0.0.1:7777/mcp")
        );
        assert_eq!(url("[::]:7777").as_deref(), Some("http://[::1]:7777/mcp"));
        assert_eq!(
            url("10.0.0.1:80").as_deref(),
            Some("http://10.0.0.1:80/mcp")
        );
        assert_eq!(url("x"), None);
    }

    #[test]
    fn a_listener_with_tls_is_spoken_to_in_tls() {
        let url = data_plane(&json!({ "listen": "[::]:7777", "tls": true })).ok();
        assert_eq!(url.as_deref(), Some("https://[::1]:7777/mcp"));
    }

    #[test]
    fn the_key_is_the_callers_own_and_never_the_operators() {
        let env = |name: &str| match name {
            "LOCKGATE_API_KEY" => Some("lg_own".to_owned()),
            "LOCKGATE_TOKEN" => Some("operator".to_owned()),
            "OTHER" => Some("lg_other".to_owned()),
            _ => None,
        };
        let shown =
            |named| key(named, env).map(|key| key.map(|key| key.to_str().unwrap().to_owned()));
        assert_eq!(shown(None).unwrap().as_deref(), Some("Bearer lg_own"));
        assert_eq!(
            shown(Some("OTHER")).unwrap().as_deref(),
            Some("Bearer lg_other")
        );
        assert!(shown(Some("MISSING")).is_err());
        assert!(key(None, |_| None).unwrap().is_none());
    }

    #[test]
    fn texts_are_shown_as_they_are() {
        let result = json!({ "content": [{ "type": "text", "text": "a\nb" }, { "type": "image", "data": "x" }] });
        assert_eq!(
            shown(&result.to_string()),
            [
                "a\nb".to_owned(),
                r#"{"type":"image","data":"x"}"#.to_owned()
            ]
        );
        assert_eq!(shown(r#"{ "content": [], "structuredContent": 1 }"#), ["1"]);
    }
}
