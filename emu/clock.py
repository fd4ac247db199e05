"""Virtual time: a count of cycles that only the machine's own doings advance, and the time-stamp counter that shows it to the guest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.address import U64

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TSC_HZ: Final = 2_500_000_000


class Clock:
    """The one clock that processor and devices share.

    Each event adds its cost, and so does what TCG counts while a timer is armed, so at every moment::

        cycles = the costs of all events so far + counted

    Attributes:
        cycles: virtual cycles since reset, without what TCG has counted since the last `sync`.
        counted: how many of them were charged for what TCG has counted; the others were charged for events.
        blocks, instructions: what that was, as numbers.
        charging: what TCG counts now is charged.
        sync: charges what TCG has counted since the last time (`Timekeeper`).

    """

    def __init__(self) -> None:
        self.cycles = 0
        self.counted = self.blocks = self.instructions = 0
        self.charging = False
        self.sync: Callable[[], None] = lambda: None

    @property
    def now(self) -> int:
        """All virtual cycles since reset."""
        if self.charging:
            self.sync()
        return self.cycles

    def save(self) -> tuple[int, ...]:
        """Give what `load` takes."""
        return self.now, self.counted, self.blocks, self.instructions

    def load(self, saved: Iterable[int]) -> None:
        """Go to another time."""
        self.cycles, self.counted, self.blocks, self.instructions = saved


class Tsc:
    """The time-stamp counter (SDM "Time-Stamp Counter", "Time-Stamp Counter Adjustment").

    It is the clock plus IA32_TSC_ADJUST: a write to either MSR changes both by the same amount.

    Attributes:
        adjust: IA32_TSC_ADJUST, 64 bits.
        offset: the VMCS's TSC offset while a guest runs, else 0.  Software sees it, devices do not.
        outer_offset: that of VMCS01, with an outermost hypervisor: the machine's devices see it, for it gives them.
        on_write: called when software has set the counter: a deadline may have come nearer.

    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.adjust = 0
        self.offset = self.outer_offset = 0
        self.on_write: Callable[[], None] = lambda: None

    def read(self) -> int:
        """Give what RDTSC, RDTSCP and RDMSR read."""
        return self._clock.now + self.adjust + self.outer_offset + self.offset & U64

    def write(self, value: int) -> None:
        """Set the counter, as WRMSR to IA32_TIME_STAMP_COUNTER does; a TSC offset has no part in this."""
        self.set_adjust(value - self._clock.now - self.outer_offset & U64)

    def set_adjust(self, value: int) -> None:
        """Write IA32_TSC_ADJUST."""
        self.adjust = value
        self.on_write()

    def cycle_of(self, target: int) -> int:
        """Give the virtual cycle at which the counter equals or exceeds `target`: this one, if it does so already."""
        now = self._clock.now
        return now + max(target - (now + self.adjust + self.outer_offset & U64), 0)
