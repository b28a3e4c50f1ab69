#!/usr/bin/env python3
"""Judges messages by the JSON schema of their revision.

    wire_schema.py REVISION=RECORD...

A record is what `record.py` writes; what the client sent is judged, which is what a gateway made of its own clients'
messages. Exit status: 0 all are valid, 1 some are not, or there was nothing to judge.
"""

import functools
import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator, Draft202012Validator
from suite import HERE, NPM

SCHEMAS = HERE / ".cache" / "schemas"
# Each revision's names for an answer that is an error or a result, the one it has first.
ERRORS = ("JSONRPCErrorResponse", "JSONRPCError")
RESULTS = ("JSONRPCResultResponse", "JSONRPCResponse")
UNIONS = {"ClientRequest", "ClientNotification", "ClientResult", "ServerRequest", "ServerNotification", "ServerResult"}
# Of extensions, which have schemas of their own.
EXTENSION_RESULTS = ("task",)
COMPLAINTS_MAX = 5


@functools.cache
def published(revision: str) -> dict[str, Any]:
    """The schema of a revision."""
    file = SCHEMAS / f"{revision}.json"
    if not file.exists():
        subprocess.run([str(NPM / "node/bin/node"), str(HERE / "schemas.mjs"), str(SCHEMAS)], check=True)
    schema = json.loads(file.read_text())
    # Both revisions say `integer` for the bounds of a number, which is a slip of their generator: the examples of the
    # same specification have fractions.
    if revision in ("2025-06-18", "2025-11-25"):
        number = (schema.get("$defs") or schema["definitions"])["NumberSchema"]["properties"]
        for key in ("minimum", "maximum", "default"):
            if number.get(key, {}).get("type") == "integer":
                number[key]["type"] = "number"
    return schema


class Judge:
    """Knows which definition of one revision a message has to meet."""

    def __init__(self, revision: str) -> None:
        self.schema = published(revision)
        self.place = "$defs" if "$defs" in self.schema else "definitions"
        self.definitions: dict[str, Any] = self.schema[self.place]
        self.by_method: dict[str, str] = {}
        self.by_code: dict[int, str] = {}
        for name, definition in self.definitions.items():
            if name in UNIONS:
                continue
            method = definition.get("properties", {}).get("method", {}).get("const")
            if isinstance(method, str):
                self.by_method[method] = name
            for part in definition.get("properties", {}).get("error", {}).get("allOf", []):
                code = part.get("properties", {}).get("code", {}).get("const")
                if isinstance(code, int):
                    self.by_code[code] = name

    def complaints(self, message: Any, asked: str | None) -> list[str]:
        """What is wrong with a message; `asked` is the method of the request that it answers."""
        if not isinstance(message, dict):
            return ["not an object"]
        if isinstance(message.get("method"), str):
            plain = "JSONRPCRequest" if "id" in message else "JSONRPCNotification"
            return self.meets(self.by_method.get(message["method"], plain), message)
        if "error" in message:
            code = (message["error"] or {}).get("code")
            return self.meets(self.by_code.get(code, self.known(ERRORS)), message)
        found = self.meets(self.known(RESULTS), message)
        return found or self.result_complaints(message.get("result"), asked)

    def result_complaints(self, result: Any, asked: str | None) -> list[str]:
        """What is wrong with the result of a method."""
        kind = result.get("resultType") if isinstance(result, dict) else None
        if kind == "input_required" and "InputRequiredResult" in self.definitions:
            return self.meets("InputRequiredResult", result)
        request = self.by_method.get(asked or "", "")
        name = request.removesuffix("Request") + "Result"
        if kind in EXTENSION_RESULTS or name not in self.definitions:
            return []
        return self.meets(name, result)

    def known(self, names: tuple[str, ...]) -> str:
        """The first of the names that this revision has."""
        return next(name for name in names if name in self.definitions)

    def meets(self, name: str, value: Any) -> list[str]:
        """Where a value differs from a definition."""
        errors = self.validator(name).iter_errors(value)
        return [f"{name}{error.json_path.removeprefix('$')}: {error.message[:200]}" for error in errors][:COMPLAINTS_MAX]

    @functools.cache  # noqa: B019 - one judge a revision, as long as the process
    def validator(self, name: str) -> Any:
        """A validator of one definition."""
        kind = Draft202012Validator if "2020-12" in self.schema["$schema"] else Draft7Validator
        return kind({**self.schema, "$ref": f"#/{self.place}/{name}"} if kind is Draft202012Validator else
                    {self.place: self.definitions, "allOf": [{"$ref": f"#/{self.place}/{name}"}]})


@functools.cache
def judge(revision: str) -> Judge:
    """The judge of a revision."""
    return Judge(revision)


@dataclass
class Channel:
    """A conversation: whose requests are open in either direction."""

    asked: dict[tuple[str, str], str] = field(default_factory=dict)

    def method_of(self, sender: str, message: Any) -> str | None:
        """Notes a request; for an answer, the method of what it answers."""
        if not isinstance(message, dict) or "id" not in message:
            return None
        other = "server" if sender == "client" else "client"
        if "method" in message:
            self.asked[(sender, json.dumps(message["id"]))] = message["method"]
            return None
        return self.asked.get((other, json.dumps(message["id"])))


def judge_record(revision: str, record: Path) -> tuple[Counter[str], list[str]]:
    """How many messages of which kind were judged, and every complaint. A record with nothing to judge is one."""
    channels: dict[str, Channel] = {}
    judged: Counter[str] = Counter()
    found: list[str] = []
    for line in record.read_text().splitlines() if record.exists() else []:
        kept = json.loads(line)
        try:
            message = json.loads(kept["text"])
        except ValueError:
            found.append(f"{record.name}: not JSON: {kept['text'][:200]}")
            continue
        asked = channels.setdefault(kept["on"], Channel()).method_of(kept["from"], message)
        if kept["from"] != "client" or foreign(revision, message):
            continue
        judged[message.get("method") or f"answer to {asked}"] += 1
        for complaint in judge(revision).complaints(message, asked):
            found.append(f"{record.name}: {complaint}\n    {kept['text'][:400]}")
    if not judged:
        found.append(f"{record.name}: nothing was judged: it holds no message of a client in {revision}")
    return judged, found


def foreign(revision: str, message: Any) -> bool:
    """Whether a message only finds out which era a server has: such a one is of the other era and gets refused."""
    method = message.get("method") if isinstance(message, dict) else None
    return method == ("initialize" if revision == "2026-07-28" else "server/discover")


def main() -> int:
    """Reads the command line, judges, reports."""
    if not sys.argv[1:]:
        print("nothing was judged: no record was named")
        return 1
    n_found = 0
    for spelled in sys.argv[1:]:
        revision, _, record = spelled.partition("=")
        judged, found = judge_record(revision, Path(record))
        print(f"{record}: {judged.total()} messages by {revision}: {len(found)} complaints")
        print("    " + ", ".join(f"{count} {kind}" for kind, count in sorted(judged.items())))
        for complaint in found:
            print(f"    {complaint}")
        n_found += len(found)
    return 1 if n_found else 0


if __name__ == "__main__":
    sys.exit(main())
