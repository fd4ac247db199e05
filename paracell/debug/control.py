"""How the machine runs under a debugger: on, or by single instructions, until there is something to tell."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ..emu.stop import Reason
from .breakpoints import Breakpoints
from .stops import StopOn
from .watch import KINDS, Watchpoints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..emu.stop import Stop
    from ..machine import Machine

SIGINT, SIGILL, SIGTRAP, SIGSEGV = 2, 4, 5, 11  # gdb's numbers
NOIRQ: Final = 2  # of ``qqemu.sstepbits``: no interrupt comes while one instruction runs
ENABLE: Final = 1
_ENDS: Final = frozenset({Reason.EXIT, Reason.SHUTDOWN, Reason.RESET})
_STUCK: Final = {Reason.TRIPLE_FAULT: SIGSEGV, Reason.UNIMPLEMENTED: SIGILL, Reason.HALTED: SIGTRAP}
_MANY: Final = 1 << 62  # instructions
_AGAIN: Final = 0.05  # seconds


@frozen
class Halt:
    """Why the machine stands still.

    Attributes:
        signal: gdb's number of the signal that says so.
        why: what a stop reply adds, such as ``swbreak:;``.
        lines: what the user is told.
        stop: how the machine's run ended, where the guest has ended it or cannot go on.
        ended: the guest has ended it.
        asked: a signal to this process asks for the end.

    """

    signal: int = SIGTRAP
    why: str = ""
    lines: tuple[str, ...] = ()
    stop: Stop | None = None
    ended: bool = False
    asked: bool = False


class Control:
    """Runs one machine for one client after the other.

    Attributes:
        breakpoints, watchpoints, stop_on: what it stops for.
        step_bits: how single steps are made: `ENABLE` and `NOIRQ`.

    """

    def __init__(self, machine: Machine, asked: Callable[[], bool]) -> None:
        self.machine = machine
        self._asked = asked
        self.breakpoints, self.watchpoints, self.stop_on = Breakpoints(), Watchpoints(machine), StopOn(machine)
        self.step_bits = ENABLE | NOIRQ
        self._interrupted = False

    def go_on(self, interrupted: Callable[[int], bool]) -> Halt:
        """Run until something is met; `interrupted(fd)` waits for Ctrl-C, or until `fd` can be read, and tells whether it came."""
        machine, pending = self.machine, self.machine.inner.traps.pending
        machine.inner.pause_at(self.breakpoints.places)
        if pending.interrupt or pending.nmi:
            machine.inner.poll_console()  # has it delivered: a guest that makes no event gives no other occasion
        counts = _MANY if self.watchpoints.arm() else 0
        self.stop_on.arm()
        try:
            with self._interruptible(interrupted):
                while True:
                    halt = self._judge(machine.inner.run(counts))
                    if halt is not None:
                        return halt
        finally:
            self.stop_on.disarm()
            self.watchpoints.disarm()
            machine.inner.pause_at(())

    def step(self, interrupted: Callable[[int], bool], within: range = range(0)) -> Halt:
        """Run one instruction, and more as long as RIP stays `within` a range."""
        machine = self.machine
        machine.inner.pause_at(())
        self.watchpoints.arm()
        pending, places = machine.inner.traps.pending, self.breakpoints.places
        pending.held = bool(self.step_bits & NOIRQ) and not machine.inner.cpu.halted
        try:
            with self._interruptible(interrupted):
                while True:
                    stop = machine.inner.run(1)
                    if stop.reason is Reason.LIMIT:
                        if self.watchpoints.seen or machine.cpu.rip not in within:
                            return self._watched() or Halt()
                        if machine.inner.cpu.linear_rip in places and self.breakpoints.met(machine) is not None:
                            return Halt(why=self.breakpoints.met(machine) or "")
                        continue
                    halt = self._judge(stop)
                    if halt is not None:
                        return halt
        finally:
            pending.held = False
            self.watchpoints.disarm()

    def release(self) -> None:
        """Forget everything that a client has set, for it has gone."""
        self.breakpoints.clear()
        self.watchpoints.close()
        self.stop_on.waits.clear()
        self.machine.inner.pause_at(())

    def _watched(self) -> Halt | None:
        seen = self.watchpoints.seen
        if seen is None:
            return None
        point, address = seen
        return Halt(why=f"{KINDS[point.kind]}:{address:x};")

    def _judge(self, stop: Stop) -> Halt | None:
        """Say what a run that has stopped means; None where it is to go on."""
        if stop.reason in _ENDS:
            return Halt(stop=stop, ended=True)
        if stop.reason in _STUCK:
            report = (f"the machine cannot go on: {stop.reason}", *stop.report)
            return Halt(_STUCK[stop.reason], "", report, stop)
        if self._asked():
            return Halt(SIGINT, asked=True, stop=stop)
        if self._interrupted:
            return Halt(SIGINT)
        watched = self._watched()
        if watched is not None:
            return watched
        lines = tuple(self.stop_on.met())
        breakpoint_ = self.breakpoints.met(self.machine) if stop.reason is Reason.REACHED else None
        if breakpoint_ is not None or lines:
            return Halt(why=breakpoint_ or "", lines=lines)
        return None

    @contextmanager
    def _interruptible(self, interrupted: Callable[[int], bool]) -> Iterator[None]:
        """Have the machine stop when the client asks for it, or has gone."""
        self._interrupted = False
        out, into = os.pipe()
        done = threading.Event()

        def watch() -> None:
            while not done.is_set():
                if self._interrupted:
                    self.machine.inner.request_stop()
                    done.wait(_AGAIN)  # again and again: a stop that comes just before TCG starts once more is lost
                elif interrupted(out) and not done.is_set():
                    self._interrupted = True

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            os.write(into, b"\0")
            thread.join()
            os.close(out)
            os.close(into)
