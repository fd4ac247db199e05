"""The walk of an EPT: page sizes, reserved bits, memory types, by a second description of the formats; the short way against the loop.

SDM "Format of EPT Paging-Structure Entries", "EPT Misconfigurations", "EPT Violations".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paracell.mmu.ept import Root, reserved
from paracell.mmu.rights import EXEC, READ, WRITE
from paracell.mmu.second import SecondStage
from paracell.mmu.tlb import GuestPhysical
from paracell.mmu.walk import MISCONFIGURATION, VIOLATION, SecondStageFault

from .space import Ram

if TYPE_CHECKING:
    from collections.abc import Callable

TABLES: Final = (0x1000, 0x2000, 0x3000, 0x4000)
WIDTH: Final = 40  # bits of a physical address
XU: Final = 1 << 10
PLACES: Final = {1: 0x5000, 2: 0x600000, 3: 0x80000000}  # where a page of each level is
Translated = int | tuple[int, int]


def bits(*fields: tuple[int, int]) -> int:
    """Give the bits of some fields (high, low)."""
    return sum((1 << high + 1) - (1 << low) for high, low in fields)


# What may be set in a present entry: level, whether it maps a page → bits.
MAY_BE_SET: Final = {
    (4, False): bits((2, 0), (11, 8), (WIDTH - 1, 12), (63, 52)),
    (3, False): bits((2, 0), (11, 8), (WIDTH - 1, 12), (63, 52)),
    (2, False): bits((2, 0), (11, 8), (WIDTH - 1, 12), (63, 52)),
    (3, True): bits((11, 0), (WIDTH - 1, 30), (63, 52)),
    (2, True): bits((11, 0), (WIDTH - 1, 21), (63, 52)),
    (1, True): bits((11, 0), (WIDTH - 1, 12), (63, 52)),
}


def model(read: Callable[[int], int], gpa: int, wanted: int, *, mode_based: bool) -> Translated:
    """Give the physical address, or the kind of exit and bits 6:3 of its qualification."""
    if gpa >= 1 << 48:
        return VIOLATION, 0
    table, allowed = TABLES[0], 7 | XU
    for level in (4, 3, 2, 1):
        size = 12 + 9 * (level - 1)
        entry = read(table + (gpa >> size) % 512 * 8)
        readable, writable = entry & 1, entry >> 1 & 1
        if entry % 8 == 0 and not (mode_based and entry & XU):
            return VIOLATION, 0
        is_page = level == 1 or (level != 4 and entry >> 7 & 1 == 1)
        if (writable and not readable) or entry & ~MAY_BE_SET[level, is_page]:
            return MISCONFIGURATION, 0
        allowed &= entry
        if is_page:
            if entry >> 3 & 7 in {2, 3, 7}:
                return MISCONFIGURATION, 0
            if wanted & ~allowed:
                return VIOLATION, (allowed & 7) << 3 | (0x40 if mode_based and allowed & XU else 0)
            return entry & bits((51, size)) | gpa & ((1 << size) - 1)
        table = entry & bits((51, 12))
    raise AssertionError


def entries_of(draw: st.DrawFn) -> tuple[int, ...]:
    """Draw the four entries: usually present and right, sometimes with a bit or a type that makes them wrong."""
    found = []
    for level, below in zip((4, 3, 2, 1), (*TABLES[1:], PLACES[1]), strict=True):
        page = level == 1 or (level in {2, 3} and draw(st.integers(0, 4)) == 0)
        entry = (PLACES[level] if page else below) | draw(st.sampled_from([7, 7, 7, 5, 3, 1, 4, 0, 2, 6]))
        entry |= draw(st.sampled_from([0, 0, XU])) | draw(st.sampled_from([0, 1 << 8, 3 << 8]))
        if page:
            entry |= (0x80 if level > 1 else 0) | draw(st.sampled_from([0, 6, 6, 6, 1, 2, 3, 4, 5, 7])) << 3
        if draw(st.integers(0, 3)) == 0:
            entry ^= 1 << draw(st.integers(3, 63))
        found.append(entry)
    return tuple(found)


@settings(max_examples=600, deadline=None)
@given(st.data(), st.sampled_from([READ, WRITE, READ | WRITE, EXEC, XU]), st.booleans(), st.booleans())
def test_walks_are_those_of_the_model(data: st.DataObject, wanted: int, mode_based: bool, dirty: bool) -> None:
    if wanted == XU and not mode_based:
        return
    ram = Ram(0x6000)
    gpa = data.draw(st.sampled_from([0x12_3456_7ABC, 0x7FFF_C0A0_5678, 0, 1 << 48, 0xFFF_FFFF_FFFF]))
    entries = data.draw(st.composite(entries_of)())
    for table, shift, entry in zip(TABLES, (39, 30, 21, 12), entries, strict=True):
        ram.words[table + (gpa >> shift & 511) * 8 >> 3] = entry
    expected = model(ram.read64, gpa, wanted, mode_based=mode_based)
    before, outcomes = bytes(ram.words), []
    for short in (True, False):
        ram.words[:] = memoryview(before).cast("Q")
        stage = SecondStage(ram, Root(TABLES[0], reserved(WIDTH), dirty=dirty, mode_based=mode_based), GuestPhysical())
        if not short:
            stage._quick = lambda _gpa, _need: -1
        got: Translated
        page = 0
        try:
            page = stage._page(gpa, wanted, 0)
            got = page & bits((51, 12)) | gpa & 0xFFF
        except SecondStageFault as fault:
            got = fault.result, fault.qualification & 0x78
        assert got == expected
        outcomes.append((got, page, bytes(ram.words), stage.mappings.pages))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("level", [1, 2, 3])
def test_each_page_size_is_met(level: int) -> None:
    ram, gpa = Ram(0x6000), 0x12_3456_7ABC
    for number, table, below in zip((4, 3, 2, 1), TABLES, (*TABLES[1:], PLACES[1]), strict=True):
        entry = PLACES[level] | 7 | 0x80 if number == level > 1 else below | 7
        ram.words[table + (gpa >> 12 + 9 * (number - 1) & 511) * 8 >> 3] = entry
    stage = SecondStage(ram, Root(TABLES[0], reserved(WIDTH)), GuestPhysical())
    size = 1 << 12 + 9 * (level - 1)
    assert stage._page(gpa, READ, 0) & bits((51, 12)) == PLACES[level] | gpa & (size - 1) & ~0xFFF
    assert stage.entries == 5 - level


def test_an_ept_outside_memory_is_misconfigured() -> None:
    """What is not there reads as ones, and not as the zeros of the hole in our own memory."""
    stage = SecondStage(Ram(0x6000), Root(0x100000, reserved(WIDTH)), GuestPhysical())
    with pytest.raises(SecondStageFault) as caught:
        stage._page(0x1000, READ, 0)
    assert caught.value.result == MISCONFIGURATION
