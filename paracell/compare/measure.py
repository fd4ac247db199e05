"""Measures one cell: runs its container, and gives what was counted, as plain data for a file.

An operation's turns lie between two RDTSC of the program's, as `lat` measures them::

    … warm up … │ RDTSC │ TIMES turns │ RDTSC │ …        all events between the two, and the plain code

Plain code counts without a timer, too (``clock="steady"``), so a bill has all that was run: events by kind, and blocks of code.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from ..emu.cost import DEFAULT
from ..emu.events import Kind, Who
from .cells import AROUND, MEMORY, SECOND, Cell
from .services import of
from .tally import Tally

if TYPE_CHECKING:
    from ..container import Container
    from ..emu.cost import Costs
    from ..emu.declared import Service
    from ..emu.events import Event
    from ..emu.nesting import NestedOptions
    from ..end import End

_RDTSC, _END, _USER = Kind.RDTSC, Kind.END, Who.USER
_UNTOLD: Final = {Kind.END, Kind.IDLE}


class Part:
    """Counts the events behind one: kinds, costs, services."""

    def __init__(self, services: tuple[Service, ...], after: Event) -> None:
        self._tally = Tally(services, after=after)
        self._kinds: Counter[Kind] = Counter()

    def emit(self, event: Event) -> None:
        """Take one event."""
        self._tally.emit(event)
        self._kinds[event.kind] += 1

    def counted(self) -> Counter[str]:
        """Give every number by a name: ``times wrpkru``, ``kinds syscall``, ``services pvm_fault``, ``instructions``, ``slept``."""
        times, instructions, slept, services = self._tally.total(DEFAULT.block)
        kinds = {kind.name.lower(): number for kind, number in self._kinds.items() if kind not in _UNTOLD}
        found = Counter({"instructions": instructions, "slept": slept})
        for what, numbers in (("times", times), ("services", services), ("kinds", kinds)):
            found.update({f"{what} {name}": number for name, number in numbers.items()})
        return found


class Turns:
    """The sink that has a part for each two RDTSC of the program's.

    Attributes:
        parts: what each counted, the second RDTSC left out.

    """

    def __init__(self, services: tuple[Service, ...]) -> None:
        self._services = services
        self._part: Part | None = None
        self.parts: list[Counter[str]] = []

    def emit(self, event: Event) -> None:
        """Take one event."""
        reads = event.kind is _RDTSC and event.who is _USER
        if self._part is not None:
            self._part.emit(event)
            if reads:
                found = self._part.counted()
                found.subtract({"times rdtsc": 1, "kinds rdtsc": 1})
                self.parts.append(found)
                self._part = None
        elif reads:
            self._part = Part(self._services, event)

    def close(self) -> None:
        """Nothing is left to do."""


class Program:
    """The sink that has one part: from the program's first event to the end."""

    def __init__(self, services: tuple[Service, ...]) -> None:
        self._services = services
        self.part: Part | None = None

    def emit(self, event: Event) -> None:
        """Take one event."""
        if self.part is not None:
            self.part.emit(event)
        elif event.who is _USER:
            self.part = Part(self._services, event)

    def close(self) -> None:
        """Nothing is left to do."""


def measure(cell: Cell) -> dict[str, Any]:
    """Give what comes of a cell; ``{"missing": LINE}`` where this version, or this computer, cannot run it, or it did not end well."""
    try:
        container = operation(cell) if cell.kind == "operation" else _workload(cell)
    except (LookupError, ValueError) as error:
        if isinstance(error, KeyError | IndexError):
            raise
        return {"missing": str(error)}
    with container:
        return {"operation": _operation, "application": _application, "memory": _memory}[cell.kind](cell, container)


def _nested(cell: Cell) -> NestedOptions | bool:
    from ..emu.nesting import NestedOptions

    return NestedOptions(backed=False, large_pages=False) if cell.place == "nested-cold" else cell.place == "nested"


def operation(cell: Cell, *, turns: int | None = None, costs: Costs | None = None) -> Container:
    """Make the container that an operation's cell runs; with another number of turns or at other costs, if these are given."""
    from ..container import Container

    return Container(
        *("lat", "-e", cell.row, str(turns or cell.turns)),
        runtime=cell.runtime,
        nested=_nested(cell),
        memory_policy=cell.policy or None,
        memory=MEMORY,
        fault_around=AROUND,
        clock="steady",
        costs=costs,
    )


def _workload(cell: Cell) -> Container:
    """Make the container of a workload's cell; for an application plain code counts always, as for an operation."""
    from .workloads import named

    workload = named(cell.row, quick=cell.quick, keep=cell.keep)
    options: dict[str, Any] = {"memory_policy": cell.policy or None, "fault_around": AROUND, "nested": _nested(cell)}
    if cell.kind == "application":
        options["clock"] = "steady"
    return workload.container(runtime=cell.runtime, **options)


def _ended(cell: Cell, end: End | None) -> dict[str, Any]:
    said = "" if end is None else (end.stderr or end.stdout).strip()[-200:]
    return {"missing": f"{cell.name}: it ended with status {end.status if end else None}: {said}"}


def _operation(cell: Cell, container: Container) -> dict[str, Any]:
    turns = Turns(of(cell.runtime, nested=cell.place != "bare"))
    container.inner.add_sink(turns)
    end = container.run()
    if end.status:
        return _ended(cell, end)
    if cell.row == "switch":  # of each run a round trip, and a pipe of one's own; the second run counts
        pair, own = turns.parts[-2:]
        pair.subtract({name: 2 * number for name, number in own.items()})
        return _told(pair, 2 * cell.turns)
    return _told(turns.parts[-1], cell.turns)


def _application(cell: Cell, container: Container) -> dict[str, Any]:
    program = Program(of(cell.runtime, nested=cell.place != "bare"))
    container.inner.add_sink(program)
    end = container.run()
    if end.status or program.part is None:
        return _ended(cell, end)
    return _told(program.part.counted(), 1)


def _memory(cell: Cell, container: Container) -> dict[str, Any]:
    from .meter import Meter

    meter = Meter(container, SECOND // 4)
    curve = meter.run()
    if meter.end is None or meter.end.status:
        return _ended(cell, meter.end)
    samples = [[s.at, s.bound, s.used, s.inner, s.lag, s.lists, s.tables] for s in curve.samples]
    return {"samples": samples, "end": curve.end}


def _told(found: Counter[str], turns: int) -> dict[str, Any]:
    """Give counts as a file keeps them, each kind of number by itself, and zeros left out."""
    told: dict[str, Any] = {"turns": turns, "instructions": found["instructions"], "slept": found["slept"]}
    for what in ("times", "services", "kinds"):
        told[what] = {
            name.partition(" ")[2]: number
            for name, number in sorted(found.items())
            if number and name.startswith(f"{what} ")
        }
    return told
