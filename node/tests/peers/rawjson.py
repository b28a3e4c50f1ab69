"""JSON as text: finds members without decoding, so that every byte of a value can be compared.

>>> members('{"b":1.0,"a":[1e2, {}]}')
{'b': (5, 8), 'a': (13, 22)}
"""

import json
import re
from typing import Any

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def members(text: str, at: int = 0) -> dict[str, tuple[int, int]]:
    """The span of each member's value of the object that begins at `at`."""
    at = _skip(text, at)
    if text[at] != "{":
        raise ValueError(f"not an object: {text[at : at + 40]!r}")
    spans: dict[str, tuple[int, int]] = {}
    at = _skip(text, at + 1)
    while text[at] != "}":
        key, at = json.decoder.scanstring(text, at + 1)
        start = _skip(text, _skip(text, at) + 1)
        _, end = _DECODER.raw_decode(text, start)
        spans[key] = (start, end)
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return spans


def get(text: str, *path: str) -> str | None:
    """The text of a member at a path, or nothing."""
    for key in path:
        try:
            span = members(text).get(key)
        except ValueError:
            return None
        if span is None:
            return None
        text = text[slice(*span)]
    return text


def items(text: str) -> list[str]:
    """The texts of an array's items."""
    at = _skip(text, 0)
    if text[at] != "[":
        raise ValueError(f"not an array: {text[:40]!r}")
    out: list[str] = []
    at = _skip(text, at + 1)
    while text[at] != "]":
        _, end = _DECODER.raw_decode(text, at)
        out.append(text[at:end])
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return out


def replace(text: str, key: str, value: str) -> str:
    """The object with the text of one member exchanged; as it was where it has no such member."""
    span = members(text).get(key)
    return text if span is None else text[: span[0]] + value + text[span[1] :]


def without(text: str, *keys: str) -> dict[str, str]:
    """All members' texts but those named."""
    return {key: text[slice(*span)] for key, span in members(text).items() if key not in keys}


def dump(value: Any) -> str:
    """Compact text of a value."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
