"""The headlines, and how far they move when each cost takes every value that was published for it.

A reduction is ``1 - ours / the other's``, in cycles of the same operation.  A headline says "up to", so it is the greatest reduction
over the rows, at each choice of costs anew.  Costs that belong together move together: an exit and its entry, the two halves of what
the outermost hypervisor does for an exit of its guest's guest.

::

    low ├──────────────●────────┤ high        all choices of low, default and high: the ends
              ├────────●──┤                   one cost alone: a bar of the tornado
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ..emu.cost import DEFAULT
from ..emu.declared import declared
from .services import named, of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..emu.cost import Costs
    from .figures import Measured

_PAIRS: Final = (("vm_exit", "vm_entry"), ("l0_reflect", "l0_merge"))
_PARTNERS: Final = {second: first for first, second in _PAIRS}


@frozen
class Axis:
    """One or two costs that move as one.

    Attributes:
        names: of the costs, or of one service.
        low, high: their ends, in the order of `names`.
        service: whether it is a service.

    """

    names: tuple[str, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]
    service: bool = False

    @property
    def name(self) -> str:
        """What it is called in a report."""
        return " + ".join(self.names)


@frozen
class Headline:
    """A claim to look at: ours against another system, in a place.

    Attributes:
        against: the other runtime.
        place: one of `cells.PLACES`.
        published: the name of the published claim that it stands beside.

    """

    against: str
    place: str
    published: str


HEADLINES: Final = (
    Headline("pvm", "bare", "pvm-bare"),
    Headline("pvm", "nested", "pvm-nested"),
    Headline("pvm", "nested-cold", "pvm-nested"),
    Headline("runv", "bare", "runv-bare"),
    Headline("runv", "nested", "runv-nested"),
    Headline("runv", "nested-cold", "runv-nested"),
)


@frozen
class Swept:
    """A headline with its sweep; reductions from 1, all time saved, down; negative where ours is slower.

    Attributes:
        ours: at the default costs.
        row: which row it is of.
        low, high: the least and the most that any choice of costs gives.
        bars: for each axis, the reduction at its low and at its high end, all else at its default; the widest first.

    """

    ours: float
    row: str
    low: float
    high: float
    bars: tuple[tuple[str, float, float], ...]


def axes(runtimes: Sequence[str], *, nested: bool, services: bool) -> tuple[Axis, ...]:
    """Give what can move where these runtimes are compared.

    Args:
        runtimes: their names.
        nested: with an outermost hypervisor.
        services: those of the runtimes' hosts, too.

    """
    found = []
    for name, cost in declared().hardware.items():
        if cost.low is None or cost.high is None or name in _PARTNERS:
            continue
        names = (name, *(second for first, second in _PAIRS if first == name))
        costs = [declared().hardware[each] for each in names]
        found.append(Axis(names, tuple(c.low or 0 for c in costs), tuple(c.high or 0 for c in costs)))
    for runtime in runtimes if services else ():
        found += [
            Axis((s.name,), (s.low,), (s.high,), service=True)
            for s in of(runtime, nested=nested)
            if s.low is not None and s.high is not None
        ]
    return tuple(found)


def sweep(pairs: Mapping[str, tuple[Measured, Measured]], column: str, moving: Sequence[Axis]) -> Swept:
    """Sweep the greatest reduction of some rows.

    Args:
        pairs: a row's name → ours and the other's; one at least.
        column: the set of services at which nothing moves.
        moving: what moves; those that no row is charged for are left out.

    """
    charged = {n for pair in pairs.values() for m in pair for b in (m.bill.times, m.bill.services) for n in b}
    moving = [axis for axis in moving if charged & set(axis.names)]
    lines = {
        row: (_Line.of(ours, column, moving), _Line.of(other, column, moving)) for row, (ours, other) in pairs.items()
    }

    def best(at: Sequence[int]) -> tuple[float, str]:
        return max((_reduction(ours.at(at), other.at(at)), row) for row, (ours, other) in lines.items())

    still = [_DEFAULT] * len(moving)
    ours, row = best(still)
    bars = []
    for number, axis in enumerate(moving):
        low, high = (best([*still[:number], end, *still[number + 1 :]])[0] for end in (_LOW, _HIGH))
        bars.append((axis.name, low, high))
    bars.sort(key=lambda bar: (-abs(bar[2] - bar[1]), bar[0]))
    ends = [best(at)[0] for at in product((_DEFAULT, _LOW, _HIGH), repeat=len(moving))]
    return Swept(ours, row, min(ends), max(ends), tuple(bars))


_DEFAULT, _LOW, _HIGH = range(3)


@frozen
class _Line:
    """The cycles of a turn, which each axis moves by so much, whatever the others do.

    Attributes:
        still: at the defaults.
        moves: for each axis what is added at its default, 0, at its low and at its high end.

    """

    still: float
    moves: tuple[tuple[float, float, float], ...]

    @classmethod
    def of(cls, measured: Measured, column: str, moving: Sequence[Axis]) -> _Line:
        still = measured.cycles(named(column))
        moves = []
        for axis in moving:
            low, high = (measured.cycles(*_moved(column, axis, end)) - still for end in (axis.low, axis.high))
            moves.append((0.0, low, high))
        return cls(still, tuple(moves))

    def at(self, choice: Sequence[int]) -> float:
        return self.still + sum(move[end] for move, end in zip(self.moves, choice, strict=True))


def _moved(column: str, axis: Axis, end: tuple[int, ...]) -> tuple[dict[str, int], Costs]:
    """Give the services and costs where one axis has moved."""
    changes: dict[str, object] = dict(zip(axis.names, end, strict=True))
    return (named(column, changes), DEFAULT) if axis.service else (named(column), DEFAULT.replace(changes))


def _reduction(ours: float, theirs: float) -> float:
    return 1 - ours / theirs if theirs else 0.0
