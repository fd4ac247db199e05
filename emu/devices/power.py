"""ACPI's fixed hardware: the power-management timer, PM1 events, and PM1 control, by which a machine goes to sleep.

::

    0x600 PM1_STS  0x602 PM1_EN   (bit 0 timer)      0x604 PM1_CNT  0 SCI_EN  12:10 SLP_TYP  13 SLP_EN      0x608 PM_TMR, 32 bits

Source: ACPI Specification 6.5, "PM1 Event Registers", "PM1 Control Registers", "Power Management Timer".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...guest.firmware import PM1_CONTROL, PM1_EVENT, PM_TIMER, S5_TYPE
from ..clock import TSC_HZ
from ..faults import Unimplemented

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..clock import Clock

TIMER_HZ: Final = 3_579_545
_TMR: Final = 1 << 0  # in PM1_STS and PM1_EN: bit 31 of the timer has changed
_SCI_EN, _SLP_EN = 1 << 0, 1 << 13
_HALF: Final = 1 << 31  # ticks between two changes of that bit
_ENABLES: Final = 0x0521  # the events that the specification has; of those the machine raises the timer's alone
_CONTROLS: Final = 0x1C06


class Power:
    """The fixed registers.

    `end` is called with ``shutdown`` when software asks for S5; `changed` when the line or `due` may have changed.

    Attributes:
        due: the next cycle at which an enabled event may come, or None.

    """

    ports: Final = (*range(PM1_EVENT, PM1_EVENT + 6), *range(PM_TIMER, PM_TIMER + 4))

    def __init__(self, clock: Clock, end: Callable[[str, int], None], changed: Callable[[], None]) -> None:
        self._clock, self._end, self._changed = clock, end, changed
        self._status = self._enable = self._control = 0
        self._seen = 0  # how often bit 31 had changed at the last look
        self.due: int | None = None

    def _ticks(self) -> int:
        return self._clock.now * TIMER_HZ // TSC_HZ

    def _catch_up(self) -> None:
        changes = self._ticks() // _HALF
        if changes > self._seen:
            self._status |= _TMR
        self._seen = changes

    def _arm(self) -> None:
        wanted = self._enable & _TMR and not self._status & _TMR
        self.due = -(-(self._seen + 1) * _HALF * TSC_HZ // TIMER_HZ) if wanted else None

    def line(self) -> bool:
        """Tell whether it holds the SCI."""
        return bool(self._status & self._enable)

    def service(self) -> None:
        """Let the timer's event come if its time is there."""
        if self.due is not None and self._clock.now >= self.due:
            self._catch_up()
            self._arm()
            self._changed()

    def _word(self, at: int) -> int:
        """Give the 32 bits from an aligned port on."""
        if at == PM_TIMER:
            return self._ticks() & 0xFFFFFFFF
        if at == PM1_EVENT:
            self._catch_up()
            return self._status | self._enable << 16
        return self._control | _SCI_EN

    def read(self, port: int, size: int) -> int:
        """Read bytes of a register."""
        return self._word(port & ~3) >> 8 * (port & 3) & (1 << 8 * size) - 1

    def write(self, port: int, size: int, value: int) -> None:
        """Write bytes of a register; ones clear bits of PM1_STS."""
        at, shift = port & ~3, 8 * (port & 3)
        mask = (1 << 8 * size) - 1 << shift
        value = value << shift & mask
        if at == PM1_EVENT:
            self._catch_up()
            self._status &= ~value
            self._enable = (self._enable << 16 & ~mask | value) >> 16 & _ENABLES
            self._arm()
            self._changed()
        elif at == PM1_CONTROL:
            self._control = (self._control & ~mask | value) & _CONTROLS
            if value & _SLP_EN:
                self._sleep(self._control >> 10 & 7)

    def _sleep(self, kind: int) -> None:
        if kind != S5_TYPE:
            raise Unimplemented(f"ACPI sleep with SLP_TYP {kind}; the machine knows S5 alone, which is {S5_TYPE}")
        self._end("shutdown", 0)

    def save(self) -> dict[str, Any]:
        """Give its state."""
        return {
            "status": self._status, "enable": self._enable, "control": self._control, "seen": self._seen, "due": self.due
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Take the state that `save` gave."""
        self._status, self._enable, self._control = state["status"], state["enable"], state["control"]
        self._seen, self.due = state["seen"], state["due"]
