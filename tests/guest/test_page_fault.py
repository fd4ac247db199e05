"""What one page fault costs, a page at a time, as docs/lat.md takes it apart: counted in traces with every instruction a cycle."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from paracell import runtimes
from paracell.container import Container
from paracell.emu.events import Kind, Who

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paracell.emu.events import Event

MANUAL: Final = Path(__file__).parents[2] / "docs" / "lat.md"
COLUMNS: Final = ("IDT", "SYSCALL", "WRPKRU", "CR3", "VMX", "outermost", "kernel", "host")
COLUMN_OF: Final = {
    **dict.fromkeys((Kind.EXCEPTION, Kind.IRET), "IDT"),
    **dict.fromkeys((Kind.SYSCALL, Kind.SYSRET, Kind.HYPERCALL, Kind.GATE_EXIT), "SYSCALL"),
    Kind.WRPKRU: "WRPKRU",
    Kind.CR3_LOAD: "CR3",
    **dict.fromkeys((Kind.VM_EXIT, Kind.VM_ENTRY), "VMX"),
}
PROGRAMS_OWN: Final = 2  # instructions of the program from one page to the next
PAGES: Final = 600

Parts = Counter[str]


def parts(events: list[Event], machine: Container) -> Parts:
    """Tell where the cycles of these events and of the code before each of them went."""
    found: Parts = Counter()
    before = events[0].at - events[0].cost
    for event in events:
        image = (machine.symbols.name(event.rip) or "").partition("!")[0]
        code = "program" if event.who is Who.USER else "host" if image.endswith("-host.elf") else "kernel"
        found[code] += event.at - event.cost - before
        found[COLUMN_OF.get(event.kind, "outermost")] += event.cost
        before = event.at
    return +found


def faults(runtime: str, nested: bool, pager: bool | None) -> Iterator[tuple[bool, Parts]]:
    """Give the page faults of `lat`: is it cold, that is, was more missing than the program's page; and its parts."""
    with Container(
        *("lat", "fault", str(PAGES)),
        runtime=runtime,
        pager=pager,
        fault_around=1,
        clock="exact",
        nested=nested,
        memory="64M",
    ) as c:
        told = c.record(*Kind)
        assert c.run().status == 0
        begins = [i for i, e in enumerate(told) if (e.kind, e.who) == (Kind.EXCEPTION, Who.USER) and e.vector == 14]
        for one, next_one in pairwise(begins):
            events = told[one:next_one]
            exceptions = sum(e.kind is Kind.EXCEPTION for e in events)
            violations = sum(e.kind is Kind.EPT_VIOLATION for e in events)
            yield exceptions + violations > 1, parts(events, c)


@cache
def most_frequent(runtime: str, nested: bool, pager: bool | None) -> dict[bool, Parts]:
    """Give the parts of most warm page faults, and of most cold ones if there are any."""
    counted = {cold: Counter[tuple[tuple[str, int], ...]]() for cold in (False, True)}
    for cold, found in faults(runtime, nested, pager):
        if found["program"] == PROGRAMS_OWN:
            counted[cold][tuple(sorted(found.items()))] += 1
    return {cold: Counter(dict(c.most_common(1)[0][0])) for cold, c in counted.items() if c.total() > PAGES // 8}


def name(runtime: str, nested: bool, pager: bool | None) -> str:
    """Give what the manual calls a set-up: its options."""
    return f"{runtime}{' --nested' if nested else ''}{' --pager off' if pager is False else ''}"


def shown(runtime: str, cold: bool, nested: bool, pager: bool | None) -> str | None:
    """Give the row of the manual's table that tells of it."""
    found = most_frequent(runtime, nested, pager).get(cold)
    if found is None:
        return None
    cells = [found[column] for column in COLUMNS]
    told = " | ".join("" if not cell else f"{cell:,}" for cell in [*cells, found.total()])
    return re.sub(r"  +", " ", f"| {name(runtime, nested, pager)} | {'cold' if cold else 'warm'} | {told} |")


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(("runtime", "pager"), [*((r, None) for r in runtimes.RUNTIMES), ("paracell", False)])
def test_the_manuals_parts(runtime: str, pager: bool | None, nested: bool) -> None:
    """Each row is there, and no other; a row with nesting is there only where it is another one."""
    where = name(runtime, nested, pager)
    table = MANUAL.read_text(encoding="utf-8").splitlines()
    told = [row for row in table if row.startswith((f"| {where} | warm |", f"| {where} | cold |"))]
    found = [row for cold in (False, True) if (row := shown(runtime, cold, nested, pager)) is not None]
    assert found
    if nested:
        bare = {shown(runtime, cold, False, pager) for cold in (False, True)}
        found = [row for row in found if row.replace(" --nested", "") not in bare]
    assert told == found


@pytest.mark.parametrize("runtime", runtimes.RUNTIMES)
@pytest.mark.parametrize("around", [1, 4])
def test_the_manuals_faults_around(runtime: str, around: int) -> None:
    text = MANUAL.read_text(encoding="utf-8")
    rows = dict(re.findall(rf"^\| (\w+), {around} " + r"\| (.*) \|$", text, re.MULTILINE))
    column = list(runtimes.RUNTIMES).index(runtime)
    for operation in ("fault", "refault"):
        command = ["run", "--runtime", runtime, "--fault-around", str(around), "lat", operation]
        said = subprocess.run(
            [sys.executable, "-m", "paracell", *command], check=True, capture_output=True, text=True
        ).stdout
        cycles = re.search(r": (\d+) cycles each", said)
        assert cycles
        assert rows[operation].split(" | ")[column] == f"{int(cycles[1]):,}"
