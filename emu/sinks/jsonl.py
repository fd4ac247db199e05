"""JSON Lines: one object an event.  The same run gives the same bytes."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Final

from ..events import FIELDS, Kind, Who

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..events import Event

_BATCH: Final = 2048
_KEPT: Final = 1 << 14  # different events: programs loop, so most lines differ from an earlier one in their time alone


def _template(kind: Kind, who: Who) -> str:
    fields = "".join(f',"{name}":%d' for name in FIELDS[kind])
    return f'"cost":%d,"who":"{who.name.lower()}","kind":"{kind.name.lower()}","rip":%d,"symbol":"%s"{fields}}}\n'


_TEMPLATES: Final = [[_template(kind, who) for who in Who] for kind in Kind]


class JsonLines:
    """Writes each event as a line.  Events wait in a list and are written in batches."""

    def __init__(self, file: IO[bytes], name: Callable[[int], str]) -> None:
        self._file, self._name = file, name
        self._events: list[Event] = []
        self._known: list[list[dict[tuple[int, int, tuple[int, ...]], str]]] = [[{} for _ in Who] for _ in Kind]

    def emit(self, event: Event) -> None:
        """Take one event."""
        self._events.append(event)
        if len(self._events) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        lines = []
        for kind, at, cost, rip, who, data in self._events:
            known, key = self._known[kind][who], (cost, rip, data)
            line = known.get(key)
            if line is None:
                if len(known) >= _KEPT:
                    known.clear()
                symbol = self._name(rip).replace("\\", "\\\\").replace('"', '\\"')
                line = known[key] = _TEMPLATES[kind][who] % (cost, rip, symbol, *data)
            lines.append(f'{{"at":{at},{line}')
        self._file.write("".join(lines).encode("utf-8", "replace"))
        self._events.clear()

    def close(self) -> None:
        """Write what is left."""
        self._flush()
