"""This process's standard streams, however whoever started it left them: closed, full, or with nobody at the other end."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress

from .output import Output
from .problem import STREAMS


def repair() -> None:
    """Put something in the place of streams that are closed, and have errors of stdout and stderr name them.

    Else the next file that is opened, which may be a trace, would be read or written as the stream whose number it gets.  Standard
    input is at its end, what goes to standard error is dropped, and writing to standard output is an error, as it was.
    """
    for descriptor, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, flags), True)
    sys.stdout, sys.stderr = _text(1), _text(2)


def _text(descriptor: int) -> io.TextIOWrapper:
    raw = Output(descriptor, STREAMS[descriptor], closefd=False)
    before = sys.__stdout__ if descriptor == 1 else sys.__stderr__
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=before.encoding if before else "utf-8",
        errors=before.errors if before else "backslashreplace",
        line_buffering=descriptor == 2 or raw.isatty(),
    )


def flush() -> None:
    """Write what is buffered, where that can be done: it is too late to tell of an error."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
