from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paracell.emu.descriptors import UNUSABLE, Segment, Table, parse
from paracell.emu.faults import GP, NP, UD, Fault, StackFault
from paracell.emu.registers import CS, DS, ES, FS, RAX, RCX, RDX, RIP, RSP, SS
from paracell.mmu.address import canonical

from .world import (
    ACCESSED,
    CODE,
    CODE64,
    DATA,
    DPL3,
    KERNEL_CS,
    KERNEL_SS,
    NONCANONICAL,
    PRESENT,
    SPARE,
    TSS_AT,
    UNMAPPED,
    USER_SS,
    World,
    worlds,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFORMING, READ_ONLY = CODE64 | 4 << 40, DATA & ~(2 << 40)
EXECUTE_ONLY = CODE64 & ~(2 << 40)
TSS64 = 0x0000890000000067 | TSS_AT << 16
LDT = 0x0000820000000017 | 0x9800 << 16
UMIP = 1 << 11
ZF = 1 << 6
MOV_DS_EAX, MOV_SS_EAX, MOV_FS_EAX = "8ed8", "8ed0", "8ee0"
AT_RAX = "00"  # ModRM r/m = [rax]


@pytest.fixture
def long() -> Iterator[World]:
    yield from worlds(long=True)


@pytest.fixture
def flat() -> Iterator[World]:
    yield from worlds(long=False)


@pytest.mark.parametrize(
    ("raw", "base", "limit"),
    [
        (0x00CF9B000000FFFF, 0, 0xFFFFFFFF),
        (0x12409A345678_0FFF, 0x12345678, 0xFFF),
        (0x000F920000000001, 0, 0xF0001),
        (0x008092000000_0000, 0, 0xFFF),
    ],
)
def test_descriptor_fields(raw: int, base: int, limit: int) -> None:
    segment = parse(8, raw)
    assert (segment.base, segment.limit) == (base, limit)


def test_sixteen_byte_base() -> None:
    assert parse(8, TSS64, 0xFFFF8000).base == 0xFFFF800000000000 | TSS_AT


@pytest.mark.parametrize(
    ("address", "answer"),
    [
        (0, True),
        ((1 << 47) - 1, True),
        (1 << 47, False),
        ((1 << 64) - (1 << 47), True),
        ((1 << 64) - (1 << 47) - 1, False),
    ],
)
def test_canonical(address: int, answer: bool) -> None:
    assert canonical(address) is answer


# ---- loading ES, DS, FS, GS -------------------------------------------------------------------------------------


def test_load_sets_accessed_bit(long: World) -> None:
    long.describe(SPARE, DATA & ~ACCESSED)
    long.cpu.q[RAX] = SPARE
    long.do(MOV_DS_EAX)
    assert long.descriptor(SPARE) == DATA
    assert long.cpu.segment(DS) == Segment(SPARE, 0, 0xFFFFFFFF, 0xC093)
    assert long.cpu.q[RIP] == CODE + 2


def test_fs_gets_the_base(long: World) -> None:
    long.describe(SPARE, DATA | 0x1234 << 16)
    long.cpu.q[RAX] = SPARE
    long.do(MOV_FS_EAX)
    assert long.cpu.segment_base(FS) == 0x1234


@pytest.mark.parametrize(
    ("raw", "cpl", "rpl", "fault"),
    [
        (DATA, 3, 0, GP),
        (DATA, 0, 3, GP),
        (EXECUTE_ONLY, 0, 0, GP),
        (LDT, 0, 0, GP),
        (DATA & ~PRESENT, 0, 0, NP),
        (DATA & ~PRESENT, 3, 0, GP),  # privilege is looked at before presence
        (CODE64, 3, 3, GP),
    ],
)
def test_refused_data_segment(long: World, raw: int, cpl: int, rpl: int, fault: type[Fault]) -> None:
    long.describe(SPARE, raw)
    long.at_ring(cpl)
    before = long.cpu.segment(DS)
    long.cpu.q[RAX] = SPARE | rpl
    with pytest.raises(fault) as caught:
        long.do(MOV_DS_EAX)
    assert caught.value.error == SPARE
    assert long.cpu.segment(DS) == before
    assert long.cpu.q[RIP] == CODE
    assert long.descriptor(SPARE) == raw


@pytest.mark.parametrize("raw", [DATA | DPL3, CONFORMING, CODE64 | DPL3, READ_ONLY | DPL3])
def test_good_data_segment_for_ring_3(long: World, raw: int) -> None:
    long.describe(SPARE, raw)
    long.at_ring(3)
    long.cpu.q[RAX] = SPARE | 3
    long.do(MOV_DS_EAX)
    assert long.cpu.segment(DS).selector == SPARE | 3


def test_null_data_segment_is_unusable(flat: World) -> None:
    flat.cpu.q[RAX] = 3
    flat.do(MOV_DS_EAX)
    assert flat.cpu.segment(DS) == Segment(3, 0, 0, UNUSABLE)


@pytest.mark.parametrize("selector", [0x1000, 0x2000 | 3, 0x0C])
def test_selector_outside_its_table(long: World, selector: int) -> None:
    long.cpu.ldtr = Segment(SPARE, 0x9800, 7, 0x82)
    long.cpu.q[RAX] = selector
    with pytest.raises(GP) as caught:
        long.do(MOV_DS_EAX)
    assert caught.value.error == selector & 0xFFFC


def test_selector_in_the_ldt(long: World) -> None:
    long.cpu.ldtr = Segment(SPARE, 0x9800, 15, 0x82)
    long.memory.write(0x9808, DATA.to_bytes(8, "little"))
    long.cpu.q[RAX] = 0x0C
    long.do(MOV_DS_EAX)
    assert long.cpu.segment(DS).selector == 0x0C


def test_descriptor_table_not_mapped(long: World) -> None:
    long.cpu.gdtr = Table(UNMAPPED, 0xFFF)
    long.at_ring(3)
    long.cpu.q[RAX] = USER_SS
    with pytest.raises(Fault) as caught:
        long.do(MOV_DS_EAX)
    assert (caught.value.vector, caught.value.error, caught.value.address) == (14, 0, UNMAPPED + (USER_SS & ~7))


def test_descriptor_table_is_read_as_supervisor(long: World) -> None:
    long.memory.write(0x200000 + 0x28, (DATA | DPL3).to_bytes(8, "little"))
    long.at_ring(3)
    long.cpu.gdtr = Table(0x200000, 0xFFF)
    long.cpu.q[RAX] = USER_SS
    long.do(MOV_DS_EAX)
    assert long.cpu.segment(DS).selector == USER_SS


# ---- SS ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "rpl", "fault", "error"),
    [
        (DATA, 3, GP, SPARE),
        (DATA | DPL3, 0, GP, SPARE),
        (READ_ONLY, 0, GP, SPARE),
        (CODE64, 0, GP, SPARE),
        (DATA & ~PRESENT, 0, StackFault, SPARE),
        (READ_ONLY & ~PRESENT, 0, GP, SPARE),
    ],
)
def test_refused_stack_segment(long: World, raw: int, rpl: int, fault: type[Fault], error: int) -> None:
    long.describe(SPARE, raw)
    long.cpu.q[RAX] = SPARE | rpl
    with pytest.raises(fault) as caught:
        long.do(MOV_SS_EAX)
    assert caught.value.error == error
    assert not long.cpu.interrupt_shadow


def test_stack_segment_holds_interrupts_off(long: World) -> None:
    long.cpu.q[RAX] = KERNEL_SS
    long.do(MOV_SS_EAX)
    assert long.cpu.interrupt_shadow
    long.do(MOV_DS_EAX)
    assert not long.cpu.interrupt_shadow


@pytest.mark.parametrize(("cpl", "compatible"), [(3, False), (0, True), (3, True)])
def test_null_stack_segment_refused(long: World, cpl: int, compatible: bool) -> None:
    long.at_ring(cpl, compatible=compatible)
    long.cpu.q[RAX] = cpl
    with pytest.raises(GP) as caught:
        long.do(MOV_SS_EAX)
    assert caught.value.error == 0


def test_null_stack_segment_in_64_bit_mode(long: World) -> None:
    long.cpu.q[RAX] = 0
    long.do(MOV_SS_EAX)
    assert long.cpu.segment(SS).access & UNUSABLE
    long.cpu.q[RAX] = 3
    with pytest.raises(GP):
        long.do(MOV_SS_EAX)


def test_cs_cannot_be_moved_to(long: World) -> None:
    with pytest.raises(UD):
        long.do("8ec8")


def test_pop_moves_the_stack_only_if_it_succeeds(flat: World) -> None:
    flat.push(KERNEL_SS, 0xFFF8, size=4)
    top = flat.cpu.q[RSP]
    flat.do("07")
    assert flat.cpu.segment(ES).selector == KERNEL_SS
    assert flat.cpu.q[RSP] == top + 4
    with pytest.raises(GP):
        flat.do("07")
    assert flat.cpu.q[RSP] == top + 4


def test_pop_fs_takes_eight_bytes_in_64_bit_mode(long: World) -> None:
    long.push(KERNEL_SS)
    top = long.cpu.q[RSP]
    long.do("0fa1")
    assert long.cpu.q[RSP] == top + 8
    long.push(KERNEL_SS)
    long.do("660fa1")
    assert long.cpu.q[RSP] == top + 2


@pytest.mark.parametrize(("code", "size"), [("660fb408", 2), ("0fb408", 4), ("480fb408", 8)])
def test_load_far_pointer(long: World, code: str, size: int) -> None:
    value = 0x1122334455667788
    pointer = (value & (1 << 8 * size) - 1).to_bytes(size, "little") + KERNEL_SS.to_bytes(2, "little")
    long.memory.write(0x5000, pointer)
    long.cpu.q[RAX], long.cpu.q[RCX] = 0x5000, (1 << 64) - 1
    long.do(code)
    assert long.cpu.segment(FS).selector == KERNEL_SS
    expected = value & (1 << 8 * size) - 1
    assert long.cpu.q[RCX] == (expected | ~0xFFFF & (1 << 64) - 1 if size == 2 else expected)


# ---- tables -----------------------------------------------------------------------------------------------------


def test_load_and_store_tables(long: World) -> None:
    cpu = long.cpu
    long.memory.write(0x5000, (0x1FF).to_bytes(2, "little") + (0xFFFF800000001000).to_bytes(8, "little"))
    cpu.q[RAX] = 0x5000
    long.do("0f0110")  # lgdt [rax]
    long.do("0f0118")  # lidt [rax]
    assert cpu.gdtr == cpu.idtr == Table(0xFFFF800000001000, 0x1FF)
    cpu.q[RAX] = 0x5100
    long.do("0f0108")  # sidt [rax]
    assert long.memory.read(0x5100, 10) == long.memory.read(0x5000, 10)


def test_table_sizes_in_32_bit_mode(flat: World) -> None:
    flat.memory.write(0x5000, bytes.fromhex("ff01 78563412"))
    flat.cpu.q[RAX] = 0x5000
    flat.do("660f0118")  # a 16-bit operand keeps 24 bits of the base
    assert flat.cpu.idtr == Table(0x345678, 0x1FF)
    flat.do("0f0118")
    assert flat.cpu.idtr == Table(0x12345678, 0x1FF)
    flat.cpu.q[RAX] = 0x5100
    flat.memory.write(0x5100, b"\xcc" * 8)
    flat.do("0f0108")
    assert flat.memory.read(0x5100, 8) == bytes.fromhex("ff01 78563412 cccc")


def test_table_with_a_bad_base(long: World) -> None:
    long.memory.write(0x5000, bytes(2) + NONCANONICAL.to_bytes(8, "little"))
    long.cpu.q[RAX] = 0x5000
    with pytest.raises(GP):
        long.do("0f0110")


def test_lldt(long: World) -> None:
    long.describe(SPARE, LDT, 0xFFFF8000)
    long.cpu.q[RAX] = SPARE
    long.do("0f00d0")
    assert (long.cpu.ldtr.base, long.cpu.ldtr.limit) == (0xFFFF800000009800, 0x17)
    long.cpu.q[RAX] = 0
    long.do("0f00d0")
    assert long.cpu.ldtr.access & UNUSABLE
    long.cpu.q[RAX] = 0x0C
    with pytest.raises(GP) as caught:
        long.do(MOV_DS_EAX)
    assert caught.value.error == 0x0C


def test_ltr_makes_the_tss_busy(long: World) -> None:
    long.describe(SPARE, TSS64, 0)
    long.cpu.q[RAX] = SPARE
    long.do("0f00d8")
    assert long.descriptor(SPARE) == TSS64 | 2 << 40
    assert long.cpu.tr == Segment(SPARE, TSS_AT, 0x67, 0x8B)
    with pytest.raises(GP) as caught:
        long.do("0f00d8")  # a busy one is refused
    assert caught.value.error == SPARE


@pytest.mark.parametrize(
    ("selector", "raw", "high", "fault", "error"),
    [
        (0, 0, 0, GP, 0),
        (SPARE | 4, TSS64, 0, GP, SPARE | 4),
        (0xFF8, 0, 0, GP, 0xFF8),  # the second half lies outside the table
        (SPARE, LDT, 0, GP, SPARE),
        (SPARE, TSS64, 1 << 40, GP, SPARE),
        (SPARE, TSS64 & ~PRESENT, 0, NP, SPARE),
        (SPARE, TSS64, 0x8000, GP, SPARE),  # base not canonical
    ],
)
def test_refused_ltr(long: World, selector: int, raw: int, high: int, fault: type[Fault], error: int) -> None:
    if selector & ~7 == SPARE:
        long.describe(SPARE, raw, high)
    long.cpu.q[RAX] = selector
    with pytest.raises(fault) as caught:
        long.do("0f00d8")
    assert caught.value.error == error


@pytest.mark.parametrize("code", ["0f0110", "0f0118", "0f00d0", "0f00d8", "0f01f0"])
def test_loads_are_for_ring_0(long: World, code: str) -> None:
    long.at_ring(3)
    long.cpu.q[RAX] = 0x5000
    with pytest.raises(GP) as caught:
        long.do(code)
    assert caught.value.error == 0


@pytest.mark.parametrize("code", ["0f0100", "0f0108", "0f00c0", "0f00c8", "0f01e0"])
def test_umip(long: World, code: str) -> None:
    cpu = long.cpu
    cpu.q[RAX] = 0x5000
    long.at_ring(3)
    long.do(code)
    cpu.set_cr4(cpu.cr4 | UMIP)
    cpu.q[RAX] = 0x5000
    with pytest.raises(GP) as caught:
        long.do(code)
    assert caught.value.error == 0
    long.at_ring(0)
    long.do(code)


@pytest.mark.parametrize(("code", "bits"), [("660f00c8", 16), ("0f00c8", 64), ("480f00c8", 64)])
def test_str_zero_extends(long: World, code: str, bits: int) -> None:
    ones = (1 << 64) - 1
    long.cpu.q[RAX] = ones
    long.do(code)
    assert long.cpu.q[RAX] == (ones & ~0xFFFF if bits == 16 else 0) | long.cpu.tr.selector


def test_lmsw_sets_but_never_clears_pe(long: World) -> None:
    cpu = long.cpu
    before = cpu.cr0
    cpu.q[RAX] = 0xFFFE
    long.do("0f01f0")
    assert cpu.cr0 == before | 0xE
    cpu.q[RAX] = 0
    long.do("0f01f0")
    assert cpu.cr0 == before
    long.do("480f01e0")  # smsw rax
    assert cpu.q[RAX] == before


# ---- LAR, LSL, VERR, VERW ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "cpl", "lar", "lsl", "verr", "verw"),
    [
        (DATA, 0, 1, 1, 1, 1),
        (DATA, 3, 0, 0, 0, 0),
        (DATA | DPL3, 3, 1, 1, 1, 1),
        (READ_ONLY, 0, 1, 1, 1, 0),
        (CODE64, 0, 1, 1, 1, 0),
        (EXECUTE_ONLY, 0, 1, 1, 0, 0),
        (CONFORMING, 3, 1, 1, 1, 0),
        (DATA & ~PRESENT, 0, 1, 1, 1, 1),
        (TSS64, 0, 1, 1, 0, 0),
        (LDT, 0, 1, 1, 0, 0),
        (0x00008C0000000000, 0, 1, 0, 0, 0),  # a call gate has rights and no limit
        (0x00008E0000000000, 0, 0, 0, 0, 0),  # an interrupt gate has neither
        (0x0000810000000067, 0, 0, 0, 0, 0),  # no 16-bit TSS in IA-32e mode
    ],
)
def test_looking_at_descriptors(long: World, raw: int, cpl: int, lar: int, lsl: int, verr: int, verw: int) -> None:
    cpu = long.cpu
    long.describe(SPARE, raw)
    long.at_ring(cpl)
    for code, answer in (("0f02d1", lar), ("0f03d1", lsl), ("0f00e1", verr), ("0f00e9", verw)):
        cpu.q[RCX], cpu.q[RDX] = SPARE | cpl, 0xDEAD
        cpu.rflags = 2 | (0 if answer else ZF)
        long.do(code)
        assert bool(cpu.rflags & ZF) == bool(answer), code
        if code in {"0f02d1", "0f03d1"}:
            expected = raw >> 32 & 0xF0FF00 if code == "0f02d1" else parse(0, raw).limit
            assert cpu.q[RDX] == (expected if answer else 0xDEAD)


@pytest.mark.parametrize("selector", [0, 3, 0x1000, 0xFFFF])
def test_looking_nowhere(long: World, selector: int) -> None:
    cpu = long.cpu
    for code in ("0f02d1", "0f03d1", "0f00e1", "0f00e9"):
        cpu.q[RCX] = selector
        cpu.rflags = 2 | ZF
        long.do(code)
        assert not cpu.rflags & ZF


def test_16_bit_tss_has_rights_in_protected_mode(flat: World) -> None:
    flat.describe(SPARE, 0x0000810000000067)
    flat.cpu.q[RCX] = SPARE
    flat.do("0f03d1")
    assert flat.cpu.q[RDX] == 0x67


def test_moving_a_selector_out(long: World) -> None:
    long.cpu.q[RAX] = 0x5000
    long.memory.write(0x5000, b"\xff" * 8)
    long.do("8c08")  # mov [rax], cs
    assert long.memory.read64(0x5000) == 0xFFFFFFFFFFFF0000 | KERNEL_CS
    assert long.cpu.segment(CS).selector == KERNEL_CS
