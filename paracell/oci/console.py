"""The console of a container that runs by itself: its clock keeps real time while it sleeps, and signals reach it."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
import tty
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ..console import Console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_AGAIN: Final = 0.05  # seconds
_LONG: Final = 3600.0
# What the kernel sends for our own faults and children, and what no process can catch.
_OURS: Final = {"SIGKILL", "SIGSTOP", "SIGCHLD", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGPIPE", "SIGWINCH"}


class ServiceConsole(Console):
    """The streams of this process, and signals for the first process, which may come when stdin has long ended."""

    def __init__(self) -> None:
        super().__init__()
        self.paced = self.listens = True
        self._wake, self._woken = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)

    @property
    def told(self) -> bool:
        """Whether the guest has not yet read all that it was told."""
        return bool(self._told)

    def signalled(self, number: int) -> None:
        """Send the guest's first process a signal; may be called from another thread."""
        super().signalled(number)
        os.write(self._woken, b"\0")

    def wait(self, seconds: float | None) -> bool:
        """Sleep until there is something to read, or a signal; False after `seconds`."""
        end = time.monotonic() + (_LONG if seconds is None else seconds)
        while not (self._waiting or self._told):
            streams = [self._wake] if self.ended else [self._wake, self._stdin]
            ready = select.select(streams, [], [], max(end - time.monotonic(), 0))[0]
            if self._wake in ready:
                os.read(self._wake, 4096)
            elif ready:
                return True
            elif time.monotonic() >= end:
                return False
        return True


@contextmanager
def forwarded(console: ServiceConsole, attend: Callable[[], None]) -> Iterator[None]:
    """Pass signals on to the first process of the guest while the block runs.

    `attend` makes a guest look that makes no event, from another thread: again and again, for what comes just before TCG starts
    is lost.
    """
    out, into = os.pipe()
    os.set_blocking(into, False)
    numbers = [int(number) for number in signal.valid_signals() if _name(number) not in _OURS]

    def watch() -> None:
        while True:
            if console.told and not select.select([out], [], [], _AGAIN)[0]:
                attend()
                continue
            number = os.read(out, 1)[0]
            if not number:
                return
            console.signalled(number)
            attend()

    thread = threading.Thread(target=watch, daemon=True)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    old = signal.set_wakeup_fd(into, warn_on_full_buffer=False)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(old)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.write(into, b"\0")
        thread.join()
        os.close(out)
        os.close(into)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return ""


def make_raw(descriptor: int) -> None:
    """Hand every key of a terminal to the guest, whose own terminal edits lines; Ctrl-C is one of them."""
    tty.setraw(descriptor)
