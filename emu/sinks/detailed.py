"""JSON Lines with a look at the machine behind each event: what `JsonLines` writes, and one more member, ``detail``, in each line."""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING, Any

from .jsonl import JsonLines

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..events import Event


class DetailedLines:
    """Writes each event as a line that ends with ``,"detail":{…}}``; without that it is the line of an ordinary trace, byte for byte."""

    def __init__(self, file: IO[bytes], name: Callable[[int], str], look: Callable[[Event], dict[str, Any]]) -> None:
        """Begin.

        Args:
            file: takes the lines.
            name: gives the symbol of an address.
            look: gives what is to be kept besides an event, when it comes; plain values.

        """
        self._file, self._look = file, look
        self._lines = JsonLines(self, name)  # type: ignore[arg-type]  # it only writes
        self._details: list[str] = []

    def emit(self, event: Event) -> None:
        """Take one event, and look at the machine."""
        self._details.append(json.dumps(self._look(event), separators=(",", ":")))
        self._lines.emit(event)

    def write(self, lines: bytes) -> int:
        """Take finished lines, as many as there are details, and write both."""
        pairs = zip(lines.decode("utf-8").split("\n"), self._details, strict=False)
        text = "".join(f'{line[:-1]},"detail":{detail}}}\n' for line, detail in pairs)
        self._details.clear()
        return self._file.write(text.encode("utf-8"))

    def close(self) -> None:
        """Write what is left."""
        self._lines.close()
