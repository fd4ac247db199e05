"""Control registers and invalidations against the manual (SDM "Control Registers", "MOV—Move to/from Control Registers")."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from paracell.emu.faults import GP, UD
from paracell.emu.machine import Machine
from paracell.emu.registers import RAX, RBX, RCX
from paracell.mmu.rights import READ

from .world import CODE, World, worlds

if TYPE_CHECKING:
    from collections.abc import Iterator

PE, MP, TS, NE, WP, AM, NW, CD, PG = 1, 2, 8, 1 << 5, 1 << 16, 1 << 18, 1 << 29, 1 << 30, 1 << 31
PSE, PAE, PGE, PCIDE, SMEP = 1 << 4, 1 << 5, 1 << 7, 1 << 17, 1 << 20
CR0 = PG | NE | 0x10 | PE
DATA = 0x1FF000  # in the large page of the world
READ_CR = {0: "0f20c0", 2: "0f20d0", 3: "0f20d8", 4: "0f20e0", 8: "440f20c0"}
WRITE_CR = {0: "0f22c0", 2: "0f22d0", 3: "0f22d8", 4: "0f22e0", 8: "440f22c0"}


@pytest.fixture
def long() -> Iterator[World]:
    world = World(machine=Machine(16 << 20))
    yield world
    world.cpu.engine.close()


@pytest.fixture
def flat() -> Iterator[World]:
    yield from worlds(long=False)


def write(world: World, number: int, value: int) -> None:
    world.cpu.q[RAX] = value
    world.do(WRITE_CR[number])


def refused(world: World, number: int, value: int) -> bool:
    before = world.cpu.state()
    try:
        write(world, number, value)
    except GP as fault:
        error = fault.error
    else:
        return False
    after = world.cpu.state()
    assert (error, after.cr0, after.cr3, after.cr4, after.efer) == (0, before.cr0, before.cr3, before.cr4, before.efer)
    return True


@pytest.mark.parametrize(
    ("number", "value"),
    [(0, CR0 | WP | AM | MP), (2, 0xFFFF_8000_0000_1234), (3, 0x1018), (4, PAE | PGE | 1 << 9), (8, 0xF)],
)
def test_a_value_that_was_written_is_read(long: World, number: int, value: int) -> None:
    write(long, number, value)
    long.cpu.q[RAX] = 0
    long.do(READ_CR[number])
    assert long.cpu.q[RAX] == value


@pytest.mark.parametrize("number", [1, 5, 6, 7])
def test_registers_that_are_none(long: World, number: int) -> None:
    for opcode in ("20", "22"):
        with pytest.raises(UD):
            long.do(f"0f{opcode}{0xC0 | number << 3:02x}")


@pytest.mark.parametrize("code", [*READ_CR.values(), *WRITE_CR.values(), "0f06", "0f0138", "0f08", "0f09", "f4"])
def test_only_ring_0(long: World, code: str) -> None:
    """MOV to and from CRs, CLTS, INVLPG, INVD, WBINVD, HLT."""
    long.at_ring(3)
    with pytest.raises(GP):
        long.do(code)


@pytest.mark.parametrize("value", [CR0 & ~PE, CR0 | NW, 1 << 32 | CR0, CR0 & ~PG])
def test_illegal_values_of_cr0(long: World, value: int) -> None:
    """PG without PE, NW without CD, bits 63:32; and PG may not go in 64-bit mode."""
    assert refused(long, 0, value)


def test_reserved_bits_of_cr0_are_ignored_and_et_is_set(long: World) -> None:
    write(long, 0, CR0 & ~0x10 | 1 << 6 | 1 << 20 | CD | NW)
    assert long.cpu.cr0 == CR0 | CD | NW


def test_real_mode_and_back(flat: World) -> None:
    before = flat.cpu.segments[1]
    write(flat, 0, 0x10)
    assert (flat.cpu.cr0, flat.cpu.emulates_8086, flat.cpu.segments[1]) == (0x10, True, before)
    write(flat, 0, 0x11)
    assert (flat.cpu.cr0, flat.cpu.emulates_8086, flat.cpu.segments[1]) == (0x11, False, before)


def test_clts(long: World) -> None:
    write(long, 0, CR0 | TS | MP)
    long.do("0f06")
    assert long.cpu.cr0 == CR0 | MP


# ---- entering and leaving paging (SDM "Initializing IA-32e Mode") ------------------------------------------------------


def test_long_mode_begins_when_paging_does(flat: World) -> None:
    cpu = flat.cpu
    flat.memory.write(0x1000, struct.pack("<Q", 0x2007))
    flat.memory.write(0x2000, struct.pack("<Q", 0x87))
    cpu.set_efer(0x100)
    write(flat, 3, 0x1000)
    assert refused(flat, 0, CR0)  # CR4.PAE is needed
    write(flat, 4, PAE)
    write(flat, 0, CR0)
    assert cpu.efer == 0x500
    assert refused(flat, 4, 0)  # and may not go any more
    write(flat, 0, CR0 & ~PG)
    assert cpu.efer == 0x100


def test_pae_paging_loads_its_four_registers(flat: World) -> None:
    """SDM "PDPTE Registers": at MOV to CR0 and CR3, and MOV to CR4 that changes PAE, PGE, PSE or SMEP; #GP on reserved bits."""
    flat.memory.write(0x1000, struct.pack("<4Q", 0x2001, 0x3001, 0, 0x5001))
    flat.memory.write(0x1020, struct.pack("<4Q", 0x2001, 0x3003, 0, 0))
    flat.memory.write(0x2000, struct.pack("<Q", 0x83))
    write(flat, 4, PAE)
    write(flat, 3, 0x1000)
    assert flat.cpu.pdptes == (0, 0, 0, 0)
    write(flat, 0, CR0)
    assert flat.cpu.pdptes == (0x2001, 0x3001, 0, 0x5001)
    flat.memory.write(0x1010, struct.pack("<Q", 0x7001))
    assert flat.cpu.pdptes[2] == 0
    write(flat, 4, PAE | PGE)
    assert flat.cpu.pdptes[2] == 0x7001
    assert refused(flat, 3, 0x1020)  # bit 1 of the second is reserved
    assert flat.cpu.pdptes == (0x2001, 0x3001, 0x7001, 0x5001)


# ---- CR3, PCIDs and what is flushed (SDM "Operations that Invalidate TLBs and Paging-Structure Caches") ----------------


def cached(world: World) -> bool:
    return DATA >> 12 in world.cpu.translation.tlb.current


def touch(world: World) -> None:
    world.cpu.translation._walk(DATA, READ)
    assert cached(world)


def test_mov_to_cr3_flushes_its_pcid_unless_bit_63_says_no(long: World) -> None:
    touch(long)
    write(long, 3, 0x1000)
    assert not cached(long)
    write(long, 4, PAE | PCIDE)
    touch(long)
    write(long, 3, 1 << 63 | 0x1000)
    assert cached(long)
    assert long.cpu.cr3 == 0x1000  # bit 63 is not kept
    write(long, 3, 1 << 63 | 0x1005)
    assert not cached(long)  # another PCID
    write(long, 3, 1 << 63 | 0x1000)
    assert cached(long)
    write(long, 3, 0x1000)
    assert not cached(long)


def test_bit_63_is_reserved_without_pcids(long: World) -> None:
    assert refused(long, 3, 1 << 63 | 0x1000)


def test_pcide_needs_long_mode_and_a_pcid_of_0(long: World, flat: World) -> None:
    assert refused(flat, 4, PCIDE)
    write(long, 3, 0x1008)
    assert refused(long, 4, PAE | PCIDE)
    write(long, 3, 0x1000)
    write(long, 4, PAE | PCIDE)


@pytest.mark.parametrize(
    ("before", "after", "flushes"),
    [(PAE, PAE | PGE, True), (PAE | PGE, PAE, True), (PAE, PAE | PSE, True), (PAE | PCIDE, PAE, True), (PAE, PAE | SMEP, True),
     (PAE | SMEP, PAE, False), (PAE, PAE | PCIDE, False), (PAE, PAE | 1 << 9, False)],
)  # fmt: skip
def test_what_mov_to_cr4_flushes(long: World, before: int, after: int, flushes: bool) -> None:
    long.memory.write(0x3000, struct.pack("<Q", 0x83))
    write(long, 4, before)
    touch(long)
    write(long, 4, after)
    assert cached(long) is not flushes


def test_invlpg_drops_a_page_of_any_size(long: World) -> None:
    touch(long)
    long.cpu.q[RAX] = 0x400000
    long.do("0f0138")
    assert cached(long)
    long.cpu.q[RAX] = CODE  # the same large page
    long.do("0f0138")
    assert not cached(long)


@pytest.mark.parametrize(
    ("kind", "pcid", "address", "pcide", "legal"),
    [
        (0, 0, 0x1000, True, True), (0, 5, 0xFFFF_8000_0000_0000, True, True), (0, 5, 1 << 47, True, False),
        (0, 1 << 12, 0, True, False), (1, 0xFFF, 0, True, True), (1, 1 << 12, 0, True, False), (1, 0, 1 << 47, True, True),
        (2, 0, 0, True, True), (3, 0, 0, True, True), (4, 0, 0, True, False), (1 << 32, 0, 0, True, False),
        (0, 1, 0, False, False), (1, 1, 0, False, False), (0, 0, 0, False, True), (1, 0, 0, False, True), (2, 0, 0, False, True),
        (2, 1 << 12, 0, True, False), (3, 1 << 63, 0, True, False),
    ],
)  # fmt: skip
def test_invpcid(long: World, kind: int, pcid: int, address: int, pcide: bool, legal: bool) -> None:
    """SDM "INVPCID—Invalidate Process-Context Identifier": bits 63:12 of the descriptor's first word are reserved."""
    if pcide:
        write(long, 4, PAE | PCIDE)
    long.memory.write(0x50000, struct.pack("<2Q", pcid, address))
    long.cpu.q[RAX], long.cpu.q[RCX] = kind, 0x50000
    if legal:
        long.do("660f388201")
    else:
        with pytest.raises(GP):
            long.do("660f388201")


@pytest.mark.parametrize(
    ("kind", "pcid", "dropped"), [(0, 0, True), (0, 5, False), (1, 0, True), (1, 5, False), (2, 0, True), (3, 0, True)]
)
def test_what_invpcid_drops(long: World, kind: int, pcid: int, dropped: bool) -> None:
    write(long, 4, PAE | PCIDE)
    touch(long)
    long.memory.write(0x50000, struct.pack("<2Q", pcid, DATA))
    long.cpu.q[RAX], long.cpu.q[RCX] = kind, 0x50000
    long.do("660f388201")
    assert cached(long) is not dropped


def test_cr8_is_the_tasks_priority(long: World) -> None:
    assert long.machine is not None
    write(long, 8, 0xB)
    assert long.machine.devices.lapic.tpr == 0xB0
    assert refused(long, 8, 0x10)
    long.cpu.q[RBX] = 0


def test_a_move_from_a_control_register_in_32_bit_code_has_32_bits(flat: World) -> None:
    flat.cpu.cr2 = 0x1_2345_6789
    flat.cpu.q[RAX] = (1 << 64) - 1
    flat.do("0f20d0")
    assert flat.cpu.q[RAX] == 0x2345_6789
