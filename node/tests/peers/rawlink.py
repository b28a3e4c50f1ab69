"""Connections that speak MCP in plain text: over HTTP or a child's standard streams, in either era.

No SDK is used, because an SDK decodes and encodes again, and what it loses could not be seen.
"""

import http.client
import json
import queue
import subprocess
import threading
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import rawjson

MODERN = "2026-07-28"
REPLY_SECONDS_MAX = 15.0
CAPABILITIES = '{"sampling":{},"elicitation":{"form":{},"url":{}},"roots":{"listChanged":true}}'
CLIENT_INFO = '{"name":"differential","version":"1.0.0"}'

Answer = Callable[[str, str], str]


@dataclass
class Reply:
    """What came back for one request."""

    message: str
    # The method and params of what the server sent meanwhile, in order.
    meanwhile: list[tuple[str, str]] = field(default_factory=list)

    @property
    def outcome(self) -> str:
        """The text of the result or of the error."""
        return rawjson.get(self.message, "result") or rawjson.get(self.message, "error") or self.message


def envelope(params: str, revision: str) -> str:
    """Params with what every request of the stateless era carries."""
    if revision != MODERN:
        return params
    given = rawjson.get(params, "_meta") or "{}"
    meta = {
        "io.modelcontextprotocol/protocolVersion": f'"{MODERN}"',
        "io.modelcontextprotocol/clientInfo": CLIENT_INFO,
        "io.modelcontextprotocol/clientCapabilities": CAPABILITIES,
        **rawjson.without(given),
    }
    body = "{" + ",".join(f"{rawjson.dump(key)}:{value}" for key, value in meta.items()) + "}"
    rest = rawjson.without(params, "_meta")
    return "{" + ",".join([*(f"{rawjson.dump(k)}:{v}" for k, v in rest.items()), f'"_meta":{body}']) + "}"


def request(identity: str, method: str, params: str) -> str:
    """One request, with id and params as they are spelled."""
    return f'{{"jsonrpc":"2.0","id":{identity},"method":"{method}","params":{params}}}'


def notification(method: str, params: str) -> str:
    """One notification."""
    return f'{{"jsonrpc":"2.0","method":"{method}","params":{params}}}'


class Link:
    """What both kinds of connection have in common: one request at a time, and an inbox."""

    def __init__(self, revision: str, answer: Answer) -> None:
        self.revision = revision
        self.answer = answer
        self.inbox: queue.Queue[str] = queue.Queue()

    def send(self, text: str) -> None:
        """Sends one message."""
        raise NotImplementedError

    def post(self, text: str, headers: dict[str, str]) -> None:
        """Sends one request; its answers come into the inbox."""
        self.send(text)

    def receive(self, what: str) -> str:
        """The next message, whichever way it came."""
        try:
            return self.inbox.get(timeout=REPLY_SECONDS_MAX)
        except queue.Empty:
            raise TimeoutError(f"nothing came within {REPLY_SECONDS_MAX} s of {what}") from None

    def open(self) -> str:
        """Shakes hands where the era has that; the text of the result, or of `server/discover`."""
        if self.revision == MODERN:
            return self.call('"open"', "server/discover", "{}").outcome
        hello = f'{{"protocolVersion":"{self.revision}","capabilities":{CAPABILITIES},"clientInfo":{CLIENT_INFO}}}'
        outcome = self.call('"open"', "initialize", hello).outcome
        self.send(notification("notifications/initialized", "{}"))
        return outcome

    def post_call(self, identity: str, method: str, params: str) -> None:
        """Sends one request whose answer nobody waits for."""
        params = envelope(params, self.revision)
        self.post(request(identity, method, params), self.headers(method, params))

    def call(self, identity: str, method: str, params: str) -> Reply:
        """Sends one request and waits for its end; answers what the server asks meanwhile."""
        self.post_call(identity, method, params)
        meanwhile: list[tuple[str, str]] = []
        while True:
            message = self.receive(f"{method} {params[:200]}")
            name = rawjson.get(message, "method")
            if name is not None:
                meanwhile.append((json.loads(name), rawjson.get(message, "params") or "{}"))
                self.respond(message)
            # An error that cannot name the request it belongs to has no id, or null.
            elif json.loads(rawjson.get(message, "id") or "null") in (json.loads(identity), None):
                return Reply(message, meanwhile)

    def call_all(self, batch: list[tuple[str, str, str]], told: str) -> dict[str, str]:
        """Sends requests and a notification as one array; the answers by the text of the value of their id.

        What the server asks meanwhile is answered in one array, once everything has come that will come without it.
        """
        requests = [request(identity, method, params) for identity, method, params in batch]
        self.post(f"[{','.join([*requests, told])}]", {})
        answers: dict[str, str] = {}
        asked: list[str] = []
        while len(answers) < len(batch):
            message = self.receive(f"a batch of {len(batch)}")
            if rawjson.get(message, "method") is None:
                answers[rawjson.dump(json.loads(rawjson.get(message, "id") or "null"))] = message
            elif rawjson.get(message, "id") is not None:
                asked.append(message)
            if asked and len(asked) + len(answers) == len(batch):
                self.send(f"[{','.join(map(self.response, asked))}]")
                asked.clear()
        return answers

    def listen(self, params: str, trigger: Callable[[], Any], n_messages: int) -> list[tuple[str, str]]:
        """Opens a listen stream, acts once it is acknowledged, and returns what came."""
        self.post_call('"listen"', "subscriptions/listen", params)
        got: list[tuple[str, str]] = []
        while len(got) < n_messages:
            message = self.receive("subscriptions/listen")
            name = json.loads(rawjson.get(message, "method") or '""')
            if not name.startswith("notifications/") and rawjson.get(message, "id") != '"listen"':
                continue  # The answer to the trigger.
            got.append((name or "answer", rawjson.get(message, "params") or message))
            if len(got) == 1:
                trigger()
        self.unlisten()
        return got

    def unlisten(self) -> None:
        """Ends the listen stream."""
        self.send(notification("notifications/cancelled", envelope('{"requestId":"listen"}', self.revision)))

    def respond(self, message: str) -> None:
        """Answers a request of the server; notifications need none."""
        if rawjson.get(message, "id") is not None:
            self.send(self.response(message))

    def response(self, message: str) -> str:
        """What the client says to a request of the server."""
        method = json.loads(rawjson.get(message, "method") or '""')
        result = self.answer(method, rawjson.get(message, "params") or "{}")
        return f'{{"jsonrpc":"2.0","id":{rawjson.get(message, "id")},"result":{result}}}'

    def headers(self, method: str, params: str) -> dict[str, str]:
        """What HTTP mirrors of a request of the stateless era."""
        if self.revision != MODERN:
            return {}
        mirrored = {"Mcp-Method": method}
        body = json.loads(params)
        name = body.get("uri") if method == "resources/read" else body.get("name")
        if isinstance(name, str) and method in ("tools/call", "prompts/get", "resources/read"):
            mirrored["Mcp-Name"] = header_value(name)
        if method == "tools/call" and str(name).endswith("regional"):
            for key, header in (("region", "Mcp-Param-Region"), ("limit", "Mcp-Param-Limit")):
                if key in body["arguments"]:
                    mirrored[header] = header_value(str(body["arguments"][key]))
        return mirrored

    def close(self) -> None:
        """Ends the connection."""
        raise NotImplementedError


def header_value(value: str) -> str:
    """A value as a header can carry it."""
    plain = value.isascii() and value.isprintable() and value == value.strip()
    if plain and not (value.startswith("=?base64?") and value.endswith("?=")):
        return value
    return f"=?base64?{b64encode(value.encode()).decode()}?="


class StdioLink(Link):
    """A child process, one message a line."""

    def __init__(self, how: dict[str, Any], revision: str, answer: Answer) -> None:
        super().__init__(revision, answer)
        self.process = subprocess.Popen(
            [how["command"], *how["args"]],
            env=how["env"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.inbox.put(line.decode().rstrip("\r\n"))

    def send(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class HttpLink(Link):
    """Streamable HTTP. In the session era a second thread reads the GET stream."""

    def __init__(self, url: str, token: str, revision: str, answer: Answer) -> None:
        super().__init__(revision, answer)
        parts = urlsplit(url)
        self.host, self.path = parts.netloc, parts.path
        self.common = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            **({"Authorization": f"Bearer {token}"} if token else {}),
        }
        if revision == MODERN:
            self.common["MCP-Protocol-Version"] = MODERN
        self.stream: http.client.HTTPConnection | None = None
        self.listening: http.client.HTTPConnection | None = None

    def open(self) -> str:
        outcome = super().open()
        if self.revision != MODERN:
            self.stream = http.client.HTTPConnection(self.host, timeout=300)
            self.stream.request("GET", self.path, headers={**self.common, "Accept": "text/event-stream"})
            response = self.stream.getresponse()
            if response.status == 200:
                threading.Thread(target=self._events, args=(response,), daemon=True).start()
        return outcome

    def send(self, text: str) -> None:
        connection = http.client.HTTPConnection(self.host, timeout=REPLY_SECONDS_MAX)
        mirrored = {}
        if self.revision == MODERN:
            mirrored["Mcp-Method"] = json.loads(rawjson.get(text, "method") or '""')
        connection.request("POST", self.path, text.encode(), {**self.common, **mirrored})
        response = connection.getresponse()
        response.read()
        if response.status >= 300 and self.revision != MODERN:
            raise RuntimeError(f"HTTP {response.status} for {text[:200]}")
        connection.close()

    def post(self, text: str, headers: dict[str, str]) -> None:
        connection = http.client.HTTPConnection(self.host, timeout=REPLY_SECONDS_MAX)
        connection.request("POST", self.path, text.encode(), {**self.common, **headers})
        response = connection.getresponse()
        if self.revision != MODERN and (session := response.getheader("mcp-session-id")):
            self.common["Mcp-Session-Id"] = session
            if self.revision >= "2025-06-18":
                self.common["MCP-Protocol-Version"] = self.revision
        if "text/event-stream" not in (response.getheader("content-type") or ""):
            self._arrived(response.read().decode())
            connection.close()
            return
        if '"subscriptions/listen"' in text:
            self.listening = connection
        threading.Thread(target=self._events, args=(response, connection), daemon=True).start()

    def _arrived(self, text: str) -> None:
        if text.lstrip().startswith("["):
            for message in rawjson.items(text):
                self.inbox.put(message)
        elif text.strip():
            self.inbox.put(text.strip())

    def _events(self, response: http.client.HTTPResponse, connection: Any = None) -> None:
        data: list[str] = []
        try:
            for line in response:
                spelled = line.decode().rstrip("\r\n")
                if spelled.startswith("data:"):
                    data.append(spelled[5:].removeprefix(" "))
                elif spelled == "" and data:
                    self._arrived("\n".join(data))
                    data = []
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass  # The stream was closed, by us or by the other side.
        if connection is not None:
            connection.close()

    def unlisten(self) -> None:
        # Over HTTP a listen stream ends when the client closes it.
        if self.listening is not None and self.listening.sock is not None:
            self.listening.sock.shutdown(2)

    def close(self) -> None:
        if self.revision != MODERN and "Mcp-Session-Id" in self.common:
            connection = http.client.HTTPConnection(self.host, timeout=REPLY_SECONDS_MAX)
            connection.request("DELETE", self.path, headers=self.common)
            connection.getresponse().read()
            connection.close()
        if self.stream is not None and self.stream.sock is not None:
            self.stream.sock.shutdown(2)
