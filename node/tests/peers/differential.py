#!/usr/bin/env python3
"""Sends the same exchanges to the servers directly and through the gateway and compares the bytes.

    differential.py --world FILE --merged URL --merged-dual URL --scoped URL --token TOKEN [--out FILE]

FILE holds what `serve_peers.py --twin` printed; the direct side uses the twins. `--merged` is the
gateway's endpoint with prefixed names, `--merged-dual` that of a gateway whose servers all speak the
stateless era, `--scoped` that of one server, with `{server}` where its
name goes. `--self-test` compares the servers with their twins, without a gateway, which shows that
only what is listed in masks.py differs by itself. Exit status: 0 equal, 1 something differs, or nothing was compared.
"""

import argparse
import json
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rawjson
from exchanges import Exchange, Names, exchanges
from masks import mask
from rawlink import MODERN, HttpLink, Link, Reply, StdioLink, notification

EXCHANGES_MIN = 500
PAGES_MAX = 200
# Which revisions each server is asked in. Those on npm do not know the stateless era.
LEGS = [
    *[("everything", revision) for revision in ("2025-03-26", "2025-06-18", "2025-11-25")],
    *[("fixture", revision) for revision in ("2025-03-26", "2025-06-18", "2025-11-25", MODERN)],
    *[(server, "2025-11-25") for server in ("files", "memory", "git", "everything_stdio", "fixture_stdio")],
    *[(server, MODERN) for server in ("git", "fixture_stdio")],
]
# The Python SDK does not read arrays in any revision, so only the gateway can be sent them.
NO_ARRAYS = ("fixture",)
LISTS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}


@dataclass
class Side:
    """One way to a server; the connection is made when the leg gets there."""

    name: str
    how: dict[str, Any]
    names: Names = Names()
    token: str = ""

    @property
    def merged(self) -> bool:
        """Whether other servers are behind the same endpoint."""
        return self.names.prefix != ""

    def own(self, text: str) -> str:
        """The text with the resources' URIs as the server has them."""
        return text.replace(f'"{self.names.uri_prefix}', '"') if self.names.uri_prefix else text

    def connect(self, revision: str) -> Link:
        """A fresh connection."""
        if "url" in self.how:
            return HttpLink(self.how["url"], self.token, revision, answer)
        return StdioLink(self.how, revision, answer)


def answer(method: str, params: str) -> str:
    """What the client says when a server asks; spelled so that an encoder would change it."""
    if method == "sampling/createMessage":
        said = '{"type":"text","text":"caf\\u00e9 \\/ 漢"}'
        return f'{{"role":"assistant","content":{said},"model":"m","stopReason":"endTurn"}}'
    if method == "elicitation/create":
        fields = '"username":"u\\u00fc","email":"e@example.org","name":"N","ok":true,"color":"red"'
        return f'{{"action":"accept","content":{{{fields}}}}}'
    if method == "roots/list":
        return '{"roots":[{"uri":"file:///tmp","name":"tmp"}]}'
    return "{}"


def collect(link: Link, method: str, params: str, key: str) -> tuple[list[str], dict[str, str] | None]:
    """All items of a list over all its pages, and the other members of the first page."""
    found: list[str] = []
    first: dict[str, str] | None = None
    cursor: str | None = None
    for number in range(PAGES_MAX):
        asked = params if cursor is None else rawjson.dump({**json.loads(params), "cursor": json.loads(cursor)})
        reply = link.call(f'"page-{number}"', method, asked)
        if rawjson.get(reply.message, "error"):
            return [reply.outcome], None
        if first is None:
            # What a gateway may say in its own way: how long and for whom a list holds, and who says it.
            first = rawjson.without(reply.outcome, key, "nextCursor", "ttlMs", "cacheScope", "_meta")
        found += rawjson.items(rawjson.get(reply.outcome, key) or "[]")
        cursor = rawjson.get(reply.outcome, "nextCursor")
        if cursor is None:
            return found, first
    raise RuntimeError(f"{method} does not end")


def undone(item: str, side: Side, others: list[str]) -> str | None:
    """A tool or prompt of a list under the server's own name; nothing where it is another server's."""
    name = json.loads(rawjson.get(item, "name") or '""')
    longer = [other for other in others if len(other) > len(side.names.prefix) and name.startswith(other)]
    if not name.startswith(side.names.prefix) or longer:
        return None
    return rawjson.replace(item, "name", rawjson.dump(name.removeprefix(side.names.prefix)))


def owned(item: str, side: Side, scheme: str) -> str | None:
    """A resource or template of a list under its own URI; nothing where it is another server's."""
    uri = json.loads(rawjson.get(item, "uri") or rawjson.get(item, "uriTemplate") or '""')
    return side.own(item) if uri.startswith(side.names.uri_prefix + scheme) else None


def token_by_value(params: str) -> str:
    """Params of progress with the token in one spelling: a gateway gives it back as the client spelled it."""
    token = rawjson.get(params, "progressToken")
    return params if token is None else rawjson.replace(params, "progressToken", rawjson.dump(json.loads(token)))


class Leg:
    """One server in one revision: the direct side and each way through the gateway."""

    def __init__(self, server: str, revision: str, sides: list[Side], folder: Path) -> None:
        self.server, self.revision, self.sides, self.folder = server, revision, sides, folder
        self.prefixes = sorted({f"{name}_" for name, _ in LEGS})
        self.n_compared = 0
        self.problems: list[str] = []

    @property
    def label(self) -> str:
        """How reports call this leg."""
        return f"{self.server} {self.revision}"

    def run(self) -> None:
        """Plays everything on one side after the other, so that none sees the other's state."""
        direct = self.play(self.sides[0])
        for side in self.sides[1:]:
            through = self.play(side)
            for what, text in direct.items():
                if side.merged and what == "open":
                    # Together the servers can do more than one of them alone.
                    lost = set(json.loads(text)) - set(json.loads(through.get(what, "[]")))
                    self.compare(side, what, "[]", rawjson.dump(sorted(lost)))
                elif what in through or not side.merged:
                    self.compare(side, what, text, through.get(what, "was not played"))

    def play(self, side: Side) -> dict[str, str]:
        """All exchanges on one side: what of each has to be the same on the others."""
        spelled: dict[str, str] = {}
        link = side.connect(self.revision)
        try:
            spelled["open"] = self.capabilities(link.open())
            for number, exchange in enumerate(exchanges(self.server, self.revision, self.folder)):
                what = f"{number} {exchange.method} {exchange.note}"
                if exchange.merged or not side.merged:
                    spelled[what] = self.play_one(side, link, exchange)
        except Exception as error:  # noqa: BLE001 - a side that breaks off is a finding
            last = next(reversed(spelled), "nothing")
            self.problems.append(f"{self.label} {side.name}: after {last}: {type(error).__name__}: {error}")
        finally:
            link.close()
        return spelled

    def play_one(self, side: Side, link: Link, exchange: Exchange) -> str:
        """One exchange on one side."""
        if exchange.batch:
            return self.batched(side, link, exchange)
        params = exchange.params(side.names)
        if exchange.method in LISTS:
            return self.listed(side, link, exchange, params)
        if exchange.method == "subscriptions/listen":
            return self.listened(side, link, exchange, params)
        if exchange.method.startswith("notifications/"):
            link.send(f'{{"jsonrpc":"2.0","method":"{exchange.method}","params":{params}}}')
            return "sent"
        return self.spelled(side, exchange, link.call(exchange.id, exchange.method, params))

    def capabilities(self, text: str) -> str:
        """The names of the capabilities that the session or the server itself has."""
        names = rawjson.members(rawjson.get(text, "capabilities") or "{}")
        return rawjson.dump(sorted(names))

    def listed(self, side: Side, link: Link, exchange: Exchange, params: str) -> str:
        """A whole list, with names undone and without the other servers' items."""
        found, first = collect(link, exchange.method, params, LISTS[exchange.method])
        if first is None:
            # A server without such a list is a server with an empty one where several are merged.
            return "" if exchange.method != "tools/list" else found[0]
        if not side.merged:
            first.pop("resultType", None)
            return "\n".join([*found, *(f"{key}={value}" for key, value in sorted(first.items()))])
        if exchange.method.startswith("resources"):
            own = [owned(item, side, exchange.owns) for item in found]
        else:
            own = [undone(item, side, self.prefixes) for item in found]
        return "\n".join(item for item in own if item is not None)

    def batched(self, side: Side, link: Link, exchange: Exchange) -> str:
        """The answers to all requests of an array. Where a server has no arrays, one request after the other."""
        members = [(member.id, member.method, member.params(side.names)) for member in exchange.batch]
        if side.name == "direct" and self.server in NO_ARRAYS:
            answers = {member[0]: link.call(*member).message for member in members}
        else:
            told = notification("notifications/roots/list_changed", "{}")
            answers = link.call_all(members, told)
        lines = [f"{identity} {Reply(message).outcome}" for identity, message in sorted(answers.items())]
        return side.own("\n".join(lines))

    def listened(self, side: Side, link: Link, exchange: Exchange, params: str) -> str:
        """What came on a listen stream after a change."""

        def trigger() -> None:
            name = side.names.name(exchange.trigger)
            body = f'{{"name":{name},"arguments":{exchange.trigger_arguments}}}'
            link.post_call('"trigger"', "tools/call", body)

        got = link.listen(params, trigger, 2)
        return side.own("\n".join(f"{method} {params}" for method, params in got))

    def spelled(self, side: Side, exchange: Exchange, reply: Reply) -> str:
        """Everything of a reply that has to arrive unchanged."""
        if exchange.refused and rawjson.get(reply.message, "error"):
            return "refused"
        kept = [
            f"{method} {mask(exchange.hidden, token_by_value(params))}"
            for method, params in reply.meanwhile
            if method in exchange.watch
        ]
        # An id may be spelled in another way, as long as it is the same value.
        identity = json.loads(rawjson.get(reply.message, "id") or "null")
        return side.own("\n".join([f"id {identity!r}", *kept, mask(exchange.hidden, reply.outcome)]))

    def compare(self, side: Side, what: str, direct: str, through: str) -> None:
        """Notes where a side differs from the direct one."""
        self.n_compared += 1
        if direct == through:
            return
        pairs = enumerate(zip(direct, through, strict=False))
        at = next((i for i, (a, b) in pairs if a != b), min(len(direct), len(through)))
        here = slice(max(0, at - 60), at + 140)
        self.problems.append(
            f"{self.label} {side.name}: {what}: at character {at}\n"
            f"    direct  {direct[here]!r}\n    through {through[here]!r}"
        )


def legs(args: argparse.Namespace, world: dict[str, Any]) -> list[Leg]:
    """Every leg with its sides."""
    out = []
    for server, revision in LEGS:
        if args.leg and not re.search(args.leg, f"{server} {revision}"):
            continue
        sides = [Side("direct", world["twins"][server])]
        if args.self_test:
            sides.append(Side("twin", world["servers"][server]))
        if args.scoped:
            sides.append(Side("scoped", {"url": args.scoped.replace("{server}", server)}, token=args.token))
        if merged := args.merged_dual if revision == MODERN else args.merged:
            names = Names(f"{server}_", world["uri_prefixes"].get(server, ""))
            sides.append(Side("merged", {"url": merged}, names, args.token))
        out.append(Leg(server, revision, sides, Path(world["dir"])))
    return out


def main() -> int:
    """Reads the command line, plays, reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path, required=True)
    parser.add_argument("--merged")
    parser.add_argument("--merged-dual")
    parser.add_argument("--scoped")
    parser.add_argument("--token", default="")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--leg", help="only the legs that match this expression")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    # Two legs of one server would see each other's changes; different servers run side by side.
    turns = {server: threading.Lock() for server, _ in LEGS}

    def run(leg: Leg) -> Leg:
        with turns[leg.server]:
            leg.run()
        return leg

    with ThreadPoolExecutor(max_workers=4) as pool:
        done = list(pool.map(run, legs(args, json.loads(args.world.read_text()))))
    n_compared = sum(leg.n_compared for leg in done)
    problems = [problem for leg in done for problem in leg.problems]
    for leg in done:
        print(f"{leg.label:28} {leg.n_compared:4} compared, {len(leg.problems)} differ")
    print("\n".join(problems))
    print(f"{n_compared} exchanges compared, {len(problems)} differ")
    if args.out:
        args.out.write_text(json.dumps({"compared": n_compared, "problems": problems}, indent=1))
    if n_compared < (1 if args.leg else EXCHANGES_MIN):
        print("nothing was compared" if args.leg else f"fewer than {EXCHANGES_MIN} exchanges")
        return 1
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
