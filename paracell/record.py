"""Events that a program keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from .emu.events import Event, events_html
from .emu.sinks.summary import Line, Summary

if TYPE_CHECKING:
    from collections.abc import Collection
    from types import TracebackType

    from .emu.events import Kind
    from .emu.machine import Machine

_SHOWN = 20  # events of a recording that a notebook shows


class Recording(list[Event]):
    """A list that grows by the events of the kinds it was made for, until it is closed; `Machine.record` makes one.

    Example:
        >>> import paracell
        >>> with paracell.Container("hello") as c:
        ...     with c.record(paracell.Kind.WRPKRU) as changes:
        ...         end = c.run()
        >>> changes[0].new == changes[1].old
        True

    """

    def __init__(self, machine: Machine, kinds: Collection[Kind]) -> None:
        super().__init__()
        self._machine: Machine | None = machine
        self._kinds = frozenset(kinds)
        machine.add_sink(self)

    def emit(self, event: Event) -> None:
        """Take one event."""
        if not self._kinds or event.kind in self._kinds:
            self.append(event)

    def close(self) -> None:
        """Take no more events."""
        machine, self._machine = self._machine, None
        if machine is not None:
            machine.remove_sink(self)

    @property
    def cycles(self) -> int:
        """Virtual cycles that these events took."""
        return sum(event.cost for event in self)

    def summary(self) -> list[Line]:
        """Count them: a line for each kind, with how often, virtual cycles and share of the cycles, most expensive first."""
        counts = Summary()
        for event in self:
            counts.emit(event)
        return counts.lines()

    def __enter__(self) -> Self:
        """Go on recording."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Take no more events."""
        self.close()

    def _repr_html_(self) -> str:
        """Show the first events in a notebook, and how many there are."""
        more = f"<p>… {len(self):,} events in all</p>" if len(self) > _SHOWN else ""
        return events_html(self[:_SHOWN]) + more
