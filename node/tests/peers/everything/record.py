"""Keeps what a server over HTTP reads and writes, in the form that `record.py` describes."""

import itertools
import re

from record import Record
from starlette.types import ASGIApp, Message, Receive, Scope, Send

EVENT = re.compile(rb"\r?\n\r?\n")


class HttpRecorder:
    """Stands before the endpoint of a server."""

    def __init__(self, app: ASGIApp, record: Record) -> None:
        self.app, self.record = app, record
        self._exchanges = itertools.count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything on and keeps a copy."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        session = dict(scope["headers"]).get(b"mcp-session-id", b"").decode()
        channel = session or f"exchange {next(self._exchanges)}"
        asked, answered = bytearray(), Answer(self.record, channel)

        async def reading() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                asked.extend(message.get("body", b""))
                if asked and not message.get("more_body"):
                    self.record.keep("client", channel, bytes(asked))
                    asked.clear()
            return message

        async def writing(message: Message) -> None:
            answered.take(message)
            await send(message)

        await self.app(scope, reading, writing)


class Answer:
    """One response on its way out: a message, or a stream of them."""

    def __init__(self, record: Record, channel: str) -> None:
        self._record, self._channel = record, channel
        self._streams = False
        self._body = bytearray()

    def take(self, message: Message) -> None:
        """Looks at one piece."""
        if message["type"] == "http.response.start":
            self._streams = b"text/event-stream" in dict(message["headers"]).get(b"content-type", b"")
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if self._streams:
                self._events()
            elif self._body and not message.get("more_body"):
                self._record.keep("server", self._channel, bytes(self._body))

    def _events(self) -> None:
        *events, rest = EVENT.split(bytes(self._body))
        self._body = bytearray(rest)
        for event in events:
            lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
            if text := b"\n".join(lines).strip():
                self._record.keep("server", self._channel, text)
