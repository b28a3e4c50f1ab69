"""What the matrix is made of: the features, the servers with what they offer, and the clients.

A server says per feature what a client has to do to see it and what it should see. Whether it offers the feature
at all, and whether a client has it, is found out by trying without the gateway: see table.py.
"""

import os
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent / ".cache"
NPM = CACHE / "npm" / "node_modules"
NODE = str(NPM / "node" / "bin" / "node")
RMCP = str(CACHE / "rmcp" / "debug" / "lockgate-peer-rmcp")

FEATURES = {
    "list": "list tools",
    "call": "call a tool",
    "read": "read a resource",
    "prompt": "get a prompt",
    "complete": "complete an argument",
    "sampling": "sampling",
    "form": "elicitation, form",
    "url": "elicitation, url",
    "roots": "roots",
    "progress": "progress",
    "cancel": "cancel",
    "subscribe": "subscribe",
}

# The servers that every client also meets without the gateway. Between them they offer everything, in both eras.
REFERENCES = ("everything http", "fastmcp http", "rmcp http")


def python(environment: str, script: str, *options: str) -> list[str]:
    """A client on Python."""
    return [str(CACHE / environment / "bin/python"), str(HERE / script), "{plan}", *options]


def node(script: str, *options: str) -> list[str]:
    """A client on npm."""
    return [NODE, str(HERE / script), "{plan}", *options]


CLIENTS: dict[str, list[str]] = {
    "python mcp 2.3.0, auto": python("venv", "client_mcp2.py", "auto"),
    "python mcp 2.3.0, legacy": python("venv", "client_mcp2.py", "legacy"),
    "python mcp 2.3.0, 2026-07-28": python("venv", "client_mcp2.py", "2026-07-28"),
    "python mcp 1.30.0": python("venv-mcp1", "client_mcp1.py"),
    "fastmcp 4.1.2": python("venv-fastmcp", "client_fastmcp.py"),
    "npm client 2.4.0, legacy": node("client_npm2.mjs", "legacy"),
    "npm client 2.4.0, auto": node("client_npm2.mjs", "auto"),
    "npm client 2.4.0, pin 2026-07-28": node("client_npm2.mjs", "pin"),
    "npm sdk 1.32.2": node("client_npm1.mjs", "direct"),
    "npm sdk 1.32.2 over mcp-remote 0.15.1": node("client_npm1.mjs", "mcp-remote"),
    "rmcp 3.9.0, Initialize": [RMCP, "client", "{plan}", "initialize"],
    "rmcp 3.9.0, Discover": [RMCP, "client", "{plan}", "discover"],
}
# Those that meet every server without the gateway: one of each era that knows all transports.
WITNESSES = ("python mcp 2.3.0, auto", "python mcp 2.3.0, legacy")


def tool(name: str, expects: str, /, **arguments: Any) -> dict[str, Any]:
    """A tool to call, and what has to be in its answer."""
    return {"tool": name, "arguments": arguments, "expects": expects}


def everything() -> dict[str, Any]:
    """What server-everything offers."""
    page = "http://127.0.0.1:9/login"
    return {
        "list": {"expects": "get-sum"},
        "call": tool("get-sum", "The sum of 2 and 3 is 5", a=2, b=3),
        "read": {"uri": "demo://resource/static/document/architecture.md", "expects": "Architecture"},
        "prompt": {"name": "args-prompt", "arguments": {"city": "Delft", "state": "ZH"}, "expects": "Delft"},
        "complete": {
            "ref": {"type": "ref/prompt", "name": "completable-prompt"},
            "argument": {"name": "department", "value": "S"},
            "expects": "Support",
        },
        "sampling": {**tool("trigger-sampling-request", "locks lift ships", prompt="What do locks do?"),
                     "asks": "sampling", "says": "locks lift ships"},
        "form": {**tool("trigger-elicitation-request", "Ada"), "asks": "form", "fills": {"name": "Ada"}},
        "url": {**tool("trigger-url-elicitation", page, url=page, message="Please log in"), "asks": f"url {page}"},
        "roots": tool("get-roots-list", "{root}"),
        # Its last step comes right before the result, by which some clients let it be overtaken and then drop it.
        "progress": {**tool("trigger-long-running-operation", "", duration=0.4, steps=4), "steps": 3},
        # It goes on after it was cancelled, so all that can be seen is that the next call is answered.
        "cancel": {**tool("trigger-long-running-operation", "", duration=8, steps=20),
                   "witness": tool("echo", "still here", message="still here")},
        "subscribe": {"uri": "demo://resource/dynamic/text/1", **tool("toggle-subscriber-updates", ""),
                      "after": "toggle-subscriber-updates"},
    }


def fixture() -> dict[str, Any]:
    """What our servers on FastMCP and on rmcp both offer, under the same names."""
    page = "http://127.0.0.1:9/login"
    return {
        "list": {"expects": "echo"},
        "call": tool("echo", "echo: hällo", message="hällo"),
        "read": {"uri": "note://one", "expects": "the first note"},
        "prompt": {"name": "greet", "arguments": {"language": "Dutch"}, "expects": "in Dutch"},
        "complete": {
            "ref": {"type": "ref/prompt", "name": "greet"},
            "argument": {"name": "language", "value": "D"},
            "expects": "Danish",
        },
        "sampling": {**tool("ask_model", "the model said: locks lift ships", prompt="What do locks do?"),
                     "asks": "sampling", "says": "locks lift ships"},
        "form": {**tool("ask_form", "the user is Ada"), "asks": "form", "fills": {"name": "Ada"}},
        "url": {**tool("ask_page", f"the user did accept {page}", url=page), "asks": f"url {page}"},
        "roots": tool("ask_roots", "{root}"),
        "progress": {**tool("count", "counted"), "steps": 3},
        "cancel": {**tool("wait", "", key="{key}"), "witness": tool("was_cancelled", "cancelled", key="{key}")},
    }


def fixture_on_rmcp() -> dict[str, Any]:
    """That, and subscriptions, which FastMCP does not have."""
    return {**fixture(), "subscribe": {"uri": "note://one", **tool("touch", "", uri="note://one")}}


def stdio(command: list[str], **env: str) -> dict[str, Any]:
    """A server that is started for whoever talks to it."""
    return {"command": command[0], "args": command[1:], "env": {"PATH": os.environ["PATH"], **env}}


def npm(package: str, *options: str) -> list[str]:
    """A server on npm."""
    return [NODE, str(NPM / "@modelcontextprotocol" / package / "dist" / "index.js"), *options]


def servers(world: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """All servers by name: how each is reached, what the gateway has to be told, and what it offers.

    Those that ask nothing are started once for all clients; the others, as by default, for each.
    """
    folder = Path(world["dir"])
    repo = str(folder / "repo")
    # A file for each process: the server reads and writes the whole of it with every call, and two of them that share
    # one find it half written now and then.
    memory = ["sh", "-c", 'MEMORY_FILE_PATH=$(mktemp "$0") exec "$@"', str(folder / "memory.XXXXXX")]
    names = {"entities": [{"name": "{key}", "entityType": "thing", "observations": ["lets ships pass"]}]}
    thought = {"thought": "Water seeks its level", "thoughtNumber": 1, "totalThoughts": 1, "nextThoughtNeeded": False}
    return {
        "everything http": {"at": world["everything_http"], "features": everything()},
        "everything sse": {"at": world["everything_sse"], "uri_prefix": "sse+", "features": everything()},
        "everything stdio": {"at": stdio(npm("server-everything", "stdio")), "uri_prefix": "stdio+",
                             "features": everything()},
        "filesystem": {
            # What it may read is this folder, or the client's root in it, for which it asks right after its start, in
            # no call: a client of the stateless era is asked by its first call.
            "at": stdio(npm("server-filesystem", str(folder))),
            "features": {
                "list": {"expects": "read_text_file"},
                "call": tool("read_text_file", "Hello from a root", path="{file}"),
                "roots": tool("list_allowed_directories", "{folder}"),
            },
        },
        "memory": {
            "at": stdio(memory + npm("server-memory")),
            "features": {
                "list": {"expects": "search_nodes"},
                "call": tool("create_entities", "lets ships pass", **names),
                "read": {"uri": "memory://knowledge-graph", "expects": "entities"},
                "subscribe": {"uri": "memory://knowledge-graph", **tool("delete_entities", "", entityNames=["{key}"])},
            },
        },
        "sequential-thinking": {
            "at": stdio(npm("server-sequential-thinking")),
            "scope": "shared",
            "features": {
                "list": {"expects": "sequentialthinking"},
                "call": tool("sequentialthinking", "thoughtHistoryLength", **thought),
            },
        },
        "git": {
            "at": stdio([str(CACHE / "venv/bin/python"), "-m", "mcp_server_git", "--repository", repo]),
            "scope": "shared",
            "features": {
                "list": {"expects": "git_status"},
                "call": tool("git_log", "Commit 2", repo_path=repo, max_count=5),
            },
        },
        "time": {
            "at": stdio([str(CACHE / "venv/bin/python"), "-m", "mcp_server_time", "--local-timezone", "UTC"]),
            "scope": "shared",
            "features": {
                "list": {"expects": "convert_time"},
                "call": tool("convert_time", "Europe/Amsterdam", source_timezone="UTC", time="12:00",
                             target_timezone="Europe/Amsterdam"),
            },
        },
        "sqlite": {
            "at": stdio([str(CACHE / "venv-mcp1/bin/mcp-server-sqlite"), "--db-path", str(folder / "ships.db")]),
            "scope": "shared",
            "features": {
                "list": {"expects": "read_query"},
                "call": tool("read_query", "42", query="SELECT 6 * 7"),
                "read": {"uri": "memo://insights", "expects": "insights"},
                "prompt": {"name": "mcp-demo", "arguments": {"topic": "canals"}, "expects": "canals"},
            },
        },
        "fastmcp http": {"at": world["fastmcp_http"], "features": fixture()},
        "rmcp http": {"at": world["rmcp_http"], "uri_prefix": "http+", "features": fixture_on_rmcp()},
        "rmcp stdio": {"at": stdio([RMCP, "server", "stdio"]), "uri_prefix": "stdio+", "features": fixture_on_rmcp()},
        "rmcp http, stateless only": {"at": world["rmcp_http"], "era": "stateless", "uri_prefix": "only+",
                                      "features": fixture_on_rmcp()},
    }
