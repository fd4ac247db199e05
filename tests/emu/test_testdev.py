"""QEMU's pc-testdev: its latch at ports of every width, its memory by every kind of access, and both in a snapshot."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import pytest

from paracell.emu.machine import Machine
from paracell.emu.registers import RAX, RBX, RCX, RDI, RIP, RSI
from paracell.emu.stop import Reason

from .world import CODE, World

if TYPE_CHECKING:
    from collections.abc import Iterator

AT = 0x600000  # linear
EXIT = "e6f4ebfe"


@pytest.fixture
def world() -> Iterator[World]:
    machine = Machine(16 << 20)
    made = World(machine=machine)
    made.memory.write(0x3018, struct.pack("<Q", 0xFF000083))
    made.cpu.set_cr4(made.cpu.cr4 | 1 << 9)
    yield made
    machine.close()


def run(world: World, code: str) -> None:
    world.memory.write(CODE, bytes.fromhex(code + EXIT))
    world.memory.drop_stale_code()
    world.cpu.q[RIP] = CODE
    assert world.machine is not None
    assert world.machine.run().reason is Reason.EXIT


@pytest.mark.parametrize(
    ("code", "expected"),
    [("e4e0", 0x78), ("e4e2", 0x34), ("66e5e0", 0x5678), ("66e5e2", 0x1234), ("e5e0", 0x12345678), ("e4e9", 0x56)],
)
def test_the_latch(world: World, code: str, expected: int) -> None:
    """The four bytes are read in parts: in al, 0xE0 …"""
    run(world, "b878563412 e7e0 31c0" + code)  # mov eax, 0x12345678; out 0xE0, eax; xor eax, eax
    assert world.cpu.q[RAX] == expected


def test_a_part_of_the_latch_is_written(world: World) -> None:
    run(world, "b8ffffffff e7e0 b000 e6e1 66b83412 66e7e2 e5e8")
    assert world.cpu.q[RAX] == 0x123400FF


def test_memory_by_many_kinds_of_access(world: World) -> None:
    """A read-modify-write, 16 bytes of SSE, a string, an exchange: nothing that a device's page could take."""
    cpu = world.cpu
    cpu.q[RBX], cpu.q[RAX] = AT, 0x11
    run(world, "488903 48014b08 f00fc14b08 0f104310 0f114320")  # mov, add, lock xadd, movups, movups
    world.memory.write(0x50000, bytes(range(64)))
    cpu.q[RSI], cpu.q[RDI], cpu.q[RCX] = 0x50000, AT + 0xFE0, 64
    run(world, "f3a4")  # over the page's border
    assert cpu.read_bytes(AT + 0xFE0, 64) == bytes(range(64))
    assert cpu.read(AT, 1) == 0x11
    cpu.write(AT + 0x8000, 8, 0x1122334455667788)
    cpu.q[RBX] = AT + 0x8000
    run(world, "488b03")
    assert cpu.q[RAX] == 0x1122334455667788


def test_a_snapshot_keeps_it(world: World) -> None:
    assert world.machine is not None
    cpu = world.cpu
    cpu.q[RBX], cpu.q[RAX] = AT + 0x1234, 0x99
    run(world, "8803 e6e3")  # mov [rbx], al; out 0xE3, al
    saved = io.BytesIO()
    world.machine.save(saved)
    saved.seek(0)
    other = Machine.restore(saved)
    try:
        assert other.devices.testdev.mmio_read(0xFF001234, 2) == 0x99
        assert other.devices.testdev.read(0xE0, 4) == 0x99000000
        assert other.devices.testdev.save() == world.machine.devices.testdev.save()
    finally:
        other.close()


def test_code_does_not_run_there(world: World) -> None:
    world.cpu.write(AT, 4, 0x9090F4F4)
    world.cpu.q[RIP] = AT
    assert world.machine is not None
    stop = world.machine.run()
    assert stop.reason is Reason.UNIMPLEMENTED
    assert "outside RAM" in stop.report[0]


def test_nor_where_nothing_is(world: World) -> None:
    world.memory.write(0x3020, struct.pack("<Q", 0xF1200083))
    world.cpu.q[RIP] = 0x800000
    assert world.machine is not None
    stop = world.machine.run()
    assert stop.reason is Reason.UNIMPLEMENTED
    assert "outside RAM" in stop.report[0]
