"""Runs of containers that questions are answered from: what one operation more changes in the counts of a trace."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from ..container import Container

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..emu.events import Event, Kind
    from ..emu.nesting import NestedOptions

MEMORY = "64M"


class Counted(NamedTuple):
    """What a part of a run did.

    Attributes:
        events: how often each kind came.
        cycles: what these cost.

    """

    events: Counter[Kind]
    cycles: int


def run(
    program: str,
    argument: int,
    *,
    runtime: str,
    costs: Mapping[str, object] | None = None,
    nested: NestedOptions | bool = False,
    policy: str | None = None,
    fault_around: int | None = None,
    append: str = "",
    keep: Callable[[Event], bool] | None = None,
) -> Counted:
    """Run a shipped program to its end and count what crossed a boundary.

    Raises:
        RuntimeError: the program did not end by itself.

    """
    counts: Counter[Kind] = Counter()
    with Container(
        program,
        str(argument),
        runtime=runtime,
        memory=MEMORY,
        costs=costs,
        nested=nested,
        memory_policy=policy,
        fault_around=fault_around,
        append=append,
    ) as container:
        with container.record() as events:
            end = container.run()
        counts.update(event.kind for event in events if keep is None or keep(event))
        if end.status != 0:
            raise RuntimeError(f"{program} {argument} under {runtime}: {end}")
        return Counted(counts, end.cycles)


def more(first: Counted, second: Counted) -> Counted:
    """Give what the second run has more than the first."""
    counts = Counter({kind: n for kind, n in second.events.items() if n != first.events[kind]})
    counts.subtract({kind: n for kind, n in first.events.items() if kind in counts})
    return Counted(counts, second.cycles - first.cycles)


def lines(counted: Counted) -> list[str]:
    """Print counts, a kind a line."""
    return [f"{kind.name.lower():<14} {n:>6}" for kind, n in sorted(counted.events.items()) if n]
