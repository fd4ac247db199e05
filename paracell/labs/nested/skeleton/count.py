"""Lab 9: nested exits, counted.  You write five functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

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


def crossings(events: list[Event]) -> dict[tuple[int, int], int]:
    """Count VM exits and entries by (source, target)."""
    raise NotImplementedError


def rounds(events: list[Event]) -> list[Round]:
    """Cut a trace into rounds."""
    raise NotImplementedError


def by_reason(found: list[Round]) -> list[tuple[int, int, int]]:
    """Give (exit reason, how many rounds, their cycles), the most cycles first; of equal ones the lower reason first."""
    raise NotImplementedError


def vmcalls(count: int, costs: Costs, nested: bool, accesses: int) -> Cost:
    """Say what `count` VMCALLs of the innermost guest take; nested, L1 makes `accesses` accesses to its VMCS that exit for each one."""
    raise NotImplementedError


def first_touches(count: int, costs: Costs, nested: bool) -> Cost:
    """Say what it takes that the innermost guest uses `count` pages for the first time."""
    raise NotImplementedError
