"""RDMSR and WRMSR against the manual (SDM "Architectural MSRs", "WRMSR—Write to Model Specific Register")."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paracell.emu.faults import GP
from paracell.emu.machine import Machine
from paracell.emu.registers import FS, GS, RAX, RCX, RDX

from .world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

RDMSR, WRMSR = "0f32", "0f30"
ONES = (1 << 64) - 1
STAR, LSTAR, CSTAR, FMASK, EFER, PAT = 0xC0000081, 0xC0000082, 0xC0000083, 0xC0000084, 0xC0000080, 0x277
FS_BASE, GS_BASE, KERNEL_GS_BASE, TSC_AUX, PKRS, XSS, APIC_BASE = (
    0xC0000100, 0xC0000101, 0xC0000102, 0xC0000103, 0x6E1, 0xDA0, 0x1B,
)  # fmt: skip
ADDRESSES = (LSTAR, CSTAR, FS_BASE, GS_BASE, KERNEL_GS_BASE, 0x175, 0x176)


class Msrs(World):
    def __getitem__(self, number: int) -> int:
        q = self.cpu.q
        q[RAX] = q[RDX] = ONES
        q[RCX] = 0xDEAD << 32 | number  # ECX alone counts
        self.do(RDMSR)
        assert q[RAX] >> 32 == q[RDX] >> 32 == 0
        return q[RDX] << 32 | q[RAX]

    def __setitem__(self, number: int, value: int) -> None:
        q = self.cpu.q
        q[RCX], q[RAX], q[RDX] = number, 0xBAD << 32 | value & 0xFFFFFFFF, 0xBAD << 32 | value >> 32
        self.do(WRMSR)

    def refuses(self, number: int, value: int) -> bool:
        before = self.cpu.state()
        try:
            self[number] = value
        except GP as fault:
            error = fault.error
        else:
            return False
        after = self.cpu.state()
        assert (error, after.msrs, after.efer, after.pkrs, after.segments) == (
            0, before.msrs, before.efer, before.pkrs, before.segments,
        )  # fmt: skip
        return True


@pytest.fixture
def msrs() -> Iterator[Msrs]:
    world = Msrs(machine=Machine(16 << 20))
    yield world
    world.cpu.engine.close()


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (STAR, 0x0023_0008_1234_5678), (FMASK, 0x47700), (TSC_AUX, 0xFFFFFFFF), (0x174, 0x10),
        *((number, 0xFFFF_8000_1234_5678) for number in ADDRESSES), *((number, 0x7FFF_FFFF_F000) for number in ADDRESSES),
        (PAT, 0x0105_0406_0007_0106), (0x3B, 5), (PKRS, 0x5555_5554), (XSS, 0), (EFER, 0xD01), (0x8B, ONES),
        (0x200, 0x8000_0006), (0x201, 0xF_8000_0800), (0x250, 0x0606_0606_0606_0606), (0x2FF, 0xC06), (0x1A0, 1),
    ],
)  # fmt: skip
def test_a_value_that_was_written_is_read(msrs: Msrs, number: int, value: int) -> None:
    msrs[number] = value
    assert msrs[number] == value | (1 << 10 if number == EFER else 0)


@pytest.mark.parametrize("number", ADDRESSES)
@pytest.mark.parametrize("value", [1 << 47, 0xFFFF_7FFF_FFFF_FFFF, 1 << 63])
def test_an_address_must_be_canonical(msrs: Msrs, number: int, value: int) -> None:
    assert msrs.refuses(number, value)


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (FMASK, 1 << 32), (TSC_AUX, 1 << 32), (0x174, 1 << 32), (PKRS, 1 << 32), (XSS, 1), (XSS, 1 << 8), (XSS, 1 << 9),
        (PAT, 0x02), (PAT, 0x03 << 24), (PAT, 0x08 << 56), (0x200, 0x8), (0x201, 0x400), (0x2FF, 0x100 << 4),
        (EFER, 0x502), (EFER, 0x1501), (EFER, 1 << 12), (EFER, 1 << 63), (APIC_BASE, 0xFEE00400), (0x1D9, 4), (0x17A, 1),
    ],
)  # fmt: skip
def test_reserved_bits_and_types(msrs: Msrs, number: int, value: int) -> None:
    assert msrs.refuses(number, value)


@pytest.mark.parametrize(
    "number", [0, 1, 0xFE, 0x17, 0xCE, 0x179, 0x480, 0x486, 0x808, 0xC0000085, 0xC0010015, 0xFFFFFFFF]
)
def test_registers_that_are_not_there_or_cannot_be_written(msrs: Msrs, number: int) -> None:
    """MTRRCAP, PLATFORM_ID, PLATFORM_INFO and MCG_CAP are read-only; VMX capabilities, AMD's and x2APIC's are not there."""
    assert msrs.refuses(number, 0)
    if number not in {0xFE, 0x17, 0xCE, 0x179}:
        with pytest.raises(GP):
            msrs[number]


def test_lme_cannot_change_while_paging_is_on_and_lma_never(msrs: Msrs) -> None:
    assert msrs[EFER] == 0x501
    assert msrs.refuses(EFER, 0x401)
    msrs[EFER] = 0x100  # SCE off; LMA stays though the value lacks it
    assert msrs[EFER] == 0x500


def test_fs_and_gs_bases_are_the_segments(msrs: Msrs) -> None:
    msrs[FS_BASE], msrs[GS_BASE] = 0x1234000, 0xFFFF_8000_0000_1000
    assert [msrs.cpu.segment(number).base for number in (FS, GS)] == [0x1234000, 0xFFFF_8000_0000_1000]
    msrs[KERNEL_GS_BASE] = 0x5000
    msrs.do("0f01f8")  # SWAPGS
    assert (msrs[GS_BASE], msrs[KERNEL_GS_BASE]) == (0x5000, 0xFFFF_8000_0000_1000)


def test_the_tsc_and_its_adjustment_move_together(msrs: Msrs) -> None:
    """SDM "Time-Stamp Counter Adjustment"."""
    before = msrs[0x10]
    msrs[0x3B] = 1000
    moved = msrs[0x10]
    assert 1000 <= moved - before < 2000
    msrs[0x10] = 5
    assert 5 <= msrs[0x10] < 1000
    assert msrs[0x3B] == 5 - (msrs.cpu.clock.cycles - (msrs.cpu.tsc.read() - 5)) & ONES
    msrs[0x3B] = 0
    assert msrs.cpu.tsc.read() == msrs.cpu.clock.cycles


def test_pkrs_counts_at_once(msrs: Msrs) -> None:
    cpu = msrs.cpu
    cpu.set_cr4(cpu.cr4 | 1 << 24)
    assert cpu.translation.context(user=False).supervisor_keys == (0, 0)
    msrs[PKRS] = 1 << 4 | 2 << 6  # key 2: no access; key 3: no write, with CR0.WP only
    cpu.set_cr0(cpu.cr0 | 1 << 16)
    assert cpu.translation.context(user=False).supervisor_keys == (1 << 2, 1 << 3)


@pytest.mark.parametrize("code", [RDMSR, WRMSR])
def test_only_ring_0(msrs: Msrs, code: str) -> None:
    msrs.at_ring(3)
    msrs.cpu.q[RCX] = 0x10
    with pytest.raises(GP):
        msrs.do(code)
