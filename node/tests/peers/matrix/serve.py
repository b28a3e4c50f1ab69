#!/usr/bin/env python3
"""Starts the servers of the matrix and says how each is reached.

    serve.py --dir DIR

Prints one line of JSON, {"event":"ready","dir":DIR,"servers":{NAME: ENTRY},"principals":[NAME],...}, where an entry
is what the configuration of the gateway says of the server, and principals are those that have a key of their own; the
rest is for matrix.py. The servers end when standard input is closed.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import plan

sys.path.insert(0, str(plan.HERE.parent))
from serve_peers import fill, listening_port, spawn  # noqa: E402 - it lives one folder up


def key(name: str) -> str:
    """The name of a server in the configuration of the gateway."""
    return re.sub(r"[^a-z0-9]+", "_", name)


def said(process: subprocess.Popen[bytes]) -> str:
    """The URL that one of our servers prints."""
    assert process.stdout is not None
    return str(json.loads(process.stdout.readline())["url"])


def start(world: dict[str, Any]) -> list[subprocess.Popen[bytes]]:
    """Starts those that speak HTTP, and adds to the world where they listen."""
    http = spawn(plan.npm("server-everything", "streamableHttp"), {"PORT": "0"})
    sse = spawn(plan.npm("server-everything", "sse"), {"PORT": "0"})
    fastmcp = spawn([str(plan.CACHE / "venv-fastmcp/bin/python"), str(plan.HERE / "fastmcp_server.py")], {})
    rmcp = spawn([plan.RMCP, "server", "http"], {})
    world["everything_http"] = {"url": f"http://127.0.0.1:{listening_port(http.pid)}/mcp"}
    world["everything_sse"] = {"url": f"http://127.0.0.1:{listening_port(sse.pid)}/sse", "transport": "sse"}
    world["fastmcp_http"] = {"url": said(fastmcp)}
    world["rmcp_http"] = {"url": said(rmcp)}
    return [http, sse, fastmcp, rmcp]


def main() -> int:
    """Starts, reports, waits for the end of standard input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True)
    folder = parser.parse_args().dir.resolve()
    fill(folder)
    world: dict[str, Any] = {"event": "ready", "dir": str(folder)}
    processes = start(world)
    try:
        entries = {
            key(name): {**server["at"], **{k: server[k] for k in ("uri_prefix", "era", "scope") if k in server}}
            for name, server in plan.servers(world).items()
        }
        # What a server is told of one client's roots is no business of another's: each has a key of its own.
        principals = [key(client) for client in plan.CLIENTS]
        print(json.dumps({**world, "servers": entries, "principals": principals}), flush=True)
        sys.stdin.read()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
