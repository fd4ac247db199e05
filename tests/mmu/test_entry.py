"""Reserved bits, each rule spelt out as ranges of bits (SDM "4-Level Paging", "PAE Paging", "32-Bit Paging")."""

from __future__ import annotations

import pytest

from paracell.mmu.entry import reserved, reserved32, reserved_pdpte


def bits(*ranges: tuple[int, int]) -> int:
    """Give the mask of bits ``high`` to ``low`` of each range."""
    return sum((1 << high + 1) - (1 << low) for high, low in ranges)


@pytest.mark.parametrize(
    ("level", "large", "expected"),
    [
        (4, False, bits((51, 46), (7, 7))),
        (3, False, bits((51, 46))),
        (3, True, bits((51, 46), (29, 13))),
        (2, False, bits((51, 46))),
        (2, True, bits((51, 46), (20, 13))),
        (1, False, bits((51, 46))),
    ],
)
def test_4_level_entries_on_a_machine_with_46_physical_bits(level: int, large: bool, expected: int) -> None:
    assert reserved(level, large=large, nxe=True, maxphyaddr=46) == expected
    assert reserved(level, large=large, nxe=False, maxphyaddr=46) == expected | 1 << 63


@pytest.mark.parametrize(
    ("level", "large", "expected"),
    [(2, False, bits((62, 36))), (2, True, bits((62, 36), (20, 13))), (1, False, bits((62, 36)))],
)
def test_pae_entries_have_no_ignored_bits_above_the_frame(level: int, large: bool, expected: int) -> None:
    assert reserved(level, large=large, nxe=True, maxphyaddr=36, pae=True) == expected
    assert reserved(level, large=large, nxe=False, maxphyaddr=36, pae=True) == expected | 1 << 63


@pytest.mark.parametrize("maxphyaddr", [36, 40, 52])
def test_pdpte_registers(maxphyaddr: int) -> None:
    assert reserved_pdpte(maxphyaddr) == bits((63, maxphyaddr), (8, 5), (2, 1))


@pytest.mark.parametrize(
    ("maxphyaddr", "expected"),
    [(32, bits((21, 13))), (36, bits((21, 17))), (40, bits((21, 21))), (52, bits((21, 21)))],
)
def test_a_4_mib_page_holds_as_many_high_bits_as_there_are(maxphyaddr: int, expected: int) -> None:
    assert reserved32(0x83, pse=True, maxphyaddr=maxphyaddr) == expected


@pytest.mark.parametrize(("entry", "pse"), [(0x83, False), (0x03, True)])
def test_32_bit_entries_that_name_tables_reserve_nothing(entry: int, pse: bool) -> None:
    assert reserved32(entry, pse=pse) == 0
