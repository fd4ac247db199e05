"""The figures of docs/pager.md, and of shadow paging in docs/runv.md, are what comes out."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from paracell.container import Container
from paracell.emu.events import Kind

from .test_pager import HC_PAGER

DOCS = Path(__file__).parents[2] / "docs"
PAGER = (DOCS / "pager.md").read_text(encoding="utf-8")
RUNV = (DOCS / "runv.md").read_text(encoding="utf-8")
BATCHES = (1, 2, 4, 8, 16, 32, 64)
CYCLES_PER_NS = 2.5


def row(name: str) -> list[str]:
    found = re.search(rf"^\| {re.escape(name)} \| (.*?) \|$", PAGER, re.MULTILINE)
    assert found
    return [cell.strip() for cell in found[1].split("|")]


@cache
def lat(*options: str) -> dict[str, int]:
    command = [sys.executable, "-m", "paracell", "run", *options, "lat"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {line.split()[0]: int(line.split()[1]) for line in said.splitlines()[1:]}


@pytest.mark.parametrize("batch", BATCHES)
def test_a_page_bound(batch: int) -> None:
    """Of requests that bind a whole batch and unbind nothing: from the hypercall to the return."""
    options = f"batch={batch} high={max(64, 2 * batch)}"
    with Container(
        *("lat", "fault", "600"), append=options, pager=True, fault_around=1, clock="exact", memory="64M"
    ) as c:
        told = c.record(*Kind)
        assert c.run().status == 0
    requests = [
        next(end for end in told[i + 1 :] if end.kind is Kind.SYSRET).at - event.at + event.cost
        for i, event in enumerate(told)
        if event.kind is Kind.HYPERCALL and event.nr == HC_PAGER and event.arg1 == batch
    ]
    cycles, nanoseconds = (
        float(row(name)[BATCHES.index(batch)].replace(",", "")) for name in ("cycles", "ns at 2.5 GHz")
    )
    mean = sum(requests) / len(requests) / batch
    assert (round(mean), round(mean / CYCLES_PER_NS)) == (cycles, nanoseconds)


@pytest.mark.parametrize("operation", ["cold", "fault", "refault", "fork", "exec", "sh", "thread"])
def test_on_and_off(operation: str) -> None:
    off, on, *_ = row(operation)
    assert [lat("--pager", p)[operation] for p in ("off", "on")] == [int(n.replace(",", "")) for n in (off, on)]


def test_the_others_are_the_same() -> None:
    off, on = lat("--pager", "off"), lat("--pager", "on")
    named = {"cold", "fault", "refault", "fork", "exec", "sh", "thread"}
    assert {name for name in off if abs(off[name] - on[name]) > 5} <= named


@pytest.mark.parametrize(
    ("operation", "says"),
    [("fault", "a first write to a page"), ("fork", "`fork`"), ("exec", "`exec`"), ("switch", "a process switch")],
)
def test_shadow_paging_beside_ept(operation: str, says: str) -> None:
    text = " ".join(RUNV.split())
    found = re.search(rf"{re.escape(says)} ([\d,]+) and ([\d,]+)", text)
    assert found
    shown = [int(number.replace(",", "")) for number in found.groups()]
    assert shown == [lat("--runtime", "runv", *more)[operation] for more in ((), ("--append", "mmu=spt"))]
