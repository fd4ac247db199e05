"""What the tests of lab 9 hold a student's numbers against; it does not come into the student's folder, for it says how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ...emu.events import Kind

if TYPE_CHECKING:
    from ...emu.events import Event

EDGES: Final = (Kind.VM_EXIT, Kind.VM_ENTRY)


class Counted(NamedTuple):
    """Exits, entries and cycles, as the tests count them."""

    exits: int
    entries: int
    cycles: int


def inner(events: list[Event]) -> int:
    """Give the innermost level."""
    return max((max(event.source, event.target) for event in events if event.kind in EDGES), default=0)


def cut(events: list[Event]) -> list[list[Event]]:
    """Cut events into rounds."""
    out: list[list[Event]] = []
    level, open_ = inner(events), False
    for event in events:
        if event.kind is Kind.VM_EXIT and event.source == level:
            out.append([])
            open_ = True
        if open_:
            out[-1].append(event)
        if event.kind is Kind.VM_ENTRY and event.target == level:
            open_ = False
    return out[:-1] if open_ else out


def summary(events: list[Event]) -> Counted:
    """Count a list of events."""
    kinds = [event.kind for event in events]
    return Counted(kinds.count(Kind.VM_EXIT), kinds.count(Kind.VM_ENTRY), sum(event.cost for event in events))
