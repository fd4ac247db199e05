"""IN, OUT, INS and OUTS: who may touch a port (SDM "I/O Privilege Level", "I/O Permission Bit Map"), and what strings do."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from paracell.capture import Capture
from paracell.emu.descriptors import Segment
from paracell.emu.faults import GP, PF
from paracell.emu.instructions.ports import check_port
from paracell.emu.machine import Machine
from paracell.emu.registers import DF, RAX, RCX, RDI, RDX, RIP, RSI
from paracell.mmu.address import PAGE

from .world import CODE, TSS_AT, TSS_SELECTOR, UNMAPPED, World

if TYPE_CHECKING:
    from collections.abc import Iterator

BITMAP = 0x68  # just behind the TSS
COM1, SCRATCH, NOWHERE = 0x3F8, 0x3FF, 0x1234
DATA = 0x50000


class Ported(World):
    """A world with devices, whose TSS has a bitmap that forbids every port."""

    def __init__(self) -> None:
        machine = Machine(16 << 20)
        super().__init__(machine=machine)
        self.com1 = machine.devices.com1
        self.memory.write(TSS_AT + 102, struct.pack("<H", BITMAP))
        self.memory.write(TSS_AT + BITMAP, b"\xff" * 0x2001)
        self.cpu.tr = Segment(TSS_SELECTOR, TSS_AT, BITMAP + 0x2000, 0x8B)

    def allow(self, *ports: int) -> None:
        for port in ports:
            at = TSS_AT + BITMAP + (port >> 3)
            self.memory.write(at, bytes([self.memory.read(at, 1)[0] & ~(1 << (port & 7))]))

    def may(self, port: int, size: int) -> bool:
        try:
            check_port(self.cpu, port, size)
        except GP as fault:
            return fault.error != 0
        return True


@pytest.fixture
def world() -> Iterator[Ported]:
    world = Ported()
    yield world
    world.cpu.engine.close()


@pytest.mark.parametrize(
    ("cpl", "iopl", "may"), [(0, 0, True), (3, 0, False), (3, 2, False), (3, 3, True), (1, 1, True), (2, 1, False)]
)
def test_privilege_is_enough(world: Ported, cpl: int, iopl: int, may: bool) -> None:
    world.cpu.cpl, world.cpu.iopl = cpl, iopl
    assert world.may(SCRATCH, 1) is may


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("port", [0, 5, 6, 7, 0x3F8, 0x3FE, 0xFFFC])
def test_every_byte_of_an_access_must_be_allowed(world: Ported, port: int, size: int) -> None:
    world.at_ring(3)
    world.allow(*range(port, port + size))
    assert world.may(port, size)
    for missing in range(port, port + size):
        at = TSS_AT + BITMAP + (missing >> 3)
        was = world.memory.read(at, 1)
        world.memory.write(at, bytes([was[0] | 1 << (missing & 7)]))
        assert not world.may(port, size)
        world.memory.write(at, was)


def test_two_bytes_of_the_bitmap_are_read_and_must_lie_in_the_tss(world: Ported) -> None:
    world.at_ring(3)
    world.allow(0, 8, 0xFFFF)
    assert world.may(0xFFFF, 1)  # the byte behind the last is in the limit
    world.cpu.tr = Segment(TSS_SELECTOR, TSS_AT, BITMAP + 0x1FFF, 0x8B)
    assert not world.may(0xFFFF, 1)
    world.cpu.tr = Segment(TSS_SELECTOR, TSS_AT, BITMAP + 1, 0x8B)
    assert (world.may(0, 1), world.may(8, 1)) == (True, False)
    world.memory.write(TSS_AT + 102, struct.pack("<H", 0xFFFF))
    assert not world.may(0, 1)


@pytest.mark.parametrize("access", [0x83, 0x81, 1 << 16])
def test_only_a_tss_that_can_have_a_bitmap(world: Ported, access: int) -> None:
    """A 16-bit TSS has none, and an unusable TR allows nothing."""
    world.at_ring(3)
    world.allow(0)
    world.cpu.tr = Segment(TSS_SELECTOR, TSS_AT, BITMAP + 0x2000, access)
    assert not world.may(0, 1)


@pytest.mark.parametrize("code", ["e4ff", "e6ff", "ec", "ee", "6c", "6e", "f36c", "f36e"])
def test_every_instruction_asks(world: Ported, code: str) -> None:
    world.at_ring(3)
    world.cpu.q[RDX], world.cpu.q[RCX], world.cpu.q[RDI], world.cpu.q[RSI] = 0xFF, 1, DATA, DATA
    with pytest.raises(GP):
        world.do(code)
    assert world.cpu.q[RIP] == CODE
    world.allow(0xFF)
    world.do(code)


@pytest.mark.parametrize(("code", "size"), [("ec", 1), ("66ed", 2), ("ed", 4)])
def test_in_writes_as_much_of_rax_as_was_read(world: Ported, code: str, size: int) -> None:
    """A floating bus gives ones; EAX clears the upper half, AL and AX keep the rest."""
    world.cpu.q[RAX], world.cpu.q[RDX] = 0x1111111111111111, NOWHERE
    world.do(code)
    mask = (1 << 8 * size) - 1
    assert world.cpu.q[RAX] == (mask if size == 4 else 0x1111111111111111 & ~mask | mask)


def test_out_and_in_reach_the_device(world: Ported) -> None:
    cpu = world.cpu
    cpu.q[RDX], cpu.q[RAX] = SCRATCH, 0xA5
    world.do("ee")
    cpu.q[RAX] = 0
    world.do("ec")
    assert cpu.q[RAX] == 0xA5


@pytest.mark.parametrize(("flags", "step"), [(2, 1), (2 | DF, -1)])
def test_rep_outs_and_ins_step_by_df(world: Ported, flags: int, step: int) -> None:
    cpu = world.cpu
    cpu.rflags = flags
    world.memory.write(DATA, bytes(range(16)))
    cpu.q[RDX], cpu.q[RCX], cpu.q[RSI] = SCRATCH, 5, DATA + 8
    world.do("f36e")
    assert (cpu.q[RCX], cpu.q[RSI]) == (0, DATA + 8 + 5 * step)
    cpu.q[RCX], cpu.q[RDI] = 3, DATA + 0x108
    world.do("f36c")
    assert (cpu.q[RCX], cpu.q[RDI]) == (0, DATA + 0x108 + 3 * step)
    last = 8 + 4 * step  # the scratch register holds the last byte that went out
    first = min(DATA + 0x108, DATA + 0x108 + 2 * step)
    assert world.memory.read(first, 3) == bytes([last] * 3)


def test_a_count_of_0_does_nothing(world: Ported) -> None:
    cpu = world.cpu
    cpu.q[RDX], cpu.q[RCX], cpu.q[RDI] = NOWHERE, 0, UNMAPPED
    world.do("f36c")
    assert (cpu.q[RDI], cpu.q[RIP]) == (UNMAPPED, CODE + 2)


def test_a_fault_in_the_middle_of_a_string_keeps_what_is_done(world: Ported) -> None:
    cpu = world.cpu
    cpu.q[RDX], cpu.q[RCX], cpu.q[RDI] = NOWHERE, 8, UNMAPPED - 3
    with pytest.raises(PF) as caught:
        world.do("f36c")
    assert caught.value.address == UNMAPPED
    assert (cpu.q[RCX], cpu.q[RDI], cpu.q[RIP]) == (5, UNMAPPED, CODE)


def test_rep_insb_takes_a_block_as_it_takes_bytes(world: Ported, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same memory and registers whether the device gives all at once or each by itself, over a page's border too."""
    cpu = world.cpu
    data = bytes(range(1, 41))
    ends = []
    for blocks in (True, False):
        console = Capture(data)
        world.com1._receive = console.read
        world.com1.write(COM1 + 2, 1, 7)  # FIFOs on, empty
        if not blocks:
            monkeypatch.setattr(world.com1, "read_block", lambda _count: None)
        world.memory.write(DATA + PAGE - 8, bytes(64))
        cpu.q[RDX], cpu.q[RCX], cpu.q[RDI] = COM1, 40, DATA + PAGE - 8
        world.do("f36c")
        ends.append((world.memory.read(DATA + PAGE - 8, 40), cpu.q[RCX], cpu.q[RDI]))
    assert ends == [(data, 0, DATA + PAGE + 32)] * 2


def test_a_block_that_cannot_be_written_stays_in_the_device(world: Ported) -> None:
    cpu = world.cpu
    world.com1._receive = Capture(b"kept").read
    world.com1.write(COM1 + 2, 1, 7)
    cpu.q[RDX], cpu.q[RCX], cpu.q[RDI] = COM1, 4, UNMAPPED
    with pytest.raises(PF) as caught:
        world.do("f36c")
    assert (caught.value.address, cpu.q[RCX], cpu.q[RDI]) == (UNMAPPED, 4, UNMAPPED)
    assert world.com1.read_block(4) == b"kept"


@pytest.mark.parametrize("code", ["f36c", "f36e", "f3676e"])  # rep insb, rep outsb, with ECX
def test_a_long_string_lets_interrupts_in_on_the_way(world: Ported, code: str) -> None:
    cpu, count = world.cpu, 150_000
    cpu.q[RDX], cpu.q[RCX], cpu.q[RSI], cpu.q[RDI] = SCRATCH, count, 0x60000, 0x60000
    for left in (count - 65_536, count - 2 * 65_536):
        world.do(code)
        assert (cpu.q[RIP], cpu.q[RCX]) == (CODE, left)
        assert cpu.q[RDI if code == "f36c" else RSI] == 0x60000 + count - left
    world.do(code)
    assert (cpu.q[RIP], cpu.q[RCX]) == (CODE + len(code) // 2, 0)
