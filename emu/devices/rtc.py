"""The real-time clock and its CMOS memory (Motorola MC146818A data sheet; IBM AT Technical Reference, "Real-Time Clock").

::

    port 0x70   bit 7 NMI off, bits 6:0 the register     0x71   its contents

    0 seconds  2 minutes  4 hours  6 day of the week  7 day  8 month  9 year  0x32 century    1, 3, 5 the alarm's
    A  7 UIP  6:4 divider  3:0 rate     B  7 SET  6 PIE  5 AIE  4 UIE  2 DM  1 24/12     C  7 IRQF  6 PF  5 AF  4 UF     D  7 VRT

The clock begins at 2026-01-01 00:00:00 UTC, in every run, and goes by virtual time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from ..clock import TSC_HZ

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..clock import Clock

BEGIN: Final = datetime(2026, 1, 1, tzinfo=UTC)
CENTURY: Final = 0x32
_SECONDS, _MINUTES, _HOURS, _WEEKDAY, _DAY, _MONTH, _YEAR = 0, 2, 4, 6, 7, 8, 9
_TIME: Final = (_SECONDS, _MINUTES, _HOURS, _WEEKDAY, _DAY, _MONTH, _YEAR, CENTURY)
_ALARM: Final = ((1, _SECONDS), (3, _MINUTES), (5, _HOURS))
_A, _B, _C, _D = 0xA, 0xB, 0xC, 0xD
_UIP, _SET, _BINARY, _HOURS_24, _PM = 0x80, 0x80, 4, 2, 0x80
_IRQF, _PF, _AF, _UF = 0x80, 0x40, 0x20, 0x10  # in C; the same bits of B enable PF, AF and UF
_VRT: Final = 0x80
_ANY: Final = 0xC0  # an alarm byte with these two bits matches everything
_CRYSTAL: Final = 32768
# Before the second ends: t_BUC, 244 µs, and the update itself, t_UC, 1984 µs.
_UPDATE: Final = (244 + 1984) * TSC_HZ // 1_000_000


class Rtc:
    """One MC146818A with 128 bytes of memory.

    `memory` is the size of the machine's, which the CMOS bytes of a PC tell.  `changed` is called when its line or `due` may have changed.

    Attributes:
        ram: all its registers and bytes; those of time, A's UIP and C are worked out when they are read.
        due: the next cycle at which an enabled interrupt may come, or None.

    """

    ports: Final = (0x70, 0x71)

    def __init__(self, clock: Clock, memory: int, changed: Callable[[], None]) -> None:
        self._clock, self._changed = clock, changed
        self.ram = bytearray(128)
        self.ram[_A], self.ram[_B], self.ram[_D] = 0x26, _HOURS_24, _VRT
        _describe(self.ram, memory)
        self._index = 0
        self._ahead = 0  # seconds between the time shown and the one since `BEGIN`
        self._seen = self._ticked = 0  # updates, and periods of the rate, that C knows of
        self._flags = 0
        self.due: int | None = None

    # ---- time -------------------------------------------------------------------------------------------------

    def _moment(self) -> datetime:
        return BEGIN + timedelta(seconds=self._ahead + self._clock.now // TSC_HZ)

    def _running(self) -> bool:
        return not self.ram[_B] & _SET and self.ram[_A] >> 4 & 7 == 2

    def _period(self) -> int:
        """Give the cycles between two periodic interrupts; 0 for none."""
        rate = self.ram[_A] & 0xF
        if not rate or self.ram[_A] >> 4 & 7 != 2:
            return 0
        return TSC_HZ * (1 << (rate + 6 if rate < 3 else rate - 1)) // _CRYSTAL

    def _encode(self, register: int, value: int) -> int:
        mode, afternoon = self.ram[_B], 0
        if register == _HOURS and not mode & _HOURS_24:
            afternoon = _PM if value >= 12 else 0
            value = (value + 11) % 12 + 1
        return (value if mode & _BINARY else value // 10 << 4 | value % 10) | afternoon

    def _decode(self, register: int, value: int) -> int:
        mode = self.ram[_B]
        afternoon = register == _HOURS and not mode & _HOURS_24 and value & _PM
        if register == _HOURS and not mode & _HOURS_24:
            value &= ~_PM
        number = value if mode & _BINARY else 10 * (value >> 4) + (value & 0xF)
        if register == _HOURS and not mode & _HOURS_24:
            return number % 12 + (12 if afternoon else 0)
        return number

    def _show(self) -> None:
        """Put the time into its registers."""
        now = self._moment()
        century, year = divmod(now.year, 100)
        parts = (now.second, now.minute, now.hour, now.isoweekday() % 7 + 1, now.day, now.month, year, century)
        for register, part in zip(_TIME, parts, strict=True):
            self.ram[register] = self._encode(register, part)

    def _take(self) -> None:
        """Go on from the time that software has put into the registers; a date that is none leaves the time alone."""
        part = {register: self._decode(register, self.ram[register]) for register in _TIME}
        try:
            wanted = datetime(
                100 * part[CENTURY] + part[_YEAR], part[_MONTH], part[_DAY],
                part[_HOURS], part[_MINUTES], part[_SECONDS], tzinfo=UTC,
            )  # fmt: skip
        except ValueError:
            return
        self._ahead = int((wanted - BEGIN).total_seconds()) - self._clock.now // TSC_HZ

    # ---- flags ------------------------------------------------------------------------------------------------

    def _catch_up(self) -> None:
        """Set the flags of C for what has happened since the last look."""
        now, period = self._clock.now, self._period()
        if period:
            ticks = now // period
            if ticks > self._ticked:
                self._flags |= _PF
            self._ticked = ticks
        seconds = now // TSC_HZ
        if seconds > self._seen and self._running():
            self._flags |= _UF
            if any(self._rings(seconds - back) for back in range(min(seconds - self._seen, 86400))):
                self._flags |= _AF
        self._seen = seconds

    def _rings(self, second: int) -> bool:
        """Tell whether the alarm goes at a second since the machine's beginning."""
        then = BEGIN + timedelta(seconds=self._ahead + second)
        parts = {_SECONDS: then.second, _MINUTES: then.minute, _HOURS: then.hour}
        return all(
            self.ram[alarm] & _ANY == _ANY or self.ram[alarm] == self._encode(register, parts[register])
            for alarm, register in _ALARM
        )

    def _arm(self) -> None:
        enabled, now = self.ram[_B], self._clock.now
        times = []
        if enabled & _PF and (period := self._period()):
            times.append((now // period + 1) * period)
        if enabled & (_AF | _UF) and self._running():
            times.append((now // TSC_HZ + 1) * TSC_HZ)
        self.due = min(times) if times and not self.line() else None

    def line(self) -> bool:
        """Tell whether it wants an interrupt."""
        return bool(self._flags & self.ram[_B] & (_PF | _AF | _UF))

    def service(self) -> None:
        """Let the interrupt come whose time is there."""
        if self.due is not None and self._clock.now >= self.due:
            self._catch_up()
            self._arm()
            self._changed()

    # ---- ports ------------------------------------------------------------------------------------------------

    def read(self, port: int, _size: int) -> int:
        """Read a register; the index port gives ones."""
        if port == self.ports[0]:
            return 0xFF
        register = self._index
        if register in _TIME and self._running():
            self._show()
        if register == _A:
            updating = self._running() and TSC_HZ - self._clock.now % TSC_HZ <= _UPDATE
            return self.ram[_A] | (_UIP if updating else 0)
        if register == _C:
            self._catch_up()
            flags = self._flags | (_IRQF if self.line() else 0)
            self._flags = 0
            self._arm()
            self._changed()
            return flags
        return self.ram[register]

    def write(self, port: int, _size: int, value: int) -> None:
        """Choose a register, or write it."""
        value &= 0xFF
        if port == self.ports[0]:
            self._index = value & 0x7F
            return
        register = self._index
        if register in {_C, _D}:
            return
        self._catch_up()
        ran = self._running()
        if ran and register in {*_TIME, _A, _B}:
            self._show()
        self.ram[register] = value & 0x7F if register == _A else value
        if register == _B and value & _SET:
            self.ram[_B] &= ~_UF  # SET clears UIE
        if self._running() and (register in _TIME or not ran):
            self._take()
        if register in {_A, _B}:
            self._ticked = self._clock.now // (self._period() or 1)
        self._arm()
        self._changed()

    def save(self) -> dict[str, Any]:
        """Give its state."""
        return {
            "ram": self.ram.hex(), "index": self._index, "ahead": self._ahead, "seen": self._seen,
            "ticked": self._ticked, "flags": self._flags, "due": self.due,
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Take the state that `save` gave."""
        self.ram[:] = bytes.fromhex(state["ram"])
        self._index, self._ahead, self._seen = state["index"], state["ahead"], state["seen"]
        self._ticked, self._flags, self.due = state["ticked"], state["flags"], state["due"]


def _describe(ram: bytearray, memory: int) -> None:
    """Write what a PC's firmware leaves in CMOS memory: the sizes of memory, and that there are no drives."""
    extended = min(max((memory >> 10) - 1024, 0), 0xFFFF)
    above_16m = min(max((min(memory, 3 << 30) >> 16) - 256, 0), 0xFFFF)
    for at, value in ((0x15, 640), (0x17, extended), (0x30, extended), (0x34, above_16m)):
        ram[at : at + 2] = value.to_bytes(2, "little")
    ram[0x14] = 0x02  # equipment: a coprocessor
