#!/usr/bin/env python3
"""FastMCP as client: `client_fastmcp.py PLAN`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import mcp_types as types
from fastmcp import Client
from fastmcp.client.elicitation import ElicitResult
from fastmcp.client.transports import SSETransport, StdioTransport, StreamableHttpTransport
from mcp.client.subscriptions import listen
from play import Heard, first, main, reach


class FastMcpLink:
    """A connection of `fastmcp.Client`."""

    def __init__(self, at: dict[str, Any], heard: Heard) -> None:
        self.heard = heard
        self.client = Client(
            reach(at, partial(StdioTransport, keep_alive=False), SSETransport, StreamableHttpTransport),
            roots=[types.Root(uri=heard.root, name="root")],
            sampling_handler=self._sample,
            elicitation_handler=self._elicit,
            message_handler=self._notice,
        )

    async def _sample(self, messages: Any, params: Any, ctx: Any) -> str:
        return self.heard.answer_sampling()

    async def _elicit(self, message: str, response_type: Any, params: Any, ctx: Any) -> Any:
        if params.mode == "url":
            self.heard.answer_url(params.url)
            return ElicitResult(action="accept")
        return ElicitResult(action="accept", content=self.heard.answer_form())

    async def _notice(self, message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            self.heard.updated.append(str(message.params.uri))

    async def version(self) -> str:
        return str(self.client.protocol_version)

    async def tools(self) -> list[str]:
        return [tool.name for tool in await self.client.list_tools()]

    async def call(self, tool: str, arguments: dict[str, Any], progress: Callable[[float], None] | None = None) -> str:
        async def note(done: float, total: float | None, message: str | None) -> None:
            if progress is not None:
                progress(done)

        result = await self.client.call_tool(tool, arguments, progress_handler=note if progress else None)
        return "\n".join(block.text for block in result.content if isinstance(block, types.TextContent))

    async def call_and_cancel(self, tool: str, arguments: dict[str, Any]) -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(self.call(tool, arguments, lambda _: begun.set()))
        await first(begun.wait(), task)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def read(self, uri: str) -> str:
        return "\n".join(getattr(content, "text", "") for content in await self.client.read_resource(uri))

    async def prompt(self, name: str, arguments: dict[str, str]) -> str:
        result = await self.client.get_prompt(name, arguments)
        return "\n".join(getattr(message.content, "text", "") for message in result.messages)

    async def complete(self, ref: dict[str, str], argument: dict[str, str]) -> list[str]:
        kinds = {"ref/prompt": types.PromptReference, "ref/resource": types.ResourceTemplateReference}
        return (await self.client.complete(kinds[ref["type"]](**ref), argument)).values

    @contextlib.asynccontextmanager
    async def subscription(self, uri: str) -> AsyncIterator[None]:
        # The client itself has no subscriptions; the session under it has.
        session = self.client.session
        if await self.version() < "2026-07-28":
            await session.subscribe_resource(uri)
            yield
            await session.unsubscribe_resource(uri)
            return
        async with listen(session, resource_subscriptions=[uri]) as events:

            async def collect() -> None:
                async for event in events:
                    self.heard.updated.append(str(event.uri))

            task = asyncio.create_task(collect())
            yield
            task.cancel()


@contextlib.asynccontextmanager
async def connect(at: dict[str, Any], mode: str, heard: Heard) -> AsyncIterator[FastMcpLink]:
    """An open connection."""
    link = FastMcpLink(at, heard)
    async with link.client:
        yield link


if __name__ == "__main__":
    main(connect)
