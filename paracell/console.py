"""The machine's serial lines on this process's stdin, stdout and stderr."""

from __future__ import annotations

import math
import os
import select
import struct
import termios
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from .problem import STREAMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHUNK: Final = 1 << 16
_AGAIN: Final = 0.05  # seconds
_LOOK: Final = 0.2
_NO_KEY: Final = b"\0"  # _POSIX_VDISABLE
RETURNED: Final = 2  # the stream of the debug console
ESCAPE: Final = b"\x1d"  # Ctrl-]: ends a run whose guest has all the other keys


class Console:
    """What a UART is plugged into.

    Attributes:
        ended: no byte will come any more.
        before_output: called before bytes go out, to wipe a progress line.
        paced: somebody sits at a terminal, so a guest that sleeps does so in real time.
        listens: the guest may be told something even when no byte comes any more.
        raw: the screen takes every byte as it is, so the kernel's own messages need their line ends completed.
        returned: what came on the debug console, the changes in volumes.
        accepts: how many bytes of that may come.
        on_flood: called when there are more.

    """

    def __init__(self, stdin: int = 0, outputs: tuple[int, int] = (1, 2)) -> None:
        self.ended = False
        self.returned = bytearray()
        self.accepts = 0
        self.on_flood: Callable[[], None] = lambda: None
        self.before_output: Callable[[], None] = lambda: None
        self.paced = self.listens = self.raw = False
        self._stdin = stdin
        self._outputs = outputs
        self._waiting, self._at = b"", 0  # what was read, and how much of it the guest has
        self._told = b""

    def write(self, stream: int, data: bytes) -> None:
        """Write all of it: stream 0 is COM1 and stdout, 1 is COM2 and stderr.  `BrokenPipeError` when nobody reads."""
        if stream == RETURNED:
            self.returned += data
            if len(self.returned) > self.accepts:
                self.on_flood()
            return
        self.before_output()
        view = memoryview(data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") if self.raw and stream else data)
        try:
            while view:
                view = view[os.write(self._outputs[stream], view) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, STREAMS[stream + 1]) from error

    def read(self, count: int) -> bytes:
        """Give up to `count` bytes of stdin that are there; b"" when there is none now, or never again (`ended`)."""
        if not self._waiting and not self.ended and self._readable(0):
            self._fetch()
        data = self._waiting[self._at : self._at + count]
        self._at += len(data)
        if self._at == len(self._waiting):
            self._waiting, self._at = b"", 0
        return data

    def resized(self, lines: int, columns: int) -> None:
        """Tell the guest how large the screen is now; may be called from another thread."""
        self._told += struct.pack("<2H", lines, columns)

    def signalled(self, number: int) -> None:
        """Send the guest's first process a signal; may be called from another thread."""
        self._told += struct.pack("<2H", 0, number)

    def control(self, count: int) -> bytes:
        """Give what the kernel is told: lines and columns of a screen that has changed, or 0 and a signal, 16 bits each."""
        told, self._told = self._told[:count], self._told[count:]
        return told

    def wait(self, seconds: float | None) -> bool:
        """Sleep until there is something to read, the end included, or a new size; False after `seconds`."""
        end = math.inf if seconds is None else time.monotonic() + seconds
        while not (self._waiting or self.ended or self._told):
            left = end - time.monotonic()
            if self._readable(max(min(left, _LOOK), 0)):
                break
            if left <= _LOOK:
                return False
        return True

    def _readable(self, seconds: float) -> bool:
        try:
            return bool(select.select([self._stdin], [], [], seconds)[0])
        except (OSError, ValueError):  # stdin was closed by whoever started us
            self.ended = True
            return True

    def _fetch(self) -> None:
        try:
            self._waiting = os.read(self._stdin, _CHUNK)
        except OSError:  # closed, a directory, or a terminal that has gone
            self._waiting = b""
        self.ended = not self._waiting


def terminals() -> int:
    """Say which of stdin, stdout and stderr are terminals, as bits 0, 1 and 2."""
    return sum(1 << descriptor for descriptor in range(3) if os.isatty(descriptor))


def window() -> tuple[int, int] | None:
    """Give the lines and columns of the terminal that stdin is, or None."""
    try:
        size = os.get_terminal_size(0)
    except OSError:
        return None
    return size.lines, size.columns


@contextmanager
def unedited(descriptor: int = 0, *, whole: bool = False) -> Iterator[bool]:
    """Hand every byte of a terminal over as it is typed, unechoed: lines are the guest's business.  Gives whether it is one.

    Ctrl-C remains ours; with `whole`, it goes to the guest too, as does every other key but Ctrl-], and what the guest writes
    reaches the screen as it is.
    """
    try:
        before = termios.tcgetattr(descriptor)
    except termios.error:  # no terminal
        yield False
        return
    mode = termios.tcgetattr(descriptor)
    mode[3] &= ~(termios.ICANON | termios.ECHO)
    mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
    if whole:
        mode[0] &= ~(termios.ICRNL | termios.INLCR | termios.IGNCR | termios.IXON)
        mode[1] &= ~termios.OPOST
        mode[3] &= ~termios.IEXTEN
        mode[6][termios.VINTR] = ESCAPE
        mode[6][termios.VQUIT] = mode[6][termios.VSUSP] = _NO_KEY
    termios.tcsetattr(descriptor, termios.TCSADRAIN, mode)
    try:
        yield True
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def watched(console: Console, attend: Callable[[], None]) -> Iterator[None]:
    """Call `attend`, from another thread, while there is input that nobody has read: a guest that makes no event does not look.

    A new size of the screen is input, too.
    """
    out, into = os.pipe()

    def watch() -> None:
        size = window()
        while not select.select([out], [], [], _AGAIN)[0]:
            now = window()
            if now is not None and now != size:
                size = now
                console.resized(*now)
            if not console.ended and console.wait(0):
                attend()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.write(into, b"\0")
        thread.join()
        os.close(out)
        os.close(into)
