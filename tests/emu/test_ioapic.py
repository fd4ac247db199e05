"""The I/O APIC against its data sheet (Intel 82093AA), with a local APIC behind it, and through a machine."""

from __future__ import annotations

import pytest

from paracell.emu.clock import Clock, Tsc
from paracell.emu.devices import Devices, NoConsole
from paracell.emu.faults import Unimplemented

SELECT, WINDOW = 0xFEC00000, 0xFEC00010
LEVEL, REMOTE_IRR, LOW, LOGICAL, MASKED = 1 << 15, 1 << 14, 1 << 13, 1 << 11, 1 << 16
SVR, EOI, TMR, LDR, DFR, IRR = 0xFEE000F0, 0xFEE000B0, 0xFEE00180, 0xFEE000D0, 0xFEE000E0, 0xFEE00200
NMI, SMI, INIT, EXTINT = 4 << 8, 2 << 8, 5 << 8, 7 << 8
PIN = 14


class Bus:
    """A machine's devices, reached as the processor reaches them."""

    def __init__(self) -> None:
        clock = Clock()
        self.devices = Devices(clock, NoConsole(), 64 << 20, tsc=Tsc(clock))
        self.devices.mmio_write(SVR, 4, 0x1FF)

    def __getitem__(self, register: int) -> int:
        self.devices.mmio_write(SELECT, 4, register)
        return self.devices.mmio_read(WINDOW, 4)

    def __setitem__(self, register: int, value: int) -> None:
        self.devices.mmio_write(SELECT, 4, register)
        self.devices.mmio_write(WINDOW, 4, value)

    def entry(self, low: int, destination: int = 0, pin: int = PIN) -> None:
        self[0x11 + 2 * pin] = destination << 24
        self[0x10 + 2 * pin] = low

    def line(self, level: bool, pin: int = PIN) -> None:
        self.devices.ioapic.set_line(pin, level)

    def vector(self) -> int | None:
        """The interrupt that the processor would take now, acknowledged."""
        return self.devices.pending() if self.devices.interrupt_waiting() else None

    def eoi(self) -> None:
        self.devices.mmio_write(EOI, 4, 0)


@pytest.fixture
def bus() -> Bus:
    return Bus()


def test_registers_after_reset(bus: Bus) -> None:
    assert (bus[0], bus[1], bus[2]) == (0, 0x170011, 0)
    for pin in range(24):
        assert (bus[0x10 + 2 * pin], bus[0x11 + 2 * pin]) == (MASKED, 0)
    assert bus[0x40] == bus[3] == 0  # reserved


def test_what_can_be_written(bus: Bus) -> None:
    for register in (0, 1, 2, 0x10, 0x11):
        bus[register] = 0xFFFFFFFF
    assert (bus[0], bus[1], bus[2]) == (0x0F000000, 0x170011, 0x0F000000)
    assert bus[0x10] == MASKED | LEVEL | LOW | LOGICAL | 0x7FF  # remote IRR and delivery status are the device's own
    assert bus[0x11] == 0xFF000000


def test_an_edge(bus: Bus) -> None:
    bus.entry(0x76)
    bus.line(True)
    bus.line(True)
    assert bus.vector() == 0x76
    assert bus.vector() is None
    bus.line(False)
    bus.eoi()
    assert bus.vector() is None
    bus.line(True)
    assert bus.vector() == 0x76


def test_a_level_asks_again_after_its_eoi(bus: Bus) -> None:
    bus.entry(0x77 | LEVEL)
    bus.line(True)
    assert bus[0x10 + 2 * PIN] & REMOTE_IRR
    assert bus.vector() == 0x77
    assert bus.vector() is None
    bus.eoi()
    assert bus.vector() == 0x77
    bus.line(False)
    bus.eoi()
    assert not bus[0x10 + 2 * PIN] & REMOTE_IRR
    assert bus.vector() is None


def test_the_trigger_mode_register(bus: Bus) -> None:
    for low, expected in ((0x79, 0), (0x79 | LEVEL, 1 << 0x19), (0x79, 0)):
        bus.entry(low)
        bus.line(True)
        assert bus.vector() == 0x79
        assert bus.devices.mmio_read(TMR + 0x30, 4) == expected
        bus.line(False)
        bus.eoi()


def test_a_masked_edge_is_lost_and_a_masked_level_is_not(bus: Bus) -> None:
    for low, expected in ((0x81, None), (0x81 | LEVEL, 0x81)):
        bus.entry(low | MASKED)
        bus.line(True)
        assert bus.vector() is None
        bus.entry(low)
        assert bus.vector() == expected
        bus.line(False)
        bus.eoi()


def test_an_active_low_pin(bus: Bus) -> None:
    bus.line(True)
    bus.entry(0x50 | LOW)
    assert bus.vector() is None
    bus.line(False)
    assert bus.vector() == 0x50
    bus.eoi()
    bus.entry(0x51 | LOW | LEVEL)
    assert bus.vector() == 0x51


@pytest.mark.parametrize(
    ("ldr", "dfr", "destination", "logical", "mine"),
    [
        (0, 0xFFFFFFFF, 0, 0, True), (0, 0xFFFFFFFF, 1, 0, False), (0, 0xFFFFFFFF, 0xFF, 0, True),
        (0x02, 0xFFFFFFFF, 0x03, LOGICAL, True), (0x02, 0xFFFFFFFF, 0x05, LOGICAL, False),
        (0x21, 0x0FFFFFFF, 0x23, LOGICAL, True), (0x21, 0x0FFFFFFF, 0x33, LOGICAL, False),
        (0x21, 0x0FFFFFFF, 0x22, LOGICAL, False), (0x21, 0x0FFFFFFF, 0xF1, LOGICAL, True),
        (0, 0xFFFFFFFF, 0xFF, LOGICAL, False),
    ],
)  # fmt: skip
def test_destinations(bus: Bus, ldr: int, dfr: int, destination: int, logical: int, mine: bool) -> None:
    """SDM "Logical Destination Mode": flat model and cluster model."""
    bus.devices.mmio_write(LDR, 4, ldr << 24)
    bus.devices.mmio_write(DFR, 4, dfr)
    bus.entry(0x60 | logical, destination)
    bus.line(True)
    assert bus.vector() == (0x60 if mine else None)


def test_delivery_modes(bus: Bus) -> None:
    bus.entry(NMI | 0x12)
    bus.line(True)
    assert bus.devices.take_nmi()
    bus.line(False)
    for mode in (SMI, INIT):
        bus.entry(mode | 0x20)
        with pytest.raises(Unimplemented, match="delivery mode"):
            bus.line(True)
        bus.line(False)


def test_the_8259_through_pin_0(bus: Bus) -> None:
    ports = bus.devices
    for port, value in ((0x20, 0x11), (0x21, 0x30), (0x21, 4), (0x21, 1), (0x21, 0xDF)):
        ports.port_write(port, 1, value)
    ports.pic.set_line(5, True)
    assert not ports.interrupt_waiting()  # the local APIC is on, and its LINT0 masked
    bus.entry(EXTINT, pin=0)
    assert bus.vector() == 0x35


def test_a_serial_interrupt_and_the_timer_arrive(bus: Bus) -> None:
    bus.entry(0x64, pin=4)
    bus.entry(0x62, pin=2)
    bus.devices.port_write(0x3FC, 1, 8)
    bus.devices.port_write(0x3F9, 1, 2)  # the transmitter is empty
    assert bus.vector() == 0x64
    bus.eoi()
    for port, value in ((0x43, 0x34), (0x40, 0x10), (0x40, 0)):
        bus.devices.port_write(port, 1, value)
    due = bus.devices.deadline()
    assert due is not None
    bus.devices._clock.cycles = due
    bus.devices.service()
    assert bus.vector() == 0x62


def test_the_test_devices_lines(bus: Bus) -> None:
    bus.entry(0x63, pin=13)
    bus.entry(0x62, pin=2)
    bus.devices.port_write(0x200D, 4, 1)
    assert bus.vector() == 0x63
    bus.eoi()
    bus.devices.port_write(0x2000, 4, 1)
    assert bus.vector() == 0x62
    assert (bus.devices.pic.chips[0].irr, bus.devices.pic.chips[1].irr) == (1, 1 << 5)
    assert bus.devices.port_read(0x200D, 4) == 0


def test_lowest_vectors_and_a_disabled_local_apic(bus: Bus) -> None:
    bus.entry(0x0F)  # an illegal vector: ESR tells
    bus.line(True)
    assert bus.devices.lapic.errors == 1 << 6
    bus.line(False)
    bus.devices.mmio_write(SVR, 4, 0xFF)
    bus.entry(0x40)
    bus.line(True)
    assert bus.devices.mmio_read(IRR + 0x20, 4) == 0
    bus.line(False)
    bus.entry(0x41 | LEVEL)
    bus.line(True)
    assert not bus[0x10 + 2 * PIN] & REMOTE_IRR  # nobody has accepted it


def test_a_snapshot_goes_on(bus: Bus) -> None:
    bus.entry(0x77 | LEVEL)
    bus.line(True)
    assert bus.vector() == 0x77
    other = Bus()
    other.devices.load(bus.devices.save())
    other.eoi()
    assert other.vector() == 0x77
    assert other.devices.ioapic.listening
