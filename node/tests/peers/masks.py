"""What differs from call to call by the servers' own doing: hidden on both sides before bytes are compared."""

import re

# By tool (or method, or resource): what to hide. Everything that is not here has to be the same to the byte.
MASKS: dict[str, list[tuple[str, str]]] = {
    # server-everything writes the time of day into its dynamic resources, and encodes it in blobs.
    "get-resource-reference": [(r"created at [^\"\\]*", "created at TIME"), (r'"blob":"[^"]*"', '"blob":"TIME"')],
    "resources/read dynamic": [(r"created at [^\"\\]*", "created at TIME"), (r'"blob":"[^"]*"', '"blob":"TIME"')],
    "resource-prompt": [(r"created at [^\"\\]*", "created at TIME"), (r'"blob":"[^"]*"', '"blob":"TIME"')],
    # A gzip header carries no time here, but the session's id is part of what these tools say.
    "toggle-subscriber-updates": [(r"session [^\s\"\\]*", "session ID")],
    "toggle-simulated-logging": [(r"session [^\s\"\\]*", "session ID")],
    # Reading a file changes when it was last accessed.
    "get_file_info": [(r"accessed: [^\\\"]*", "accessed: TIME")],
    # A task has an id and times of its own.
    "tasks": [
        (r'"taskId":"[^"]*"', '"taskId":"ID"'),
        (r'"(createdAt|lastUpdatedAt)":"[^"]*"', r'"\1":"TIME"'),
        (r"(Task|task)[^\"]{0,20}[0-9a-f]{32}", r"\1 ID"),
    ],
    # Sealed with a random nonce by the server.
    "rounds": [(r'"requestState":"[^"]*"', '"requestState":"SEALED"')],
}


def mask(kind: str, text: str) -> str:
    """The text with what cannot be the same twice hidden."""
    for pattern, shown in MASKS.get(kind, []):
        text = re.sub(pattern, shown, text)
    return text
