"""Sinks: what listens to the stream of events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO

    from ..cpu import Cpu
    from ..events import Event, Who
    from ..symbols import Symbols
    from .perfetto import Memory


class Sink(Protocol):
    """Takes every event, in order."""

    def emit(self, event: Event) -> None:
        """Take one event."""

    def close(self) -> None:
        """The stream has ended."""


class Listener:
    """A sink that passes each event to a function."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self.emit = emit

    def close(self) -> None:
        """Nothing is left to do."""


class Lens(Protocol):
    """Gives the processor's events the meaning that a runtime knows; stands before all sinks.

    The processor knows rings, vectors and keys.  That a WRPKRU is a gate, or that ring 3 is the container kernel, follows from the
    runtime that the guest implements.
    """

    def who_is(self, cpu: Cpu) -> Who:
        """Tell who runs."""

    def bind(self, emit: Callable[[Event], None]) -> Callable[[Event], None]:
        """Give the function that takes each of the processor's events and passes to `emit` what it means."""


def fan_out(sinks: Sequence[Callable[[Event], None]]) -> Callable[[Event], None] | None:
    """Give one function that passes an event to all of `sinks`, in order; None where there are none."""
    if len(sinks) < 2:
        return sinks[0] if sinks else None

    def emit(event: Event) -> None:
        for each in sinks:
            each(event)

    return emit


SUFFIXES = (".jsonl", ".pftrace")
DETAILED = ".jsonl"  # the kind that can keep the state of the machine besides each event


def open_trace(
    suffix: str,
    file: IO[bytes],
    symbols: Symbols,
    *,
    call: Callable[[int], str] = hex,
    memory: Callable[[Event], Memory] | None = None,
    nested: bool = False,
    since: int = 0,
) -> Sink:
    """Give the sink that writes traces of this kind.

    Args:
        suffix: of the file's name, one of `SUFFIXES`.
        file: what it is written to.
        symbols: names for addresses.
        call: gives the name of a system call by its number.
        memory: tells of containers when an event comes; None where nobody knows.
        nested: whether the machine has an outermost hypervisor.
        since: the cycle at which the trace begins.

    Raises:
        ValueError: another suffix.

    """
    if suffix == ".jsonl":
        from .jsonl import JsonLines  # noqa: PLC0415  (a run pays for the sink it has)

        return JsonLines(file, symbols.name)
    if suffix == ".pftrace":
        from .perfetto import Perfetto  # noqa: PLC0415

        return Perfetto(file, symbols.name, call, memory, nested=nested, since=since)
    raise ValueError(f"a trace is {' or '.join(SUFFIXES)}, not {suffix or 'without a suffix'}")
