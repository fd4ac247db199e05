"""The I/O APIC (Intel 82093AA data sheet), at 0xFEC00000.

::

    page    0x00 IOREGSEL  0x10 IOWIN        registers  0 ID  1 version  2 arbitration ID  0x10 + 2 n, 0x11 + 2 n redirection entry n

    entry   63:56 destination │ 16 mask  15 level  14 remote IRR  13 active low  12 delivery status  11 logical  10:8 mode  7:0 vector

An edge that comes while its entry is masked is lost.  A level asks again and again; from the local APIC's acceptance to its EOI remote IRR
holds it back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..faults import Unimplemented

if TYPE_CHECKING:
    from .lapic import Lapic

PINS: Final = 24
_SELECT, _WINDOW = 0x00, 0x10
_ID, _VERSION, _ARBITRATION, _FIRST = 0, 1, 2, 0x10
_ID_BITS: Final = 0x0F000000
_VERSION_VALUE: Final = (PINS - 1) << 16 | 0x11
_MASKED, _LEVEL, _REMOTE_IRR, _LOW, _LOGICAL = 1 << 16, 1 << 15, 1 << 14, 1 << 13, 1 << 11
_WRITABLE: Final = 0xFF << 56 | _MASKED | _LEVEL | _LOW | _LOGICAL | 0x7FF
_FIXED, _LOWEST, _NMI, _EXTINT = 0, 1, 4, 7  # delivery modes; 2 is SMI, 5 INIT


class IoApic:
    """One 82093AA beside one local APIC.

    Attributes:
        entries: the redirection entries.
        lines: the level of each pin, as bits.
        listening: some entry is not masked.

    """

    def __init__(self, lapic: Lapic) -> None:
        self._lapic = lapic
        lapic.on_eoi = self.end_of_interrupt
        self._select = self._id = 0
        self.entries = [_MASKED] * PINS
        self.lines = 0
        self.listening = False

    # ---- lines ------------------------------------------------------------------------------------------------

    def set_line(self, pin: int, level: bool) -> None:
        """Set the level of a pin."""
        bit, entry = 1 << pin, self.entries[pin]
        was = self._asserted(pin)
        self.lines = self.lines | bit if level else self.lines & ~bit
        now = self._asserted(pin)
        if entry & _LEVEL:
            self._look(pin)
        elif now and not was and not entry & _MASKED:
            self._deliver(pin)

    def _asserted(self, pin: int) -> bool:
        return bool(self.lines >> pin & 1) != bool(self.entries[pin] & _LOW)

    def _look(self, pin: int) -> None:
        """Deliver a level that is asserted and not held back."""
        if self.entries[pin] & (_LEVEL | _MASKED | _REMOTE_IRR) == _LEVEL and self._asserted(pin):
            self._deliver(pin)

    def _deliver(self, pin: int) -> None:
        entry = self.entries[pin]
        if not self._lapic.is_addressed(entry >> 56, logical=bool(entry & _LOGICAL)):
            return
        mode = entry >> 8 & 7
        if mode in {_FIXED, _LOWEST}:
            level = bool(entry & _LEVEL)
            if self._lapic.accept(entry & 0xFF, level=level) and level:
                self.entries[pin] |= _REMOTE_IRR
        elif mode == _NMI:
            self._lapic.nmi = True
        elif mode != _EXTINT:
            raise Unimplemented(f"delivery mode {mode} of the I/O APIC, at pin {pin}")

    def is_open(self, pin: int) -> bool:
        """Tell whether the entry of a pin is not masked."""
        return not self.entries[pin] & _MASKED

    def sends_nmi(self) -> bool:
        """Tell whether a pin is open whose line would be an NMI."""
        return any(not entry & _MASKED and entry >> 8 & 7 == _NMI for entry in self.entries)

    def passes_external(self, pin: int) -> bool:
        """Tell whether the 8259's INTR, wired to this pin, reaches the processor through here."""
        entry = self.entries[pin]
        addressed = self._lapic.is_addressed(entry >> 56, logical=bool(entry & _LOGICAL))
        return not entry & _MASKED and entry >> 8 & 7 == _EXTINT and addressed

    def end_of_interrupt(self, vector: int) -> None:
        """Take the local APIC's EOI message: levels of this vector may ask again."""
        for pin, entry in enumerate(self.entries):
            if entry & 0xFF == vector and entry & _REMOTE_IRR:
                self.entries[pin] = entry & ~_REMOTE_IRR
                self._look(pin)

    # ---- registers --------------------------------------------------------------------------------------------

    def mmio_read(self, offset: int, size: int) -> int:
        """Read `size` bytes of its page."""
        if offset == _SELECT:
            return self._select
        return self._read(self._select) & (1 << 8 * size) - 1 if offset == _WINDOW else 0

    def mmio_write(self, offset: int, value: int) -> None:
        """Write its page."""
        if offset == _SELECT:
            self._select = value & 0xFF
        elif offset == _WINDOW:
            self._write(self._select, value & 0xFFFFFFFF)

    def _read(self, register: int) -> int:
        if register in {_ID, _ARBITRATION}:
            return self._id
        if register == _VERSION:
            return _VERSION_VALUE
        pin, high = divmod(register - _FIRST, 2)
        return self.entries[pin] >> 32 * high & 0xFFFFFFFF if 0 <= pin < PINS else 0

    def _write(self, register: int, value: int) -> None:
        if register == _ID:
            self._id = value & _ID_BITS
        pin, high = divmod(register - _FIRST, 2)
        if not 0 <= pin < PINS:
            return
        old = self.entries[pin]
        new = old & 0xFFFFFFFF | value << 32 if high else old & ~0xFFFFFFFF | value
        entry = new & _WRITABLE | old & _REMOTE_IRR
        if not entry & _LEVEL:
            entry &= ~_REMOTE_IRR
        self.entries[pin] = entry
        self.listening = any(not each & _MASKED for each in self.entries)
        self._look(pin)

    def save(self) -> dict[str, Any]:
        """Give its state."""
        return {"select": self._select, "id": self._id, "entries": list(self.entries), "lines": self.lines}

    def load(self, state: dict[str, Any]) -> None:
        """Take the state that `save` gave."""
        self._select, self._id, self.lines = state["select"], state["id"], state["lines"]
        self.entries[:] = state["entries"]
        self.listening = any(not each & _MASKED for each in self.entries)
