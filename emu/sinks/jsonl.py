"""JSON Lines: one object an event.  The same run gives the same bytes."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Final

from ..events import FIELDS, Kind, Who

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..events import Event

_BATCH: Final = 2048


def _template(kind: Kind) -> str:
    fields = "".join(f',"{name}":%d' for name in FIELDS[kind])
    return '{"at":%d,"cost":%d,"who":"%s","kind":"' + kind.name.lower() + '","rip":%d,"symbol":"%s"' + fields + "}\n"


_TEMPLATES: Final = [_template(kind) for kind in Kind]
_WHO: Final = [who.name.lower() for who in Who]


class JsonLines:
    """Writes each event as a line.  Events wait in a list and are written in batches."""

    def __init__(self, file: IO[bytes], name: Callable[[int], str]) -> None:
        self._file, self._name = file, name
        self._events: list[Event] = []
        self._names: dict[int, str] = {}

    def emit(self, event: Event) -> None:
        """Take one event."""
        self._events.append(event)
        if len(self._events) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        names, name = self._names, self._name
        lines = []
        for kind, at, cost, rip, who, data in self._events:
            symbol = names.get(rip)
            if symbol is None:
                symbol = names[rip] = name(rip).replace("\\", "\\\\").replace('"', '\\"')
            lines.append(_TEMPLATES[kind] % (at, cost, _WHO[who], rip, symbol, *data))
        self._file.write("".join(lines).encode("utf-8", "replace"))
        self._events.clear()

    def close(self) -> None:
        """Write what is left."""
        self._flush()
