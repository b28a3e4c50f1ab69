#!/usr/bin/env python3
"""Keeps what a server on its standard streams reads and writes, as it stands on the wire.

    record.py FILE COMMAND [ARGUMENT...]

One line of JSON per message: {"from": "client" | "server", "on": CHANNEL, "text": MESSAGE}, where the
channel is what ids are unique in: a session, an exchange without one, or a process.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO


class Record:
    """The file. Several processes may write to it, a line at a time."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()

    def keep(self, sender: str, channel: str, text: bytes) -> None:
        """Adds one message."""
        line = json.dumps({"from": sender, "on": channel, "text": text.decode()}) + "\n"
        with self._lock:
            self._file.write(line.encode())


def run_recorded(command: list[str], record: Record) -> int:
    """Runs a server on our standard streams and keeps every line."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    channel = f"process {os.getpid()}"

    def copy(source: Any, target: BinaryIO, sender: str) -> None:
        for line in source:
            record.keep(sender, channel, line.strip())
            target.write(line)
            target.flush()
        target.close()

    assert process.stdin is not None and process.stdout is not None
    threading.Thread(target=copy, args=(sys.stdin.buffer, process.stdin, "client"), daemon=True).start()
    copy(process.stdout, sys.stdout.buffer, "server")
    return process.wait()


if __name__ == "__main__":
    sys.exit(run_recorded(sys.argv[2:], Record(Path(sys.argv[1]))))
