"""The signals that end a command: SIGINT (Ctrl-C), SIGTERM and SIGHUP, but for those that whoever started us has had ignored.

A handler of Python's runs between two bytecodes of the main thread.  While TCG runs, these are bytecodes of a callback, from which an
exception does not find its way out; so handlers raise nothing then, and the machine is asked to stop.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN: Final = 0.05  # seconds


class Interrupted(KeyboardInterrupt):
    """One of the signals came.

    Attributes:
        number: which.

    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def _not_ignored() -> list[signal.Signals]:
    return [s for s in _ENDING if signal.getsignal(s) is not signal.SIG_IGN]


@contextmanager
def raising() -> Iterator[None]:
    """Raise `Interrupted` in the main thread when one of the signals comes while the block runs, but not from within TCG."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _raise) for number in _not_ignored()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def lethal() -> None:
    """Have the signals end this process, as they do where nobody handles them: for a child that has just been forked."""
    for number in _not_ignored():
        signal.signal(number, signal.SIG_DFL)


def _raise(number: int, frame: FrameType | None) -> None:
    engine = getattr(sys.modules.get(f"{__package__}.emu.engine"), "Engine", None)
    while frame is not None:
        if engine is not None and frame.f_code is engine.start.__code__:  # in a callback
            threading.Timer(_AGAIN, os.kill, (os.getpid(), number)).start()
            return
        frame = frame.f_back
    raise Interrupted(number)


@contextmanager
def stopping(stop: Callable[[], None]) -> Iterator[list[int]]:
    """Have a machine stopped as `interruptible` does, and raise `Interrupted` once the block has ended."""
    with interruptible(stop) as caught:
        yield caught
    if caught:
        raise Interrupted(caught[0])


@contextmanager
def interruptible(stop: Callable[[], None]) -> Iterator[list[int]]:
    """Call `stop`, from another thread, when one of the signals comes while the block runs; gives the list of their numbers.

    Python runs its signal handlers between two bytecodes of the main thread, and a guest in a tight loop lets none pass; but the C
    half of the handler writes the number to a pipe at once, and a thread can wait for that.
    """
    caught: list[int] = []
    handled: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    out, into = os.pipe()
    os.set_blocking(into, False)

    def watch() -> None:
        while True:
            # Again and again: a stop that comes just before TCG starts once more is lost.
            if caught and not select.select([out], [], [], _AGAIN)[0]:
                stop()
                continue
            number = os.read(out, 1)[0]
            if not number:
                return
            if number in signals:
                caught.append(number)
                stop()

    thread = threading.Thread(target=watch, daemon=True)
    signals = _not_ignored()
    before = [signal.signal(s, lambda number, _: handled.append(number)) for s in signals]
    old = signal.set_wakeup_fd(into, warn_on_full_buffer=False)
    thread.start()
    try:
        yield caught
    finally:
        signal.set_wakeup_fd(old)
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
        os.write(into, b"\0")
        thread.join()
        caught.extend(number for number in handled if number not in caught)  # came as the pipe was taken away
        os.close(out)
        os.close(into)
