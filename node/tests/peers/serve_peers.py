#!/usr/bin/env python3
"""Starts the servers that the gateway is tested with and says how each is reached.

    serve_peers.py --dir DIR [--twin]

Fills DIR with a folder of files and a git repository, starts the servers that speak HTTP, and
prints one line of JSON: {"event":"ready","dir":DIR,"servers":{NAME:{"url"} or {"command","args","env"}},
"uri_prefixes":{NAME:PREFIX},"dual":[NAME],"sse":{NAME:{"url"}}}, where "dual" are the servers that speak both eras
and "sse" has some of them over HTTP+SSE of 2024-11-05.
The servers end when standard input is closed. `--twin` starts a second HTTP server of each kind,
listed under "twins", for tests that must not see the state of the other side.
"""

import argparse
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NPM = HERE / ".cache" / "npm" / "node_modules"
NODE = NPM / "node" / "bin" / "node"
PYTHON = HERE / ".cache" / "venv" / "bin" / "python"
START_SECONDS_MAX = 30.0
# The second of two servers of a kind is given this key in the gateway's configuration, since their URIs are the same.
URI_PREFIXES = {"everything_stdio": "stdio+", "fixture_stdio": "stdio+"}
# The servers on the Python SDK speak both eras; those on npm only that of sessions.
DUAL = ["git", "fixture", "fixture_stdio"]
PR_SET_PDEATHSIG = 1


def script(package: str) -> str:
    """The start file of an npm server."""
    return str(NPM / "@modelcontextprotocol" / package / "dist" / "index.js")


def spawn(command: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
    """Starts a server that dies with us, even where we are killed."""
    libc = ctypes.CDLL(None)
    return subprocess.Popen(
        command,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
    )


def listening_port(pid: int) -> int:
    """The port that the kernel chose for a process, which does not tell it itself."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        sockets = set()
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            # It may be closed by the time we look at it.
            with contextlib.suppress(FileNotFoundError):
                sockets.add(os.readlink(descriptor))
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == "0A" and f"socket:[{columns[9]}]" in sockets:
                    return int(columns[1].rpartition(":")[2], 16)
        time.sleep(0.02)
    raise RuntimeError(f"process {pid} does not listen")


def start_everything() -> tuple[subprocess.Popen[bytes], str]:
    """The npm server over Streamable HTTP."""
    process = spawn([str(NODE), script("server-everything"), "streamableHttp"], {"PORT": "0"})
    return process, f"http://127.0.0.1:{listening_port(process.pid)}/mcp"


def start_everything_sse() -> tuple[subprocess.Popen[bytes], str]:
    """The npm server over HTTP+SSE."""
    process = spawn([str(NODE), script("server-everything"), "sse"], {"PORT": "0"})
    return process, f"http://127.0.0.1:{listening_port(process.pid)}/sse"


def start_fixture(*options: str) -> tuple[subprocess.Popen[bytes], str]:
    """Our fixture on the Python SDK over Streamable HTTP."""
    process = spawn([str(PYTHON), str(HERE / "everything_server.py"), "--port", "0", *options], {})
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())["url"]


def fill(folder: Path) -> None:
    """Files to read and a repository with two commits."""
    files, repo = folder / "files", folder / "repo"
    for path in (files / "sub", repo):
        path.mkdir(parents=True, exist_ok=True)
    (files / "hello.txt").write_text("Hello from a file.\nSecond line: äöü 漢字 \U0001f6a2\n")
    (files / "sub" / "data.json").write_text('{"big":12345678901234567890,"one":1.0}\n')
    if (repo / ".git").exists():
        return
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in
           (("NAME", "Tester"), ("EMAIL", "tester@example.org"), ("DATE", "2026-01-02T03:04:05+00:00"))},
    }
    git = ["git", "-C", str(repo)]
    subprocess.run([*git, "init", "--quiet", "--initial-branch=main"], check=True, env=env)
    for number, body in enumerate(("one\n", "one\ntwo\n"), 1):
        (repo / "notes.txt").write_text(body)
        subprocess.run([*git, "add", "notes.txt"], check=True, env=env)
        subprocess.run([*git, "commit", "--quiet", "-m", f"Commit {number}"], check=True, env=env)
    (repo / "notes.txt").write_text("one\ntwo\nthree\n")


def stdio_servers(folder: Path, state: str) -> dict[str, Any]:
    """The servers that speak on their standard streams; `state` keeps those of two sides apart."""
    env = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    node = str(NODE)
    return {
        "files": {"command": node, "args": [script("server-filesystem"), str(folder / "files")], "env": env},
        "memory": {
            "command": node,
            "args": [script("server-memory")],
            "env": {**env, "MEMORY_FILE_PATH": str(folder / f"memory-{state}.json")},
        },
        "git": {
            "command": str(PYTHON),
            "args": ["-m", "mcp_server_git", "--repository", str(folder / "repo")],
            "env": env,
        },
        "everything_stdio": {"command": node, "args": [script("server-everything"), "stdio"], "env": env},
        "fixture_stdio": {
            "command": str(PYTHON),
            "args": [str(HERE / "everything_server.py"), "--stdio"],
            "env": env,
        },
    }


def main() -> int:
    """Starts, reports, waits for the end of standard input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--twin", action="store_true")
    args = parser.parse_args()
    folder = args.dir.resolve()
    fill(folder)
    processes = []
    sides: dict[str, dict[str, Any]] = {}
    try:
        for side in ("servers", "twins") if args.twin else ("servers",):
            sides[side] = stdio_servers(folder, side)
            for name, start in (("everything", start_everything), ("fixture", start_fixture)):
                process, url = start()
                processes.append(process)
                sides[side][name] = {"url": url}
        process, url = start_everything_sse()
        processes.append(process)
        sides["sse"] = {"everything": {"url": url}}
        fixed = {"dir": str(folder), "uri_prefixes": URI_PREFIXES, "dual": DUAL}
        print(json.dumps({"event": "ready", **fixed, **sides}), flush=True)
        sys.stdin.read()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
