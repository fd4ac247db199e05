"""Events from a file: a trace in JSON Lines, as ``--trace FILE.jsonl`` writes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

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
    kinds = {kind.name.lower(): kind for kind in Kind}
    people = {who.name.lower(): who for who in Who}
    with open(path, "rb") as file:  # noqa: PTH123  (a path may be a text)
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                kind = kinds[row["kind"]]
                data = tuple(row[name] for name in FIELDS[kind])
                yield Event(kind, row["at"], row["cost"], row["rip"], people[row["who"]], data)
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}:{number}: no event of a trace: {line[:60]!r}") from error
