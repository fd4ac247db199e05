"""The way back: moments of the machine, and the same instructions run again from the last one before where somebody wants to be.

A place in history is a number of instructions, and how often HLT has slept behind the last of them.  All runs count instructions, and
where a run is interrupted makes no difference to it, by whatever clock: what was run in one piece runs again in any other pieces.
What a debugger does to a run beside that is kept by its place: single steps that hold interrupts back, and a state that it has
changed.

::

    first moment   moment                moment     present          furthest moment there was
    ├──────────────┼─────────────────────┼──▶───────┤────────────────┤
                                  run again         only here output and events go out
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final

from ..emu.moments import Moments
from ..emu.stop import Reason, Stop
from .replayed import ReplayedConsole, ReplayedSink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..emu.moments import Moment, Place
    from ..emu.sinks import Sink
    from ..machine import Machine

DEFAULT_SIZE: Final = 256 << 20  # bytes
EVERY: Final = 400_000  # instructions between two moments
_BUSY_EVERY: Final = 100_000  # where they make many events, which take longer to run again
_BUSY: Final = 20_000  # cycles for events, from one moment to the next
_NEAR: Final = (
    20_000,
    1_000,
)  # instructions before where somebody goes back to: moments there make the next step back short
_SOON: Final = 100  # instructions until a moment that waits for a better place is tried again
FOREVER: Final = (1 << 62, 0)
_LIMIT: Final = Stop(Reason.LIMIT)
_GOES_ON: Final = frozenset({Reason.LIMIT, Reason.REACHED, Reason.INTERRUPTED})


class History:
    """Where a machine has been since now.

    Args:
        machine: it stands where history begins.
        size: about how many bytes of memory the moments may take; one is always kept.

    Attributes:
        meets: tells whether the machine is to pause where it stands; asked where a run was cut, for the next begins with that instruction.
        shortened: history has been cut at its beginning, for want of room.

    """

    def __init__(self, machine: Machine, size: int = DEFAULT_SIZE) -> None:
        self._machine, self._size = machine, size
        inner = machine.inner
        console = inner.devices.console
        self._console = console if isinstance(console, ReplayedConsole) else None
        self._sinks: list[ReplayedSink] = []
        inner.wrap_sinks(self._wrap)
        self._holds: list[Place] = []  # where steps that hold interrupts back begin and end, in turn
        self.shortened = self._changed = False
        self.meets: Callable[[], bool] = lambda: False
        self._furthest = inner.progress
        self._every, self._spent = _BUSY_EVERY, 0
        self._moments = Moments(inner, self._note())

    def _wrap(self, sink: Sink) -> Sink:
        wrapped = ReplayedSink(sink)
        self._sinks.append(wrapped)
        return wrapped

    def _note(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return () if self._console is None else self._console.save(), tuple(sink.count for sink in self._sinks)

    @property
    def place(self) -> Place:
        """Where the machine is."""
        return self._machine.inner.progress

    @property
    def begin(self) -> Place:
        """Where history begins."""
        return self._moments.kept[0].place

    # ---- forward ----------------------------------------------------------------------------------------------

    def advance(self, goal: Place = FOREVER, *, held: bool = False) -> Stop:
        """Run up to a place, unless something stops the machine before; with `held`, interrupts are held back where nothing has run yet."""
        self.settle()
        inner = self._machine.inner
        while not self._redo() and inner.progress < goal:
            place, rip = inner.progress, inner.cpu.linear_rip
            target = min(goal, self._next(place))
            self._hold(place, held=held)
            stop = inner.run(target[0] - place[0]) if target[0] > place[0] else inner.sleep() or _LIMIT
            self._release(inner.progress)
            self._furthest = max(self._furthest, inner.progress)
            if stop.reason is not Reason.LIMIT:
                return stop
            self._remember()
            moved = inner.progress[0] > place[0] or inner.cpu.linear_rip != rip
            if moved and inner.progress < goal and self.meets():
                return Stop(Reason.REACHED)
        return _LIMIT

    def _redo(self) -> bool:
        """Take up a state that a debugger has made here, where it is not the present one; never tells of anything."""
        change = self._moments.ahead()
        while change is not None and change.place <= self.place:
            self._restore(change)
            change = self._moments.ahead()
        return False

    def _next(self, place: Place) -> Place:
        """Give the next place where a run must be interrupted."""
        due = self._moments.before(place).place[0] + self._every
        change = self._moments.ahead()
        where = bisect_right(self._holds, place)
        bounds = [(max(due, place[0] + _SOON), 0), *self._holds[where : where + 1]]
        return min([*bounds, change.place] if change else bounds)

    def _hold(self, place: Place, *, held: bool) -> None:
        """Hold interrupts back, or no more."""
        inner = self._machine.inner
        pending, holds = inner.traps.pending, self._holds
        if place >= self._furthest and held and not inner.cpu.halted:
            if holds and holds[-1] == place:
                holds.pop()
            elif len(holds) % 2 == 0:
                holds.append(place)
        pending.held = bool(bisect_right(holds, place) % 2)
        if (
            not pending.held
            and holds[bisect_left(holds, place) :][:1] == [place]
            and (pending.interrupt or pending.nmi)
        ):
            inner.poll_console()  # has it delivered: a guest that makes no event gives no other occasion

    def _release(self, place: Place) -> None:
        self._machine.inner.traps.pending.held = False
        if len(self._holds) % 2:
            self._holds.append(place)

    def _remember(self) -> None:
        """Keep this moment, if it is time, and give up others where they take too much room."""
        place = self.place
        if place[0] - self._moments.before(place).place[0] >= self._every and self._moments.is_clean:
            clock, before = self._machine.inner.clock, self._spent
            self._spent = clock.cycles - clock.counted
            self._every = _BUSY_EVERY if not 0 <= self._spent - before < _BUSY else EVERY
            self._moments.take(self._note())
            self._thin()

    def _thin(self) -> None:
        """Make moments rarer the longer ago they are; then give up the first one."""
        moments, kept = self._moments, self._moments.kept
        while moments.size > self._size and len(kept) > 1:
            now, found = self._furthest[0], None
            gaps = [
                ((kept[i + 1].place[0] - kept[i - 1].place[0]) / (now - kept[i].place[0] + EVERY), i)
                for i in range(1, len(kept) - 1)
                if moments.may_drop(kept[i])
            ]
            ratio, found = min(gaps, default=(1.0, 0))
            if ratio > 0.5 and not moments.is_base(kept[0]):
                found, self.shortened = 0, True
            elif not found:
                return
            moments.drop(kept[found])

    # ---- changes ----------------------------------------------------------------------------------------------

    def changed(self) -> None:
        """A debugger has changed the machine's state: what lay behind this place will not be; the change is a part of history."""
        self._changed = True

    def settle(self) -> None:
        """Make a change that a debugger has made a moment of its own."""
        if not self._changed:
            return
        self._changed = False
        place = self.place
        self._furthest = place
        del self._holds[bisect_right(self._holds, place) :]
        if len(self._holds) % 2:
            self._holds.append(place)
        if self._console is not None:
            self._console.cut()
        for sink in self._sinks:
            sink.cut()
        self._moments.take(self._note(), stays=True)
        self._thin()

    # ---- back -------------------------------------------------------------------------------------------------

    @staticmethod
    def one_back(place: Place) -> Place:
        """Give the place before one: an instruction less, or, where HLT has slept since, a sleep less."""
        return (place[0], place[1] - 1) if place[1] else (place[0] - 1, 0)

    def go_to(self, goal: Place) -> None:
        """Be at a place between the beginning of history and the furthest moment there was."""
        self.settle()
        moment = self._moments.before(goal)
        if not moment.place <= self.place <= goal or self._moments.is_ahead(moment):
            self._restore(moment)
        for near in _NEAR:
            if goal[0] - near > self.place[0]:
                self._reach((goal[0] - near, 0))
                if self._moments.is_clean:
                    self._moments.take(self._note())
        self._reach(goal)
        self._thin()

    def _reach(self, goal: Place) -> None:
        while self.place < goal and self.advance(goal).reason in _GOES_ON:
            pass

    def _restore(self, moment: Moment) -> None:
        self._moments.restore(moment)
        console, sinks = moment.note
        if self._console is not None:
            self._console.load(console)
        for sink, count in zip(self._sinks, sinks, strict=True):
            sink.count = count

    def pieces_before(self, place: Place, frames: frozenset[int] | None = None) -> Iterator[Place]:
        """Go to the beginning of each piece of history that ends at `place`, the last one first, and give the place where it ends.

        With `frames`, pieces in which none of these physical pages was written are left out: they need not run again.
        """
        self.settle()
        end = place
        while end > self.begin:
            moment = self._moments.last_below(end)
            if frames is None or self._moments.may_write(frames, end):
                self._restore(moment)
                yield end
            end = moment.place
