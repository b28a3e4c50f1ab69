#!/usr/bin/env python3
"""The everything-fixture, on the Python SDK `mcp`: both eras, over HTTP or stdio.

    everything_server.py --port 0            prints {"event":"ready","url":"http://127.0.0.1:PORT/mcp"}
    everything_server.py --stdio
    everything_server.py --page-size 5 ...   lists in pages
    everything_server.py --era session ...   only that era; the other is `stateless`
    everything_server.py --record FILE ...   keeps what is read and written over HTTP
"""

import argparse
import asyncio
import json
import logging
import socket
import sys
import warnings
from pathlib import Path
from typing import Any

import uvicorn
from everything import catalog, tools
from everything.ask import is_modern
from everything.era import HttpGate, Only, serve_through
from everything.events import Events
from everything.record import HttpRecorder
from everything.world import World
from mcp.server.caching import CacheHint
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import ListenHandler
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp_types import INVALID_PARAMS
from record import Record

NAME = "everything-fixture"


def page(items: list[dict[str, Any]], key: str, params: Any, size: int) -> dict[str, Any]:
    """One page of a list; the cursor is the index at which it begins."""
    cursor = getattr(params, "cursor", None)
    if cursor is not None and not cursor.isdecimal():
        raise MCPError(code=INVALID_PARAMS, message="Invalid cursor")
    start = int(cursor or 0)
    out: dict[str, Any] = {key: items[start : start + size]}
    if start + size < len(items):
        out["nextCursor"] = str(start + size)
    return out


def done(ctx: Any, result: dict[str, Any]) -> dict[str, Any]:
    """The result with the type that the stateless era asks for; a pause has its own already."""
    return {"resultType": "complete", **result} if is_modern(ctx) else result


def build(page_size: int) -> Server[Any]:
    """The server with all its handlers."""
    world = World()

    async def subscribe(ctx: Any, params: Any) -> dict[str, Any]:
        world.subscribe(ctx, str(params.uri))
        return {}

    async def unsubscribe(ctx: Any, params: Any) -> dict[str, Any]:
        world.unsubscribe(ctx, str(params.uri))
        return {}

    async def set_level(ctx: Any, params: Any) -> dict[str, Any]:
        world.set_level(ctx, params.level)
        return {}

    def lists(key: str, items: Any) -> Any:
        async def listing(ctx: Any, params: Any) -> dict[str, Any]:
            return done(ctx, page(items(), key, params, page_size))

        return listing

    async def call_tool(ctx: Any, params: Any) -> dict[str, Any]:
        return done(ctx, await tools.call(ctx, params, world))

    async def read(ctx: Any, params: Any) -> dict[str, Any]:
        return done(ctx, catalog.read(str(params.uri)))

    async def get_prompt(ctx: Any, params: Any) -> dict[str, Any]:
        return done(ctx, await catalog.prompt(ctx, params, world))

    async def complete(ctx: Any, params: Any) -> dict[str, Any]:
        return done(ctx, catalog.complete(params))

    hint = CacheHint(ttl_ms=60_000, scope="public")
    server: Server[Any] = Server(
        NAME,
        version="1.0.0",
        title="Everything",
        instructions="Every feature of the protocol, for tests.",
        cache_hints={"tools/list": hint, "prompts/list": hint, "resources/list": hint,
                     "resources/templates/list": hint, "resources/read": hint},
        on_list_tools=lists("tools", lambda: tools.listed(world)),
        on_call_tool=call_tool,
        on_list_resources=lists("resources", lambda: catalog.resources(world)),
        on_list_resource_templates=lists("resourceTemplates", lambda: catalog.TEMPLATES),
        on_read_resource=read,
        on_subscribe_resource=subscribe,
        on_unsubscribe_resource=unsubscribe,
        on_subscriptions_listen=ListenHandler(world.bus),
        on_list_prompts=lists("prompts", lambda: catalog.prompts(world)),
        on_get_prompt=get_prompt,
        on_completion=complete,
        on_set_logging_level=set_level,
        get_tool_input_schema=lambda name: tools.TOOLS[name].declared["inputSchema"] if name in tools.TOOLS else None,
    )
    server.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=NAME))
    announce_changes(server)
    return server


def announce_changes(server: Server[Any]) -> None:
    """Makes `listChanged` true in `initialize`, which the HTTP manager cannot be told otherwise."""
    plain = server.create_initialization_options

    def options(*args: Any, **kwargs: Any) -> Any:
        kwargs.setdefault("notification_options", NotificationOptions(True, True, True))
        return plain(*args, **kwargs)

    server.create_initialization_options = options  # type: ignore[method-assign]


async def serve_http(server: Server[Any], port: int, only: Only | None, record: Record | None) -> None:
    """Serves on loopback and says where; the kernel chooses port 0."""
    listener = socket.create_server(("127.0.0.1", port))
    app: Any = server.streamable_http_app(event_store=Events(), retry_interval=100)
    if only is not None:
        app = HttpGate(app, only)
    if record is not None:
        app = HttpRecorder(app, record)
    config = uvicorn.Config(app, log_level="error", lifespan="on", timeout_graceful_shutdown=1)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    print(json.dumps({"event": "ready", "url": url}), flush=True)
    await uvicorn.Server(config).serve(sockets=[listener])


async def serve_stdio(server: Server[Any], only: Only | None) -> None:
    """Serves one client on standard input and output."""

    async def serve(incoming: Any, outgoing: Any) -> None:
        await server.run(incoming, outgoing, server.create_initialization_options())

    async with stdio_server() as (incoming, outgoing):
        await (serve(incoming, outgoing) if only is None else serve_through(only, incoming, outgoing, serve))


def main() -> None:
    """Reads the command line and serves until the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--port", type=int)
    how.add_argument("--stdio", action="store_true")
    parser.add_argument("--page-size", type=int, default=1000)
    parser.add_argument("--era", choices=("session", "stateless"))
    parser.add_argument("--record", type=Path)
    args = parser.parse_args()
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    server = build(args.page_size)
    if args.stdio:
        asyncio.run(serve_stdio(server, args.era))
    else:
        record = None if args.record is None else Record(args.record)
        asyncio.run(serve_http(server, args.port, args.era, record))


if __name__ == "__main__":
    # Logging and roots are deprecated in the newest revision; this server serves the older ones too.
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    main()
