"""Tests of lab 9: containers run under RunV, bare and nested, and the student's functions count what they did."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from ...container import Container
from ...emu.cost import DEFAULT, Costs
from ...emu.events import Event, Kind, Who
from ...emu.nesting import NestedOptions
from ..grade import Student, expect, test
from .counted import EDGES, Counted, cut, inner, summary

if TYPE_CHECKING:
    from random import Random

KINDS: Final = (Kind.VM_EXIT, Kind.VM_ENTRY, Kind.REFLECTION, Kind.MERGE, Kind.EPT_FILL, Kind.TABLE_STORE)
PRICED: Final = ("vm_exit", "vm_entry", "l0_reflect", "l0_merge", "l0_fill", "l0_store")
VMCALL, VMREAD, VMWRITE, EPT_VIOLATION = 18, 23, 25, 48
EXITS: Final = frozenset({60, 231})
MOST: Final = 500  # events that are enough


def recorded(
    program: str, argument: int, costs: Costs = DEFAULT, *, nested: NestedOptions | bool = False
) -> list[Event]:
    """Run a program and keep what crossed VMX, from its `main` to its exit, or the first `MOST` events of that."""
    with Container(program, str(argument), runtime="runv", nested=nested, memory="64M", costs=costs) as container:
        container.run_until(f"{program}!main")
        with container.record(*KINDS) as events:
            container.run_until(lambda event: (event.kind is Kind.SYSCALL and event.nr in EXITS) or len(events) >= MOST)
        return list(events)


def prices(random: Random) -> Costs:
    """Choose costs."""
    return DEFAULT.replace({name: random.randrange(10, 9000) for name in PRICED})


@lru_cache(maxsize=1)
def runs() -> list[tuple[str, list[Event]]]:
    """Run three programs, once."""
    return [
        ("`vmcall 5`, bare", recorded("vmcall", 5)),
        ("`vmcall 5`, nested, VMCS not shadowed", recorded("vmcall", 5, nested=NestedOptions(shadow_vmcs=False))),
        ("`touch 1`, nested", recorded("touch", 1, nested=True)),
    ]


@test(15, "crossings: by source and target", seconds=30)
def edges(student: Student) -> None:
    crossings = student.function("count", "crossings")
    for what, events in runs():
        wanted: dict[tuple[int, int], int] = {}
        for event in events:
            if event.kind in EDGES:
                edge = event.source, event.target
                wanted[edge] = wanted.get(edge, 0) + 1
        got = crossings(list(events))
        expect(isinstance(got, dict) and dict(got) == wanted, f"{what}: crossings gave {got!r}, and not {wanted}")
    expect(dict(crossings([])) == {}, "crossings([]) is not {}")


def told(got: Any, wanted: list[Event], what: str) -> None:
    """Compare one round."""
    exits, entries, cycles = summary(wanted)
    reflected = any(event.kind is Kind.REFLECTION for event in wanted)
    fields = {
        "reason": int(wanted[0].reason),
        "exits": exits,
        "entries": entries,
        "reflected": reflected,
        "cycles": cycles,
    }
    for name, value in fields.items():
        mine = getattr(got, name, None)
        expect(mine == value, f"{what}: `{name}` is {mine!r}, and not {value!r}")


def made(*events: tuple[Kind, int, tuple[int, ...]]) -> list[Event]:
    """Make events: of each the kind, the cost and the fields."""
    return [Event(kind, 0, cost, 0, Who.OUTER, data) for kind, cost, data in events]


def slices() -> list[tuple[str, list[Event]]]:
    """Give short lists that no program of ours makes by itself."""
    fill = [
        (Kind.VM_EXIT, 600, (2, 0, EPT_VIOLATION, 0, 0)),
        (Kind.EPT_FILL, 90, (0, 0, 1)),
        (Kind.VM_ENTRY, 500, (0, 2)),
    ]
    port = [(Kind.VM_EXIT, 600, (1, 0, 30, 0, 0)), (Kind.PORT, 250, (0x3F8, 1, 65, 1)), (Kind.VM_ENTRY, 500, (0, 1))]
    return [
        ("two fills of L0's, nested", made(*fill, *fill)),
        ("a port, bare, with an event of another kind", made(*port)),
        ("no exit at all", made((Kind.PORT, 250, (0x3F8, 1, 65, 1)))),
        ("nothing", []),
    ]


@test(30, "rounds: from an exit to the next entry", seconds=30)
def pieces(student: Student) -> None:
    rounds = student.function("count", "rounds")
    for what, events in runs():
        level = inner(events)
        first = 1 + next(i for i, e in enumerate(events) if e.kind is Kind.VM_EXIT and e.source == level)
        last = max(i for i, e in enumerate(events) if e.kind is Kind.VM_EXIT and e.source == level)
        for part, shown in (
            (events, ""),
            (events[first:], ", from the middle of a round on"),
            (events[: last + 1], ", up to an exit"),
        ):
            compare(rounds(list(part)), part, f"{what}{shown}")
    for what, events in slices():
        compare(rounds(list(events)), events, what)


def compare(got: Any, events: list[Event], what: str) -> None:
    """Compare rounds."""
    wanted = cut(events)
    expect(isinstance(got, list), f"{what}: rounds gave {got!r}, and no list")
    expect(len(got) == len(wanted), f"{what}: {len(got)} rounds, and not {len(wanted)}")
    for number, (mine, right) in enumerate(zip(got, wanted, strict=True), 1):
        told(mine, right, f"{what}, round {number}")


@test(15, "by_reason: what costs most", seconds=30)
def table(student: Student) -> None:
    by_reason, round_ = student.function("count", "by_reason"), student.function("count", "Round")
    found = [round_(r, 2, 2, True, c) for r, c in ((18, 900), (48, 300), (18, 100), (30, 1000), (48, 9000), (10, 1000))]
    wanted = [(48, 2, 9300), (10, 1, 1000), (18, 2, 1000), (30, 1, 1000)]
    got = by_reason(found)
    expect(
        [tuple(row) for row in got] == wanted,
        f"rounds of reasons and cycles {[(r.reason, r.cycles) for r in found]}: {got!r}, not {wanted}",
    )
    expect(list(by_reason([])) == [], "by_reason([]) is not []")


def same(got: Any, wanted: Counted, what: str) -> None:
    """Compare a prediction with a run."""
    mine = tuple(getattr(got, name, None) for name in ("exits", "entries", "cycles"))
    expect(mine == tuple(wanted), f"{what}: the machine took {wanted}; you said {got!r}")


@test(20, "vmcalls: said beforehand", seconds=30)
def calls(student: Student) -> None:
    vmcalls = student.function("count", "vmcalls")
    for nested, shadow in ((False, True), (True, True), (True, False)):
        costs, count = prices(student.random), student.random.randrange(3, 30)
        options = NestedOptions(shadow_vmcs=shadow) if nested else False
        part = [piece for piece in cut(recorded("vmcall", count, costs, nested=options)) if piece[0].reason == VMCALL]
        accesses = sum(e.kind is Kind.VM_EXIT and e.reason in {VMREAD, VMWRITE} for e in part[0])
        wanted = summary([event for piece in part for event in piece])
        kind = "nested" if nested else "bare"
        shown = f"{count} VMCALLs, {kind}, {accesses} accesses each, costs { ({n: getattr(costs, n) for n in PRICED}) }"
        same(vmcalls(count, costs, nested, accesses), wanted, shown)
        if not nested:
            same(vmcalls(count, costs, nested, 7), wanted, shown.replace("0 accesses", "7 accesses"))


@test(20, "first_touches: said beforehand", seconds=30)
def touches(student: Student) -> None:
    first_touches = student.function("count", "first_touches")
    for nested in (False, True):
        costs = prices(student.random)
        events = recorded("touch", 1, costs, nested=nested)
        part = cut(events)
        part = part[: len(part) // 2 * 2]  # two rounds a page, if it is nested
        assert {piece[0].reason for piece in part} == {EPT_VIOLATION}
        pages = len({piece[0].gpa for piece in part})
        kind = "nested" if nested else "bare"
        shown = f"{pages} pages, {kind}, costs { ({n: getattr(costs, n) for n in PRICED}) }"
        same(first_touches(pages, costs, nested), summary([event for piece in part for event in piece]), shown)
