#!/usr/bin/env python3
"""The client of the suite's client scenarios: a real one, with the gateway between it and the suite.

    client_through.py [--gateway BINARY] URL

The suite appends the URL of its server, names the scenario in MCP_CONFORMANCE_SCENARIO and says in
MCP_CONFORMANCE_CONTEXT what else there is to know. A gateway is started in front of that URL, waited
for, and asked what the scenario wants to see; the suite watches what the gateway makes of it.
Without `--gateway` there is none, which shows what the client itself gets right.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import mcp_types as types
from mcp import Client
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from pydantic import ValidationError
from rawlink import MODERN, HttpLink

READY_SECONDS_MAX = 20.0
CALL_SECONDS_MAX = 15.0
SERVER = "suite"


@contextlib.contextmanager
def gateway(binary: Path, url: str, revision: str) -> Iterator[str]:
    """A gateway in front of one server; the URL under which that server is reached."""
    # Left alone, the gateway asks a server for both eras, and the suite takes the handshake of the one for a
    # broken request of the other.
    era = "stateless" if revision == MODERN else "auto"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = {
            "listen": "127.0.0.1:0",
            "admin": {"listen": "127.0.0.1:0"},
            "data_dir": str(folder / "data"),
            "identity": {"anonymous": ["all"]},
            "roles": {"all": {"allow": ["*"]}},
            "servers": {SERVER: {"url": url, "era": era}},
        }
        # JSON is YAML.
        file = folder / "lockgate.yaml"
        file.write_text(json.dumps(config))
        command = [str(binary), "serve", "--ready-json", "--config", str(file)]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline() or "{}")
            if said.get("event") != "ready":
                raise RuntimeError(f"the gateway did not start: {(folder / 'log').read_text()}")
            wait_until_up(said["admin"])
            yield f"http://{said['listen']}/s/{SERVER}/mcp"
        finally:
            process.kill()
            process.wait()
            # The suite shows this where the scenario fails.
            sys.stderr.write((folder / "log").read_text()[-8000:])


def wait_until_up(admin: str) -> None:
    """Waits until the gateway has found out what kind of server there is, and has its lists."""
    deadline = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"http://{admin}/api/v1/servers", timeout=5) as answer:
            server = json.load(answer)["servers"][0]
        if server["up"] and (server["session_catalog"] or server["stateless_catalog"]):
            return
        time.sleep(0.05)
    raise TimeoutError(f"the server does not come up: {server}")


async def elicit(_: Any, params: Any) -> types.ElicitResult:
    """Says yes to whatever is asked."""
    return types.ElicitResult(action="accept", content={"confirmed": True})


def connect(url: str, mode: str) -> Client:
    """The Python SDK's client."""
    return Client(url, mode=mode, read_timeout_seconds=CALL_SECONDS_MAX, elicitation_callback=elicit, cache=None)


async def every_method(client: Client, _: str) -> None:
    """http-standard-headers: every method that a header names."""
    tools = (await client.list_tools()).tools
    for tool in tools:
        await client.call_tool(tool.name, {})
    for resource in (await client.list_resources()).resources:
        await client.read_resource(str(resource.uri))
    for prompt in (await client.list_prompts()).prompts:
        await client.get_prompt(prompt.name)


async def given_calls(client: Client, _: str) -> None:
    """http-custom-headers: the calls that the suite asks for."""
    await client.list_tools()
    for call in json.loads(os.environ["MCP_CONFORMANCE_CONTEXT"])["toolCalls"]:
        await client.call_tool(call["name"], call["arguments"])


async def every_tool(client: Client, url: str) -> None:
    """http-invalid-tool-headers: everything on the list, which the gateway has to have cleaned."""
    link = HttpLink(url, "", MODERN, lambda method, params: "{}")
    listed = json.loads(link.call('"raw"', "tools/list", "{}").outcome)["tools"]
    if [tool["name"] for tool in listed] != ["valid_tool"] and not os.environ.get("CLIENT_DIRECT"):
        raise AssertionError(f"listed: {[tool['name'] for tool in listed]}")
    for tool in (await client.list_tools()).tools:
        await client.call_tool(tool.name, {"region": "north"})


async def some_requests(client: Client, _: str) -> None:
    """request-metadata: any request shows it."""
    await client.list_tools()
    with contextlib.suppress(MCPError):
        # The scenario's server lists no tool, so the gateway may know that there is none.
        await client.call_tool("any", {})


async def rounds(client: Client, _: str) -> None:
    """sep-2322-client-request-state: calls that ask first, and one that does not in between."""
    await client.list_tools()
    first = asyncio.create_task(client.call_tool("test_mrtr_echo_state", {}))
    for tool in ("test_mrtr_unrelated", "test_mrtr_no_state"):
        await client.call_tool(tool, {})
    await first
    # The SDK reads a result without a type as it would a broken one; the suite looks only at whether it asks again.
    with contextlib.suppress(ValidationError):
        await client.call_tool("test_mrtr_no_result_type", {})


async def listing(client: Client, _: str) -> None:
    """json-schema-ref-no-deref: to look at the list is all that is needed."""
    await client.list_tools()


async def schema_back(client: Client, _: str) -> None:
    """json-schema-2020-12-preservation: the schema as it arrived goes back as an argument."""
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    await client.call_tool("json_schema_echo", {"schema": tools["json_schema_2020_12_tool"].input_schema})


async def reconnecting(client: Client, _: str) -> None:
    """sse-retry: a call whose stream the server closes before it answers."""
    await client.list_tools()
    await client.call_tool("test_reconnection", {})


PLAYS: dict[str, Callable[[Client, str], Awaitable[None]]] = {
    "http-standard-headers": every_method,
    "http-custom-headers": given_calls,
    "http-invalid-tool-headers": every_tool,
    "request-metadata": some_requests,
    "sep-2322-client-request-state": rounds,
    "json-schema-ref-no-deref": listing,
    "json-schema-2020-12-preservation": schema_back,
    "sse-retry": reconnecting,
}


async def play(url: str, revision: str) -> None:
    """Plays the scenario in the era of the revision that the suite tests."""
    async with connect(url, "auto" if revision == MODERN else "legacy") as client:
        await PLAYS[os.environ["MCP_CONFORMANCE_SCENARIO"]](client, url)


def main() -> None:
    """Reads the command line and plays."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", type=Path)
    parser.add_argument("url")
    args = parser.parse_args()
    revision = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION", MODERN)
    if args.gateway is None:
        os.environ["CLIENT_DIRECT"] = "1"
        asyncio.run(play(args.url, revision))
        return
    with gateway(args.gateway, args.url, revision) as url:
        asyncio.run(play(url, revision))


if __name__ == "__main__":
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    main()
