#!/usr/bin/env python3
"""Runs the suite's scenarios of the tasks extension against a server that has it, directly and through the gateway.

    conformance_tasks.py --direct URL --through URL --out DIR

Exit status: 0 nothing lost, 1 something lost or the server itself fails, 3 the suite could not be run.
"""

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from conformance import lost
from suite import run_server, score, write

REVISION = "2026-07-28"
SCENARIOS = [
    "tasks-lifecycle",
    "tasks-capability-negotiation",
    "tasks-wire-fields",
    "tasks-request-state-removal",
    "tasks-mrtr-input",
    "tasks-request-headers",
    "tasks-dispatch-and-envelope",
    "tasks-status-notifications",
    "tasks-required-task-error",
    "tasks-mrtr-composition",
]


def main() -> int:
    """Reads the command line, runs, compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--direct", required=True)
    parser.add_argument("--through", required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    targets = {"direct": args.direct, "through": args.through}
    try:
        # Each task is its caller's own, so both sides can play at one time.
        with ThreadPoolExecutor(max_workers=2) as pool:
            runs = {name: pool.submit(run_server, REVISION, url, args.out / name, SCENARIOS) for name, url in targets.items()}
        results = {name: run.result() for name, run in runs.items()}
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        print(f"conformance of tasks: {error}", file=sys.stderr)
        return 3
    write(results, args.out)
    n_problems = 0
    for name, checks in results.items():
        print(f"{name:8} {score(checks, REVISION)}")
        for key, found in sorted(checks.items()):
            if found["status"] == "FAILURE":
                n_problems += 1
                print(f"FAILS {name}: {' / '.join(key)}: {found['message']}")
    for key, status, message in sorted(lost(results["direct"], results["through"])):
        n_problems += 1
        print(f"LOST {' / '.join(key)}: {status}: {message}")
    return 1 if n_problems else 0


if __name__ == "__main__":
    sys.exit(main())
