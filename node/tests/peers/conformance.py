#!/usr/bin/env python3
"""Runs the public conformance suites against a server, directly and through the gateway, and compares.

    conformance.py --direct URL [--through [NAME=]URL]... --out DIR [--suite NAME]... [--jobs N]

Writes DIR/<target>.json, a list of {suite, scenario, check, name, status, message}, and prints
what passes directly and does not pass through. Exit status: 0 nothing lost, 1 something lost or
the server itself fails what counts, 3 a suite could not be run.
"""

import argparse
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from suite import ABOUT_STREAMS, SUITES, Checks, Key, run_server, write

# The tasks extension is run by the newest suite and never scored; the fixture has no tasks.
NOT_SCORED = re.compile(r"^tasks-")


def run_all(targets: dict[str, str], suites: list[str], out: Path, jobs: int) -> dict[str, Checks]:
    """Runs every suite against every target, never one suite twice at a time.

    The newest suite changes the list of tools and later looks at its order; two of them at
    one server would see each other's changes.
    """
    turns = {suite: threading.Lock() for suite in suites}

    def one(suite: str, target: str) -> tuple[str, Checks]:
        with turns[suite]:
            return target, run_server(suite, targets[target], out / target / suite)

    # Longest suite first, and neighbours in the queue belong to different suites.
    longest = sorted(suites, reverse=True)
    pairs = [(suite, target) for target in targets for suite in longest]
    results: dict[str, Checks] = {target: {} for target in targets}
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        for target, checks in pool.map(lambda pair: one(*pair), pairs):
            results[target].update(checks)
    return results


def lost(direct: Checks, through: Checks) -> list[tuple[Key, str, str]]:
    """What passes directly and does not pass through, with how it ended there."""
    out = []
    for key, check in direct.items():
        if check["status"] != "SUCCESS":
            continue
        other = through.get(key, {"status": "ABSENT", "message": "the check did not come up"})
        if other["status"] == "ABSENT" and key[2] in ABOUT_STREAMS:
            continue
        # INFO is the suite's word for "does not apply to this server".
        if other["status"] not in ("SUCCESS", "INFO"):
            out.append((key, other["status"], other["message"]))
    # What only fails through has no counterpart that passed: the wire-schema checks are such.
    for key, check in through.items():
        if check["status"] == "FAILURE" and key not in direct and not NOT_SCORED.match(key[1]):
            out.append((key, "FAILURE", check["message"]))
    return out


def report(results: dict[str, Checks], suites: list[str]) -> int:
    """Prints a table and every loss; the number of problems."""
    n_problems = 0
    for target, checks in results.items():
        cells = []
        for suite in suites:
            mine = [v["status"] for k, v in checks.items() if k[0] == suite and not NOT_SCORED.match(k[1])]
            cells.append(f"{suite} {mine.count('SUCCESS')}/{mine.count('SUCCESS') + mine.count('FAILURE')}")
        print(f"{target:12} " + "   ".join(cells))
    direct = results["direct"]
    for key, check in sorted(direct.items()):
        if check["status"] == "FAILURE" and not NOT_SCORED.match(key[1]):
            n_problems += 1
            print(f"FAILS DIRECTLY {' / '.join(key)}: {check['message']}")
    for target, checks in results.items():
        if target != "direct":
            for key, status, message in sorted(lost(direct, checks)):
                n_problems += 1
                print(f"LOST {target}: {' / '.join(key)}: {status}: {message}")
    return n_problems


def main() -> int:
    """Reads the command line, runs, compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--direct", required=True)
    parser.add_argument("--through", action="append", default=[])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--suite", action="append", choices=list(SUITES), default=[])
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    targets = {"direct": args.direct}
    for number, spelled in enumerate(args.through):
        name, _, url = spelled.rpartition("=") if re.match(r"^\w+=", spelled) else ("", "", spelled)
        targets[name or f"through{number or ''}"] = url
    suites = args.suite or list(SUITES)
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        results = run_all(targets, suites, args.out, args.jobs)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 3
    write(results, args.out)
    return 1 if report(results, suites) else 0


if __name__ == "__main__":
    sys.exit(main())
