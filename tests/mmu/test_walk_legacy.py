"""The walker over PAE and 32-bit paging: as far as a multiboot image needs them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paracell.mmu import rights
from paracell.mmu.rights import EXEC, READ, WRITE
from paracell.mmu.walk import Mode, Paging, reserved_bits, walk

from .space import OPEN, PS, SUPERVISOR, US, USER, XD, A, D, P, Ram

USER_TABLE = rights.table(USER)
DIRECTORY, TABLE = 0x1000, 0x2000


# ---- PAE: four registers, then two levels of 512 entries --------------------------------------------------------------


def pae(ram: Ram, entry: int, *, directory: int = TABLE | OPEN, nxe: bool = True) -> Paging:
    """Map 0xC0201000 by way of the fourth register."""
    ram.words[(DIRECTORY >> 3) + 1] = directory
    ram.words[(TABLE >> 3) + 1] = entry
    return Paging(Mode.PAE, 0, reserved_bits(Mode.PAE, nxe=nxe, maxphyaddr=36), True, False, (0, 0, 0, DIRECTORY | P))


PAE_GVA = 0xC0201234


def test_pae_starts_from_the_register_that_bits_31_and_30_choose() -> None:
    ram = Ram()
    paging = pae(ram, 0x9_8765_4000 | OPEN)
    assert walk(ram, paging, PAE_GVA, WRITE, USER_TABLE) >> 12 == 0x987654
    assert ram.words[(DIRECTORY >> 3) + 1] == TABLE | OPEN | A
    assert ram.words[(TABLE >> 3) + 1] == 0x9_8765_4000 | OPEN | A | D
    assert walk(ram, paging, 0x201234, READ, USER_TABLE) == -1


def test_a_pdpte_register_takes_no_rights_away() -> None:
    ram = Ram()
    assert walk(ram, pae(ram, 0x5000 | OPEN), PAE_GVA, READ, USER_TABLE) > 0  # the register has neither RW nor US


def test_pae_pages_of_2_mib() -> None:
    ram = Ram()
    paging = pae(ram, 0, directory=0xF_FFE0_0000 | OPEN | PS)
    found = walk(ram, paging, 0xC02ABCDE, READ, USER_TABLE)
    assert found & ~0xFFF == 0xF_FFEA_B000
    assert found >> 9 & 7 == 2


@pytest.mark.parametrize(
    ("bits", "nxe", "need", "answer"),
    [
        (1 << 36, True, READ, -2),
        (1 << 52, True, READ, -2),
        (1 << 62, True, READ, -2),
        (XD, False, READ, -2),
        (XD, True, EXEC, -3),
    ],
)
def test_pae_reserved_bits_and_xd(bits: int, nxe: bool, need: int, answer: int) -> None:
    ram = Ram()
    assert walk(ram, pae(ram, 0x5000 | OPEN | bits, nxe=nxe), PAE_GVA, need, USER_TABLE) == answer


# ---- 32-bit: two levels of 1024 entries of 4 bytes --------------------------------------------------------------------


def bits32(*, pse: bool = False, maxphyaddr: int = 52) -> Paging:
    masks = reserved_bits(Mode.BITS32, nxe=False, maxphyaddr=maxphyaddr)
    return Paging(Mode.BITS32, DIRECTORY, masks, pse=pse)


def put32(ram: Ram, at: int, entry: int) -> None:
    shift = (at & 4) * 8
    ram.words[at >> 3] = ram.words[at >> 3] & ~(0xFFFFFFFF << shift) | entry << shift


def get32(ram: Ram, at: int) -> int:
    return int(ram.words[at >> 3] >> (at & 4) * 8 & 0xFFFFFFFF)


@pytest.mark.parametrize("gva", [0x0040_1000, 0x0080_2000, 0x00C0_3FFF, 0xFFFF_F000])
def test_32_bit_entries_lie_two_to_a_word(gva: int) -> None:
    ram = Ram()
    upper, lower = DIRECTORY + (gva >> 22) * 4, TABLE + (gva >> 12 & 1023) * 4
    put32(ram, upper, TABLE | OPEN)
    put32(ram, lower, 0xABCDE000 | OPEN)
    put32(ram, upper ^ 4, 0x11111110)
    put32(ram, lower ^ 4, 0x22222220)
    found = walk(ram, bits32(), gva, WRITE, USER_TABLE)
    assert found >> 12 == 0xABCDE
    assert (get32(ram, upper), get32(ram, lower)) == (TABLE | OPEN | A, 0xABCDE000 | OPEN | A | D)
    assert (get32(ram, upper ^ 4), get32(ram, lower ^ 4)) == (0x11111110, 0x22222220)


@given(gva=st.integers(0, (1 << 32) - 1), low=st.integers(0, 1023), high=st.integers(0, 255))
def test_a_4_mib_page_reaches_40_physical_bits(gva: int, low: int, high: int) -> None:
    ram = Ram()
    put32(ram, DIRECTORY + (gva >> 22) * 4, low << 22 | high << 13 | OPEN | PS)
    found = walk(ram, bits32(pse=True), gva, READ, USER_TABLE)
    assert found & ~0xFFF | gva & 0xFFF == high << 32 | low << 22 | gva & 0x3FFFFF


@pytest.mark.parametrize("maxphyaddr", [32, 36, 39, 40, 52])
@pytest.mark.parametrize("bit", range(13, 22))
def test_a_4_mib_page_has_the_address_bits_that_there_are(bit: int, maxphyaddr: int) -> None:
    """Bits 20:13 are bits 39:32 of the address (M - 1:32 where M, MAXPHYADDR, is below 40); the rest up to bit 21 is reserved."""
    ram = Ram()
    put32(ram, DIRECTORY, OPEN | PS | 1 << bit)
    found = walk(ram, bits32(pse=True, maxphyaddr=maxphyaddr), 0, READ, USER_TABLE)
    there = 32 + bit - 13 < min(maxphyaddr, 40)
    assert found >> 12 << 12 == (1 << 32 + bit - 13) if there else found == -2


def test_without_pse_the_page_size_bit_is_ignored() -> None:
    ram = Ram()
    put32(ram, DIRECTORY, TABLE | OPEN | PS)
    put32(ram, TABLE, 0x5000 | OPEN)
    assert walk(ram, bits32(), 0, READ, USER_TABLE) >> 12 == 5


@pytest.mark.parametrize(
    ("upper", "lower", "need", "user", "answer"),
    [
        (0, OPEN, READ, True, -1),
        (OPEN, 0, READ, True, -1),
        (OPEN, P | US, WRITE, True, -3),
        (P | US, OPEN, WRITE, True, -3),
        (OPEN ^ US, OPEN, READ, True, -3),
        (OPEN ^ US, OPEN, READ, False, 0),
    ],
)
def test_32_bit_refusals(upper: int, lower: int, need: int, user: bool, answer: int) -> None:
    ram = Ram()
    put32(ram, DIRECTORY, TABLE | upper)
    put32(ram, TABLE, 0x5000 | lower)
    table = rights.table(USER if user else SUPERVISOR)
    assert min(walk(ram, bits32(), 0, need, table), 0) == answer
    assert get32(ram, TABLE) & (A | D) == (A if answer == 0 else 0)


def test_32_bit_pages_can_always_be_fetched_from() -> None:
    ram = Ram()
    put32(ram, DIRECTORY, TABLE | OPEN)
    put32(ram, TABLE, 0x5000 | OPEN)
    assert walk(ram, bits32(), 0, EXEC, USER_TABLE) & rights.X
