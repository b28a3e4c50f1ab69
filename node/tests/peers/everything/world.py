"""What changes while the server runs: subscriptions, log levels and the items that come and go."""

from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ToolsListChanged,
)

from .ask import is_modern

LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")


class World:
    """One per process; shared by all sessions, as a server behind a gateway is."""

    def __init__(self) -> None:
        self.bus = InMemorySubscriptionBus()
        self.extra_tool = False
        self.extra_prompt = False
        self.extra_resource = False
        self.n_cancelled = 0
        self._watchers: dict[str, dict[int, ServerSession]] = {}

    def subscribe(self, ctx: ServerRequestContext[Any, Any], uri: str) -> None:
        """Sends later updates of a resource to this session."""
        self._watchers.setdefault(uri, {})[_connection(ctx)] = ctx.session

    def unsubscribe(self, ctx: ServerRequestContext[Any, Any], uri: str) -> None:
        """Stops them."""
        self._watchers.get(uri, {}).pop(_connection(ctx), None)

    def set_level(self, ctx: ServerRequestContext[Any, Any], level: str) -> None:
        """Keeps the least severity that this session wants to read."""
        ctx.session._connection.state["level"] = LEVELS.index(level)

    async def log(self, ctx: ServerRequestContext[Any, Any], level: str, data: Any) -> None:
        """Logs on the stream of the call, as far as the client wants to read it."""
        if LEVELS.index(level) >= ctx.session._connection.state.get("level", 0):
            await ctx.session.send_log_message(
                level, data, logger="everything", related_request_id=ctx.request_id  # type: ignore[arg-type]
            )

    async def updated(self, uri: str) -> None:
        """Tells every subscriber of either era that a resource changed."""
        await self.bus.publish(ResourceUpdated(uri=uri))
        for key, session in list(self._watchers.get(uri, {}).items()):
            try:
                await session.send_resource_updated(uri)
            except Exception:  # noqa: BLE001 - a session that is gone must not keep the others waiting
                self._watchers[uri].pop(key, None)

    async def changed(self, ctx: ServerRequestContext[Any, Any], kind: str) -> None:
        """Adds or removes one item of a list and says so."""
        name = f"extra_{kind}"
        setattr(self, name, not getattr(self, name))
        events = {"tool": ToolsListChanged, "prompt": PromptsListChanged, "resource": ResourcesListChanged}
        await self.bus.publish(events[kind]())
        if not is_modern(ctx):
            await getattr(ctx.session, f"send_{kind}_list_changed")()


def _connection(ctx: ServerRequestContext[Any, Any]) -> int:
    # A session object is made anew for each request; its connection is what lasts.
    return id(ctx.session._connection)
