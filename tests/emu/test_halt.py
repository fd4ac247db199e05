"""HLT: what wakes a processor, and when the machine says that nothing will."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paracell.emu.machine import Machine
from paracell.emu.registers import EFLAGS, RIP
from paracell.emu.stop import Reason

from .world import CODE, HANDLER, World

if TYPE_CHECKING:
    from collections.abc import Iterator

IF, MASKED, PERIODIC = 1 << 9, 1 << 16, 1 << 17
HLT, EXIT = "f4", "e6f4ebfe"
NMI, TIMER = 2, 0x40


@pytest.fixture
def world() -> Iterator[World]:
    """Every handler ends the machine."""
    machine = Machine(16 << 20)
    made = World(machine=machine)
    for vector in (NMI, TIMER):
        made.gate(vector)
    made.memory.write(HANDLER, bytes.fromhex(EXIT))
    made.memory.write(CODE, bytes.fromhex(HLT * 8))
    machine.devices.lapic.mmio_write(0xF0, 0x1FF)
    yield made
    machine.close()


def halt(world: World, *, interrupts: bool) -> Reason:
    world.cpu.q[RIP] = CODE
    world.cpu.q[EFLAGS] = 2 | (IF if interrupts else 0)
    assert world.machine is not None
    return world.machine.run().reason


def arm(world: World, timer: int) -> None:
    assert world.machine is not None
    lapic = world.machine.devices.lapic
    lapic.mmio_write(0x320, timer)
    lapic.mmio_write(0x380, 1000)


@pytest.mark.parametrize("mode", [0, PERIODIC], ids=["one-shot", "periodic"])
@pytest.mark.parametrize("interrupts", [False, True])
@pytest.mark.parametrize("mask", [0, MASKED])
def test_a_timer_wakes_if_its_interrupt_may_come(world: World, mode: int, interrupts: bool, mask: int) -> None:
    arm(world, mode | mask | TIMER)
    assert halt(world, interrupts=interrupts) is (Reason.EXIT if interrupts and not mask else Reason.HALTED)


def test_nothing_armed(world: World) -> None:
    assert halt(world, interrupts=True) is Reason.HALTED


def test_an_nmi_wakes_without_if(world: World) -> None:
    """The 8254 reaches the I/O APIC's pin 2, whose entry makes an NMI of it."""
    assert world.machine is not None
    devices = world.machine.devices
    devices.port_write(0x43, 1, 0x34)  # counter 0, mode 2
    devices.port_write(0x40, 1, 0)
    devices.port_write(0x40, 1, 1)
    assert halt(world, interrupts=False) is Reason.HALTED
    devices.ioapic.mmio_write(0, 0x10 + 2 * 2)
    devices.ioapic.mmio_write(0x10, 4 << 8)
    devices.changed()
    assert halt(world, interrupts=False) is Reason.EXIT


def test_a_masked_timer_has_counted_meanwhile(world: World) -> None:
    """Another timer wakes the processor; the masked one stands where it would have without the sleep."""
    assert world.machine is not None
    devices, clock = world.machine.devices, world.machine.clock
    arm(world, PERIODIC | MASKED | TIMER)
    devices.pic.chips[0].imr &= ~1
    devices.port_write(0x43, 1, 0x30)  # counter 0, mode 0
    devices.port_write(0x40, 1, 0xFF)
    devices.port_write(0x40, 1, 0x01)
    start = devices.lapic.timer_start
    world.gate(devices.pic.chips[0].base)
    devices.lapic.mmio_write(0x350, 7 << 8)  # LINT0: ExtINT
    halt(world, interrupts=True)
    assert clock.now > 100_000
    assert devices.lapic.mmio_read(0x390) == 1000 - (clock.now - start) // 2 % 1000
