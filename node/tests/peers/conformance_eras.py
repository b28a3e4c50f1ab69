#!/usr/bin/env python3
"""Runs the suite of one era through the gateway against servers that have only the other.

    conformance_eras.py --direct session-client=URL --direct stateless-client=URL
        --cell session-client/http=URL --cell stateless-client/stdio=URL... --out DIR [--jobs N]

A cell is named by the client's era and by how the gateway reaches the server; direct is a server
of the client's own era, without a gateway. What passes there has to pass in every cell. What cannot
stands in conformance_eras.json with the sentence of the specification that makes it impossible.
Exit status: 0 all as written there, 1 something else fails, or something written there does not,
3 a suite could not be run.
"""

import argparse
import json
import re
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from suite import ABOUT_STREAMS, HERE, Checks, run_server, score, write

EXPECTED = HERE / "conformance_eras.json"
EXPECTED_MAX = 12
SUITE_OF = {"session-client": "2025-11-25", "stateless-client": "2026-07-28"}
# What the suite's clients say that they can do.
ALL = {"sampling": {}, "elicitation": {}, "roots": {"listChanged": True}}
# Calls with the capability `elicitation` alone that the suite leaves behind before the check that is short of time.
WAITING = 6
CAPABILITIES = ({}, {"elicitation": {}}, {"sampling": {}}, ALL)
HEADERS = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": "tools/call",
}
# The fixture has no tasks; those that a server has are tried by conformance_tasks.py.
NOT_OFFERED = re.compile(r"^tasks-")


@dataclass(frozen=True)
class Expectation:
    """One check that cannot pass, and why."""

    client: str
    scenario: str
    check: str
    because: str
    source: str
    # `http` or `stdio` where only that way to the server is meant.
    over: str = ""

    def meets(self, cell: str, scenario: str, check: str) -> bool:
        """Whether this is about a check of a cell."""
        client, _, over = cell.partition("/")
        return (self.client, self.scenario, self.check) == (client, scenario, check) and self.over in ("", over)

    def about(self, cells: list[str]) -> list[str]:
        """The cells that this is about."""
        return [cell for cell in cells if self.meets(cell, self.scenario, self.check)]


def expectations() -> list[Expectation]:
    """The committed list."""
    entries = [Expectation(**entry) for entry in json.loads(EXPECTED.read_text())]
    if len(entries) > EXPECTED_MAX:
        raise ValueError(f"{len(entries)} entries in {EXPECTED.name}, at most {EXPECTED_MAX}")
    for entry in entries:
        if entry.client not in SUITE_OF or len(entry.because) < 20 or not entry.source.startswith("https://"):
            raise ValueError(f"{EXPECTED.name}: {entry} does not say why, or where that is written")
    return entries


def call(url: str, capabilities: dict, params: dict) -> dict:
    """Calls a tool; its result."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"arguments": {}, **params, "_meta": meta}}
    headers = {**HEADERS, "mcp-name": params["name"]}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answered:
        text = answered.read().decode()
    # A stream ends with the result.
    data = [line.removeprefix("data:") for line in text.splitlines() if line.startswith("data:")]
    return dict(json.loads(data[-1] if data else text)["result"])


def warm(url: str) -> None:
    """Makes the gateway open what the suite's checks need within less time than a server takes to start.

    A server on its standard streams gets a process for each set of capabilities, and another one for each call that
    waits for its client; one of the checks waits 600 ms, after others have left calls behind that wait.
    """
    for capabilities in CAPABILITIES:
        call(url, capabilities, {"name": "test_simple_text"})
    ask = {"name": "test_elicitation", "arguments": {"message": "warm?"}}
    for asked in [call(url, {"elicitation": {}}, ask) for _ in range(WAITING)]:
        declined = {key: {"action": "decline"} for key in asked["inputRequests"]}
        call(url, {"elicitation": {}}, {**ask, "inputResponses": declined, "requestState": asked["requestState"]})


def missed(direct: Checks, checks: Checks) -> Checks:
    """What fails in a cell, and what passes directly and does not come to an end there."""
    found = {key: check for key, check in checks.items() if check["status"] == "FAILURE"}
    for (suite, scenario, check, name), passed in direct.items():
        key = (suite, scenario, check, name)
        other = checks.get(key, {"status": "ABSENT", "message": "the check did not come up"})
        is_about_streams = other["status"] == "ABSENT" and check in ABOUT_STREAMS
        # INFO is the suite's word for "does not apply to this server".
        if passed["status"] == "SUCCESS" and other["status"] not in ("SUCCESS", "INFO") and not is_about_streams:
            found[key] = other
    return {key: check for key, check in found.items() if not NOT_OFFERED.match(key[1])}


def report(direct: dict[str, Checks], results: dict[str, Checks], entries: list[Expectation]) -> int:
    """Prints what is not as written; the number of problems."""
    n_problems = 0
    for client, checks in sorted(direct.items()):
        cells = [checks for cell, checks in results.items() if cell.startswith(client)]
        for key, found in sorted(missed({}, checks).items()):
            # What fails there is no measure for the cells, unless all of them do better.
            if not all(cell.get(key, {}).get("status") == "SUCCESS" for cell in cells):
                n_problems += 1
                print(f"FAILS DIRECTLY {client}: {' / '.join(key[1:])}: {found['message']}")
    seen: set[tuple[Expectation, str]] = set()
    for cell, checks in sorted(results.items()):
        client = cell.partition("/")[0]
        scored = {key: found for key, found in checks.items() if not NOT_OFFERED.match(key[1])}
        print(f"{cell:24} {score(scored, SUITE_OF[client])}")
        for (_, scenario, check, name), found in sorted(missed(direct[client], checks).items()):
            entry = next((entry for entry in entries if entry.meets(cell, scenario, check)), None)
            if entry is None:
                n_problems += 1
                print(f"{found['status']} {cell}: {scenario} / {check} / {name}: {found['message']}")
            else:
                seen.add((entry, cell))
    for entry in entries:
        for cell in entry.about(sorted(results)):
            if (entry, cell) not in seen:
                n_problems += 1
                print(f"STALE {cell}: {entry.scenario} / {entry.check} passes: take it off {EXPECTED.name}")
    return n_problems


def main() -> int:
    """Reads the command line, runs, compares with what is written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--direct", action="append", required=True)
    parser.add_argument("--cell", action="append", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    cells = dict(spelled.split("=", 1) for spelled in args.cell)
    cells |= {f"{client}/direct": url for client, url in (spelled.split("=", 1) for spelled in args.direct)}
    entries = expectations()

    def one(cell: str) -> tuple[str, Checks]:
        client, _, over = cell.partition("/")
        if (client, over) == ("stateless-client", "stdio"):
            warm(cells[cell])
        return cell, run_server(SUITE_OF[client], cells[cell], args.out / cell.replace("/", "-"))

    try:
        # Every cell has a server of its own, so that no suite sees the changes that another one makes.
        with ThreadPoolExecutor(max_workers=args.jobs) as pool:
            results = dict(pool.map(one, sorted(cells, reverse=True)))
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        print(f"conformance across eras: {error}", file=sys.stderr)
        return 3
    write({cell.replace("/", "-"): checks for cell, checks in results.items()}, args.out)
    direct = {client: results.pop(f"{client}/direct") for client in SUITE_OF}
    return 1 if report(direct, results, entries) else 0


if __name__ == "__main__":
    sys.exit(main())
