"""The local APIC, one state behind two faces: the xAPIC page and the x2APIC MSRs (SDM "Advanced Programmable Interrupt Controller")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..features import DEFAULT
from ..memory import APIC_PAGE, PAGE
from ..timekeeper import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..clock import Clock, Tsc
    from ..features import Features

ENABLE, X2APIC, BSP = 1 << 11, 1 << 10, 1 << 8
_ID, _VERSION, _TPR, _PPR, _EOI, _LDR, _DFR, _SVR = 2, 3, 8, 0xA, 0xB, 0xD, 0xE, 0xF
_ISR, _TMR, _IRR, _ESR, _ICR, _ICR2 = 0x10, 0x18, 0x20, 0x28, 0x30, 0x31
_LVT_TIMER, _LVT_LINT0, _LVT_LINT1, _LVT_ERROR = 0x32, 0x35, 0x36, 0x37
_INITIAL, _CURRENT, _DIVIDE, _SELF = 0x38, 0x39, 0x3E, 0x3F
_MASKED: Final = 1 << 16
_SEND_ILLEGAL, _RECEIVED_ILLEGAL, _ILLEGAL_REGISTER = 1 << 5, 1 << 6, 1 << 7  # in ESR
_SOFT_ENABLE: Final = 1 << 8
_LVT_MASK: Final = {
    0x32: 0x710FF, 0x33: 0x117FF, 0x34: 0x117FF, 0x35: 0x1F7FF, 0x36: 0x1F7FF, 0x37: 0x110FF,
}  # fmt: skip
_MODE: Final = 17  # in the timer's LVT entry
_ONE_SHOT, _PERIODIC, _DEADLINE = range(3)
_READABLE: Final = (
    {_ID, _VERSION, _TPR, _PPR, _LDR, _SVR, _ESR, _ICR, _INITIAL, _CURRENT, _DIVIDE}
    | set(range(_ISR, _ISR + 8)) | set(range(_TMR, _TMR + 8)) | set(range(_IRR, _IRR + 8)) | set(_LVT_MASK)
)  # fmt: skip
_WRITABLE: Final = {_TPR, _EOI, _SVR, _ESR, _ICR, _INITIAL, _DIVIDE, _SELF} | set(_LVT_MASK)
# Of the page (SDM "Local APIC Register Address Map"): the arbitration and remote-read registers are there, and read 0.
_ON_PAGE: Final = (_READABLE | _WRITABLE | {_DFR, _ICR2, 9, 0xC}) - {_SELF}


def _top(bits: int) -> int:
    """Give the highest vector in a 256-bit set, or 0."""
    return bits.bit_length() - 1 if bits else 0


class Lapic:
    """The local APIC of the one processor, ID 0.

    Attributes:
        base: IA32_APIC_BASE.
        tpr: the task priority.
        nmi: an NMI waits.
        tmr: the accepted interrupts that are levels: their EOI goes to the I/O APIC.
        on_eoi: called with the vector of each of those that ends.
        errors: what a write to ESR will show there.

    """

    FIELDS: Final = ("base", "tpr", "isr", "irr", "tmr", "nmi", "errors", "timer_start", "deadline_tsc", "due")

    def __init__(self, clock: Clock, tsc: Tsc, changed: Callable[[], None], features: Features = DEFAULT) -> None:
        self._clock, self._tsc, self._changed = clock, tsc, changed
        tsc.on_write = self._tsc_written
        addresses = (1 << features.maxphyaddr) - PAGE
        self._base_known = addresses | ENABLE | BSP | (X2APIC if "x2apic" in features else 0)
        self._lvt_mask = dict(_LVT_MASK)
        if "tsc-deadline" not in features:
            self._lvt_mask[_LVT_TIMER] &= ~(_DEADLINE << _MODE)
        self.on_eoi: Callable[[int], None] = lambda _vector: None
        self.base = APIC_PAGE | ENABLE | BSP
        self._reset()

    def _reset(self) -> None:
        self.tpr = self.isr = self.irr = self.tmr = 0
        self.nmi = False
        self.errors = 0
        self._registers = {_SVR: 0xFF, _DFR: 0xFFFFFFFF, _LDR: 0, _ESR: 0, _ICR: 0, _ICR2: 0, _INITIAL: 0, _DIVIDE: 0}
        self._registers |= dict.fromkeys(_LVT_MASK, _MASKED)
        self.timer_start = NEVER  # no count has been written
        self.deadline_tsc = 0
        self.due: int | None = None

    # ---- modes ------------------------------------------------------------------------------------------------

    @property
    def x2apic(self) -> bool:
        """Tell whether the MSRs are its face."""
        return bool(self.base & X2APIC)

    @property
    def mapped(self) -> bool:
        """Tell whether the page answers."""
        return self.base & (ENABLE | X2APIC) == ENABLE

    @property
    def page(self) -> int:
        """The physical address of its page."""
        return self.base & -PAGE

    def set_base(self, value: int) -> bool:
        """Write IA32_APIC_BASE; False where the transition is illegal, or a reserved bit is set."""
        if value & ~self._base_known:
            return False
        old = self.base & (ENABLE | X2APIC)
        new = value & (ENABLE | X2APIC)
        if new == X2APIC or (old == ENABLE | X2APIC and new == ENABLE) or (old == 0 and new == ENABLE | X2APIC):
            return False
        self.base = value
        if not new:
            self._reset()
        self._changed()
        return True

    # ---- registers --------------------------------------------------------------------------------------------

    def mmio_read(self, offset: int, size: int = 4) -> int:
        """Read `size` bytes of the page; a register has four, and what lies between two registers reads 0; ones where it is off."""
        register, byte = offset >> 4, offset & 0xF
        if not self.mapped:
            return (1 << 8 * size) - 1
        if register not in _ON_PAGE:
            self._error(_ILLEGAL_REGISTER)
            return 0
        return (self._read(register) >> 8 * byte if byte < 4 else 0) & (1 << 8 * size) - 1

    def mmio_write(self, offset: int, value: int) -> None:
        """Write a register of the page."""
        if not self.mapped:
            return
        if offset >> 4 not in _ON_PAGE:
            self._error(_ILLEGAL_REGISTER)
        elif not offset & 0xF:
            self._write(offset >> 4, value & 0xFFFFFFFF)

    def msr_read(self, msr: int) -> int | None:
        """Read an x2APIC MSR (0x800 …); None is #GP."""
        register = msr - 0x800
        if not self.x2apic or register not in _READABLE:
            return None
        if register == _ICR:
            return self._registers[_ICR2] << 32 | self._registers[_ICR]
        if register == _LDR:
            return 1
        return self._read(register)

    def msr_write(self, msr: int, value: int) -> bool:
        """Write an x2APIC MSR; False is #GP."""
        register = msr - 0x800
        if not self.x2apic or register not in _WRITABLE:
            return False
        if register == _ICR:
            if value & 0xFFF33000:
                return False
            self._registers[_ICR2] = value >> 32
        elif (
            value >> 32
            or (register in {_EOI, _ESR} and value)
            or (register == _TPR and value >> 8)
            or (register in _LVT_MASK and value & ~(self._lvt_mask[register] & ~0x1000))
            or (register == _SELF and value >> 8)
            or (register == _SVR and value & ~0x11FF)
        ):
            return False
        self._write(register, value & 0xFFFFFFFF)
        return True

    def _read(self, register: int) -> int:
        if register == _VERSION:
            return 0x00050014
        if register == _TPR:
            return self.tpr
        if register == _PPR:
            return self.ppr()
        if register == _CURRENT:
            return self._current()
        for first, bits in ((_ISR, self.isr), (_TMR, self.tmr), (_IRR, self.irr)):
            if first <= register < first + 8:
                return bits >> 32 * (register - first) & 0xFFFFFFFF
        return self._registers.get(register, 0)

    def _write(self, register: int, value: int) -> None:
        if register == _TPR:
            self.tpr = value & 0xFF
        elif register == _EOI:
            if self.isr:
                vector = _top(self.isr)
                self.isr &= ~(1 << vector)
                if self.tmr >> vector & 1:
                    self.on_eoi(vector)
        elif register == _ICR:
            self._registers[_ICR] = value & 0xCCFFF & ~0x1000
            self._send(value)
        elif register == _SELF:
            self._send_vector(value & 0xFF, mine=True)
        elif register == _INITIAL:
            if self._mode() != _DEADLINE:  # there, such writes are ignored
                self._registers[_INITIAL] = value
                self.timer_start = self._clock.now
                self._arm()
        elif register == _DIVIDE:
            count = self._current()
            self._registers[_DIVIDE] = value & 0xB
            self._count_from(count)
            self._arm()
        elif register in _LVT_MASK:
            was, count = self._mode(), self._current()
            self._registers[register] = value & self._lvt_mask[register] | (0 if self._enabled() else _MASKED)
            if register == _LVT_TIMER:
                mode = self._mode()
                if (was == _DEADLINE) != (mode == _DEADLINE):  # disarmed (SDM "TSC-Deadline Mode")
                    self._registers[_INITIAL] = self.deadline_tsc = 0
                elif was != mode:
                    self._count_from(count)
                self._arm()
        elif register == _SVR:
            self._registers[_SVR] = value & 0x11FF
            if not value & _SOFT_ENABLE:
                for lvt in _LVT_MASK:
                    self._registers[lvt] |= _MASKED
        elif register == _ESR:
            self._registers[_ESR], self.errors = self.errors, 0
        elif register in {_LDR, _DFR, _ICR2}:
            self._registers[register] = value | (0x0FFFFFFF if register == _DFR else 0)
        self._changed()

    def _enabled(self) -> bool:
        return bool(self._registers[_SVR] & _SOFT_ENABLE)

    def _send(self, value: int) -> None:
        """Send an IPI; to itself, for there is nobody else."""
        shorthand = value >> 18 & 3
        destination = self._registers[_ICR2] if self.x2apic else self._registers[_ICR2] >> 24
        everybody = 0xFFFFFFFF if self.x2apic else 0xFF
        addressed = destination == everybody or self.is_addressed(destination, logical=bool(value >> 11 & 1))
        mine = shorthand in {1, 2} or (shorthand == 0 and addressed)
        mode = value >> 8 & 7
        if mode in {0, 1}:
            self._send_vector(value & 0xFF, mine=mine)
        elif mode == 4 and mine:
            self.nmi = True

    def is_addressed(self, destination: int, *, logical: bool) -> bool:
        """Tell whether a message for this destination is for this APIC (SDM "Determining IPI Destination")."""
        if not logical:
            return destination in {0, 0xFF}
        if self.x2apic:
            return bool(destination & 1)
        mine = self._registers[_LDR] >> 24
        if self._registers[_DFR] >> 28 == 0xF:  # the flat model
            return bool(destination & mine)
        return (destination ^ mine) >> 4 in {0, (0xF0 ^ mine) >> 4} and bool(destination & mine & 0xF)

    def accept(self, vector: int, *, level: bool) -> bool:
        """Take an interrupt that the I/O APIC sends; False where software has disabled the APIC."""
        if not self._enabled():
            return False
        self._raise(vector)
        self.tmr = self.tmr & ~(1 << vector) | level << vector
        return True

    def _send_vector(self, vector: int, *, mine: bool) -> None:
        """Send a fixed interrupt, to this APIC or to nobody; one with an illegal vector is not sent."""
        if vector < 16:
            self._error(_SEND_ILLEGAL)
        elif mine:
            self.irr |= 1 << vector
            self.tmr &= ~(1 << vector)

    def _raise(self, vector: int) -> None:
        """Request an interrupt of its own; a vector below 16 is an error."""
        if vector < 16:
            self._error(_RECEIVED_ILLEGAL)
        else:
            self.irr |= 1 << vector

    def _error(self, bit: int) -> None:
        """Note an error for ESR, and interrupt for it, unless it waits there already (SDM "Error Handling")."""
        if self.errors & bit:
            return
        self.errors |= bit
        lvt = self._registers[_LVT_ERROR]
        if not lvt & _MASKED and lvt & 0xFF >= 16:
            self.irr |= 1 << (lvt & 0xFF)

    # ---- timer ------------------------------------------------------------------------------------------------

    def _mode(self) -> int:
        return self._registers[_LVT_TIMER] >> _MODE & 3

    def _divisor(self) -> int:
        code = self._registers[_DIVIDE]
        return (2, 4, 8, 16, 32, 64, 128, 1)[code & 3 | code >> 1 & 4]

    def _count_from(self, count: int) -> None:
        """Go on counting at `count` in another mode or at another rate; at 0, where a one-shot timer stays, not at all."""
        gone = self._registers[_INITIAL] - count
        self.timer_start = self._clock.now - gone * self._divisor() if count else NEVER

    def _current(self) -> int:
        initial = self._registers[_INITIAL]
        if not initial or self._mode() == _DEADLINE or self.timer_start == NEVER:
            return 0
        gone = (self._clock.now - self.timer_start) // self._divisor()
        if self._mode() == _PERIODIC:
            return initial - gone % initial
        return max(initial - gone, 0)

    def _arm(self) -> None:
        mode, initial = self._mode(), self._registers[_INITIAL]
        if mode == _DEADLINE:
            self.due = self._tsc.cycle_of(self.deadline_tsc) if self.deadline_tsc else None
            return
        if not initial or self.timer_start == NEVER:
            self.due = None
            return
        period = initial * self._divisor()
        gone = (self._clock.now - self.timer_start) // period
        self.due = self.timer_start + period * (gone + 1)
        if mode == _ONE_SHOT and gone:
            self.due = None

    def set_deadline(self, tsc: int) -> None:
        """Write IA32_TSC_DEADLINE."""
        self.deadline_tsc = tsc if self._mode() == _DEADLINE else 0
        self._arm()
        self._changed()

    def _tsc_written(self) -> None:
        """Software has set the TSC: a deadline comes at another cycle, or has come."""
        if self.deadline_tsc:
            self._arm()
            self._changed()

    def service(self) -> None:
        """Let the timer fire if its time has come."""
        if self.due is None or self._clock.now < self.due:
            return
        lvt = self._registers[_LVT_TIMER]
        if not lvt & _MASKED and self._enabled():
            self._raise(lvt & 0xFF)
        if self._mode() == _PERIODIC:
            self._arm()
        else:
            self.due, self.deadline_tsc = None, 0

    def timer_is_masked(self) -> bool:
        """Tell whether the timer counts without interrupting."""
        return bool(self._registers[_LVT_TIMER] & _MASKED) or not self._enabled()

    # ---- interrupts -------------------------------------------------------------------------------------------

    def ppr(self) -> int:
        """Give the processor priority."""
        service = _top(self.isr) & 0xF0
        return self.tpr if self.tpr & 0xF0 >= service else service

    def waiting(self) -> bool:
        """Tell whether a request is above the processor priority."""
        return bool(self.irr) and self._enabled() and _top(self.irr) & 0xF0 > self.ppr() & 0xF0

    def acknowledge(self) -> int:
        """Put the highest request into service and give its vector."""
        vector = _top(self.irr)
        self.irr &= ~(1 << vector)
        self.isr |= 1 << vector
        return vector

    def takes_external(self) -> bool:
        """Tell whether the 8259's INTR reaches the processor: APIC off, or LINT0 open as ExtINT."""
        if not self.base & ENABLE or not self._enabled():
            return True
        lint0 = self._registers[_LVT_LINT0]
        return not lint0 & _MASKED and lint0 >> 8 & 7 == 7

    def save(self) -> dict[str, Any]:
        """Give its state."""
        return {name: getattr(self, name) for name in self.FIELDS} | {"registers": sorted(self._registers.items())}

    def load(self, state: dict[str, Any]) -> None:
        """Take the state that `save` gave."""
        self._registers = dict(state["registers"])
        for name in self.FIELDS:
            setattr(self, name, state[name])
