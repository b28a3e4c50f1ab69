"""One era only: refuses the other as servers do that never learned it, or have dropped it.

The SDK serves both eras at once. In front of it stands a gate that lets through what belongs to
the one era and answers the rest itself.
"""

import json
from typing import Any, Literal

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import METHOD_NOT_FOUND, ErrorData, JSONRPCError, JSONRPCRequest
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

Only = Literal["session", "stateless"]

UNSUPPORTED_PROTOCOL_VERSION = -32022
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"


def unsupported(requested: Any) -> ErrorData:
    """What a server without sessions says to `initialize`: the versions that it has."""
    return ErrorData(
        code=UNSUPPORTED_PROTOCOL_VERSION,
        message="Unsupported protocol version",
        data={"supported": list(MODERN_PROTOCOL_VERSIONS), "requested": requested or "unknown"},
    )


class HttpGate:
    """Stands before the endpoint of a server with one era."""

    def __init__(self, app: ASGIApp, only: Only) -> None:
        self.app, self.only = app, only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on or refuses it."""
        if scope["type"] == "http":
            request = Request(scope, receive)
            modern = request.headers.get("mcp-protocol-version") in MODERN_PROTOCOL_VERSIONS
            if modern != (self.only == "stateless"):
                await (await self._refusal(request))(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _refusal(self, request: Request) -> Response:
        if self.only == "session":
            # The words of the TypeScript SDK 1.x, whose servers look for a session before anything else.
            error = {"code": -32000, "message": "Bad Request: Server not initialized"}
            return JSONResponse({"jsonrpc": "2.0", "error": error, "id": None}, status_code=400)
        if request.method != "POST":
            return Response(status_code=405, headers={"allow": "POST"})
        try:
            asked = json.loads(await request.body())
        except ValueError:
            return Response(status_code=400)
        requested = (asked.get("params") or {}).get("protocolVersion") if isinstance(asked, dict) else None
        error = unsupported(requested).model_dump(mode="json", exclude_none=True)
        answer = {"jsonrpc": "2.0", "error": error}
        if isinstance(asked, dict) and "id" in asked:
            answer["id"] = asked["id"]
        return JSONResponse(answer, status_code=400)


async def stdio_gate(only: Only, incoming: Any, passed: Any, outgoing: Any) -> None:
    """Moves messages from standard input to the server, but for those of the other era."""
    async with passed, outgoing:
        async for item in incoming:
            refusal = _stdio_refusal(only, item)
            if refusal is None:
                await passed.send(item)
            else:
                await outgoing.send(SessionMessage(refusal))


def _stdio_refusal(only: Only, item: Any) -> JSONRPCError | None:
    message = item.message if isinstance(item, SessionMessage) else None
    if not isinstance(message, JSONRPCRequest):
        return None
    params = message.params or {}
    modern = VERSION_KEY in (params.get("_meta") or {})
    if modern == (only == "stateless"):
        return None
    if only == "session":
        error = ErrorData(code=METHOD_NOT_FOUND, message="Method not found")
    else:
        error = unsupported(params.get("protocolVersion"))
    return JSONRPCError(jsonrpc="2.0", id=message.id, error=error)


async def serve_through(only: Only, incoming: Any, outgoing: Any, serve: Any) -> None:
    """Serves one client on a pair of streams with the gate in between."""
    passed, received = anyio.create_memory_object_stream[Any]()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stdio_gate, only, incoming, passed, outgoing.clone())
        await serve(received, outgoing)
        tasks.cancel_scope.cancel()
