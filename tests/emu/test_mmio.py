"""Accesses to physical memory that is not RAM: the local APIC's page, wherever it is, and nothing, which reads ones."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from paracell.emu.faults import GP
from paracell.emu.machine import Machine
from paracell.emu.registers import RAX, RBX, RCX, RDX, RIP
from paracell.emu.stop import Reason

from .world import CODE, World

if TYPE_CHECKING:
    from collections.abc import Iterator

AT, NOTHING_THERE = 0x600000, 0x800000  # linear
NEW_BASE, APIC_BASE, ENABLE, BSP = 0xF1200000, 0x1B, 1 << 11, 1 << 8
VERSION = 0x50014
ONES = (1 << 64) - 1
EXIT = "e6f4"
LOADS = {1: "8a03", 2: "668b03", 4: "8b03", 8: "488b03"}  # mov al, ax, eax, rax, [rbx]


@pytest.fixture
def world() -> Iterator[World]:
    """Maps the APIC's page at 0x6…, and at 0x8… a page at which nothing is."""
    machine = Machine(16 << 20)
    made = World(machine=machine)
    made.memory.write(0x3018, struct.pack("<2Q", 0xFEE00083, 0xF1200083))
    yield made
    machine.close()


def run(world: World, code: str) -> None:
    world.memory.write(CODE, bytes.fromhex(code + EXIT))
    world.memory.drop_stale_code()
    world.cpu.q[RIP] = CODE
    assert world.machine is not None
    assert world.machine.run().reason is Reason.EXIT


def wrmsr(world: World, number: int, value: int) -> None:
    q = world.cpu.q
    q[RCX], q[RAX], q[RDX] = number, value & 0xFFFFFFFF, value >> 32
    world.do("0f30")


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_a_read_has_its_size(world: World, size: int) -> None:
    cpu, mask = world.cpu, (1 << 8 * size) - 1
    for address, value in ((AT + 0x30, VERSION), (AT + 0x31, VERSION >> 8), (NOTHING_THERE + 8, ONES)):
        cpu.q[RAX], cpu.q[RBX] = 0, address
        run(world, LOADS[size])
        assert cpu.q[RAX] == value & mask, hex(address)
        assert cpu.read(address, size) == value & mask, hex(address)


def test_a_long_read_across_pages_gives_ones(world: World) -> None:
    assert world.cpu.read_bytes(NOTHING_THERE + 0xF80, 512) == b"\xff" * 512


@pytest.mark.parametrize("code", ["0f0013", "0f001b"])  # lldt, ltr [rbx]
def test_a_selector_from_where_nothing_is(world: World, code: str) -> None:
    world.cpu.q[RBX] = NOTHING_THERE
    with pytest.raises(GP) as raised:
        world.do(code)
    assert raised.value.error == 0xFFFC


@pytest.mark.parametrize("code", ["0fae2b", "cf"])  # xrstor [rbx], iretd
def test_other_structures_from_where_nothing_is(world: World, code: str) -> None:
    world.cpu.set_cr4(world.cpu.cr4 | 1 << 18)
    world.cpu.q[RBX] = world.cpu.q[4] = NOTHING_THERE
    with pytest.raises(GP):
        world.do(code)


def test_the_page_of_the_local_apic_moves(world: World) -> None:
    cpu = world.cpu
    for base, there, other in (
        (0xFEE00000, AT, NOTHING_THERE),
        (NEW_BASE, NOTHING_THERE, AT),
        (0xFEE00000, AT, NOTHING_THERE),
    ):
        wrmsr(world, APIC_BASE, base | ENABLE | BSP)
        for address, value in ((there, VERSION), (other, 0xFFFFFFFF)):
            cpu.q[RBX] = address + 0x30
            run(world, LOADS[4])
            assert cpu.q[RAX] == value, (hex(base), hex(address))
            assert cpu.read(address + 0x30, 4) == value
        cpu.q[RBX] = there + 0x80
        run(world, "c60350" + "90" + "c70340000000")  # mov byte [rbx], 0x50; mov dword [rbx], 0x40: TPR
        assert cpu.cr8 == 4
        cpu.q[RBX] = other + 0x80
        run(world, "c70330000000")
        assert cpu.cr8 == 4


def test_over_ram_it_is_not_guessed(world: World) -> None:
    world.memory.write(CODE, bytes.fromhex("0f30"))
    world.cpu.q[RIP], world.cpu.q[RCX], world.cpu.q[RAX], world.cpu.q[RDX] = CODE, APIC_BASE, 0x300000 | ENABLE | BSP, 0
    assert world.machine is not None
    stop = world.machine.run()
    assert stop.reason is Reason.UNIMPLEMENTED
    assert "over RAM, at 0x300000" in stop.report[0]
