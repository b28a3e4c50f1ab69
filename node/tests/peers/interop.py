#!/usr/bin/env python3
"""Plays every scenario with every client, directly and through the gateway, and compares what was seen.

    interop.py --world FILE [--gateway URL --gateway-dual URL --token TOKEN] [--client NAME]... [SCENARIO...]

FILE holds what `serve_peers.py --twin` printed; the direct side uses the twins. Behind --gateway are
all servers, behind --gateway-dual those that speak both eras. Without a gateway only the direct side
runs, which shows that the scenarios ask for what is true. Exit status: 0 all well, 1 a scenario
failed or its two sides differ.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PYTHON = [str(HERE / ".cache/venv/bin/python"), str(HERE / "client_python.py"), "--mode"]
NODE = [str(HERE / ".cache/npm/node_modules/node/bin/node"), str(HERE / "client_node.mjs")]
CLIENTS = {
    "python-auto": [*PYTHON, "auto"],
    "python-legacy": [*PYTHON, "legacy"],
    "python-auto-dual": [*PYTHON, "auto", "--dual"],
    "python-2026-07-28": [*PYTHON, "2026-07-28", "--dual"],
    "node": NODE,
}
# These play with servers that speak both eras themselves; the others with all servers, most of which have sessions only.
DUAL = {"python-auto-dual", "python-2026-07-28"}
CLIENT_SECONDS_MAX = 300

Lines = dict[str, dict[str, Any]]


def run(command: list[str], world: Path, options: list[str], scenarios: list[str]) -> Lines:
    """One client's lines by scenario."""
    done = subprocess.run(
        [*command, "--world", str(world), *options, *scenarios],
        capture_output=True,
        text=True,
        timeout=CLIENT_SECONDS_MAX,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"scenario"')]
    if not lines:
        return {"start": {"ok": False, "error": done.stderr[-3000:] or f"exit status {done.returncode}"}}
    return {line["scenario"]: line for line in lines}


def difference(direct: Any, through: Any, path: str = "") -> str:
    """Where two values first differ."""
    if type(direct) is not type(through):
        return f"{path}: {json.dumps(direct)[:300]} became {json.dumps(through)[:300]}"
    if isinstance(direct, dict):
        if set(direct) != set(through):
            return f"{path}: lost {sorted(set(direct) - set(through))}, new {sorted(set(through) - set(direct))}"
        pairs: list[tuple[Any, Any, str]] = [(direct[k], through[k], f"{path}.{k}") for k in direct]
    elif isinstance(direct, list):
        if len(direct) != len(through):
            return f"{path}: {len(direct)} became {len(through)} items"
        pairs = [(d, t, f"{path}[{i}]") for i, (d, t) in enumerate(zip(direct, through, strict=True))]
    elif direct != through:
        return f"{path}: {json.dumps(direct)[:300]} became {json.dumps(through)[:300]}"
    else:
        return ""
    return next((found for pair in pairs if (found := difference(*pair))), "")


def judge(client: str, direct: Lines, through: Lines | None) -> int:
    """Prints a line per scenario; the number of problems."""
    n_problems = 0
    for name, line in direct.items():
        verdicts = [] if line["ok"] else [f"fails directly: {line['error']}"]
        if through is not None:
            other = through.get(name) or through.get("start") or {"ok": False, "error": "was not played"}
            if not other["ok"]:
                verdicts.append(f"fails through the gateway: {other['error']}")
            elif line["ok"] and (where := difference(line["seen"], other["seen"])):
                verdicts.append(f"differs at {where}")
        print(f"{'ok  ' if not verdicts else 'FAIL'} {client:18} {name}")
        for verdict in verdicts:
            n_problems += 1
            print("       " + verdict.replace("\n", "\n       "))
    return n_problems


def main() -> int:
    """Reads the command line, plays, compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path, required=True)
    parser.add_argument("--gateway")
    parser.add_argument("--gateway-dual")
    parser.add_argument("--token", default="")
    parser.add_argument("--client", action="append", choices=list(CLIENTS), default=[])
    parser.add_argument("scenario", nargs="*")
    args = parser.parse_args()
    world = json.loads(args.world.read_text())
    n_problems = 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(max_workers=2) as pool:
        twins = Path(folder, "twins.json")
        twins.write_text(json.dumps({**world, "servers": world["twins"]}))
        for client in args.client or list(CLIENTS):
            direct = pool.submit(run, CLIENTS[client], twins, [], args.scenario)
            through = None
            gateway = args.gateway_dual if client in DUAL else args.gateway
            if gateway:
                options = ["--gateway", gateway, "--token", args.token]
                through = pool.submit(run, CLIENTS[client], args.world, options, args.scenario)
            n_problems += judge(client, direct.result(), through.result() if through else None)
    print(f"{n_problems} problems")
    return 1 if n_problems else 0


if __name__ == "__main__":
    sys.exit(main())
