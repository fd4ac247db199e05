"""How the machine runs under a debugger: on, or by single instructions, until there is something to tell."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ..emu.stop import ENDS, Reason
from .breakpoints import Breakpoints
from .stops import StopOn
from .threads import Threads
from .watch import KINDS, PHYSICAL, Watchpoints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..emu.stop import Stop
    from ..machine import Machine
    from .history import History

SIGINT, SIGILL, SIGTRAP, SIGSEGV = 2, 4, 5, 11  # gdb's numbers
NOIRQ: Final = 2  # of ``qqemu.sstepbits``: no interrupt comes while one instruction runs
ENABLE: Final = 1
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
        thread: whose step it was, where that has gone to sleep; None for the one that has the processor.
        asked: a signal to this process asks for the end.

    """

    signal: int = SIGTRAP
    why: str = ""
    lines: tuple[str, ...] = ()
    stop: Stop | None = None
    ended: bool = False
    thread: int | None = None
    asked: bool = False


class Control:
    """Runs one machine for one client after the other.

    Attributes:
        history: the way back, or None.
        breakpoints, watchpoints, stop_on: what it stops for.
        threads: the containers.
        step_bits: how single steps are made: `ENABLE` and `NOIRQ`.
        was_interrupted: the client has asked the last run to stop.

    """

    def __init__(self, machine: Machine, asked: Callable[[], bool], history: History | None = None) -> None:
        self.machine, self.history = machine, history
        self._asked = asked
        self.breakpoints, self.watchpoints, self.stop_on = Breakpoints(), Watchpoints(machine), StopOn(machine)
        self.threads = Threads(machine)
        self.step_bits = ENABLE | NOIRQ
        self.was_interrupted = False

    def go_on(self, interrupted: Callable[[int], bool]) -> Halt:
        """Run until something is met; `interrupted(fd)` waits for Ctrl-C, or until `fd` can be read, and tells whether it came."""
        machine, pending = self.machine, self.machine.inner.traps.pending
        if self.history is None and (pending.interrupt or pending.nmi):
            machine.inner.poll_console()  # has it delivered: a guest that makes no event gives no other occasion
        with self.armed() as watches, self.interruptible(interrupted):
            while True:
                stop = self.history.advance() if self.history else machine.inner.run(_MANY if watches else 0)
                halt = self._judge(stop)
                if halt is not None:
                    return halt

    @contextmanager
    def armed(self) -> Iterator[bool]:
        """Have the machine stop for what is to be met; tells whether it must count."""
        inner = self.machine.inner
        inner.pause_at(self.breakpoints.places, self.breakpoints.physical_places)
        if self.history is not None:
            self.history.meets = lambda: self.breakpoints.met(self.machine) is not None
        watches = self.watchpoints.arm()
        self.stop_on.arm()
        try:
            yield watches
        finally:
            self.stop_on.disarm()
            self.watchpoints.disarm()
            inner.pause_at(())
            if self.history is not None:
                self.history.meets = lambda: False

    def step(
        self,
        interrupted: Callable[[int], bool],
        within: range = range(0),
        thread: int | None = None,
        *,
        alone: bool = False,
    ) -> Halt:
        """Run one instruction of a thread, and more as long as RIP stays `within` a range; without `thread`, of the one that runs.

        While it does not have the processor the others run: before the step until its turn comes, and after a step that gives the
        processor away until its turn comes again.  With `alone` such a step ends with the thread asleep.
        """
        threads = self.threads
        thread = thread or threads.current()
        if threads.current() != thread:
            halt = self._wait_for(thread, interrupted)
            if halt is not None:
                return halt
        halt = self._step_here(interrupted, within, thread)
        if halt is None and alone:
            return Halt(thread=thread)
        return halt or self._wait_for(thread, interrupted) or Halt()

    def _wait_for(self, thread: int, interrupted: Callable[[int], bool]) -> Halt | None:
        """Run until a thread has the processor again; gives what was met before that, or None."""
        with self.waiting(self.threads.resumes, thread):
            halt = self.go_on(interrupted)
        return None if self.threads.is_at_switch(thread) and halt == Halt() else halt

    @contextmanager
    def waiting(self, address: int, thread: int) -> Iterator[None]:
        """Have the machine stop where a thread comes to the switch of stacks, too."""
        self.breakpoints.turn = address, lambda: self.threads.is_at_switch(thread)
        try:
            yield
        finally:
            self.breakpoints.turn = None

    def _step_here(self, interrupted: Callable[[int], bool], within: range, thread: int) -> Halt | None:
        """Step the thread that runs; None where it has left the processor."""
        machine = self.machine
        machine.inner.pause_at(())
        self.watchpoints.arm()
        try:
            with self.interruptible(interrupted):
                while True:
                    stop = self._one()
                    if stop.reason is Reason.LIMIT:
                        left = self.threads.current() != thread
                        if self.watchpoints.seen or left or machine.cpu.rip not in within:
                            return self.watched() or (None if left else Halt())
                        if self.breakpoints.met(machine) is not None:
                            return Halt(why=self.breakpoints.met(machine) or "")
                        continue
                    halt = self._judge(stop)
                    if halt is not None:
                        return halt
        finally:
            self.watchpoints.disarm()

    def _one(self) -> Stop:
        """Run one instruction."""
        inner = self.machine.inner
        held = bool(self.step_bits & NOIRQ)
        if self.history is not None:
            return self.history.advance((inner.progress[0] + 1, 0), held=held)
        pending = inner.traps.pending
        pending.held = held and not inner.cpu.halted
        try:
            return inner.run(1)
        finally:
            pending.held = False

    @property
    def watched_frames(self) -> frozenset[int] | None:
        """The physical pages of which a write is all that the machine stops for; None where it stops for something else, too."""
        stops = self.breakpoints.places or self.breakpoints.physical_places or self.stop_on.waits
        return None if stops else self.watchpoints.frames

    def changed(self) -> None:
        """The client has changed the machine's state."""
        if self.history is not None:
            self.history.changed()

    def release(self) -> None:
        """Forget everything that a client has set, for it has gone."""
        self.breakpoints.clear()
        self.watchpoints.close()
        self.stop_on.waits.clear()
        self.machine.inner.pause_at(())

    def watched(self) -> Halt | None:
        """Tell of the watchpoint that was met."""
        seen = self.watchpoints.seen
        if seen is None:
            return None
        point, address = seen
        if point.kind == PHYSICAL:
            return Halt(lines=(f"written: physical {address:#x}",))
        return Halt(why=f"{KINDS[point.kind]}:{address:x};")

    def _judge(self, stop: Stop) -> Halt | None:
        """Say what a run that has stopped means; None where it is to go on."""
        if stop.reason in ENDS:
            return Halt(stop=stop, ended=True)
        if stop.reason in _STUCK:
            report = (f"the machine cannot go on: {stop.reason}", *stop.report)
            return Halt(_STUCK[stop.reason], "", report, stop)
        if self._asked():
            return Halt(SIGINT, asked=True, stop=stop)
        if self.was_interrupted:
            return Halt(SIGINT)
        watched = self.watched()
        if watched is not None:
            return watched
        lines = tuple(self.stop_on.met())
        breakpoint_ = self.breakpoints.met(self.machine) if stop.reason is Reason.REACHED else None
        if breakpoint_ is not None or lines:
            return Halt(why=breakpoint_ or "", lines=lines)
        return None

    @contextmanager
    def interruptible(self, interrupted: Callable[[int], bool]) -> Iterator[None]:
        """Have the machine stop when the client asks for it, or has gone."""
        self.was_interrupted = False
        out, into = os.pipe()
        done = threading.Event()

        def watch() -> None:
            while not done.is_set():
                if self.was_interrupted:
                    self.machine.inner.request_stop()
                    done.wait(_AGAIN)  # again and again: a stop that comes just before TCG starts once more is lost
                elif interrupted(out) and not done.is_set():
                    self.was_interrupted = True

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
