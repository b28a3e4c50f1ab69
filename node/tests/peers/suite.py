"""The public conformance suite as a program: runs it and reads what it wrote."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
NPM = HERE / ".cache" / "npm" / "node_modules"
COMMAND = [str(NPM / "node/bin/node"), str(NPM / "@modelcontextprotocol/conformance/dist/index.js")]

SUITES = {
    "2025-03-26": ["--suite", "all", "--spec-version", "2025-03-26"],
    "2025-06-18": ["--suite", "all", "--spec-version", "2025-06-18"],
    "2025-11-25": ["--requirements", "2025-11-25"],
    "2026-07-28": ["--requirements", "2026-07-28"],
}
RESULT = re.compile(r"^(server-)?(?P<scenario>.+)-\d{4}-\d\d-\d\dT[\d-]+Z$")
# What the suite says of itself; a scenario that throws leaves nothing else behind.
COUNTED = re.compile(r"^Running .* \((\d+) scenarios\) against ", re.MULTILINE)
BEGUN = re.compile(r"^=== Running scenario: (\S+) ===$", re.MULTILINE)
THROWN = re.compile(r"^Failed to run scenario (\S+): ?(.*)$", re.MULTILINE)
# From good to bad. A check that occurs several times in a scenario counts as its worst.
ORDER = ["INFO", "SUCCESS", "SKIPPED", "WARNING", "FAILURE"]
# About the event stream on which a call is answered. Where the call is answered by plain JSON, which
# is as good, or the gateway itself came back to the stream that its server closed, they do not come up.
ABOUT_STREAMS = {"server-sse-priming-event", "server-sse-retry-field", "server-sse-disconnect-resume"}
SUITE_SECONDS_MAX = 420

# Suite, scenario, check and the check's name.
Key = tuple[str, str, str, str]
Checks = dict[Key, dict]


def run_server(suite: str, url: str, out: Path, only: list[str] | None = None) -> Checks:
    """Runs one suite, or some scenarios of it, against a server."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    base = [*COMMAND, "server", "--url", url, "-o", str(out)]
    if only is None:
        commands = [[*base, *SUITES[suite]]]
    else:
        commands = [[*base, "--scenario", scenario, "--force", "--spec-version", suite] for scenario in only]
    with (out / "log.txt").open("w") as log:
        for command in commands:
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                           timeout=SUITE_SECONDS_MAX, check=False)
    return {**read(suite, out), **without_result(suite, out, only)}


def without_result(suite: str, out: Path, only: list[str] | None) -> Checks:
    """Scenarios of a run that left no result, each as a check that fails."""
    log = (out / "log.txt").read_text()
    expected = only
    if expected is None:
        expected = BEGUN.findall(log)
        counted = COUNTED.search(log)
        if counted is None or int(counted[1]) != len(expected):
            raise RuntimeError(f"suite {suite} ended after {len(expected)} scenarios: see {out / 'log.txt'}")
    thrown = dict(THROWN.findall(log))
    left = {match["scenario"] for folder in out.iterdir() if (match := RESULT.match(folder.name))}
    return {
        (suite, scenario, scenario, ""): {"status": "FAILURE", "message": thrown.get(scenario, "it left no result")}
        for scenario in expected
        if scenario not in left
    }


def run_client(revision: str, scenario: str, client: list[str], out: Path) -> tuple[Checks, int]:
    """Runs one client scenario with a client; its checks, and the exit status of the suite."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    command = [*COMMAND, "client", "--scenario", scenario, "--spec-version", revision, "-o", str(out),
               "--timeout", "60000", "--command", " ".join(client)]
    env = {**os.environ, "MCP_CONFORMANCE_PROTOCOL_VERSION": revision}
    with (out / "log.txt").open("w") as log:
        done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                              timeout=SUITE_SECONDS_MAX, check=False)
    return read(revision, out), done.returncode


def read(suite: str, out: Path) -> Checks:
    """What the suite wrote into a folder."""
    checks: Checks = {}
    for folder in sorted(out.iterdir()):
        match = RESULT.match(folder.name)
        if match is None:
            continue
        for check in json.loads((folder / "checks.json").read_text()):
            key = (suite, match["scenario"], check["id"], check.get("name", ""))
            found = {"status": check["status"], "message": check.get("errorMessage", "")}
            if key not in checks or ORDER.index(found["status"]) > ORDER.index(checks[key]["status"]):
                checks[key] = found
    if not checks:
        raise RuntimeError(f"suite {suite} gave no result: see {out / 'log.txt'}")
    return checks


def write(results: dict[str, Checks], out: Path) -> None:
    """Keeps the single results for whoever wants to look closer."""
    out.mkdir(parents=True, exist_ok=True)
    for target, checks in results.items():
        rows = [
            {"suite": suite, "scenario": scenario, "check": check, "name": name, **found}
            for (suite, scenario, check, name), found in sorted(checks.items())
        ]
        (out / f"{target}.json").write_text(json.dumps(rows, indent=1))


def score(checks: Checks, suite: str) -> str:
    """How many checks of a suite passed of those that passed or failed."""
    mine = [found["status"] for key, found in checks.items() if key[0] == suite]
    return f"{mine.count('SUCCESS')}/{mine.count('SUCCESS') + mine.count('FAILURE')}"
