"""A trace as the page's timeline: what `--trace FILE.jsonl` wrote, read, checked, and put into columns.

Programs loop, so most events differ from an earlier one in their time alone: what else an event is stands once in ``rows``, and so do
call stacks and walks.  The numbers that may not fit into a double are hexadecimal texts.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from ..compare.trace import KINDS, PEOPLE, event_of
from ..emu.clock import TSC_HZ
from ..emu.events import FIELDS, Event, Kind, Who
from .walks import drawn
from .words import GROUPS, label, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

HOW: Final = "record with: paracell run --trace run.jsonl --trace-detail PROGRAM"
_LANES: Final = {Who.USER: "program", Who.KERNEL: "container kernel", Who.HOST: "host", Who.OUTER: "L0"}
_COLOURS: Final = {Who.USER: "program", Who.KERNEL: "kernel", Who.HOST: "host", Who.OUTER: "L0"}
_OF_CONTAINERS: Final = {Who.USER, Who.KERNEL}
_GROUP_OF: Final = {kind: number for number, kinds in enumerate(GROUPS.values()) for kind in kinds}
_TOLD_EVERY: Final = 4096


class BadTrace(ValueError):
    """A file that is no trace, or one that is damaged before its last line."""


class Timeline:
    """Takes the lines of a trace, and gives the section that draws it.

    Attributes:
        count: events so far.
        notes: what a reader must know of the trace, in sentences.

    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.count = 0
        self.notes: list[str] = []
        self._at: list[int] = []
        self._last = 0
        self._row: list[int] = []
        self._lane: list[tuple[Who, int | None]] = []
        self._rows = _Table()
        self._stacks, self._walks = _Table(), _Table()
        self._registers: list[dict[str, str] | int] = []
        self._stack: list[int] = []
        self._walk: dict[int, int] = {}
        self._vmcs: dict[int, list[dict[str, Any]]] = {}
        self._has_detail = False

    def read(self, lines: Iterable[bytes], tell: Callable[[int], None] = lambda _: None) -> None:
        """Take every line; `tell` is told of the bytes read, now and then.

        A last line that is broken, as a run that was killed leaves it, is left out with a note.

        Raises:
            BadTrace: another line is no event; the message says which file, line and why.

        """
        wrong: tuple[int, str] | None = None
        size = 0
        for number, line in enumerate(lines, 1):
            if wrong is not None:
                raise BadTrace(f"{self._path}:{wrong[0]}: {wrong[1]}")
            size += len(line)
            try:
                self._take(json.loads(line))
            except _Strange as error:
                raise BadTrace(f"{self._path}:{number}: {error}") from None
            except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
                wrong = number, "no event of a trace"
            if not number % _TOLD_EVERY:
                tell(size)
        if wrong is not None and self.count:
            self.notes.append(f"Line {wrong[0]}, the last one, is broken and left out: the trace was cut off.")
        elif wrong is not None or not self.count:
            raise BadTrace(f"neither a .jsonl trace nor a snapshot: {self._path}")

    def _take(self, line: dict[str, Any]) -> None:
        """Take one event."""
        kind = KINDS.get(line["kind"])
        if kind is None or line["who"] not in PEOPLE:
            raise _Strange(f"the trace is of another version: it has {line['kind']!r} by {line['who']!r}")
        if any(name not in line for name in FIELDS[kind]):
            raise _Strange(f"the trace is of another version: {line['kind']} is without {', '.join(FIELDS[kind])}")
        event, symbol = event_of(line)
        if event.at < self._last or not isinstance(line["symbol"], str):
            raise ValueError
        detail = self._detail(line["detail"]) if "detail" in line else None
        row = self._rows.number((kind, event.cost, event.rip, event.data, symbol), lambda: _row(event, symbol))
        self._at.append(event.at - self._last)
        self._row.append(row)
        self._last = event.at
        container = None
        if detail is not None:
            registers, stack, walk, vmcs, container = detail
            self._has_detail = True
            self._registers.append(registers)
            self._stack.append(self._stacks.number(tuple(stack), lambda: stack))
            if walk is not None:
                self._walk[self.count] = self._walks.number(json.dumps(walk), lambda: walk)
            if vmcs:
                self._vmcs[self.count] = vmcs
        else:
            self._registers.append(0)
            self._stack.append(-1)
        self._lane.append((event.who, container if event.who in _OF_CONTAINERS else None))
        self.count += 1

    @staticmethod
    def _detail(found: dict[str, Any]) -> tuple[dict[str, str], list[str], Any, list[dict[str, Any]], int | None]:
        """Check what a detailed trace keeps besides an event, and make texts of what is wide."""
        registers = {str(name): hex(value) for name, value in found["registers"].items()}
        stack = [str(name) for name in found["stack"]]
        walk = drawn(found["walk"]) if "walk" in found else None
        vmcs = [
            {
                "name": str(each["name"]),
                "at": hex(each["at"]),
                "changed": [[str(name), hex(old), hex(new)] for name, (old, new) in each["changed"].items()],
            }
            for each in found.get("vmcs", ())
        ]
        container = found.get("container")
        return registers, stack, walk, vmcs, None if container is None else int(container)

    def section(self, title: str = "Timeline") -> dict[str, Any]:
        """Give the section for `page`."""
        several = len({container for _, container in self._lane if container is not None}) > 1
        met = {lane if several else (lane[0], None) for lane in self._lane}
        lanes = sorted(met, key=lambda lane: (-1 if lane[1] is None else lane[1], _ORDER.index(lane[0])))
        lanes.sort(key=lambda lane: (lane[0] not in _OF_CONTAINERS, lane[0] is Who.OUTER))
        number = {lane: index for index, lane in enumerate(lanes)}
        alone = all(who is not Who.HOST for who, _ in lanes)
        notes = list(self.notes)
        if not self._has_detail:
            notes.append(f"Registers, call stacks, page walks and VMCS fields are not in this trace; {HOW}")
        return {
            "kind": "timeline",
            "title": title,
            "hz": TSC_HZ,
            "lanes": [{"name": _lane_name(*lane, alone=alone), "colour": _COLOURS[lane[0]]} for lane in lanes],
            "groups": list(GROUPS),
            "kinds": [kind.name.lower().replace("_", " ") for kind in Kind],
            "groupOf": [_GROUP_OF[kind] for kind in Kind],
            "rows": self._rows.values,
            "at": self._at,
            "row": self._row,
            "lane": [number[lane if several else (lane[0], None)] for lane in self._lane],
            "detailed": self._has_detail,
            "how": HOW,
            "registers": self._registers if self._has_detail else [],
            "stacks": self._stacks.values,
            "stack": self._stack if self._has_detail else [],
            "walks": self._walks.values,
            "walk": self._walk,
            "vmcs": self._vmcs,
            "notes": notes,
        }


class _Strange(Exception):
    """A line that is whole, and not of this version."""


class _Table:
    """Values that are kept once, by number."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._known: dict[Any, int] = {}

    def number(self, key: object, make: Callable[[], object]) -> int:
        """Give the number of the value with this key; it is made the first time."""
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = len(self.values)
            self.values.append(make())
        return found


def _row(event: Event, symbol: str) -> list[Any]:
    """Give what an event is besides its time and lane: kind, cost, place, symbol, label, and its numbers with their meaning."""
    fields = [[name, hex(value), words(event, name, value)] for name, value in event.fields.items()]
    return [int(event.kind), event.cost, hex(event.rip), symbol, label(event), fields]


def _lane_name(who: Who, container: int | None, *, alone: bool) -> str:
    """Name a lane; a kernel without a host may be any."""
    if who is Who.KERNEL and alone:
        return "kernel"
    return _LANES[who] if container is None else f"{_LANES[who]} {container}"


_ORDER: Final = (Who.USER, Who.KERNEL, Who.HOST, Who.OUTER)
