#!/usr/bin/env python3
"""Runs client scenarios of the public suite with the gateway between the suite and a client.

    conformance_client.py --gateway BINARY --out DIR [--scenario NAME]... [--jobs N]

Each scenario has a gateway of its own. Exit status: 0 all pass, 1 something fails.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from suite import HERE, Checks, run_client, write

PYTHON = HERE / ".cache" / "venv" / "bin" / "python"
# What the suite can see of the gateway's far side, in the revisions that have it.
SCENARIOS = [
    ("2026-07-28", "http-standard-headers"),
    ("2026-07-28", "http-custom-headers"),
    ("2026-07-28", "http-invalid-tool-headers"),
    ("2026-07-28", "request-metadata"),
    ("2026-07-28", "sep-2322-client-request-state"),
    ("2026-07-28", "json-schema-ref-no-deref"),
    ("2026-07-28", "json-schema-2020-12-preservation"),
    ("2025-11-25", "json-schema-2020-12-preservation"),
    ("2025-11-25", "sse-retry"),
]


def main() -> int:
    """Reads the command line, runs, reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", type=Path, help="without it the client is played directly")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenario", action="append", default=[])
    parser.add_argument("--jobs", type=int, default=3)
    args = parser.parse_args()
    client = [str(PYTHON), str(HERE / "client_through.py")]
    if args.gateway is not None:
        client += ["--gateway", str(args.gateway.resolve())]

    def one(what: tuple[str, str]) -> tuple[str, Checks, int]:
        revision, scenario = what
        return f"{scenario} {revision}", *run_client(revision, scenario, client, args.out / revision / scenario)

    chosen = [what for what in SCENARIOS if not args.scenario or what[1] in args.scenario]
    with ThreadPoolExecutor(max_workers=args.jobs) as pool:
        done = list(pool.map(one, chosen))
    write({label.replace(" ", "-"): checks for label, checks, _ in done}, args.out)
    n_failed = 0
    for label, checks, status in done:
        failures = [(key, found) for key, found in sorted(checks.items()) if found["status"] in ("FAILURE", "WARNING")]
        passed = sum(found["status"] == "SUCCESS" for found in checks.values())
        print(f"{label:52} {passed} passed, {len(failures)} not")
        for (_, _, check, name), found in failures:
            print(f"    {check} / {name}: {found['status']}: {found['message']}")
        if status != 0:
            n_failed += 1
            log = args.out.joinpath(*reversed(label.split())) / "log.txt"
            print(f"FAILED {label}: the suite ended with {status}\n{log.read_text()[-4000:]}")
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
