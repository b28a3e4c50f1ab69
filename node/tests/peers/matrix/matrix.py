#!/usr/bin/env python3
"""Plays every client with every server and every feature, through the gateway and without, and makes the table.

    matrix.py --world FILE --scoped URL --merged URL --token TOKEN --table FILE [--update] [--log FILE] [--client NAME]...

FILE is what serve.py printed; the scoped URL has `{server}` in it. The table is compared with the one that is there,
or put in its place. Without --scoped only the direct side is played, which shows that the plan asks for what is true.
Exit status: 0 all well, 1 a feature is lost on the way or the table is another one.
"""

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import plan
import table
from serve import key

CLIENT_SECONDS_MAX = 600
# Most of the time they wait for servers and for each other.
CLIENTS_AT_ONCE = 4


def expand(value: Any, words: dict[str, str]) -> Any:
    """Puts words in the place of {names}."""
    if isinstance(value, dict):
        return {name: expand(of, words) for name, of in value.items()}
    if isinstance(value, str):
        for name, word in words.items():
            value = value.replace(f"{{{name}}}", word)
    return value


def prefixed(feature: dict[str, Any], prefix: str, uri_prefix: str) -> dict[str, Any]:
    """The feature under the names that the merged endpoint has for it."""
    out = {name: prefixed(of, prefix, uri_prefix) if name in ("witness", "ref") else of for name, of in feature.items()}
    for name in ("tool", "name", "after"):
        if name in out:
            out[name] = prefix + out[name]
    if "uri" in out:
        out["uri"] = uri_prefix + out["uri"]
    return out


def features(client: str, link: str, name: str, server: dict[str, Any], root: Path) -> list[dict[str, Any]]:
    """What is to be done with a server on a connection."""
    # What servers keep must not be taken for what an earlier run left there.
    words = {
        "root": root.as_uri(),
        "folder": str(root),
        "file": str(root / "hello.txt"),
        "key": f"{client} {link} {name} {secrets.token_hex(4)}",
    }
    out = []
    for feature, what in server["features"].items():
        done = expand(what, words)
        if link == "merged":
            done = prefixed(done, f"{key(name)}_", server.get("uri_prefix", ""))
            if feature == "list":
                done["expects"] = f"{key(name)}_{done['expects']}"
        out.append({"server": name, "feature": feature, **done})
    return out


def jobs(client: str, servers: dict[str, dict[str, Any]], args: argparse.Namespace, root: Path) -> list[dict[str, Any]]:
    """All connections of a client."""
    out = []
    token = f"{args.token}-{key(client)}"
    every: list[dict[str, Any]] = []
    for name, server in servers.items():
        if "era" not in server and (name in plan.REFERENCES or client in plan.WITNESSES):
            todo = features(client, "direct", name, server, root)
            out.append({"job": f"direct/{name}", "at": server["at"], "features": todo})
        if args.scoped:
            at = {"url": args.scoped.replace("{server}", key(name)), "token": token}
            todo = features(client, "scoped", name, server, root)
            out.append({"job": f"scoped/{name}", "at": at, "features": todo})
        every += features(client, "merged", name, server, root)
    if args.merged:
        out.append({"job": "merged/", "at": {"url": args.merged, "token": token}, "features": every})
    return out


def play(client: str, servers: dict[str, dict[str, Any]], args: argparse.Namespace, folder: Path) -> table.Seen:
    """All that one client saw: the revision of each connection, and of each feature what went wrong."""
    root = Path(args.dir, "roots") / key(client)
    root.mkdir(parents=True, exist_ok=True)
    (root / "hello.txt").write_text("Hello from a root")
    file = folder / f"{key(client)}.json"
    file.write_text(json.dumps({"root": root.as_uri(), "jobs": jobs(client, servers, args, root)}))
    command = [word.replace("{plan}", str(file)) for word in plan.CLIENTS[client]]
    # mcp-remote keeps what it knows of servers in the home of its user.
    env = {**os.environ, "HOME": str(folder)}
    with open(folder / f"{key(client)}.log", "w+", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=env)
        end = threading.Timer(CLIENT_SECONDS_MAX, process.kill)
        end.start()
        seen = listen(process)
        end.cancel()
        process.wait()
        log.seek(0)
        if not seen.versions:
            raise RuntimeError(f"{client} does not start: {log.read()[-3000:]}")
    print(f"{client} is done", flush=True)
    return seen


def listen(process: subprocess.Popen[str]) -> table.Seen:
    """Takes in what a client prints, and how long it took from line to line."""
    seen = table.Seen()
    assert process.stdout is not None
    before = time.monotonic()
    for text in process.stdout:
        if text.startswith("{"):
            now = time.monotonic()
            seen.add(json.loads(text), now - before)
            before = now
    return seen


def main() -> int:
    """Reads the command line, plays, makes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path, required=True)
    parser.add_argument("--scoped", default="")
    parser.add_argument("--merged", default="")
    parser.add_argument("--token", default="")
    parser.add_argument("--table", type=Path)
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--client", action="append", choices=list(plan.CLIENTS), default=[])
    parser.add_argument("--server", action="append", default=[])
    args = parser.parse_args()
    world = json.loads(args.world.read_text())
    args.dir = world["dir"]
    servers = plan.servers(world)
    if args.server:
        servers = {name: server for name, server in servers.items() if name in args.server}
    clients = args.client or list(plan.CLIENTS)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(CLIENTS_AT_ONCE) as pool:
        played = {client: pool.submit(play, client, servers, args, Path(folder)) for client in clients}
        seen = {client: future.result() for client, future in played.items()}
    matrix = table.Matrix(servers, seen)
    for line in matrix.report(bool(args.scoped)):
        print(line)
    problems = matrix.problems() if args.scoped else []
    if args.table:
        problems += table.settle(args.table, matrix.text(), args.update)
    for problem in problems:
        print(problem)
    print(f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
