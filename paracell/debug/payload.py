"""What the payload of a packet says: numbers, bytes in hexadecimal digits, and the actions of ``vCont``."""

from __future__ import annotations

import re
from typing import Final

_NUMBER: Final = re.compile(rb"[0-9a-fA-F]{1,16}")


class Wrong(Exception):
    """A packet that does not say what it should; the answer is EINVAL."""


def numbers(data: bytes, separators: bytes) -> list[int]:
    """Parse hexadecimal numbers with one of `separators` after each but the last."""
    parts = re.split(b"[" + re.escape(separators) + b"]", data) if separators else [data]
    if len(parts) != len(separators) + 1 or not all(_NUMBER.fullmatch(part) for part in parts):
        raise Wrong(f"no numbers: {data[:40]!r}")
    return [int(part, 16) for part in parts]


def digits(data: bytes) -> bytes:
    """Parse bytes, two digits each."""
    try:
        return bytes.fromhex(data.decode("ascii"))
    except ValueError as error:
        raise Wrong(f"no hexadecimal digits: {data[:40]!r}") from error


def actions(data: bytes) -> list[tuple[bytes, bytes]]:
    """Parse what stands behind ``vCont;``: actions, each with the number of its thread, or nothing for all others."""
    found = [(action, thread) for action, _, thread in (each.partition(b":") for each in data.split(b";"))]
    if not all(action[:1] in {b"c", b"C", b"s", b"S", b"r"} for action, _ in found):
        raise Wrong("an action that is not offered")
    return found
