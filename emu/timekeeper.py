"""How the clock runs while a timer is armed, and how TCG is stopped in time for it.

Without a timer nobody can tell how long plain code takes, and it takes no time: events alone advance the clock.  A timer must be
able to break a loop without events, at a place that does not depend on real time.  So while one is armed, what TCG counts is
charged::

    --clock blocks    each translated block     `Costs.block` cycles
    --clock exact     each instruction          1 cycle
    --clock steady    as blocks, and without a timer too

TCG stops by itself at a limit, and events compare the clock with `Pending.attention_at`; neither knows of the other.  So each is
given half of the time that is left, and whoever has used up his half has the rest shared out anew (`share`).  The timer is met
before the first block, or at the first event, at which it is due; when the time was shared out does not matter, so a run that is
stopped, saved and goes on is the same run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .counting import UNLIMITED, Unit

if TYPE_CHECKING:
    from .cpu import Cpu

NEVER: Final = 1 << 63  # a cycle that no clock reaches
FAR: Final = NEVER >> 1  # nor this one; but TCG counts on the way to it
_CLOSE: Final = 256  # cycles to the timer: from here on every event looks
_BLOCKS, _INSTRUCTIONS, _BOTH = Unit  # a member read off the class takes 0.1 µs


class Timekeeper:
    """The clock's rate.

    Attributes:
        unit: what TCG counts while a timer is armed.

    """

    def __init__(self, cpu: Cpu, unit: Unit) -> None:
        self._cpu = cpu
        self._engine, self._clock = cpu.engine, cpu.clock
        self.unit = unit
        self._each = 0  # cycles for each that is counted
        self._synced = 0  # how many of this run's are charged
        self._most = 0  # the limit that the caller of `plan` has set
        self._clock.sync = self.sync

    def plan(self, deadline: int, instructions: int) -> tuple[int, Unit, int]:
        """Give the limit of the next run, what it counts (a limit of 0 is none), and the cycle at which events are to look.

        `instructions`, unless it is 0, is how many may run at most; they are then counted one by one, and blocks beside them where
        the clock charges those.
        """
        self.sync()
        if deadline < NEVER:
            unit = _BOTH if instructions and self.unit is _BLOCKS else self.unit
        else:
            unit = _INSTRUCTIONS if instructions else _BLOCKS
        if unit is not self._engine.counting.unit:
            self._cpu.change_unit(self._engine.counting.unit, unit)
        self._each = 0 if deadline == NEVER else 1 if unit is _INSTRUCTIONS else self._cpu.costs.block
        self._clock.charging = self._each != 0
        counting = self._engine.counting
        counting.begin()
        self._synced = 0
        self._most = 0 if unit is _BOTH else instructions
        limit, look_at = self._halves(deadline) if self._each else (0, deadline)
        if unit is _BOTH:
            counting.blocks[1] = limit or UNLIMITED
            limit = 0
        return limit or instructions, unit, look_at

    def share(self, deadline: int) -> int:
        """Share the time to `deadline` out anew, while TCG runs; gives the cycle at which events are to look."""
        self.sync()
        limit, look_at = self._halves(deadline)
        self._engine.set_limit(limit)
        return look_at

    def _halves(self, deadline: int) -> tuple[int, int]:
        left, now = deadline - self._clock.cycles, self._clock.cycles
        half = left if left <= _CLOSE else left >> 1
        limit = self._synced + max(-(-half // self._each) if half == left else half // self._each, 1)
        return min(limit, self._most) if self._most else limit, 0 if half == left else now + half

    def sync(self) -> None:
        """Charge what TCG has counted since the last time."""
        each = self._each
        if each:
            counting = self._engine.counting
            counted = counting.timed[0]
            clock, number = self._clock, counted - self._synced
            cycles = number * each
            self._synced = counted
            clock.cycles += cycles
            clock.counted += cycles
            if counting.unit is _INSTRUCTIONS:
                clock.instructions += number
            else:
                clock.blocks += number
