//! Skills of several servers on one endpoint (the extension `io.modelcontextprotocol/skills`).

use serde_json::{Value, json};

use crate::support::{Client, Gateway, Upstream, eventually};

const SESSION: &str = ", era: session";
const STATELESS: &str = ", era: stateless";
const SKILLS: &str = "io.modelcontextprotocol/skills";

/// A server with one skill of two files, and no resource that it lists.
async fn upstream(name: &str) -> Upstream {
    let upstream = Upstream::start().await;
    upstream.offer(json!({"resources": {}, "extensions": {SKILLS: {}}}));
    upstream.reply("resources/list", &[r#""result":{"resources":[]}"#]);
    upstream.reply("skills/list", &[&list(&[skill(name)])]);
    let entry = skill(name);
    upstream.reply("skills/get", &[&format!(r#""result":{{"skill":{entry}}}"#)]);
    let uri = format!("skill://{name}/more/x.md");
    let contents = json!([{"uri": uri, "text": name}]);
    upstream.reply(
        "resources/read",
        &[&format!(r#""result":{{"contents":{contents}}}"#)],
    );
    upstream
}

fn skill(name: &str) -> Value {
    let file = |path: &str| json!({"uri": format!("skill://{name}/{path}"), "digest": "sha256:00", "size": 1});
    json!({"uri": format!("skill://{name}/SKILL.md"),
        "frontmatter": {"name": name, "description": "d"},
        "resources": [file("SKILL.md"), file("more/x.md")]})
}

fn list(skills: &[Value]) -> String {
    format!(r#""result":{{"skills":{},"ttlMs":1000}}"#, json!(skills))
}

fn config(servers: &[(&str, &Upstream, &str)], allow: &str) -> String {
    let entries = servers
        .iter()
        .map(|(name, upstream, more)| upstream.entry(name, more));
    let entries: String = entries.collect();
    format!(
        "identity: {{ anonymous: [all] }}\nroles: {{ all: {{ allow: [{allow}] }} }}\nservers:\n{entries}"
    )
}

fn sent(upstream: &Upstream, method: &str) -> Value {
    serde_json::from_slice(&upstream.last_body(method).unwrap()).unwrap()
}

fn uris(list: &Value) -> Vec<&str> {
    let skills = list["skills"]
        .as_array()
        .unwrap_or_else(|| panic!("{list}"));
    skills
        .iter()
        .map(|skill| skill["uri"].as_str().unwrap())
        .collect()
}

async fn listed(client: &Client) -> Value {
    client.request("skills/list", json!({})).await["result"].clone()
}

#[tokio::test]
async fn skills_of_servers_of_both_eras_are_one_list_and_each_is_read_where_it_is() {
    let (old, new) = (upstream("a").await, upstream("b").await);
    let more = format!("{STATELESS}, uri_prefix: \"new+\"");
    let servers = [("old", &old, SESSION), ("new", &new, more.as_str())];
    let gateway = Gateway::start(&config(&servers, "\"*\"")).await;
    let session = gateway.client().open().await;
    let stateless = gateway.client();
    let of_stateless = stateless.stateless("skills/list", json!({})).await;
    let of_stateless = of_stateless.message().await["result"].clone();
    assert_eq!(of_stateless["resultType"], "complete");
    assert_eq!(of_stateless["cacheScope"], "private");
    for list in [&listed(&session).await, &of_stateless] {
        assert_eq!(uris(list), ["skill://a/SKILL.md", "new+skill://b/SKILL.md"]);
        assert_eq!(list["skills"][0], skill("a"));
        assert_eq!(list["skills"][1]["frontmatter"], skill("b")["frontmatter"]);
        let files = &list["skills"][1]["resources"];
        assert_eq!(files[1]["uri"], "new+skill://b/more/x.md");
        assert_eq!(files[1]["digest"], "sha256:00");
    }
    for (prefix, name, upstream) in [("", "a", &old), ("new+", "b", &new)] {
        let uri = format!("{prefix}skill://{name}/SKILL.md");
        let got = session.request("skills/get", json!({"uri": uri})).await;
        assert_eq!(got["result"]["skill"]["uri"], *uri, "{got}");
        assert_eq!(
            sent(upstream, "skills/get")["params"]["uri"],
            skill(name)["uri"]
        );
        let file = format!("{prefix}skill://{name}/more/x.md");
        let read = session
            .request("resources/read", json!({"uri": file}))
            .await;
        assert_eq!(read["result"]["contents"][0]["text"], name, "{read}");
        assert_eq!(read["result"]["contents"][0]["uri"], *file);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn where_no_server_has_skills_there_is_no_such_method() {
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let servers = [("one", &one, SESSION), ("two", &two, STATELESS)];
    let gateway = Gateway::start(&config(&servers, "\"*\"")).await;
    let client = gateway.client().open().await;
    let refused = client.request("skills/list", json!({})).await;
    assert_eq!(refused["error"]["code"], -32601, "{refused}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_skill_is_shown_to_those_who_may_read_it() {
    let (one, two) = (upstream("a").await, upstream("b").await);
    let servers = [("one", &one, SESSION), ("two", &two, STATELESS)];
    let gateway = Gateway::start(&config(&servers, "\"resource:skill://b/*\"")).await;
    let merged = gateway.client().open().await;
    assert_eq!(uris(&listed(&merged).await), ["skill://b/SKILL.md"]);
    let own = gateway.client().at("/s/one/mcp").open().await;
    assert!(uris(&listed(&own).await).is_empty());
    for client in [&merged, &own] {
        let refused = client
            .request("skills/get", json!({"uri": "skill://a/SKILL.md"}))
            .await;
        assert_eq!(refused["error"]["code"], -31403, "{refused}");
    }
    assert_eq!(one.last_body("skills/get"), None);
    gateway.stop().await;
}

#[tokio::test]
async fn files_that_a_caller_may_not_read_stand_in_no_skill_and_no_directory() {
    let (one, two) = (upstream("a").await, upstream("b").await);
    for (upstream, name) in [(&one, "a"), (&two, "b")] {
        let files = skill(name)["resources"].clone();
        upstream.reply(
            "resources/directory/read",
            &[&format!(r#""result":{{"resources":{files}}}"#)],
        );
    }
    let more = format!("{STATELESS}, uri_prefix: \"new+\"");
    let servers = [("one", &one, SESSION), ("two", &two, more.as_str())];
    let config = config(&servers, "\"*\"");
    let config = config.replace("allow:", "deny: [\"resource:*/more/*\"], allow:");
    let gateway = Gateway::start(&config).await;
    for (path, prefix, name, server) in [
        ("/mcp", "", "a", "one"),
        ("/mcp", "new+", "b", "two"),
        ("/s/one/mcp", "", "a", "one"),
        ("/s/two/mcp", "", "b", "two"),
    ] {
        let kept = json!([{"uri": format!("{prefix}skill://{name}/SKILL.md"), "digest": "sha256:00", "size": 1}]);
        let client = gateway.client().at(path).open().await;
        let uri = kept[0]["uri"].clone();
        let list = listed(&client).await;
        let skills = list["skills"].as_array().unwrap();
        let of_server = skills.iter().find(|skill| skill["uri"] == uri);
        assert_eq!(of_server.unwrap()["resources"], kept, "{path} {server}");
        let got = client.request("skills/get", json!({"uri": uri})).await;
        assert_eq!(got["result"]["skill"]["resources"], kept, "{path} {got}");
        let directory = json!({"uri": format!("{prefix}skill://{name}")});
        let read = client.request("resources/directory/read", directory).await;
        assert_eq!(read["result"]["resources"], kept, "{path} {read}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_role_that_denies_the_methods_of_skills_by_name_is_obeyed() {
    let (one, two) = (upstream("a").await, upstream("b").await);
    let servers = [("one", &one, SESSION), ("two", &two, STATELESS)];
    let config = config(&servers, "\"*\"");
    let config = config.replace("allow:", "deny: [\"method:skills/*\"], allow:");
    let gateway = Gateway::start(&config).await;
    for path in ["/mcp", "/s/one/mcp", "/s/two/mcp"] {
        let client = gateway.client().at(path);
        let stateless = client.stateless("skills/list", json!({})).await;
        let stateless = stateless.message().await;
        let client = client.open().await;
        let name = if path == "/s/two/mcp" { "b" } else { "a" };
        let uri = json!({"uri": format!("skill://{name}/SKILL.md")});
        let list = client.request("skills/list", json!({})).await;
        let get = client.request("skills/get", uri.clone()).await;
        for refused in [stateless, list, get] {
            assert_eq!(refused["error"]["code"], -31403, "{path}: {refused}");
        }
        let read = client.request("resources/read", uri).await;
        assert_eq!(read["error"], Value::Null, "{path}: {read}");
    }
    for upstream in [&one, &two] {
        assert_eq!(upstream.last_body("skills/get"), None);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_draws_no_other_servers_skills_to_itself_by_naming_their_scheme() {
    let (first, second) = (upstream("a").await, upstream("b").await);
    let whole = ["skill:", "skill:/", "skill:///SKILL.md"];
    let whole =
        whole.map(|uri| json!({"uri": uri, "frontmatter": {"name": "x", "description": "d"}}));
    first.reply("skills/list", &[&list(&whole)]);
    let servers = [("first", &first, SESSION), ("second", &second, SESSION)];
    let gateway = Gateway::start(&config(&servers, "\"*\"")).await;
    let client = gateway.client().open().await;
    let list = listed(&client).await;
    assert_eq!(uris(&list).last(), Some(&"skill://b/SKILL.md"), "{list}");
    let uri = json!({"uri": "skill://b/more/x.md"});
    client.request("resources/read", uri).await;
    assert!(second.last_body("resources/read").is_some());
    assert_eq!(first.last_body("resources/read"), None);
    gateway.stop().await;
}

#[tokio::test]
async fn of_two_skills_in_one_place_the_first_servers_is_shown_and_read() {
    let (first, second) = (upstream("a").await, upstream("a").await);
    let nested = skill("a/inner");
    second.reply("skills/list", &[&list(&[skill("a"), nested, skill("c")])]);
    let servers = [("first", &first, SESSION), ("second", &second, SESSION)];
    let gateway = Gateway::start(&config(&servers, "\"*\"")).await;
    let client = gateway.client().open().await;
    let list = listed(&client).await;
    assert_eq!(uris(&list), ["skill://a/SKILL.md", "skill://c/SKILL.md"]);
    let uri = json!({"uri": "skill://a/inner/SKILL.md"});
    client.request("resources/read", uri).await;
    assert!(first.last_body("resources/read").is_some());
    assert_eq!(second.last_body("resources/read"), None);
    gateway.stop().await;
}

#[tokio::test]
async fn a_change_that_no_server_tells_of_is_noticed_when_the_list_is_old() {
    let upstream = upstream("a").await;
    let gateway = Gateway::start(&config(&[("up", &upstream, SESSION)], "\"*\"")).await;
    let client = gateway.client().open().await;
    assert_eq!(uris(&listed(&client).await), ["skill://a/SKILL.md"]);
    upstream.reply("skills/list", &[&list(&[skill("a"), skill("b")])]);
    eventually("the new skill is listed", async || {
        uris(&listed(&client).await).len() == 2
    })
    .await;
    gateway.stop().await;
}
