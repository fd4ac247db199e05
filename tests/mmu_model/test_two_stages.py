"""The two-stage walk against the model: all rights of the guest's last entry and of the EPT's, with all that decides an access."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final

import pytest

from paracell.mmu import rights
from paracell.mmu.ept import Root, reserved
from paracell.mmu.rights import Context
from paracell.mmu.second import SecondStage
from paracell.mmu.tlb import GuestPhysical
from paracell.mmu.walk import MISCONFIGURATION, VIOLATION, Mode, Paging, SecondStageFault, error_code, reserved_bits

from ..mmu.space import Ram
from ..model.ept import (
    EPT_A,
    EPT_D,
    EPT_RIGHTS,
    FETCH,
    READ,
    RW,
    US,
    WRITE,
    XD,
    XU,
    A,
    Case,
    D,
    Outcome,
    P,
    R,
    W,
    X,
    outcome,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

OPEN: Final = R | W | X | XU
GVA: Final = 0x7FFF_C0A0_5678
# Guest-physical pages, and where they are.
TABLES: Final = (0x1000, 0x2000, 0x3000, 0x4000)
DATA: Final = 0x6000
HOST: Final = {gpa: 0x20000 + (8 - (gpa >> 12)) * 0x1000 for gpa in (*TABLES, DATA)}
EPT: Final = 0x10000  # four tables
LEAF_AT: Final = HOST[TABLES[3]] + ((GVA >> 12 & 511) << 3)
TABLE_ENTRY, PAGE_ENTRY = (EPT + 0x3000 + (gpa >> 9) for gpa in (TABLES[3], DATA))
NEEDS: Final = {READ: rights.READ, WRITE: rights.WRITE, FETCH: rights.EXEC}
PAGING: Final = Paging(Mode.LEVEL4, TABLES[0], reserved_bits(Mode.LEVEL4, nxe=True, maxphyaddr=46), True)


class Stages:
    """Both stages, open, in one memory."""

    def __init__(self, *, dirty: bool, mode_based: bool) -> None:
        self.ram = Ram(0x40000)
        words = self.ram.words
        for at in (EPT, EPT + 0x1000, EPT + 0x2000):
            words[at >> 3] = at + 0x1000 | OPEN
        for gpa, hpa in HOST.items():
            words[EPT + 0x3000 + (gpa >> 9) >> 3] = hpa | OPEN
        for table, shift, below in zip(TABLES, (39, 30, 21), TABLES[1:], strict=False):
            words[HOST[table] + ((GVA >> shift & 511) << 3) >> 3] = below | P | RW | US | A
        self.root = Root(EPT, reserved(46), dirty=dirty, mode_based=mode_based)
        self.second = SecondStage(self.ram, self.root, GuestPhysical())
        self.walk = self.second.walker(PAGING)

    def put(self, case: Case) -> None:
        words = self.ram.words
        words[LEAF_AT >> 3] = DATA | case.leaf
        words[TABLE_ENTRY >> 3] = HOST[TABLES[3]] | case.of_table
        words[PAGE_ENTRY >> 3] = HOST[DATA] | case.of_page
        self.second.mappings.empty()

    def outcome(self, case: Case) -> tuple[Outcome, int]:
        """Do the access; what came of it, and what the TLB may keep (0: nothing)."""
        what, number, at_table, entry, refused = "done", 0, False, 0, None
        context = Context(user=case.user, wp=case.wp)
        need = NEEDS[case.access]
        try:
            entry = self.walk(GVA, need, rights.table(context))
            if entry < 0:
                what, number = "#PF", int(error_code(PAGING, context, need, entry, 0))
            else:
                assert entry & ~0xFFF == HOST[DATA]
        except SecondStageFault as fault:
            what = {VIOLATION: "violation", MISCONFIGURATION: "misconfiguration"}[fault.result]
            number, at_table = fault.qualification, not fault.final
            refused = fault.gpa
        if refused is not None:
            assert refused == (TABLES[3] + (LEAF_AT & 0xFFF) if at_table else DATA | GVA & 0xFFF)
        words = self.ram.words
        after = Outcome(
            what,
            number,
            at_table,
            words[LEAF_AT >> 3] & ~DATA,
            words[TABLE_ENTRY >> 3] & ~HOST[TABLES[3]],
            words[PAGE_ENTRY >> 3] & ~HOST[DATA],
        )
        return after, max(entry, 0)


LEAVES: Final = tuple(P | sum(flags) | marks for flags in product((0, RW), (0, US), (0, XD)) for marks in (0, A, A | D))


def cases(*, dirty: bool, mode_based: bool) -> Iterator[Case]:
    marks = (0, EPT_A, EPT_A | EPT_D) if dirty else (0,)
    for leaf, of_table, of_page, mark in product((0, *LEAVES), EPT_RIGHTS, EPT_RIGHTS, marks):
        for access, user, wp in product(NEEDS, (False, True), (False, True)):
            yield Case(leaf, of_table, of_page | mark, dirty, mode_based, access, user, wp)


def compare(dirty: bool, mode_based: bool, stride: int) -> int:
    """Compare every `stride`-th case; where an access is allowed, each further access that the TLB would then answer, too."""
    stages, count = Stages(dirty=dirty, mode_based=mode_based), 0
    for number, case in enumerate(cases(dirty=dirty, mode_based=mode_based)):
        if number % stride:
            continue
        count += 1
        stages.put(case)
        got, entry = stages.outcome(case)
        assert got == outcome(case), case
        if not entry >> 9 & 7:
            assert got.what != "done" or not case.of_page & R, case
            continue
        standing = case._replace(leaf=got.leaf, of_table=got.of_table, of_page=got.of_page)
        for access, need in NEEDS.items():
            again = standing._replace(access=access)
            if rights.table(Context(user=case.user, wp=case.wp))[entry & 511] & need:
                assert outcome(again) == got, again  # nothing is refused, and nothing would be marked
        # Again, with everything cached: the short way.
        assert stages.outcome(standing) == (got, entry), case
    return count


@pytest.mark.parametrize("mode_based", [False, True])
@pytest.mark.parametrize("dirty", [False, True])
def test_slice(dirty: bool, mode_based: bool) -> None:
    assert compare(dirty, mode_based, 13) > 5_000


@pytest.mark.sweep
@pytest.mark.parametrize("mode_based", [False, True])
@pytest.mark.parametrize("dirty", [False, True])
def test_every_case(dirty: bool, mode_based: bool) -> None:
    assert compare(dirty, mode_based, 1) > 70_000
