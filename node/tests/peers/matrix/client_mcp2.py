#!/usr/bin/env python3
"""The Python SDK `mcp` 2 as client: `client_mcp2.py PLAN auto|legacy|2026-07-28`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from play import Heard, first, main, reach


class Mcp2Link:
    """A connection of `mcp.Client`."""

    def __init__(self, at: dict[str, Any], mode: str, heard: Heard) -> None:
        self.heard = heard
        self.client = Client(
            reach(at, StdioServerParameters, sse_client, over_http),
            mode=mode,
            sampling_callback=self._sample,
            elicitation_callback=self._elicit,
            list_roots_callback=self._roots,
            message_handler=self._notice,
            cache=None,
        )

    async def _sample(self, ctx: Any, params: Any) -> types.CreateMessageResult:
        said = types.TextContent(type="text", text=self.heard.answer_sampling())
        return types.CreateMessageResult(role="assistant", content=said, model="model")

    async def _elicit(self, ctx: Any, params: Any) -> types.ElicitResult:
        if params.mode == "url":
            self.heard.answer_url(params.url)
            return types.ElicitResult(action="accept")
        return types.ElicitResult(action="accept", content=self.heard.answer_form())

    async def _roots(self, ctx: Any) -> types.ListRootsResult:
        return types.ListRootsResult(roots=[types.Root(uri=self.heard.root, name="root")])

    async def _notice(self, message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            self.heard.updated.append(str(message.params.uri))

    async def version(self) -> str:
        return str(self.client.protocol_version)

    async def tools(self) -> list[str]:
        names, cursor = [], None
        while True:
            page = await self.client.list_tools(cursor=cursor)
            names += [tool.name for tool in page.tools]
            cursor = page.next_cursor
            if cursor is None:
                return names

    async def call(self, tool: str, arguments: dict[str, Any], progress: Callable[[float], None] | None = None) -> str:
        async def note(done: float, total: float | None, message: str | None) -> None:
            if progress is not None:
                progress(done)

        result = await self.client.call_tool(tool, arguments, progress_callback=note if progress else None)
        return "\n".join(block.text for block in result.content if isinstance(block, types.TextContent))

    async def call_and_cancel(self, tool: str, arguments: dict[str, Any]) -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(self.call(tool, arguments, lambda _: begun.set()))
        await first(begun.wait(), task)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def read(self, uri: str) -> str:
        result = await self.client.read_resource(uri)
        return "\n".join(getattr(content, "text", "") for content in result.contents)

    async def prompt(self, name: str, arguments: dict[str, str]) -> str:
        result = await self.client.get_prompt(name, arguments)
        return "\n".join(getattr(message.content, "text", "") for message in result.messages)

    async def complete(self, ref: dict[str, str], argument: dict[str, str]) -> list[str]:
        kinds = {"ref/prompt": types.PromptReference, "ref/resource": types.ResourceTemplateReference}
        result = await self.client.complete(kinds[ref["type"]](**ref), argument)
        return result.completion.values

    @contextlib.asynccontextmanager
    async def subscription(self, uri: str) -> AsyncIterator[None]:
        if await self.version() < "2026-07-28":
            await self.client.subscribe_resource(uri)
            yield
            await self.client.unsubscribe_resource(uri)
            return
        async with self.client.listen(resource_subscriptions=[uri]) as events:

            async def collect() -> None:
                async for event in events:
                    self.heard.updated.append(str(event.uri))

            task = asyncio.create_task(collect())
            yield
            task.cancel()


def over_http(url: str, headers: dict[str, str]) -> Any:
    """Streamable HTTP."""
    return streamable_http_client(url, http_client=httpx2.AsyncClient(headers=headers, timeout=60))


@contextlib.asynccontextmanager
async def connect(at: dict[str, Any], mode: str, heard: Heard) -> AsyncIterator[Mcp2Link]:
    """An open connection."""
    link = Mcp2Link(at, mode, heard)
    async with link.client:
        yield link


if __name__ == "__main__":
    main(connect)
