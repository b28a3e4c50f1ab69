#!/usr/bin/env python3
"""Sends the same requests to a server in its own era, and through the gateway in the other, and compares.

    differential_eras.py --world FILE --scoped URL [--token TOKEN] [--records DIR] [--leg EXPRESSION]

FILE holds what `serve_fixtures.py --twins` printed; `--scoped` is the endpoint of one server, with `{server}` where
its name goes. What no translation has to touch has to be the same to the byte: results without what only one of the
eras puts into them, and the questions of a server. All that the client gets is judged by the schema of its revision,
and with `--records` what the servers got by theirs. Exit status: 0 as it should be, 1 something is not, or was neither
compared nor judged.
"""

import argparse
import json
import queue
import re
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rawjson
from differential import LISTS, answer, collect, token_by_value
from exchanges import Exchange, Names, call, fixture_lists, plain, prompt, values
from rawlink import MODERN, HttpLink, Link, StdioLink
from wire_schema import judge, judge_record

ROUNDS_MAX = 6
SESSION = "2025-11-25"
# The client's revision, the era that the server has instead, and how the gateway reaches it.
LEGS = [
    *[(revision, "stateless", over) for revision in ("2025-03-26", "2025-06-18", SESSION) for over in ("http", "stdio")],
    *[(MODERN, "session", over) for over in ("http", "stdio")],
]
EXCHANGES_MIN = 600
# What only one of the eras has in a result.
OF_ONE_ERA = ("resultType", "ttlMs", "cacheScope", "_meta")
SERVER_INFO = "io.modelcontextprotocol/serverInfo"
NAMES = Names()


def crossing(revision: str) -> list[Exchange]:
    """What both eras have, in order."""
    out = [plain(method) for method in LISTS]
    for tool in ("test_simple_text", "test_image_content", "test_audio_content", "test_embedded_resource",
                 "test_multiple_content_types", "test_error_handling", "regional"):
        out.append(call(tool, {"region": " w\u00ebst ", "limit": 3} if tool == "regional" else {}))
    out.append(call("no_such_tool", refused=True))
    out.append(call("test_tool_with_progress", {}, ',"_meta":{"progressToken":"tok \\u00fc","com.example/x":1.0}'))
    out.append(call("test_tool_with_progress", {}, ',"_meta":{"progressToken":41}', note="number as token"))
    out.append(call("large", {"bytes": 200_000}))
    out += values("crossing")
    out += fixture_lists()
    for tool in ("test_input_required_result_sampling", "test_input_required_result_list_roots"):
        out.append(call(tool, id='"asks"'))
    out.append(call("test_sampling", {"prompt": "caf\u00e9"}))
    if revision >= "2025-06-18":
        # Links to resources and forms for the user came with this revision.
        out.append(call("links"))
        for tool in ("elicitation", "request_state", "multiple_inputs", "multi_round", "capabilities"):
            out.append(call(f"test_input_required_result_{tool}"))
        out.append(call("test_elicitation", {"message": "who? \u00fc"}))
        out.append(call("test_elicitation_sep1034_defaults"))
        out.append(call("test_streaming_elicitation", {}, ',"_meta":{"progressToken":"p"}'))
        out.append(prompt("test_input_required_result_prompt", {}))
    return out


class Heard(queue.Queue[str]):
    """An inbox that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[str] = []

    def put(self, item: str, *args: Any, **kwargs: Any) -> None:  # noqa: D102
        self.all.append(item)
        super().put(item, *args, **kwargs)


@dataclass
class Said:
    """What came of one exchange: the outcome, what the server asked, and what it told meanwhile."""

    outcome: str
    asked: list[str]
    told: list[str]


class Way:
    """One way to a server, in one revision."""

    def __init__(self, how: dict[str, Any], token: str, revision: str) -> None:
        self.link: Link
        if "url" in how:
            self.link = HttpLink(how["url"], token, revision, answer)
        else:
            self.link = StdioLink(how, revision, answer)
        self.heard = Heard()
        self.link.inbox = self.heard
        self.revision = revision
        self.methods: dict[str, str] = {}
        self.n_sent = 0

    def play(self, exchange: Exchange) -> Said:
        """One exchange, with all its rounds where the era has those."""
        params = exchange.params(NAMES)
        if exchange.method in LISTS:
            found, _ = collect(self, exchange.method, params, LISTS[exchange.method])
            return Said("\n".join(found), [], [])
        asked: list[str] = []
        told: list[str] = []
        request = params
        for _ in range(ROUNDS_MAX):
            reply = self.call(exchange.id, exchange.method, request)
            for method, body in reply.meanwhile:
                if method == "notifications/progress":
                    told.append(token_by_value(body))
                elif not method.startswith("notifications/"):
                    asked.append(question(method, body))
            if rawjson.get(reply.outcome, "resultType") != '"input_required"':
                refused = exchange.refused and rawjson.get(reply.message, "error")
                return Said("refused" if refused else essence(reply.outcome), sorted(asked), told)
            request = self.answered(params, reply.outcome, asked)
        raise RuntimeError(f"{exchange.note} asks for ever")

    def call(self, identity: str, method: str, params: str) -> Any:
        """One request. Ids are unique in a session, so the given one becomes part of another."""
        self.n_sent += 1
        own = f'"{self.n_sent} "' if identity == "7" else rawjson.dump(f"{json.loads(identity)} {self.n_sent}")
        self.methods[json.loads(own)] = method
        return self.link.call(own, method, params)

    def answered(self, params: str, outcome: str, asked: list[str]) -> str:
        """The request again, with an answer to everything that was asked."""
        given = []
        for key, span in rawjson.members(rawjson.get(outcome, "inputRequests") or "{}").items():
            body = (rawjson.get(outcome, "inputRequests") or "")[slice(*span)]
            method = json.loads(rawjson.get(body, "method") or '""')
            asked.append(question(method, rawjson.get(body, "params") or "{}"))
            given.append(f"{rawjson.dump(key)}:{answer(method, rawjson.get(body, 'params') or '{}')}")
        state = rawjson.get(outcome, "requestState")
        tail = f',"inputResponses":{{{",".join(given)}}}' + (f',"requestState":{state}' if state else "")
        return params.rstrip()[:-1] + tail + "}"

    def open(self) -> None:
        """Shakes hands where the era has that."""
        self.methods["open"] = "server/discover" if self.revision == MODERN else "initialize"
        self.link.open()

    def complaints(self) -> list[str]:
        """What is wrong with the messages that came, by the schema of the revision."""
        out = []
        for text in self.heard.all:
            message = json.loads(text)
            asked = self.methods.get(str(message.get("id"))) if "method" not in message else None
            for complaint in judge(self.revision).complaints(message, asked):
                out.append(f"{complaint}\n    {text[:400]}")
        return out


def question(method: str, params: str) -> str:
    """A question without what differs between the eras: `mode` says form where it says anything, `_meta` is routing."""
    rest = rawjson.without(params, "_meta", "mode")
    return method + " " + " ".join(f"{key}={value}" for key, value in sorted(rest.items()))


def essence(outcome: str) -> str:
    """A result without what only one of the eras puts into it."""
    if not outcome.startswith("{"):
        return outcome
    kept = rawjson.without(outcome, *OF_ONE_ERA)
    meta = rawjson.without(rawjson.get(outcome, "_meta") or "{}", SERVER_INFO)
    if meta:
        kept["_meta"] = json.dumps(sorted(meta.items()))
    return "\n".join(f"{key}={value}" for key, value in sorted(kept.items()))


@dataclass
class Leg:
    """A client of one revision and a server of the other era."""

    revision: str
    era: str
    over: str
    n_compared: int = 0
    n_judged: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        """How reports call this leg."""
        return f"{self.revision} to {self.era} {self.over}"

    @property
    def server(self) -> str:
        """Name of its server, and of the record that this keeps."""
        return f"{self.era}_{self.over}"

    def verdict(self) -> list[str]:
        """What is wrong with this leg. One that said nothing proves nothing."""
        silent = []
        if not self.n_compared:
            silent.append(f"{self.label}: nothing was compared")
        if not self.n_judged:
            silent.append(f"{self.label}: nothing was judged: no message came through the gateway")
        return self.problems + silent

    def run(self, direct: Way, through: Way) -> None:
        """Plays everything on both ways and compares."""
        for way in (direct, through):
            way.open()
        for exchange in crossing(self.revision):
            what = f"{exchange.method} {exchange.note}"
            try:
                expected, found = direct.play(exchange), through.play(exchange)
            except Exception as error:  # noqa: BLE001 - a side that breaks off is a finding
                self.problems.append(f"{self.label}: {what}: {type(error).__name__}: {error}")
                continue
            self.compare(f"{what}: outcome", expected.outcome, found.outcome)
            self.compare(f"{what}: asked", "\n".join(expected.asked), "\n".join(found.asked))
            self.compare(f"{what}: told", "\n".join(expected.told), "\n".join(found.told))
        for way in (direct, through):
            way.link.close()
        self.n_judged = len(through.heard.all)
        self.problems += [f"{self.label}: {complaint}" for complaint in through.complaints()]

    def compare(self, what: str, direct: str, through: str) -> None:
        """Notes where the two ways differ."""
        self.n_compared += 1
        if direct != through:
            at = next((i for i, (a, b) in enumerate(zip(direct, through, strict=False)) if a != b), 0)
            here = slice(max(0, at - 60), at + 160)
            self.problems.append(
                f"{self.label}: {what}: at character {at}\n    direct  {direct[here]!r}\n    through {through[here]!r}"
            )


def judged_records(folder: Path, legs: list[Leg]) -> list[str]:
    """What is wrong with what the servers of the legs got, by the schema of their revision."""
    problems: list[str] = []
    for server, era in sorted({(leg.server, leg.era) for leg in legs}):
        judged, found = judge_record(SESSION if era == "session" else MODERN, folder / f"{server}.jsonl")
        counted: Counter[str] = judged
        print(f"{server:28} {counted.total():4} messages judged, {len(found)} problems")
        problems += found
    return problems


def verdict(legs: list[Leg], records: Path | None) -> list[str]:
    """All that is wrong."""
    problems = [problem for leg in legs for problem in leg.verdict()]
    if not legs:
        problems.append("nothing was compared: no leg has such a name")
    if records:
        problems += judged_records(records, legs)
    return problems


def main() -> int:
    """Reads the command line, plays, reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path, required=True)
    parser.add_argument("--scoped", required=True)
    parser.add_argument("--token", default="")
    parser.add_argument("--records", type=Path)
    parser.add_argument("--leg", help="only the legs that match this expression")
    args = parser.parse_args()
    twins = json.loads(args.world.read_text())["twins"]
    legs = [leg for leg in (Leg(*how) for how in LEGS) if not args.leg or re.search(args.leg, leg.label)]

    def run(leg: Leg) -> None:
        # In its own era the server is asked directly; its twin, so that neither side sees the other's state.
        own = SESSION if leg.era == "session" else MODERN
        through = {"url": args.scoped.replace("{server}", leg.server)}
        try:
            leg.run(Way(twins[leg.server], "", own), Way(through, args.token, leg.revision))
        except Exception as error:  # noqa: BLE001 - a side that does not open is a finding
            leg.problems.append(f"{leg.label}: {type(error).__name__}: {error}")

    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(run, legs))
    for leg in legs:
        counts = f"{leg.n_compared:4} compared, {leg.n_judged:4} messages judged"
        print(f"{leg.label:28} {counts}, {len(leg.verdict())} problems")
    problems = verdict(legs, args.records)
    print("\n".join(problems))
    n_compared = sum(leg.n_compared for leg in legs)
    print(f"{n_compared} compared, {len(problems)} problems")
    if n_compared < EXCHANGES_MIN and not args.leg:
        problems.append("too few")
        print(f"fewer than {EXCHANGES_MIN} comparisons")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
