"""From what the clients saw to the table of what works.

No cell is written by hand. A server offers a feature if any client had it without the gateway; a client supports a
feature if it had it with any server without the gateway. What both have has to work through the gateway.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import plan

OK, NOT_OFFERED, NOT_SUPPORTED, FAILS = "ok", "–", "client", "FAILS"
STATELESS = "2026-07-28"
N_SLOWEST = 5
LINKS = ("scoped", "merged")
HEAD = """# Who works with whom through the gateway

Made by `cargo test -p lockgate-node --features peers --test peers the_table_of_who_works_with_whom`, which fails where
it differs from what is here; `UPDATE_INTEROP=1` in its environment writes it anew. One gateway is in front of all
servers. Every client plays each feature twice: at the endpoint of the one server (`/s/{server}/mcp`), and at the one
that merges all of them (`/mcp`). Which features a server offers and which a client supports is found out by playing
them without the gateway.

| cell | meaning |
|---|---|
| ok | works at both endpoints |
| – | the server does not offer it |
| client | the client does not support it |

The revision is the one that client and gateway agree on at the endpoint of the server; a star says that the server
itself does not speak an era that this revision belongs to, so that every `ok` in the row is a translation.
"""


@dataclass
class Seen:
    """What one client saw: revisions and errors by connection, errors by (link, server, feature)."""

    versions: dict[str, str] = field(default_factory=dict)
    features: dict[tuple[str, str, str], str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, line: dict[str, Any], seconds: float) -> None:
        """Takes in a line that the client printed, and how long it was about it."""
        link, _, _ = line["job"].partition("/")
        self.seconds[f"{line['job']} {line.get('server', '')} {line.get('feature', 'connect')}"] = seconds
        if "feature" in line:
            self.features[link, line["server"], line["feature"]] = line.get("error", "")
        elif "error" in line:
            self.versions[line["job"]] = f"failed: {line['error']}"
        else:
            self.versions[line["job"]] = line["version"]

    def works(self, link: str, server: str, feature: str) -> bool:
        """Whether a feature was played and went well."""
        return self.features.get((link, server, feature)) == ""


class Matrix:
    """All clients, all servers, all features."""

    def __init__(self, servers: dict[str, dict[str, Any]], seen: dict[str, Seen]) -> None:
        self.servers = servers
        self.seen = seen

    def offers(self, server: str, feature: str) -> bool:
        """Whether any client had the feature without the gateway; for an entry that is the same server with another
        setting, there. The plan is believed where those that meet every server were left out."""
        if not self._witnessed():
            return feature in self.servers[server]["features"]
        twin = next(n for n, s in self.servers.items() if s["at"] == self.servers[server]["at"])
        return any(seen.works("direct", twin, feature) for seen in self.seen.values())

    def _witnessed(self) -> bool:
        return set(plan.WITNESSES) <= set(self.seen)

    def supports(self, client: str, feature: str) -> bool:
        """Whether the client had the feature without the gateway with any server."""
        return any(self.seen[client].works("direct", server, feature) for server in self.servers)

    def eras(self, server: str) -> set[str]:
        """The eras that a server speaks, as those found without the gateway who asked for one and for the other."""
        if "era" in self.servers[server]:
            return {self.servers[server]["era"]}
        witnesses = (seen for client, seen in self.seen.items() if client in plan.WITNESSES)
        met = (seen.versions.get(f"direct/{server}", "failed") for seen in witnesses)
        return {era(version) for version in met if not version.startswith("failed")}

    def cell(self, client: str, server: str, feature: str) -> str:
        """What the table says of one client, server and feature."""
        if all(self.seen[client].works(link, server, feature) for link in LINKS):
            return OK
        if not self.offers(server, feature):
            return NOT_OFFERED
        return FAILS if self.supports(client, feature) else NOT_SUPPORTED

    def problems(self) -> list[str]:
        """What both ends have and is lost on the way, and what the plan says and no client finds."""
        return [*self._lost(), *self._stale()]

    def _lost(self) -> Iterator[str]:
        for client, seen in self.seen.items():
            for job, version in seen.versions.items():
                if version.startswith("failed") and not job.startswith("direct/"):
                    yield f"{client} does not connect to {job}: {indented(version)}"
            for server in self.servers:
                for feature in plan.FEATURES:
                    if self.cell(client, server, feature) == FAILS:
                        yield from self._why(client, server, feature)

    def _why(self, client: str, server: str, feature: str) -> Iterator[str]:
        for link in LINKS:
            error = self.seen[client].features.get((link, server, feature), "was not played")
            if error:
                yield f"{client} | {server} | {feature} | {link}: {indented(error)}"

    def _stale(self) -> Iterator[str]:
        if not self._witnessed():
            return
        for server, entry in self.servers.items():
            for feature in entry["features"]:
                if not self.offers(server, feature):
                    yield f"the plan has {feature} of {server}, but no client has it without the gateway"

    def report(self, through: bool) -> Iterator[str]:
        """What each client cannot do and what it waited for; where the gateway is not played, what went wrong."""
        for client, seen in self.seen.items():
            lacks = [feature for feature in plan.FEATURES if not self.supports(client, feature)]
            slowest = sorted(seen.seconds.items(), key=lambda item: -item[1])[:N_SLOWEST]
            yield f"{client}: {sum(seen.seconds.values()):.0f} s, without {', '.join(lacks) or 'nothing'}"
            yield "  slowest: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in slowest)
            for (link, server, feature), error in seen.features.items():
                if error and link == "direct" and not through:
                    yield f"  {server} | {feature}: {indented(error)}"

    def text(self) -> str:
        """The whole table."""
        lines = [HEAD]
        for server in self.servers:
            spoken = " and ".join(sorted(self.eras(server)))
            lines += [f"## {server} ({spoken})", ""]
            lines.append(f"| client | revision | {' | '.join(plan.FEATURES.values())} |")
            lines.append("|---" * (len(plan.FEATURES) + 2) + "|")
            for client, seen in self.seen.items():
                version = seen.versions.get(f"scoped/{server}", "none").partition(":")[0]
                star = "" if era(version) in self.eras(server) else "*"
                cells = (self.cell(client, server, feature) for feature in plan.FEATURES)
                lines.append(f"| {client} | {version}{star} | {' | '.join(cells)} |")
            lines.append("")
        return "\n".join(lines)


def era(version: str) -> str:
    """The era of a revision, by the name that the configuration has for it."""
    return "stateless" if version >= STATELESS else "session"


def indented(text: str) -> str:
    """A long text below the line that says what it is about."""
    return text.strip().replace("\n", "\n    ")


def settle(file: Path, text: str, update: bool) -> list[str]:
    """Writes the table, or says where it differs from the one that is there."""
    before = file.read_text() if file.exists() else ""
    if update:
        file.write_text(text)
        return []
    changes = difflib.unified_diff(before.splitlines(), text.splitlines(), "committed", "seen", n=0, lineterm="")
    return [f"the table differs: {line}" for line in changes]
