"""`walker`, the short cut through 4-level tables in RAM, against `walk`, the loop: the same answer, the same writes."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final

import pytest

from paracell.mmu import rights
from paracell.mmu.rights import EXEC, READ, WRITE, Context
from paracell.mmu.walk import Mode, Paging, reserved_bits, walk, walker

from .space import OPEN, PS, RW, US, XD, A, D, G, P, Ram

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

GVA: Final = 0x7FFF_C0A0_5000
LEVELS: Final = (4, 3, 2, 1)
SLOTS: Final = [(0x1000 * (5 - level) + (GVA >> 12 + 9 * (level - 1) & 511) * 8) >> 3 for level in LEVELS]
NEXT: Final = (0x2000, 0x3000, 0x4000, 0x5000)
KEY, RESERVED = 1 << 62, 1 << 45
BITS: Final = (P, RW, US, A, D, PS, G, KEY, RESERVED, XD)
CONTEXTS: Final = (
    Context(user=True),
    Context(user=True, user_keys=(1 << 8, 0)),
    Context(user=True, user_keys=(0, 1 << 8)),
    Context(user=False),
    Context(user=False, wp=False),
    Context(user=False, smep=True, smap=True, supervisor_keys=(0, 1 << 8)),
)
PAGINGS: Final = [
    Paging(Mode.LEVEL4, 0x1000, reserved_bits(Mode.LEVEL4, nxe=nxe, maxphyaddr=40)) for nxe in (True, False)
]


def differences(cases: Iterable[Sequence[int]]) -> int:
    """Walk both ways with each four entries, in every context, for every need; give how many walks there were."""
    ram, other = Ram(0x6000), Ram(0x6000)
    pairs = [(paging, walker(other, paging)) for paging in PAGINGS]
    tables = [rights.table(context) for context in CONTEXTS]
    done = 0
    for entries in cases:
        for (paging, quick), table, need in product(pairs, tables, (READ, WRITE, EXEC)):
            for memory in (ram, other):
                for slot, base, entry in zip(SLOTS, NEXT, entries, strict=True):
                    memory.words[slot] = entry ^ base
                memory.writes.clear()
            expected = walk(ram, paging, GVA, need, table)
            got = quick(GVA, need, table)
            assert (got, other.writes) == (expected, ram.writes), [hex(e) for e in entries]
            assert all(other.words[slot] == ram.words[slot] for slot in SLOTS)
            done += 1
    return done


def sums(bits: Sequence[int]) -> list[int]:
    """Give the sum of every subset."""
    return [sum(chosen) for chosen in product(*((0, bit) for bit in bits))]


@pytest.mark.parametrize("level", LEVELS)
def test_every_combination_of_bits_at_one_level(level: int) -> None:
    """The others are open, and accessed or not."""
    cases = [[word if at == level else other for at in LEVELS] for word in sums(BITS) for other in (OPEN | A | D, OPEN)]
    assert differences(cases) == 2 * 1024 * 2 * len(CONTEXTS) * 3


def test_every_way_in_which_four_levels_differ_from_open_ones() -> None:
    """The short cut joins the four entries by AND and OR: each bit, flipped at any set of levels, with any other at the rest."""
    flips = (0, P, RW, US, A, PS, KEY, RESERVED, XD)
    cases = ([(OPEN | A | D) ^ flip for flip in chosen] for chosen in product(flips, repeat=4))
    assert differences(cases) == 9**4 * 2 * len(CONTEXTS) * 3


@pytest.mark.parametrize("level", LEVELS)
def test_a_table_in_a_hole_reads_as_ones(level: int) -> None:
    """RAM's own words read as zero there, or not at all."""
    for size in (0x6000, 0x10000):
        ram, other = Ram(size), Ram(size)
        paging = Paging(Mode.LEVEL4, 0x8000 if level == 4 else 0x1000, PAGINGS[0].reserved)
        outcomes = []
        for memory in (ram, other):
            memory.low = 0x6000
            for slot, base, at in zip(SLOTS, NEXT, LEVELS, strict=True):
                memory.words[slot] = (0x8000 if at == level + 1 else base) | OPEN | A
        for need in (READ, WRITE, EXEC):
            table = rights.table(CONTEXTS[0])
            outcomes.append((walk(ram, paging, GVA, need, table), walker(other, paging)(GVA, need, table)))
        assert outcomes == [(-2, -2)] * 3
        assert ram.writes == other.writes
