"""Events from a file: a trace in JSON Lines, as ``--trace FILE.jsonl`` writes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from ..emu.events import FIELDS, Event, Kind, Who

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def read(path: str | Path) -> Iterator[Event]:
    """Give the events of a trace, in order.

    Raises:
        ValueError: a line is no event; the message begins with `path` and the line's number.
        OSError: it cannot be read.

    """
    for event, _ in read_named(path):
        yield event


def read_named(path: str | Path) -> Iterator[tuple[Event, str]]:
    """Give the events of a trace with the symbol of each, in order.  Raises what `read` raises."""
    with open(path, "rb") as file:  # noqa: PTH123  (a path may be a text)
        for number, line in enumerate(file, 1):
            try:
                yield _event(json.loads(line))
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ValueError(f"{path}:{number}: no event of a trace: {line[:60]!r}") from error


def _event(row: dict[str, Any]) -> tuple[Event, str]:
    kind, names = _KINDS[row["kind"]]
    numbers = (row["at"], row["cost"], row["rip"], *[row[name] for name in names])
    if any(type(each) is not int for each in numbers):
        raise TypeError
    at, cost, rip, *data = numbers
    return Event(kind, at, cost, rip, _PEOPLE[row["who"]], tuple(data)), str(row.get("symbol", ""))


_KINDS: Final = {kind.name.lower(): (kind, FIELDS[kind]) for kind in Kind}
_PEOPLE: Final = {who.name.lower(): who for who in Who}
