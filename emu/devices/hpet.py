"""The high-precision event timer (IA-PC HPET Specification 1.0a), for machines that are made with one.

::

    0x000 63:32 period in fs  31:16 vendor  15 LEG_RT_CAP  13 COUNT_SIZE_CAP  12:8 last timer  7:0 revision
    0x010 0 ENABLE_CNF        0x020 status, a bit for each timer        0x0F0 main counter
    0x100 + 20h n   63:32 INT_ROUTE_CAP  13:9 INT_ROUTE_CNF  8 32MODE_CNF  6 VAL_SET_CNF  5 SIZE_CAP  4 PER_INT_CAP  3 TYPE_CNF (periodic)
                    2 INT_ENB_CNF  1 INT_TYPE_CNF (level)
    0x108 + 20h n   comparator

It counts at 100 MHz and has three timers, all of 64 bits and able to be periodic, whose interrupts may be IRQ 10 or 11.  The
LegacyReplacement route and delivery over the front-side bus are left to the implementation; this one has neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...guest.firmware import HPET_ID
from ...mmu.address import U64
from ..clock import TSC_HZ
from ..timekeeper import FAR

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..clock import Clock

HZ: Final = 100_000_000
ROUTES: Final = (10, 11)  # IRQs
_TICK: Final = TSC_HZ // HZ  # cycles
_CAPABILITIES: Final = 10**15 // HZ << 32 | HPET_ID
_ID, _CONFIGURATION, _STATUS, _COUNTER, _FIRST, _EACH = 0, 0x10, 0x20, 0xF0, 0x100, 0x20
_TIMERS: Final = (HPET_ID >> 8 & 0x1F) + 1
_LEVEL, _ENABLED, _PERIODIC, _SETS, _NARROW = 1 << 1, 1 << 2, 1 << 3, 1 << 6, 1 << 8
_ROUTE, _ROUTE_MASK = 9, 0x1F << 9
_LOW: Final = 0xFFFFFFFF
_CAPABLE: Final = sum(1 << 32 + irq for irq in ROUTES) | 1 << 5 | 1 << 4


class Timer:
    """One comparator.

    Attributes:
        config: what software has set of its first register.
        comparator: the count at which it matches.
        period: what is added to that at each match, if it is periodic: the value last written.
        sets: the bits of the comparator, too, that the next write changes: VAL_SET_CNF.
        seen: the counter up to which matches have been made; one less than it, where the comparator may match at once.

    """

    FIELDS: Final = ("config", "comparator", "period", "sets", "seen")

    def __init__(self) -> None:
        self.config, self.comparator, self.period, self.sets, self.seen = 0, U64, 0, 0, U64

    @property
    def mask(self) -> int:
        """The bits of the counter that it compares."""
        return _LOW if self.config & _NARROW else U64

    def ahead(self) -> int:
        """Give the ticks from `seen` to the next match."""
        return (self.comparator - self.seen - 1 & self.mask) + 1

    def advance(self, counter: int) -> bool:
        """Go on to `counter`; tell whether it has matched on the way."""
        ahead, gone = self.ahead(), counter - self.seen & U64
        self.seen = counter
        if gone < ahead:
            return False
        if self.config & _PERIODIC and self.period:
            times = (gone - ahead) // self.period + 1
            self.comparator = self.comparator + times * self.period & self.mask
        return True


class Hpet:
    """One block of timers.  `set_line` takes an IRQ and its level; `changed` is called when `due` may have changed.

    Attributes:
        due: the next cycle at which an enabled interrupt may come, or None.

    """

    def __init__(self, clock: Clock, set_line: Callable[[int, bool], None], changed: Callable[[], None]) -> None:
        self._clock, self._set_line, self._changed = clock, set_line, changed
        self._timers = [Timer() for _ in range(_TIMERS)]
        self._enabled = False
        self._status = 0
        self._base = self._since = 0  # the counter, and the tick at which it stood there
        self._edges: set[int] = set()  # IRQs whose line an edge has left high
        self.due: int | None = None

    @property
    def counts(self) -> bool:
        """Whether the main counter runs, and software may wait for it."""
        return self._enabled

    def _counter(self) -> int:
        return self._base + self._clock.now // _TICK - self._since & U64 if self._enabled else self._base

    def _set_counter(self, value: int) -> None:
        self._base, self._since = value, self._clock.now // _TICK

    # ---- matches ----------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Let the matches come that are due."""
        counter = self._counter()
        for number, timer in enumerate(self._timers):
            if not self._enabled or not timer.advance(counter):
                continue
            if timer.config & _LEVEL:
                self._status |= 1 << number
                self._drive()
            elif timer.config & _ENABLED and (irq := self._irq(timer)) in ROUTES:
                self._set_line(irq, False)
                self._set_line(irq, True)
                self._edges.add(irq)

    @staticmethod
    def _irq(timer: Timer) -> int:
        return timer.config >> _ROUTE & 0x1F

    def _drive(self) -> None:
        """Set the lines: high by a level, or since an edge."""
        levels = [
            self._irq(timer)
            for number, timer in enumerate(self._timers)
            if self._enabled and timer.config & _ENABLED and self._status >> number & 1
        ]
        for irq in ROUTES:
            self._set_line(irq, irq in levels or irq in self._edges)

    def _arm(self) -> None:
        counter, tick = self._counter(), self._clock.now // _TICK
        left = [
            timer.ahead() - (counter - timer.seen & U64)
            for timer in self._timers
            if self._enabled and timer.config & _ENABLED
        ]
        due = (tick + min(left)) * _TICK if left else FAR
        self.due = due if due < FAR else None

    def service(self) -> None:
        """Let the match come whose time is there."""
        if self.due is not None and self._clock.now >= self.due:
            self._look()
            self._arm()
            self._changed()

    # ---- registers --------------------------------------------------------------------------------------------

    def _timer(self, at: int) -> tuple[int, int]:
        """Give the timer to which a register belongs, if there is one, and its place among that timer's."""
        return divmod(at - _FIRST, _EACH)

    def _word(self, at: int) -> int:
        """Give the register at a multiple of 8; what is reserved reads 0."""
        if at == _COUNTER:
            return self._counter()
        if at in {_CONFIGURATION, _STATUS}:
            return self._status if at == _STATUS else int(self._enabled)
        if at == _ID:
            return _CAPABILITIES
        number, place = self._timer(at)
        if not 0 <= number < _TIMERS or place not in {0, 8}:
            return 0
        timer = self._timers[number]
        return timer.comparator if place else timer.config | _CAPABLE

    def mmio_read(self, offset: int, size: int) -> int:
        """Read `size` bytes of its page, all of one register."""
        if offset & -8 != _COUNTER:  # which software reads in loops
            self._look()
        return self._word(offset & -8) >> 8 * (offset & 7) & (1 << 8 * size) - 1

    def mmio_write(self, offset: int, size: int, value: int) -> None:
        """Write a register or a half of it."""
        self._look()
        at, shift = offset & -8, 8 * (offset & 7)
        mask = (1 << 8 * size) - 1 << shift & U64
        written = value << shift & mask
        new = self._word(at) & ~mask | written
        number, place = self._timer(at)
        if at == _STATUS:
            self._status &= ~written
        elif at == _CONFIGURATION:
            self._set_counter(self._counter())
            self._enabled = bool(new & 1)
        elif at == _COUNTER:
            self._set_counter(new)
            for timer in self._timers:
                timer.seen = new - 1 & U64
        elif 0 <= number < _TIMERS:
            timer = self._timers[number]
            if place == 0:
                self._configure(number, timer, new)
            elif place == 8:
                self._compare(timer, new, mask)
                self._look()
        self._drive()
        self._arm()
        self._changed()

    def _configure(self, number: int, timer: Timer, new: int) -> None:
        kept = _LEVEL | _ENABLED | _PERIODIC | _NARROW
        route = _ROUTE_MASK if new >> _ROUTE & 0x1F in ROUTES else 0  # another is not taken, as a look shows software
        timer.config = timer.config & ~(kept | route) | new & (kept | route)
        timer.sets = U64 if new & _SETS else 0
        timer.comparator &= timer.mask
        timer.period &= timer.mask
        self._edges.clear()
        if not timer.config & _LEVEL:
            self._status &= ~(1 << number)

    def _compare(self, timer: Timer, new: int, mask: int) -> None:
        """Write a comparator: a periodic timer's only its period, unless VAL_SET_CNF has been set.

        A store of 64 bits comes from TCG as two, the lower half first, so its upper half still finds the bit set.
        """
        taken = mask
        if timer.config & _PERIODIC:
            timer.period = (timer.period & ~mask | new & mask) & timer.mask
            taken &= timer.sets
        if taken:
            timer.comparator = (timer.comparator & ~taken | new & taken) & timer.mask
            timer.seen = self._counter() - 1 & U64
        timer.sets = 0 if mask > _LOW else timer.sets & ~_LOW

    def save(self) -> dict[str, Any]:
        """Give its state."""
        timers = [{name: getattr(timer, name) for name in Timer.FIELDS} for timer in self._timers]
        return {
            "timers": timers, "enabled": self._enabled, "status": self._status, "base": self._base, "since": self._since,
            "edges": sorted(self._edges), "due": self.due,
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Take the state that `save` gave."""
        for timer, fields in zip(self._timers, state["timers"], strict=True):
            for name, value in fields.items():
                setattr(timer, name, value)
        self._enabled, self._status, self._edges = state["enabled"], state["status"], set(state["edges"])
        self._base, self._since, self.due = state["base"], state["since"], state["due"]
