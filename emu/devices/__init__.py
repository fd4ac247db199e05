"""Everything on the machine's buses, behind one face."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from ...guest.firmware import SCI
from ..clock import TSC_HZ
from ..features import DEFAULT
from ..memory import HPET_PAGE, IO_APIC_PAGE, PAGE
from ..timekeeper import FAR
from .crtc import Crtc
from .debugcon import DebugConsole
from .exit import Exit
from .fwcfg import FwCfg
from .hpet import Hpet
from .ioapic import IoApic
from .lapic import Lapic
from .pic import Pic
from .pit import Pit
from .power import Power
from .reset import KeyboardController, Reset
from .rtc import Rtc
from .testdev import TestDevice
from .uart import Uart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..clock import Clock, Tsc
    from ..features import Features

_COM1, _COM2, _COM1_IRQ, _COM2_IRQ, _TIMER_IRQ, _RTC_IRQ = 0x3F8, 0x2F8, 4, 3, 0, 8
# Of the I/O APIC: the 8259's INTR and IRQ 0; the other IRQs have the pin of their number.
_EXTERNAL_PIN, _TIMER_PIN = 0, 2

_LINES_8259: Final = 16
_STATEFUL: Final = (
    "com1",
    "com2",
    "pic",
    "pit",
    "lapic",
    "fwcfg",
    "rtc",
    "ioapic",
    "power",
    "reset",
    "keyboard",
    "crtc",
    "testdev",
    "hpet",
)


class ConsolePorts(Protocol):
    """What the serial lines are plugged into: stream 0 is COM1, 1 is COM2, and 2 is the debug console, on which nothing comes in."""

    @property
    def ended(self) -> bool:
        """No byte will come any more."""

    @property
    def paced(self) -> bool:
        """Somebody sits there: a guest that sleeps does so in real time, so that a key can come in between."""

    @property
    def listens(self) -> bool:
        """Something may come in on COM2 even when COM1 has ended."""

    def write(self, stream: int, data: bytes) -> None:
        """Take bytes that the guest sends."""

    def read(self, count: int) -> bytes:
        """Give up to `count` bytes that have come in on COM1."""

    def control(self, count: int) -> bytes:
        """Give up to `count` bytes that have come in on COM2: the size of the screen, or a signal."""

    def wait(self, seconds: float | None) -> bool:
        """Sleep until there is something to read, the end included; False after `seconds`."""


class NoConsole:
    """A console that keeps what is sent, and from which nothing comes.

    Attributes:
        sent: what each stream was sent.

    """

    def __init__(self) -> None:
        self.ended = True
        self.paced = self.listens = False
        self.sent = (bytearray(), bytearray(), bytearray())

    def write(self, stream: int, data: bytes) -> None:
        """Keep it."""
        self.sent[stream].extend(data)

    def read(self, count: int) -> bytes:  # noqa: ARG002
        """Give nothing."""
        return b""

    def control(self, count: int) -> bytes:  # noqa: ARG002
        """Give nothing."""
        return b""

    def wait(self, seconds: float | None) -> bool:  # noqa: ARG002
        """Come back at once: the end has been there from the start."""
        return True


class Port(Protocol):
    """A device with I/O ports."""

    @property
    def ports(self) -> Iterable[int]:
        """Its ports."""

    def read(self, port: int, size: int) -> int:
        """Read a port."""

    def write(self, port: int, size: int, value: int) -> None:
        """Write a port."""


class Devices:
    """The PC's devices and their interrupt lines.

    Attributes:
        hpet: the high-precision event timer, or None: software that finds one uses it, so only a machine that is to have it does.
        on_change: called when deadlines or interrupt lines may have changed.
        on_exit: called with a reason and a value when the guest ends the machine.
        unknown: how often each port was touched at which nothing is.

    """

    def __init__(
        self,
        clock: Clock,
        console: ConsolePorts | None,
        memory: int,
        *,
        tsc: Tsc,
        features: Features = DEFAULT,
        hpet: bool = False,
    ) -> None:
        self._clock = clock
        self.console = console or NoConsole()
        self.on_change: Callable[[], None] = lambda: None
        self.on_exit: Callable[[str, int], None] = lambda _reason, _value: None
        self.unknown: dict[int, int] = {}
        write, read = self.console.write, self.console.read
        self.com1 = Uart(_COM1, lambda data: write(0, data), read, lambda: self.console.ended, self.changed, clock)
        self.com2 = Uart(_COM2, lambda data: write(1, data), self.console.control, lambda: True, self.changed, clock)
        self.debugcon = DebugConsole(lambda data: write(2, data))
        self.pic = Pic()
        self.pit = Pit(clock)
        self.lapic = Lapic(clock, tsc, self.changed, features)
        self.fwcfg = FwCfg(memory)
        self.rtc = Rtc(clock, memory, self.changed)
        self.ioapic = IoApic(self.lapic)
        self.power = Power(clock, self._end, self.changed)
        self.reset, self.keyboard = Reset(self._end), KeyboardController(self._end)
        self._irqs: dict[int, Callable[[], bool]] = {
            _COM1_IRQ: self.com1.line, _COM2_IRQ: self.com2.line, _RTC_IRQ: self.rtc.line, SCI: self.power.line,
        }  # fmt: skip
        self._ports: dict[int, Port] = {}
        self.crtc = Crtc()
        self.testdev = TestDevice(self._set_line)
        self.hpet = Hpet(clock, self._set_line, self.changed) if hpet else None
        ends = (self.power, self.reset, self.keyboard, Exit(self._end))
        for device in (
            self.com1,
            self.com2,
            self.debugcon,
            self.pic,
            self.pit,
            self.fwcfg,
            self.rtc,
            self.crtc,
            self.testdev,
            *ends,
        ):
            self._ports |= dict.fromkeys(device.ports, device)

    def _end(self, reason: str, value: int) -> None:
        self.on_exit(reason, value)

    # ---- buses ------------------------------------------------------------------------------------------------

    def port_read(self, port: int, size: int) -> int:
        """Read an I/O port; all ones where nothing is, as on a floating bus."""
        device = self._ports.get(port)
        if device is None:
            self.unknown[port] = self.unknown.get(port, 0) + 1
            return (1 << 8 * size) - 1
        return device.read(port, size)

    def port_write(self, port: int, size: int, value: int) -> None:
        """Write an I/O port."""
        device = self._ports.get(port)
        if device is None:
            self.unknown[port] = self.unknown.get(port, 0) + 1
            return
        device.write(port, size, value)
        if device is self.pic or device is self.pit:
            self.changed()

    def port_write_block(self, port: int, data: bytes) -> bool:
        """Take a whole string for one byte-wide port; False where each byte must be written by itself."""
        device = self._ports.get(port)
        return isinstance(device, (Uart, DebugConsole)) and port == device.ports.start and device.write_block(data)

    def port_read_block(self, port: int, count: int) -> bytes | None:
        """Give a whole string from one byte-wide port; None where each byte must be read by itself."""
        device = self._ports.get(port)
        return device.read_block(count) if isinstance(device, Uart) and port == device.ports.start else None

    def mmio_read(self, address: int, size: int) -> int:
        """Read `size` bytes of device memory: the APICs' pages, the test device's, the timer block's, or all ones."""
        lapic = self.lapic
        if address & -PAGE == lapic.page:
            return lapic.mmio_read(address & PAGE - 1, size)
        if address & -PAGE == IO_APIC_PAGE:
            return self.ioapic.mmio_read(address & PAGE - 1, size)
        if self.testdev.holds(address):
            return self.testdev.mmio_read(address, size)
        if self.hpet is not None and address & -PAGE == HPET_PAGE:
            return self.hpet.mmio_read(address & PAGE - 1, size)
        return (1 << 8 * size) - 1

    def mmio_write(self, address: int, size: int, value: int) -> None:
        """Write device memory."""
        lapic = self.lapic
        if address & -PAGE == lapic.page:
            lapic.mmio_write(address & PAGE - 1, value)
        elif address & -PAGE == IO_APIC_PAGE:
            self._drive_io_apic()  # an edge that came while its entry was masked is lost
            self.ioapic.mmio_write(address & PAGE - 1, value)
            self.changed()
        elif self.testdev.holds(address):
            self.testdev.mmio_write(address, size, value)
        elif self.hpet is not None and address & -PAGE == HPET_PAGE:
            self.hpet.mmio_write(address & PAGE - 1, size, value)

    # ---- time -------------------------------------------------------------------------------------------------

    def deadline(self) -> int | None:
        """Give the virtual cycle at which a timer wants service."""
        wanted = self._next(self.lapic.due)
        if wanted is None and self.hpet is not None and self.hpet.counts:
            return FAR  # time goes on for software that waits for its counter
        return wanted

    def _next(self, lapic: int | None) -> int | None:
        timers = (self.rtc.due, self.power.due, self.com1.due, self.com2.due)
        hpet = None if self.hpet is None else self.hpet.due
        wanted = (lapic, self.pit.next if self._pit_matters() else None, hpet, *timers)
        times = [t for t in wanted if t is not None]
        return min(times) if times else None

    def wakes_at(self, *, interrupts: bool) -> int | None:
        """Give the virtual cycle up to which nothing wakes a halted processor, with RFLAGS.IF as `interrupts`; None if nothing will.

        Without IF an NMI wakes it, which the I/O APIC may send; a masked timer of the local APIC counts and wakes nobody.
        """
        if not (interrupts or self.ioapic.sends_nmi()):
            return None
        return self._next(None if self.lapic.timer_is_masked() else self.lapic.due)

    def _pit_matters(self) -> bool:
        return not self.pic.chips[0].imr & 1 or self.ioapic.is_open(_TIMER_PIN)

    def service(self) -> None:
        """Let timers whose time has come raise their interrupts."""
        self.lapic.service()
        for device in (self.rtc, self.power, self.com1, self.com2):
            device.service()
        if self.hpet is not None:
            self.hpet.service()
        if self.pit.fired():
            self.pic.set_line(_TIMER_IRQ, level=False)
            self.pic.set_line(_TIMER_IRQ, level=True)
            self.ioapic.set_line(_TIMER_PIN, level=False)
            self.ioapic.set_line(_TIMER_PIN, level=True)

    # ---- interrupts -------------------------------------------------------------------------------------------

    def changed(self) -> None:
        """Look at the lines again, and tell the machine."""
        chips = self.pic.chips
        for irq, line in self._irqs.items():
            level = line()
            if level != bool(chips[irq >> 3].lines >> (irq & 7) & 1):
                self.pic.set_line(irq, level)
        if self.ioapic.listening:
            self._drive_io_apic()
        self.on_change()

    def _set_line(self, irq: int, level: bool) -> None:
        """Set the level of a line that no device of ours holds."""
        if irq < _LINES_8259:
            self.pic.set_line(irq, level)
        self.ioapic.set_line(irq or _TIMER_PIN, level)
        self.on_change()

    def _drive_io_apic(self) -> None:
        for irq, line in self._irqs.items():
            self.ioapic.set_line(irq, line())

    def _takes_external(self) -> bool:
        return self.lapic.takes_external() or self.ioapic.passes_external(_EXTERNAL_PIN)

    def interrupt_waiting(self) -> bool:
        """Tell whether an interrupt would be delivered if RFLAGS.IF allows it."""
        return self.lapic.waiting() or (self.pic.waiting() and self._takes_external())

    def pending(self) -> int | None:
        """Acknowledge the interrupt that waits, and give its vector."""
        if self.pic.waiting() and self._takes_external():
            vector: int | None = self.pic.acknowledge()
        else:
            vector = self.lapic.acknowledge() if self.lapic.waiting() else None
        self.on_change()
        return vector

    def take_nmi(self) -> bool:
        """Tell whether an NMI waits, and take it."""
        taken, self.lapic.nmi = self.lapic.nmi, False
        return taken

    def input_comes_before(self, deadline: int) -> bool:
        """Sleep as long as the guest does, where somebody may type meanwhile; False when its time has come."""
        console = self.console
        if not console.paced or (console.ended and not console.listens) or not self.com1.waits_for_input():
            return False
        before = time.monotonic()
        if not console.wait(max(deadline - self._clock.cycles, 0) / TSC_HZ):
            return False
        self._clock.cycles = min(deadline, self._clock.cycles + int((time.monotonic() - before) * TSC_HZ))
        self.changed()
        return True

    def wait_for_input(self) -> bool:
        """Sleep until a byte comes in that would interrupt; False where none can."""
        if not self.com1.waits_for_input():
            return False
        if not self.console.ended or self.console.listens:
            self.console.wait(0.2)
        self.changed()
        return self.interrupt_waiting() or not self.console.ended or self.console.listens

    def save(self) -> dict[str, Any]:
        """Give the state of all devices."""
        return {name: device.save() for name in _STATEFUL if (device := getattr(self, name)) is not None}

    def load(self, state: dict[str, Any]) -> None:
        """Take the state that `save` gave."""
        for name, value in state.items():
            getattr(self, name).load(value)
