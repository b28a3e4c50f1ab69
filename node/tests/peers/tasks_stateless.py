#!/usr/bin/env python3
"""A stateless client with the tasks extension, at the reference server of 2025-11-25 behind the gateway.

    tasks_stateless.py URL

URL is the endpoint of `server-everything`. Exit status: 0 the task ended as it must, 1 it did not.
"""

import json
import sys
import time
import urllib.error
import urllib.request
from typing import Any

REVISION = "2026-07-28"
EXTENSION = "io.modelcontextprotocol/tasks"
TOOL = "simulate-research-query"
TASK_S_MAX = 60


class Client:
    """Sends one request at a time, and reads its answer from JSON or the end of a stream."""

    def __init__(self, url: str, capabilities: dict[str, Any]) -> None:
        self.url = url
        self.meta = {
            "io.modelcontextprotocol/protocolVersion": REVISION,
            "io.modelcontextprotocol/clientCapabilities": capabilities,
        }

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The message that answers a request."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": self.meta}}
        headers = {
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": REVISION,
            "mcp-method": method,
        }
        name = params.get("name") or params.get("taskId")
        if name:
            headers["mcp-name"] = name
        request = urllib.request.Request(self.url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=TASK_S_MAX) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            text = error.read().decode()
        if not text.startswith("{"):
            text = [line[5:] for line in text.splitlines() if line.startswith("data:")][-1]
        return json.loads(text)


def answer_of(question: dict[str, Any]) -> dict[str, Any]:
    """Takes the first choice of every field."""
    fields = question["params"]["requestedSchema"]["properties"].items()
    choices = {name: field.get("enum") or [one["const"] for one in field.get("oneOf", [])] for name, field in fields}
    return {"action": "accept", "content": {name: (values or ["x"])[0] for name, values in choices.items()}}


def main() -> int:
    """Runs the tool, answers what it asks, waits for its end."""
    client = Client(sys.argv[1], {"elicitation": {}, "extensions": {EXTENSION: {}}})
    capabilities = client.ask("server/discover", {})["result"]["capabilities"]
    assert EXTENSION in capabilities["extensions"] and "tasks" not in capabilities, capabilities
    call = {"name": TOOL, "arguments": {"topic": "x", "ambiguous": True}}
    refused = Client(sys.argv[1], {}).ask("tools/call", call)
    assert refused["error"]["code"] == -32021, refused
    created = client.ask("tools/call", call)["result"]
    assert created["resultType"] == "task" and created["status"] == "working", created
    task = {"taskId": created["taskId"]}
    asked: list[str] = []
    until = time.monotonic() + TASK_S_MAX
    while time.monotonic() < until:
        state = client.ask("tasks/get", task)["result"]
        assert state["resultType"] == "complete" and state["taskId"] == created["taskId"], state
        if state["status"] == "completed":
            assert asked, "the server did not ask"
            assert "Research Report" in state["result"]["content"][0]["text"], state
            return 0
        for key, question in state.get("inputRequests", {}).items():
            assert key not in asked, f"{key} was asked twice"
            asked.append(key)
            update = client.ask("tasks/update", {**task, "inputResponses": {key: answer_of(question)}})
            assert update["result"]["resultType"] == "complete", update
        assert state["status"] in ("working", "input_required"), state
        time.sleep(created["pollIntervalMs"] / 1000)
    print("the task did not end", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
