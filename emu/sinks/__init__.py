"""Sinks: what listens to the stream of events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typing import IO

    from ..events import Event
    from ..symbols import Symbols


class Sink(Protocol):
    """Takes every event, in order."""

    def emit(self, event: Event) -> None:
        """Take one event."""

    def close(self) -> None:
        """The stream has ended."""


SUFFIXES = (".jsonl", ".pftrace")


def open_trace(suffix: str, file: IO[bytes], symbols: Symbols) -> Sink:
    """Give the sink that writes traces of this kind to `file`; ``ValueError`` for another suffix."""
    if suffix == ".jsonl":
        from .jsonl import JsonLines  # noqa: PLC0415  (a run pays for the sink it has)

        return JsonLines(file, symbols.name)
    if suffix == ".pftrace":
        from .perfetto import Perfetto  # noqa: PLC0415

        return Perfetto(file, symbols.name)
    raise ValueError(f"a trace is {' or '.join(SUFFIXES)}, not {suffix or 'without a suffix'}")
