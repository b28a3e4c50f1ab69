#!/usr/bin/env python3
"""A server on FastMCP over Streamable HTTP, in both eras: prints {"url"} once it listens.

It offers what FastMCP has: everything but subscriptions.
"""

import asyncio
import json
import socket
import warnings
from typing import Any

import mcp_types as types
from fastmcp import Context, FastMCP
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

FORM = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
# Between one step and the next, so that a client sees them one by one.
STEP_SECONDS = 0.05

server = FastMCP("fastmcp-peer")
cancelled: set[str] = set()


async def ask(ctx: Context, question: Any, answer: type[Any]) -> Any:
    """The client's answer; in the stateless era it comes with the repetition of the call, which is what is returned."""
    request = ctx.request_context
    assert request is not None
    if request.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        return await ctx.session.send_request(question, answer)
    if ctx.input_responses is None:
        return types.InputRequiredResult(input_requests={"question": question})
    return ctx.input_responses["question"]


@server.tool
def echo(message: str) -> str:
    """Says what it is told."""
    return f"echo: {message}"


@server.tool
async def ask_model(prompt: str, ctx: Context) -> str | types.InputRequiredResult:
    """Asks the client's model."""
    content = types.TextContent(type="text", text=prompt)
    params = types.CreateMessageRequestParams(
        messages=[types.SamplingMessage(role="user", content=content)], max_tokens=100
    )
    said = await ask(ctx, types.CreateMessageRequest(params=params), types.CreateMessageResult)
    return said if isinstance(said, types.InputRequiredResult) else f"the model said: {said.content.text}"


@server.tool
async def ask_form(ctx: Context) -> str | types.InputRequiredResult:
    """Asks the user for a name."""
    params = types.ElicitRequestFormParams(message="Who are you?", requested_schema=FORM)
    said = await ask(ctx, types.ElicitRequest(params=params), types.ElicitResult)
    return said if isinstance(said, types.InputRequiredResult) else f"the user is {said.content['name']}"


@server.tool
async def ask_page(url: str, ctx: Context) -> str | types.InputRequiredResult:
    """Sends the user to a page."""
    params = types.ElicitRequestURLParams(message="Please log in", url=url, elicitation_id="page-1")
    said = await ask(ctx, types.ElicitRequest(params=params), types.ElicitResult)
    return said if isinstance(said, types.InputRequiredResult) else f"the user did {said.action} {url}"


@server.tool
async def ask_roots(ctx: Context) -> str | types.InputRequiredResult:
    """Asks for the client's roots."""
    said = await ask(ctx, types.ListRootsRequest(), types.ListRootsResult)
    return said if isinstance(said, types.InputRequiredResult) else " ".join(str(root.uri) for root in said.roots)


@server.tool
async def count(ctx: Context) -> str:
    """Tells how far it is."""
    for step in (1, 2, 3):
        await ctx.report_progress(step, 3)
        await asyncio.sleep(STEP_SECONDS)
    return "counted"


@server.tool
async def wait(key: str, ctx: Context) -> str:
    """Takes very long, and notes under the key that it was cancelled."""
    await ctx.report_progress(1, 2)
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        cancelled.add(key)
        raise
    return "waited"


@server.tool
def was_cancelled(key: str) -> str:
    """Whether the wait of that key was cancelled."""
    return "cancelled" if key in cancelled else "not cancelled"


@server.resource("note://one")
def one() -> str:
    """A note."""
    return "the first note"


@server.prompt
def greet(language: str) -> str:
    """How to greet."""
    return f"Greet the user in {language}"


@server.completion
def complete(ref: Any, argument: types.CompletionArgument, context: Any) -> list[str]:
    """Languages that begin like what is typed."""
    return [name for name in ("Danish", "Dutch", "English") if name.startswith(argument.value)]


async def main() -> None:
    """Listens on a port that the kernel chooses."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"}), flush=True)
    await server.run_http_async(show_banner=False, sockets=[listener], log_level="critical", path="/mcp")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    asyncio.run(main())
