"""The summary: each kind of event, how often, and what it cost."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from ..events import Kind

if TYPE_CHECKING:
    from ..events import Event


class Line(NamedTuple):
    """One line of the summary: a kind of event, or instructions; how often, virtual cycles, share of all cycles."""

    event: str
    times: int
    cycles: int
    share: float


class Summary:
    """Counts events.

    Attributes:
        syscalls: how often each system-call number came, by SYSCALL or by a gate.

    """

    def __init__(self) -> None:
        self._count = [0] * len(Kind)  # by number: to hash a member takes Python code
        self._cycles = [0] * len(Kind)
        self.syscalls: Counter[int] = Counter()

    def emit(self, event: Event) -> None:
        """Take one event."""
        kind = event.kind
        self._count[kind] += 1
        self._cycles[kind] += event.cost
        if kind is _SYSCALL or kind is _GATE_ENTER:
            self.syscalls[event.data[0]] += 1

    def close(self) -> None:
        """Nothing is left to do."""

    def count(self, kind: Kind) -> int:
        """Tell how often a kind of event came."""
        return self._count[kind]

    def lines(self, counted: int = 0) -> list[Line]:
        """Give the table, most expensive first; `counted` cycles of plain code are a line of it.

        With `Clock.counted` the cycles add up to the clock, if all events were seen.
        """
        total = sum(self._cycles, counted) or 1
        met = [kind for kind in Kind if self._count[kind] and kind is not Kind.END]  # that is no boundary
        rows = [Line(k.name.lower(), self._count[k], self._cycles[k], self._cycles[k] / total) for k in met]
        if counted:
            rows.append(Line("plain code", 0, counted, counted / total))
        return sorted(rows, key=lambda line: (-line.cycles, -line.times, line.event))


_SYSCALL, _GATE_ENTER = Kind.SYSCALL, Kind.GATE_ENTER
