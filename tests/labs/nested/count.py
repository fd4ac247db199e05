"""Lab 9: nested exits, counted.  A solution."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final, Protocol

Event = Any
"""An event of a trace: ``kind.name``, ``cost``, and the fields of its kind."""


class Costs(Protocol):
    """Cycles of each event."""

    vm_exit: int
    vm_entry: int
    l0_reflect: int
    l0_merge: int
    l0_fill: int
    l0_store: int


@dataclass(frozen=True)
class Round:
    """From an exit of the innermost guest to the next entry into it.

    Attributes:
        reason: the exit reason of the first exit.
        exits: how many VM exits, of all levels.
        entries: how many VM entries.
        reflected: L1 was told.
        cycles: the costs of all its events.

    """

    reason: int
    exits: int
    entries: int
    reflected: bool
    cycles: int


@dataclass(frozen=True)
class Cost:
    """What some operations take, of all levels."""

    exits: int
    entries: int
    cycles: int


EDGES: Final = ("VM_EXIT", "VM_ENTRY")


def crossings(events: list[Event]) -> dict[tuple[int, int], int]:
    """Count edges."""
    return dict(Counter((event.source, event.target) for event in events if event.kind.name in EDGES))


def rounds(events: list[Event]) -> list[Round]:
    """Cut at the innermost guest's exits and entries."""
    inner = max((max(edge) for edge in crossings(events)), default=0)
    out: list[Round] = []
    part: list[Event] | None = None
    for event in events:
        name = event.kind.name
        if part is None and name == "VM_EXIT" and event.source == inner:
            part = []
        if part is not None:
            part.append(event)
            if name == "VM_ENTRY" and event.target == inner:
                out.append(summed(part))
                part = None
    return out


def summed(part: list[Event]) -> Round:
    """Add up a round."""
    names = Counter(event.kind.name for event in part)
    cycles = sum(event.cost for event in part)
    return Round(part[0].reason, names["VM_EXIT"], names["VM_ENTRY"], names["REFLECTION"] > 0, cycles)


def by_reason(found: list[Round]) -> list[tuple[int, int, int]]:
    """Add up by reason."""
    counts, cycles = Counter(r.reason for r in found), Counter[int]()
    for r in found:
        cycles[r.reason] += r.cycles
    return sorted(((reason, n, cycles[reason]) for reason, n in counts.items()), key=lambda row: (-row[2], row[0]))


def vmcalls(count: int, costs: Costs, nested: bool, accesses: int) -> Cost:
    """One crossing and back, or two of them and what L0 does."""
    each = 2 + accesses if nested else 1
    work = costs.l0_reflect + costs.l0_merge if nested else 0
    cycles = each * (costs.vm_exit + costs.vm_entry) + work
    return Cost(count * each, count * each, count * cycles)


def first_touches(count: int, costs: Costs, nested: bool) -> Cost:
    """One crossing and back, or four of them and what L0 does."""
    each = 4 if nested else 1
    work = costs.l0_reflect + costs.l0_merge + costs.l0_fill + costs.l0_store if nested else 0
    cycles = each * (costs.vm_exit + costs.vm_entry) + work
    return Cost(count * each, count * each, count * cycles)
