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
                yield event_of(json.loads(line))
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ValueError(f"{path}:{number}: no event of a trace: {line[:60]!r}") from error


def event_of(row: dict[str, Any]) -> tuple[Event, str]:
    """Give the event that a line of a trace has, and its symbol; KeyError or TypeError if it has none."""
    kind = KINDS[row["kind"]]
    numbers = (row["at"], row["cost"], row["rip"], *[row[name] for name in FIELDS[kind]])
    if any(type(each) is not int for each in numbers):
        raise TypeError
    at, cost, rip, *data = numbers
    return Event(kind, at, cost, rip, PEOPLE[row["who"]], tuple(data)), str(row.get("symbol", ""))


KINDS: Final = {kind.name.lower(): kind for kind in Kind}
PEOPLE: Final = {who.name.lower(): who for who in Who}
