"""Event log of the session era: what a client missed can be replayed by `Last-Event-ID`."""

from collections import deque

from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp_types import JSONRPCMessage

# More than any test leaves unread; the oldest go first.
EVENTS_MAX = 4096


class Events(EventStore):
    """The last events of all streams, in the order in which they were sent."""

    def __init__(self) -> None:
        self._n_stored = 0
        self._log: deque[tuple[int, str, JSONRPCMessage | None]] = deque(maxlen=EVENTS_MAX)

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        """Keeps one event; `None` is the empty event that opens a stream."""
        self._n_stored += 1
        self._log.append((self._n_stored, stream_id, message))
        return str(self._n_stored)

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        """Sends what followed on the stream of the given event."""
        last = int(last_event_id) if last_event_id.isdecimal() else 0
        stream = next((stream for number, stream, _ in self._log if number == last), None)
        if stream is None:
            return None
        for number, of, message in list(self._log):
            if of == stream and number > last and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream
