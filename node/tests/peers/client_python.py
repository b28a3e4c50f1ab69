#!/usr/bin/env python3
"""The Python SDK as client: plays scenarios against the servers, directly or through the gateway.

    client_python.py --world FILE --mode auto|legacy|2026-07-28 [--dual] [--gateway URL --token TOKEN] [SCENARIO...]

FILE holds what serve_peers.py printed. Without --gateway each server has its own connection and
names are as the server gives them; with it there is one connection and names carry the server's
as a prefix; its URL says the transport (`/mcp` or `/sse`). Prints one line of JSON per scenario, {"scenario","ok","seen"|"error"}: what was seen
has to be the same both ways. A scenario itself asserts what has to be true in any case.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPDeprecationWarning
from scenarios import SCENARIOS

CALL_SECONDS_MAX = 30.0


class Peer:
    """One client of the world: a connection to each server, or one to the gateway."""

    def __init__(self, args: argparse.Namespace, world: dict[str, Any], label: str = "one") -> None:
        self.args = args
        self.world = world
        self.label = label
        self.sampled: list[str] = []
        self.elicited: list[str] = []
        self.logged: list[tuple[str, Any]] = []
        self.notified: list[Any] = []
        self.before_answer: Any = None
        self._clients: dict[str, Client] = {}
        self._stack = contextlib.AsyncExitStack()

    @property
    def through(self) -> bool:
        """Whether the gateway is between us and the servers."""
        return self.args.gateway is not None

    async def __aenter__(self) -> "Peer":
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self._stack.aclose()

    def reaches(self, server: str) -> bool:
        """Whether the server is among those that this client plays with."""
        return not self.args.dual or server in self.world["dual"]

    def name(self, server: str, name: str) -> str:
        """The name under which a tool or prompt of a server is listed here."""
        return f"{server}_{name}" if self.through else name

    def uri(self, server: str, uri: str) -> str:
        """The URI under which a resource of a server is listed here."""
        return self.world["uri_prefixes"].get(server, "") + uri if self.through else uri

    async def client(self, server: str) -> Client:
        """The connection that reaches a server."""
        key = "gateway" if self.through else server
        if key not in self._clients:
            self._clients[key] = await self._stack.enter_async_context(self._connect(server))
        return self._clients[key]

    async def modern(self, server: str) -> bool:
        """Whether the connection speaks the stateless era."""
        return (await self.client(server)).protocol_version >= "2026-07-28"

    def _connect(self, server: str) -> Client:
        return Client(
            self._transport(server),
            mode=self.args.mode,
            read_timeout_seconds=CALL_SECONDS_MAX,
            sampling_callback=self._sample,
            elicitation_callback=self._elicit,
            list_roots_callback=self._roots,
            logging_callback=self._log,
            log_level="warning",
            message_handler=self._notice,
            client_info=types.Implementation(name=f"python-{self.label}", version="1.0.0"),
            cache=None,
        )

    def _transport(self, server: str) -> Any:
        if self.through:
            headers = {"Authorization": f"Bearer {self.args.token}"}
            if self.args.gateway.endswith("/sse"):
                return sse_client(self.args.gateway, headers=headers)
            http = httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(30, read=300))
            return streamable_http_client(self.args.gateway, http_client=http)
        how = self.world["servers"][server]
        return how["url"] if "url" in how else StdioServerParameters(**how)

    async def _sample(self, ctx: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        content = params.messages[0].content
        asked = content.text if isinstance(content, types.TextContent) else str(content)
        self.sampled.append(asked)
        return types.CreateMessageResult(
            role="assistant",
            content=types.TextContent(type="text", text=f"{self.label} heard: {asked}"),
            model="model-of-the-test",
            stop_reason="endTurn",
        )

    async def _elicit(self, ctx: Any, params: Any) -> types.ElicitResult:
        self.elicited.append(params.message)
        if self.before_answer is not None:
            await self.before_answer()
        if params.mode == "url":
            return types.ElicitResult(action="accept")
        fields = params.requested_schema.get("properties", {})
        return types.ElicitResult(action="accept", content={k: self._fill(k, v) for k, v in fields.items()})

    def _fill(self, key: str, schema: dict[str, Any]) -> Any:
        if "default" in schema:
            return schema["default"]
        if schema.get("type") == "string" and not {"enum", "oneOf", "format"} & set(schema):
            return f"{self.label}-{key}"
        plain = {"boolean": True, "integer": 7, "number": 7, "array": []}
        formats = {"email": "one@example.org", "uri": "http://example.org/", "date": "2026-01-02"}
        if "oneOf" in schema:
            return schema["oneOf"][0]["const"]
        if "enum" in schema:
            return schema["enum"][0]
        return formats.get(schema.get("format", ""), plain.get(schema.get("type", ""), "x"))

    async def _roots(self, ctx: Any) -> types.ListRootsResult:
        return types.ListRootsResult(roots=[types.Root(uri=Path(self.world["dir"], "files").as_uri(), name="files")])

    async def _log(self, params: types.LoggingMessageNotificationParams) -> None:
        self.logged.append((params.level, params.data))

    async def _notice(self, message: Any) -> None:
        self.notified.append(message)



async def play(args: argparse.Namespace, world: dict[str, Any]) -> int:
    """Plays the scenarios one after the other, each with fresh connections."""
    n_failed = 0
    for name in args.scenario or list(SCENARIOS):
        line: dict[str, Any] = {"scenario": name, "ok": True}
        try:
            async with asyncio.timeout(60), Peer(args, world) as peer:
                line["seen"] = await SCENARIOS[name](peer)
        except BaseException as error:  # noqa: BLE001 - every failure becomes a line
            if isinstance(error, KeyboardInterrupt):
                raise
            n_failed += 1
            line.update(ok=False, error="".join(traceback.format_exception(error))[-3000:])
        print(json.dumps(line), flush=True)
    return 1 if n_failed else 0


def main() -> int:
    """Reads the command line and plays."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path, required=True)
    parser.add_argument("--mode", default="auto", choices=["auto", "legacy", "2026-07-28"])
    parser.add_argument("--dual", action="store_true", help="only with the servers that speak both eras")
    parser.add_argument("--gateway")
    parser.add_argument("--token", default="")
    parser.add_argument("scenario", nargs="*")
    args = parser.parse_args()
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    return asyncio.run(play(args, json.loads(args.world.read_text())))


if __name__ == "__main__":
    sys.exit(main())
