"""Python code under watch: how many of its lines run, which lines follow each other, how much memory it takes.

Lines are counted, not seconds: the same input gives the same count on any computer.
"""

from __future__ import annotations

import sys
import tracemalloc
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_CALL: Final = 8  # a call of a function whose lines are not looked at counts as so many


class TooLong(BaseException):
    """More lines have run than may; no handler of the code under watch takes it for one of its own errors."""


class Watched:
    """Runs functions, and keeps what the last one took.

    Attributes:
        edges: pairs of lines that have followed each other, as numbers, in the last run.
        count: lines, in the last run.
        peak: bytes that were in use at most, in the last run.

    """

    def __init__(self, parts: tuple[str, ...]) -> None:
        self._parts = parts
        self._known: dict[str, int] = {}  # a file's number; 0 for one whose lines are not looked at
        self._limit = 0
        self._last = 0
        self.edges: set[int] = set()
        self.count = 0
        self.peak = 0

    def run(self, function: Callable[[], Any], limit: int) -> Any:
        """Run a function; `TooLong` once more than `limit` lines have run."""
        self.edges, self.count, self._limit, self._last = set(), 0, limit, 0
        before = sys.gettrace()
        tracemalloc.start()
        sys.settrace(self._called)
        try:
            return function()
        finally:
            sys.settrace(before)
            self.peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()

    def _called(self, frame: FrameType, event: str, _: Any) -> Callable[[FrameType, str, Any], Any] | None:
        del event
        name = frame.f_code.co_filename
        number = self._known.get(name)
        if number is None:
            looked_at = any(part in name for part in self._parts)
            number = self._known[name] = len(self._known) + 1 if looked_at else 0
        self.count += _CALL
        if self.count > self._limit:
            raise TooLong
        return self._line if number else None

    def _line(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            self.count += 1
            if self.count > self._limit:
                raise TooLong
            here = self._known[frame.f_code.co_filename] << 16 | frame.f_lineno
            self.edges.add(self._last << 32 | here)
            self._last = here
        return self._line
