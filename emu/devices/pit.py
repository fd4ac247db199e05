"""The 8254 programmable interval timer (Intel 8254 data sheet), and the speaker port that gates its counter 2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..clock import TSC_HZ

if TYPE_CHECKING:
    from ..clock import Clock

PIT_HZ: Final = 1_193_182


class Counter:
    """One counter: loaded at `start` (virtual cycles) with `count` ticks."""

    FIELDS: Final = (
        "mode",
        "access",
        "count",
        "start",
        "gate",
        "latch",
        "status",
        "low",
        "write_high",
        "read_high",
        "loaded",
    )

    def __init__(self) -> None:
        self.mode, self.access, self.count, self.start = 3, 3, 0x10000, 0
        self.gate, self.loaded = True, False
        self.latch: int | None = None
        self.status: int | None = None
        self.low = 0
        self.write_high = self.read_high = False

    def ticks(self, now: int) -> int:
        """Give the ticks since the count was loaded."""
        return (now - self.start) * PIT_HZ // TSC_HZ

    def value(self, now: int) -> int:
        """Give what the counter shows."""
        ticks = self.ticks(now)
        if self.mode in {2, 3}:
            step = 2 if self.mode == 3 else 1
            return (self.count - ticks * step % self.count) & 0xFFFF
        return self.count - ticks & 0xFFFF

    def out(self, now: int) -> bool:
        """Give the level of OUT."""
        if not self.loaded:
            return self.mode not in {0, 1}
        ticks = self.ticks(now)
        if self.mode == 0:
            return ticks >= self.count
        if self.mode == 3:
            return ticks % self.count * 2 < self.count
        return True

    def latch_count(self, now: int) -> None:
        """Keep the count for the next read; a count that waits to be read stays."""
        if self.latch is None:
            self.latch = self.value(now)

    def latch_status(self, now: int) -> None:
        """Keep the status byte for the next read: OUT, null count, access, mode."""
        if self.status is None:
            self.status = self.out(now) << 7 | (not self.loaded) << 6 | self.access << 4 | self.mode << 1

    def next_edge(self, now: int) -> int | None:
        """Give the cycle of the next rising edge of OUT, the interrupt; None if there is none."""
        if not self.loaded:
            return None
        if self.mode in {2, 3}:
            periods = self.ticks(now) // self.count + 1
            return self.start + -(-periods * self.count * TSC_HZ // PIT_HZ)
        at = self.start + -(-self.count * TSC_HZ // PIT_HZ)
        return at if at > now else None


class Pit:
    """Counters 0 to 2 at ports 0x40–0x43, and port 0x61."""

    ports = (0x40, 0x41, 0x42, 0x43, 0x61)

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.counters = (Counter(), Counter(), Counter())
        self._speaker = 0
        self.next: int | None = None

    def read(self, port: int, _size: int) -> int:
        """Read a counter or the speaker port."""
        now = self._clock.now
        if port == 0x61:
            # Bit 4 toggles with each refresh request, every 15 µs.
            return self._speaker & 3 | (now // 37500 & 1) << 4 | self.counters[2].out(now) << 5
        if port == 0x43:
            return 0xFF
        counter = self.counters[port & 3]
        if counter.status is not None:
            status, counter.status = counter.status, None
            return status
        value = counter.latch if counter.latch is not None else counter.value(now)
        high = counter.access == 2 or (counter.access == 3 and counter.read_high)
        if counter.access == 3:
            counter.read_high = not counter.read_high
        if counter.access != 3 or not counter.read_high:
            counter.latch = None
        return value >> 8 & 0xFF if high else value & 0xFF

    def write(self, port: int, _size: int, value: int) -> None:
        """Write a control word, a count, or the speaker port."""
        value &= 0xFF
        if port == 0x61:
            rising = value & 1 and not self._speaker & 1
            self._speaker = value
            if rising:
                self.counters[2].start = self._clock.now
            return
        if port == 0x43:
            self._control(value)
            return
        counter = self.counters[port & 3]
        if counter.access == 3 and not counter.write_high:
            counter.low, counter.write_high = value, True
            return
        count = {1: value, 2: value << 8, 3: value << 8 | counter.low}[counter.access]
        counter.write_high = False
        counter.count, counter.start, counter.loaded = count or 0x10000, self._clock.now, True
        if port == 0x40:
            self.next = counter.next_edge(self._clock.now)

    def _control(self, value: int) -> None:
        select = value >> 6
        if select == 3:  # read back
            for i, counter in enumerate(self.counters):
                if value >> 1 + i & 1:
                    if not value & 0x20:
                        counter.latch_count(self._clock.now)
                    if not value & 0x10:
                        counter.latch_status(self._clock.now)
            return
        counter = self.counters[select]
        access = value >> 4 & 3
        if access == 0:
            counter.latch_count(self._clock.now)
            return
        mode = value >> 1 & 7
        counter.access, counter.mode = access, mode - 4 if mode > 5 else mode
        counter.write_high = counter.read_high = counter.loaded = False
        counter.latch = counter.status = None
        if select == 0:
            self.next = None

    def fired(self) -> bool:
        """Tell whether counter 0's interrupt has come, and look for the next."""
        now = self._clock.now
        if self.next is None or now < self.next:
            return False
        self.next = self.counters[0].next_edge(now)
        return True

    def save(self) -> dict[str, Any]:
        """Give its state."""
        counters = [{name: getattr(c, name) for name in Counter.FIELDS} for c in self.counters]
        return {"counters": counters, "speaker": self._speaker, "next": self.next}

    def load(self, state: dict[str, Any]) -> None:
        """Take the state that `save` gave."""
        for counter, fields in zip(self.counters, state["counters"], strict=True):
            for name, value in fields.items():
                setattr(counter, name, value)
        self._speaker, self.next = state["speaker"], state["next"]
