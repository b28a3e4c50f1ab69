mod forms;
mod secrets;

use super::*;
use crate::config::parse;

/// The YAML (without its head), the variables and the notes; the YAML passes the checks.
#[track_caller]
fn taken(text: &str) -> String {
    let imported = import(text.as_bytes()).unwrap();
    let mut options = crate::config::tests::options();
    options.env = std::sync::Arc::new(|_| Some("https://value.example".to_owned()));
    parse(&imported.yaml, None, std::path::Path::new("/"), &options)
        .unwrap_or_else(|problems| panic!("{problems}\n{}", imported.yaml));
    let body = imported.yaml.split_once("servers:").unwrap().1;
    format!(
        "servers:{body}variables: {:#?}\nnotes: {:#?}",
        imported.variables, imported.notes
    )
}

#[test]
fn claude_desktop() {
    insta::assert_snapshot!(taken(r#"{
        "globalShortcut": "",
        "mcpServers": {
            "filesystem": { "command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "/Users/me"] },
            "My GitHub": {
                "command": "docker",
                "args": ["run", "-i", "-e", "GITHUB_TOKEN", "-e", "OTHER_TOKEN=abc"],
                "env": { "GITHUB_TOKEN": "ghp_0123456789abcdef", "LOG": "debug", "PRICE": "$5 ${x" }
            },
            "old": { "command": "x", "disabled": true }
        }
    }"#), @r#"
    servers:
      filesystem:
        command: npx
        args:
        - -y
        - "@modelcontextprotocol/server-filesystem"
        - /Users/me
      My-GitHub:
        command: docker
        args:
        - run
        - -i
        - -e
        - GITHUB_TOKEN
        - -e
        - OTHER_TOKEN=${OTHER_TOKEN}
        env:
          GITHUB_TOKEN: ${GITHUB_TOKEN}
          LOG: debug
          PRICE: $5 $${x
    variables: {
        "GITHUB_TOKEN": "`GITHUB_TOKEN` of `My GitHub`",
        "OTHER_TOKEN": "`OTHER_TOKEN` of `My GitHub`",
    }
    notes: [
        "`My GitHub` is called `My-GitHub`: names go into URLs and tool names",
        "`old` is left out: it is disabled",
    ]
    "#);
}

#[test]
fn claude_code() {
    insta::assert_snapshot!(taken(r#"{
        "mcpServers": {
            "api": { "type": "http", "url": "${API_BASE:-https://api.example}/mcp?apiKey=abc",
                     "headers": { "Authorization": "Bearer abc", "X-Team": "blue" } },
            "legacy": { "type": "sse", "url": "https://x/sse" },
            "proxy": { "type": "stdio", "command": "npx", "args": ["mcp-remote", "https://x/mcp", "--header", "Authorization: Bearer zzz", "--api-key=k1", "--token", "t1"] }
        }
    }"#), @r#"
    servers:
      api:
        url: ${API_BASE}/mcp?apiKey=${API_APIKEY}
        headers:
          Authorization: Bearer ${API_APIKEY}
          X-Team: blue
      legacy:
        url: https://x/sse
        transport: sse
      proxy:
        command: npx
        args:
        - mcp-remote
        - https://x/mcp
        - --header
        - "Authorization: Bearer ${PROXY_AUTHORIZATION}"
        - --api-key=${PROXY_API_KEY}
        - --token
        - ${PROXY_TOKEN}
    variables: {
        "API_APIKEY": "`apiKey` in `url` of `api`, `Authorization` of `api`, without `Bearer`, which stands in the file",
        "API_BASE": "taken from the environment; the client falls back to \"https://api.example\"",
        "PROXY_API_KEY": "`--api-key` of `proxy`",
        "PROXY_AUTHORIZATION": "`Authorization` of `proxy`, without `Bearer`, which stands in the file",
        "PROXY_TOKEN": "`--token` of `proxy`",
    }
    notes: []
    "#);
}

#[test]
fn vs_code() {
    insta::assert_snapshot!(taken(r#"{
        // Asked once.
        "inputs": [{ "type": "promptString", "id": "perplexity-key", "description": "Perplexity API key", "password": true }],
        "servers": {
            "perplexity": {
                "type": "stdio", "command": "npx", "args": ["-y", "server-perplexity-ask", "${workspaceFolder}"],
                "env": { "PERPLEXITY_API_KEY": "${input:perplexity-key}", "HOME_DIR": "${userHome}", "A": "${env:B}" },
                "envFile": ".env",
            },
            "fetch": { "type": "http", "url": "https://fetch.example/mcp" }
        },
    }"#), @r#"
    servers:
      perplexity:
        command: npx
        args:
        - -y
        - server-perplexity-ask
        - ${WORKSPACEFOLDER}
        env:
          PERPLEXITY_API_KEY: ${PERPLEXITY_KEY}
          HOME_DIR: ${HOME}
          A: ${B}
      fetch:
        url: https://fetch.example/mcp
    variables: {
        "B": "taken from the environment",
        "PERPLEXITY_KEY": "Perplexity API key",
        "WORKSPACEFOLDER": "directory that the client calls its workspace",
    }
    notes: [
        "`perplexity`: not taken over: envFile",
    ]
    "#);
}

#[test]
fn cursor() {
    insta::assert_snapshot!(taken(r#"{ "mcpServers": {
        "a": { "url": "http://localhost:3000/mcp", "headers": { "API_KEY": "one" } },
        "b": { "command": "python", "args": ["server.py"], "env": { "API_KEY": "two", "PORT": 8080 } },
        "c": { "command": "python", "args": ["server.py"], "env": { "API_KEY": "three", "OTHER_KEY": "two" } },
        "d": {}
    } }"#), @r#"
    servers:
      a:
        url: http://localhost:3000/mcp
        headers:
          API_KEY: ${API_KEY}
      b:
        command: python
        args:
        - server.py
        env:
          API_KEY: ${B_API_KEY}
          PORT: "8080"
      c:
        command: python
        args:
        - server.py
        env:
          API_KEY: ${C_API_KEY}
          OTHER_KEY: ${B_API_KEY}
    variables: {
        "API_KEY": "`API_KEY` of `a`",
        "B_API_KEY": "`API_KEY` of `b`, `OTHER_KEY` of `c`",
        "C_API_KEY": "`API_KEY` of `c`",
    }
    notes: [
        "`d` is left out: it has neither `command` nor `url`",
    ]
    "#);
}

#[test]
fn what_is_no_client_file_is_refused() {
    let error = |text: &str| import(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(error("{"), "the file is not JSON");
    assert_eq!(
        error("{}"),
        "the file has neither `mcpServers` nor `servers`, nor projects that have"
    );
    assert_eq!(
        error(r#"{"servers": []}"#),
        "the file has neither `mcpServers` nor `servers`, nor projects that have"
    );
}
