"""Two 8259A interrupt controllers in cascade (Intel 8259A data sheet)."""

from __future__ import annotations

from typing import Any, Final

_ICW1, _SINGLE, _ICW4, _OCW3 = 0x10, 0x02, 0x01, 0x08
_POLL: Final = 4


class Chip:
    """One 8259A: request, service and mask registers, and the words that program it."""

    FIELDS: Final = (
        "irr",
        "isr",
        "imr",
        "lines",
        "base",
        "step",
        "single",
        "wants4",
        "auto",
        "rotate",
        "special",
        "poll",
        "read_isr",
        "lowest",
    )

    def __init__(self) -> None:
        self.irr = self.isr = 0
        self.imr = 0xFF
        self.lines = 0
        self.base = 0
        self.step = 0
        self.single = self.wants4 = False
        self.auto = self.rotate = False  # ends of interrupt by itself, and rotates the priorities then
        self.special = False  # a masked interrupt in service holds nothing off
        self.poll = self.read_isr = False  # what the next read of the even port gives
        self.lowest = 7

    def _order(self) -> range | list[int]:
        return [(self.lowest + 1 + i) & 7 for i in range(8)]

    def set_line(self, number: int, level: bool) -> None:
        """Raise or lower an edge-triggered request line."""
        bit = 1 << number
        if level and not self.lines & bit:
            self.irr |= bit
        if not level:
            self.irr &= ~bit
        self.lines = self.lines | bit if level else self.lines & ~bit

    def best(self) -> int | None:
        """Give the request that would interrupt now."""
        ready = self.irr & ~self.imr
        for number in self._order():
            if self.isr >> number & 1 and not (self.special and self.imr >> number & 1):
                return None
            if ready >> number & 1:
                return number
        return None

    def acknowledge(self, number: int) -> None:
        """INTA: the request goes into service."""
        self.irr &= ~(1 << number)
        if not self.auto:
            self.isr |= 1 << number
        elif self.rotate:
            self.lowest = number

    def command(self, value: int) -> None:
        """Write to the even port: ICW1, OCW2 or OCW3."""
        if value & _ICW1:
            self.irr = self.isr = self.imr = 0
            self.lowest, self.step, self.auto, self.rotate = 7, 1, False, False
            self.single, self.wants4 = bool(value & _SINGLE), bool(value & _ICW4)
            self.special = self.poll = self.read_isr = False
        elif value & _OCW3:
            if value & 0x40:
                self.special = bool(value & 0x20)
            self.poll = bool(value & _POLL)
            if value & 2 and not self.poll:
                self.read_isr = bool(value & 1)
        else:
            self._ocw2(value >> 5, value & 7)

    def _ocw2(self, what: int, level: int) -> None:
        if what & 1:  # an end of interrupt, specific (3, 7) or of the highest in service
            number = level if what & 2 else next((n for n in self._order() if self.isr >> n & 1), None)
            if number is not None:
                self.isr &= ~(1 << number)
                if what & 4:
                    self.lowest = number
        elif what == 6:
            self.lowest = level
        elif what in {0, 4}:
            self.rotate = what == 4

    def data(self, value: int) -> None:
        """Write to the odd port: ICW2 to ICW4, then the mask."""
        if self.step == 1:
            self.base, self.step = value & 0xF8, 2 if not self.single else 3 if self.wants4 else 0
        elif self.step == 2:
            self.step = 3 if self.wants4 else 0
        elif self.step == 3:
            self.auto, self.step = bool(value & 2), 0
        else:
            self.imr = value


class Pic:
    """Master and slave at ports 0x20 and 0xA0."""

    ports = (0x20, 0x21, 0xA0, 0xA1)

    def __init__(self) -> None:
        self.chips = (Chip(), Chip())

    def set_line(self, irq: int, level: bool) -> None:
        """Set the level of IRQ 0 to 15."""
        self.chips[irq >> 3].set_line(irq & 7, level)
        self.chips[0].set_line(2, self.chips[1].best() is not None)

    def waiting(self) -> bool:
        """Tell whether INTR is high."""
        return self.chips[0].best() is not None

    def acknowledge(self) -> int:
        """INTA: give the vector; a request that has gone is the spurious IRQ 7."""
        master, slave = self.chips
        number = master.best()
        if number is None:
            return master.base + 7
        master.acknowledge(number)
        if number != 2:
            return master.base + number
        inner = slave.best()
        if inner is None:
            return slave.base + 7
        slave.acknowledge(inner)
        master.set_line(2, slave.best() is not None)
        return slave.base + inner

    def read(self, port: int, _size: int) -> int:
        """Read IRR, ISR or the mask; after a poll command the request, which goes into service."""
        chip = self.chips[port >> 7]
        if chip.poll:
            chip.poll = False
            number = chip.best()
            if number is None:
                return 0
            chip.acknowledge(number)
            return 0x80 | number
        if port & 1:
            return chip.imr
        return chip.isr if chip.read_isr else chip.irr

    def write(self, port: int, _size: int, value: int) -> None:
        """Write a command or initialisation word."""
        chip = self.chips[port >> 7]
        (chip.data if port & 1 else chip.command)(value & 0xFF)
        self.chips[0].set_line(2, self.chips[1].best() is not None)

    def save(self) -> list[dict[str, Any]]:
        """Give its state."""
        return [{name: getattr(chip, name) for name in Chip.FIELDS} for chip in self.chips]

    def load(self, state: list[dict[str, Any]]) -> None:
        """Take the state that `save` gave."""
        for chip, fields in zip(self.chips, state, strict=True):
            for name, value in fields.items():
                setattr(chip, name, value)
