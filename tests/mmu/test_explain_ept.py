"""A walk through both stages explained: all entries that were read, which one decided, and how it is shown."""

from __future__ import annotations

import json
from itertools import islice
from typing import Final

import pytest

from paracell.mmu.explain import look
from paracell.mmu.render import lines, record
from paracell.mmu.rights import EXEC, READ, WRITE, Context
from paracell.mmu.walk import Mode, Paging

from ..mmu_model.test_two_stages import DATA, GVA, HOST, NEEDS, PAGING, TABLES, Stages, cases
from ..model.ept import FETCH, RW, US, XU, A, Case, D, P, R, W, X, outcome

USER: Final = Context(user=True)
OPEN: Final = Case(P | RW | US | A | D, R | W | X | XU, R | W | X | XU, False, False, FETCH, True, True)


def stages(case: Case = OPEN) -> Stages:
    made = Stages(dirty=case.dirty, mode_based=case.mode_based)
    made.put(case)
    return made


def test_four_levels_behind_four_levels_take_24_steps() -> None:
    made = stages()
    before = bytes(made.ram.words)
    walk = look(made.ram, PAGING, USER, GVA, READ, made.second)
    assert walk.reads == 24
    assert [len(stage.steps) for stage in walk.stages] == [4] * 5
    assert [stage.gpa & ~0xFFF for stage in walk.stages] == [*TABLES, DATA]
    assert (walk.gpa, walk.physical) == (DATA | GVA & 0xFFF, HOST[DATA] | GVA & 0xFFF)
    assert walk.rights == READ | WRITE | EXEC
    assert not walk.refused
    assert bytes(made.ram.words) == before
    assert not made.second.mappings.pages
    assert (
        lines(walk)[-1].strip()
        == f"guest-physical {DATA | 0x678:#x}, physical {HOST[DATA] | 0x678:#x}; user may read, write, fetch"
    )


def test_a_picture() -> None:
    made = stages(OPEN._replace(of_page=R | X))
    text = str(look(made.ram, PAGING, USER, GVA, WRITE, made.second))
    assert text.splitlines()[-7:] == [
        "    guest-physical 0x6678",
        "    EPT PML4E  0x000000010000  0x0000000000011407  XU - - -- X W R  table 0x11000",
        "    EPT PDPTE  0x000000011000  0x0000000000012407  XU - - -- X W R  table 0x12000",
        "    EPT PDE    0x000000012000  0x0000000000013407  XU - - -- X W R  table 0x13000",
        "    EPT PTE    0x000000013030  0x0000000000022005  -- - - -- X - R  4 KiB page at 0x22000, type 0",
        "                                                               ^",
        (
            "  EPT violation at guest-physical 0x6678, exit qualification 0x7aa "
            "(WRITE|READABLE|EXECUTABLE|LINEAR_VALID|FINAL|USER_PAGE|RW_PAGE): EPT PTE.W is 0"
        ),
    ]


@pytest.mark.parametrize(
    ("case", "need", "reason"),
    [
        (OPEN._replace(of_page=0), READ, "EPT PTE is not present"),
        (OPEN._replace(of_page=W), READ, "EPT PTE may be written and not read"),
        (OPEN._replace(of_page=R | 2 << 3), READ, "EPT PTE has a reserved memory type: 2"),
        (OPEN._replace(of_page=R | 1 << 47), READ, "EPT PTE has reserved bits set: 47"),
        (OPEN._replace(of_page=R | W), EXEC, "EPT PTE.X is 0"),
        (OPEN._replace(of_page=R | X, mode_based=True), EXEC, "EPT PTE.XU is 0"),
        (OPEN._replace(of_page=R | XU, mode_based=True, leaf=P | A), EXEC, "EPT PTE.X is 0"),
        (OPEN._replace(of_table=R, dirty=True), READ, "EPT PTE.W is 0"),
        (OPEN._replace(of_table=R, leaf=P | US), READ, "EPT PTE.W is 0"),
    ],
)
def test_what_decided(case: Case, need: int, reason: str) -> None:
    made = stages(case)
    context = USER if case.leaf & US else Context(user=False)
    walk = look(made.ram, PAGING, context, GVA, need, made.second)
    assert walk.exit is not None
    assert walk.exit.reason == reason
    assert walk.exit.level == 1
    assert walk.physical is None
    assert reason in lines(walk)[-1]
    told = json.loads(json.dumps(record(walk)))
    assert told["exit"]["reason"] == reason
    assert len(told["ept"]) == (4 if case.of_table != OPEN.of_table else 5)


def test_a_fault_of_the_guests() -> None:
    made = stages(OPEN._replace(leaf=P | A, of_page=0))
    walk = look(made.ram, PAGING, USER, GVA, READ, made.second)
    assert walk.exit is None
    assert walk.fault is not None
    assert walk.fault.reason == "PTE.US is 0: a supervisor page"
    assert (walk.reads, walk.gpa) == (20, None)


def test_without_paging() -> None:
    made = stages()
    unpaged = Paging(Mode.NONE, 0)
    walk = look(made.ram, unpaged, Context(user=False), DATA | 0x678, WRITE, made.second)
    assert (walk.reads, walk.gpa, walk.physical) == (4, DATA | 0x678, HOST[DATA] | 0x678)
    assert walk.rights == READ | WRITE | EXEC
    assert len(lines(walk)) == 7
    refused = look(made.ram, unpaged, Context(user=False), 0x7000, READ, made.second)
    assert refused.exit is not None
    assert refused.exit.reason == "EPT PTE is not present"


@pytest.mark.parametrize("dirty", [False, True])
@pytest.mark.parametrize("mode_based", [False, True])
def test_every_refusal_has_a_reason(dirty: bool, mode_based: bool) -> None:
    """Of a slice of all cases: what it says agrees with the model."""
    made = Stages(dirty=dirty, mode_based=mode_based)
    for case in islice(cases(dirty=dirty, mode_based=mode_based), 7, None, 997):
        made.put(case)
        context = Context(user=case.user, wp=case.wp)
        walk = look(made.ram, PAGING, context, GVA, NEEDS[case.access], made.second)
        expected = outcome(case)
        if expected.what == "done":
            assert not walk.refused
            assert walk.rights & NEEDS[case.access]
        elif expected.what == "#PF":
            assert walk.fault is not None
            assert int(walk.fault.error) == expected.number
        else:
            assert walk.exit is not None
            assert (walk.exit.name, int(walk.exit.qualification)) == (f"EPT {expected.what}", expected.number)
        assert lines(walk)
