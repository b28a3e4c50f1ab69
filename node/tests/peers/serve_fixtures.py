#!/usr/bin/env python3
"""Starts the everything-fixture with one era only, over HTTP and stdio, and says how each is reached.

    serve_fixtures.py --dir DIR

Prints one line of JSON: {"event":"ready","servers":{NAME:{"url"} or {"command","args","env"}},"twins":...} with the names
`session_http`, `session_stdio`, `stateless_http` and `stateless_stdio`; a twin is the same server for the side that
must not see the state of the other. Each keeps what it reads and writes in DIR/NAME.jsonl, but for twins. Beside them
there is `tasks`, a server on the Rust SDK with the tasks extension. All end when standard input is closed.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from serve_peers import HERE, PYTHON, spawn, start_fixture

RMCP = str(HERE / ".cache" / "rmcp" / "debug" / "lockgate-peer-rmcp")


def child(command: list[str]) -> dict[str, Any]:
    """How a server on its standard streams is started."""
    return {"command": command[0], "args": command[1:], "env": {"PATH": os.environ["PATH"]}}


def main() -> int:
    """Starts, reports, waits for the end of standard input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True)
    args = parser.parse_args()
    servers: dict[str, Any] = {}
    twins: dict[str, Any] = {}
    processes = []
    try:
        for era in ("session", "stateless"):
            own = [str(PYTHON), str(HERE / "everything_server.py"), "--stdio", "--era", era]
            record = {over: str(args.dir / f"{era}_{over}.jsonl") for over in ("http", "stdio")}
            process, url = start_fixture("--era", era, "--record", record["http"])
            twin, url_of_twin = start_fixture("--era", era)
            processes += [process, twin]
            twins[f"{era}_http"] = {"url": url_of_twin}
            servers[f"{era}_http"] = {"url": url}
            servers[f"{era}_stdio"] = child([sys.executable, str(HERE / "record.py"), record["stdio"], *own])
            twins[f"{era}_stdio"] = child(own)
        tasks = spawn([RMCP, "tasks", "http"], {})
        processes.append(tasks)
        assert tasks.stdout is not None
        servers["tasks"] = twins["tasks"] = {"url": json.loads(tasks.stdout.readline())["url"]}
        print(json.dumps({"event": "ready", "servers": servers, "twins": twins}), flush=True)
        sys.stdin.read()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
