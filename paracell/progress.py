"""A line on stderr that tells that a long job is alive: only on a terminal, only after a while."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable

_PATIENCE: Final = 2.0
_PERIOD: Final = 0.5
_WIPE: Final = "\r\x1b[K"


class Progress:
    """Shows `text()` every half second while the block runs and nothing else is printed."""

    def __init__(self, text: Callable[[], str]) -> None:
        self._text = text
        self._done = threading.Event()
        self._quiet_since = time.monotonic()
        self._shown = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._show, daemon=True) if sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        """Begin."""
        if self._thread:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wipe the line and end."""
        self._done.set()
        if self._thread:
            self._thread.join()
        self.wipe()

    def wipe(self) -> None:
        """Make room for other output, which must come right after this; costs next to nothing without a terminal."""
        if self._thread is None:
            return
        with self._lock:
            self._quiet_since = time.monotonic()
            if self._shown:
                sys.stderr.write(_WIPE)
                sys.stderr.flush()
                self._shown = False

    def _show(self) -> None:
        started = time.monotonic()
        while not self._done.wait(_PERIOD):
            with self._lock:
                if time.monotonic() - self._quiet_since < _PATIENCE:
                    continue
                sys.stderr.write(f"{_WIPE}paracell: {time.monotonic() - started:.0f} s, {self._text()}")
                sys.stderr.flush()
                self._shown = True
