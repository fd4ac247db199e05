"""A line on stderr that tells that a long job is alive, and how far it is: only on a terminal, only after a while."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

_PATIENCE: Final = 2.0
_PERIOD: Final = 0.5
_WIPE: Final = "\r\x1b[K"
_BAR: Final = 24  # columns


class Progress:
    """Shows `text()` every half second while the block runs and nothing else is printed, and a bar where `done` tells how far it is.

    rich draws the line, cut to the terminal's width; it is imported when there is something to show.  A terminal that cannot wipe a line
    (``TERM=dumb``) gets none.
    """

    def __init__(self, text: Callable[[], str], done: Callable[[], float] | None = None) -> None:
        """Begin to wait.

        Args:
            text: says what goes on.
            done: tells which part of the job is done, from 0 to 1.

        """
        self._text, self._part = text, done
        self._done = threading.Event()
        self._quiet_since = time.monotonic()
        self._shown = False
        self._lock = threading.Lock()
        shows = sys.stderr.isatty() and os.environ.get("TERM") not in {"dumb", "unknown"}
        self._thread = threading.Thread(target=self._show, daemon=True) if shows else None

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
        console: Console | None = None
        while not self._done.wait(_PERIOD):
            if time.monotonic() - self._quiet_since < _PATIENCE:
                continue
            if console is None:
                from rich.console import Console

                console = Console(stderr=True, highlight=False)
            line = self._line(console, time.monotonic() - started)
            with self._lock:
                if time.monotonic() - self._quiet_since >= _PATIENCE:
                    sys.stderr.write(_WIPE + line)
                    sys.stderr.flush()
                    self._shown = True

    def _line(self, console: Console, seconds: float) -> str:
        """Draw the line, without its end."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        text = Text(f"paracell: {seconds:.0f} s, {self._text()}")
        row, room = Table.grid(padding=(0, 1)), console.width - 2  # a line that fills the terminal may wrap
        if self._part is None:
            text.truncate(room)
            row.add_row(text)
        else:
            text.truncate(max(room - _BAR - 1, 0))
            row.add_row(ProgressBar(1.0, min(max(self._part(), 0.0), 1.0), width=_BAR), text)
        with console.capture() as drawn:
            console.print(row, end="")
        return drawn.get().rstrip("\n")
