#!/usr/bin/env python3
"""The Python SDK `mcp` 1 as client: `client_mcp1.py PLAN`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import mcp.types as types
from mcp import ClientSession
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamablehttp_client
from play import Heard, first, main, reach
from pydantic import AnyUrl


class Mcp1Link:
    """A connection of `mcp.ClientSession`."""

    def __init__(self, streams: Any, heard: Heard) -> None:
        self.heard = heard
        self.agreed = ""
        self.session = ClientSession(
            *streams[:2],
            sampling_callback=self._sample,
            elicitation_callback=self._elicit,
            list_roots_callback=self._roots,
            message_handler=self._notice,
        )

    async def _sample(self, ctx: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        said = types.TextContent(type="text", text=self.heard.answer_sampling())
        return types.CreateMessageResult(role="assistant", content=said, model="model")

    async def _elicit(self, ctx: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        if params.mode == "url":
            self.heard.answer_url(params.url)
            return types.ElicitResult(action="accept")
        return types.ElicitResult(action="accept", content=self.heard.answer_form())

    async def _roots(self, ctx: Any) -> types.ListRootsResult:
        return types.ListRootsResult(roots=[types.Root(uri=AnyUrl(self.heard.root), name="root")])

    async def _notice(self, message: Any) -> None:
        if isinstance(message, types.ServerNotification) and isinstance(
            message.root, types.ResourceUpdatedNotification
        ):
            self.heard.updated.append(str(message.root.params.uri))

    async def version(self) -> str:
        return self.agreed

    async def tools(self) -> list[str]:
        names, cursor = [], None
        while True:
            page = await self.session.list_tools(params=types.PaginatedRequestParams(cursor=cursor))
            names += [tool.name for tool in page.tools]
            cursor = page.nextCursor
            if cursor is None:
                return names

    async def call(self, tool: str, arguments: dict[str, Any], progress: Callable[[float], None] | None = None) -> str:
        async def note(done: float, total: float | None, message: str | None) -> None:
            if progress is not None:
                progress(done)

        result = await self.session.call_tool(tool, arguments, progress_callback=note if progress else None)
        return "\n".join(block.text for block in result.content if isinstance(block, types.TextContent))

    async def call_and_cancel(self, tool: str, arguments: dict[str, Any]) -> None:
        begun = asyncio.Event()
        # The library neither cancels nor tells the id that it gives; it counts them.
        request = self.session._request_id
        task = asyncio.create_task(self.call(tool, arguments, lambda _: begun.set()))
        await first(begun.wait(), task)
        params = types.CancelledNotificationParams(requestId=request, reason="given up")
        await self.session.send_notification(types.ClientNotification(types.CancelledNotification(params=params)))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def read(self, uri: str) -> str:
        result = await self.session.read_resource(AnyUrl(uri))
        return "\n".join(getattr(content, "text", "") for content in result.contents)

    async def prompt(self, name: str, arguments: dict[str, str]) -> str:
        result = await self.session.get_prompt(name, arguments)
        return "\n".join(getattr(message.content, "text", "") for message in result.messages)

    async def complete(self, ref: dict[str, str], argument: dict[str, str]) -> list[str]:
        kinds = {"ref/prompt": types.PromptReference, "ref/resource": types.ResourceTemplateReference}
        result = await self.session.complete(kinds[ref["type"]](**ref), argument)
        return result.completion.values

    @contextlib.asynccontextmanager
    async def subscription(self, uri: str) -> AsyncIterator[None]:
        await self.session.subscribe_resource(AnyUrl(uri))
        yield
        await self.session.unsubscribe_resource(AnyUrl(uri))


@contextlib.asynccontextmanager
async def connect(at: dict[str, Any], mode: str, heard: Heard) -> AsyncIterator[Mcp1Link]:
    """An open connection."""
    reached = reach(at, lambda **to: stdio_client(StdioServerParameters(**to)), sse_client, streamablehttp_client)
    async with reached as streams:
        link = Mcp1Link(streams, heard)
        async with link.session:
            link.agreed = str((await link.session.initialize()).protocolVersion)
            yield link


if __name__ == "__main__":
    main(connect)
