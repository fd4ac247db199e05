"""Where two runs differ: by kind of operation, by kind of crossing, and operation by operation."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, frozen

from ..emu.cost import DEFAULT
from ..problem import Problem
from .align import align
from .operations import BEFORE, ITSELF, Operation, Run, Tally, take_apart
from .recorded import recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ..emu.cost import Costs
    from .align import Row

    Tell = Callable[[str], None]


@define
class Group:
    """Operations of one kind, in both runs.

    Attributes:
        name: what people call it; of page faults without the address.
        times: how often, in each run.
        aligned: how many of one run are one of the other.
        crossings: changes of domain in each run.
        cycles: the price of each run's.

    """

    name: str
    times: tuple[int, int] = (0, 0)
    aligned: int = 0
    crossings: tuple[int, int] = (0, 0)
    cycles: tuple[int, int] = (0, 0)


@frozen
class Place:
    """A way of differing, and how often operations differ so.

    Attributes:
        name: the operations.
        times: how many.
        lines: the first one's line in each trace; None where it is in one run alone.
        crossings: changes of domain by name, in each run.
        cycles: the price of all of them, in each run.

    """

    name: str
    times: int
    lines: tuple[int | None, int | None]
    crossings: tuple[Counter[str], Counter[str]]
    cycles: tuple[int, int]

    def changes(self, most: int | None = None) -> str:
        """Tell the crossings that the second run has more or fewer, the greatest change first, and `most` of them by name."""
        one, other = self.crossings
        more = {name: other[name] - one[name] for name in {**one, **other} if other[name] != one[name]}
        ordered = sorted(more.items(), key=lambda item: (-abs(item[1]), item[0]))
        named = [f"{number:+d} {name}" for name, number in ordered[:most]]
        left = len(ordered) - len(named)
        return ", ".join([*named, *([f"{left} more"] if left else [])])


@frozen
class Difference:
    """Two runs beside each other.

    Attributes:
        runs: both.
        rows: indices of their operations, aligned.
        totals: what each run is made of.

    """

    runs: tuple[Run, Run]
    rows: list[Row]
    totals: tuple[Tally, Tally]

    @property
    def aligned(self) -> int:
        """How many operations of one run are one of the other."""
        return sum(one is not None and other is not None for one, other in self.rows)

    @property
    def is_same(self) -> bool:
        """Whether the runs have the same events."""
        return self.runs[0].recorded.events == self.runs[1].recorded.events

    def pairs(self) -> Iterator[tuple[Operation | None, Operation | None]]:
        """Give the operations beside each other."""
        ours, theirs = (run.operations for run in self.runs)
        for one, other in self.rows:
            yield None if one is None else ours[one], None if other is None else theirs[other]

    def groups(self) -> list[Group]:
        """Sum up by kind of operation, the greatest difference of price first; what is no operation at the end."""
        found: dict[str, Group] = {}
        for pair in self.pairs():
            for side, operation in enumerate(pair):
                if operation is not None:
                    name = _kind(operation)
                    _add(found.setdefault(name, Group(name)), side, operation.made)
            if pair[0] is not None and pair[1] is not None:
                found[_kind(pair[0])].aligned += 1
        ordered = sorted(found.values(), key=lambda g: (-abs(g.cycles[1] - g.cycles[0]), g.name))
        for name, tallies in (
            (BEFORE, [run.before for run in self.runs]),
            (ITSELF, [run.itself for run in self.runs]),
        ):
            group = Group(name)
            for side, tally in enumerate(tallies):
                _add(group, side, tally)
            ordered.append(evolve(group, times=(0, 0)))
        return ordered

    def kinds(self) -> list[tuple[str, tuple[int, int], tuple[int, int]]]:
        """Give each kind of crossing, then of other events, with how often and at what price in each run; the dearest difference first."""
        rows = []
        ones, others = self.totals
        for each in ("crossings", "others"):
            left, right = getattr(ones, each), getattr(others, each)
            named = [(n, (left[n], right[n]), (ones.cycles[n], others.cycles[n])) for n in {**left, **right}]
            rows += sorted(named, key=lambda row: (-abs(row[2][1] - row[2][0]), -abs(row[1][1] - row[1][0]), row[0]))
        known = {name for name, _, _ in rows}
        for name in sorted({*ones.cycles, *others.cycles} - known):
            rows.append((name, (0, 0), (ones.cycles[name], others.cycles[name])))
        return rows

    def places(self) -> list[Place]:
        """Give the ways in which operations differ, by crossings or by being in one run alone; the dearest first."""
        found: dict[Any, Place] = {}
        for pair in self.pairs():
            one, other = (None if o is None else o.made.crossings for o in pair)
            if one == other:
                continue
            name = _kind(next(o for o in pair if o is not None))
            key = name, *(None if made is None else frozenset(made.items()) for made in (one, other))
            lines = pair[0].line if pair[0] else None, pair[1].line if pair[1] else None
            now = Place(name, 0, lines, (one or Counter(), other or Counter()), (0, 0))
            before = found.get(key, now)
            cycles = [had + (o.made.price if o else 0) for had, o in zip(before.cycles, pair, strict=True)]
            found[key] = evolve(before, times=before.times + 1, cycles=(cycles[0], cycles[1]))
        return sorted(found.values(), key=lambda p: (-abs(p.cycles[1] - p.cycles[0]), p.name, str(p.lines)))

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain values, for JSON."""
        return {
            "runs": [
                {
                    "file": run.recorded.path,
                    "runtime": run.recorded.runtime,
                    "whole": run.recorded.whole,
                    "events": len(run.recorded.events),
                    "operations": len(run.operations),
                    "crossings": total.crossings.total(),
                    "cycles_charged": run.recorded.cycles,
                    "cycles": total.price,
                }
                for run, total in zip(self.runs, self.totals, strict=True)
            ],
            "aligned": self.aligned,
            "same": self.is_same,
            "operations": [
                {
                    "name": g.name,
                    "times": list(g.times),
                    "aligned": g.aligned,
                    "crossings": list(g.crossings),
                    "cycles": list(g.cycles),
                }
                for g in self.groups()
            ],
            "kinds": [{"name": n, "times": list(t), "cycles": list(c)} for n, t, c in self.kinds()],
            "differ": [
                {
                    "name": p.name,
                    "times": p.times,
                    "lines": list(p.lines),
                    "crossings": [dict(sorted(c.items())) for c in p.crossings],
                    "cycles": list(p.cycles),
                }
                for p in self.places()
            ],
        }


def difference(ours: str | Path, theirs: str | Path, costs: Costs = DEFAULT, tell: Tell = lambda _: None) -> Difference:
    """Read two traces in JSON Lines, of two runs of one program, and align them by what the program did.

    Args:
        ours: the path of the first.
        theirs: of the second.
        costs: what each kind of event costs, in both.
        tell: is told what goes on.

    Raises:
        Problem: a trace is none, or they are of different programs; one line says what and where.
        OSError: one cannot be read.

    Example:
        >>> import paracell, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = [f"{folder}/{runtime}.jsonl" for runtime in ("native", "paracell")]
        ...     for path, runtime in zip(paths, ("native", "paracell")):
        ...         with paracell.Container("null", "10", runtime=runtime) as c, c.trace(path):
        ...             end = c.run()
        ...     made = paracell.difference(*paths)
        >>> next(group for group in made.groups() if group.name == "getpid")
        Group(name='getpid', times=(10, 10), aligned=10, crossings=(20, 20), cycles=(1570, 560))

    """
    paths = str(ours), str(theirs)
    read = [recorded(path, lambda n, path=path: tell(f"{n:,} events of {path} read")) for path in paths]  # type: ignore[misc]
    programs = [set(each.programs) for each in read]
    if all(programs) and not programs[0] & programs[1]:
        names = [f"{each.path} runs {', '.join(each.programs)}" for each in read]
        raise Problem(f"different programs, nothing to align: {names[0]}; {names[1]}")
    runs = [
        take_apart(each, costs, lambda n, path=each.path: tell(f"{n:,} events of {path} counted"))  # type: ignore[misc]
        for each in read
    ]
    tell("the operations are aligned")
    keys = [[operation.key for operation in run.operations] for run in runs]
    landmarks = frozenset(operation.key for run in runs for operation in run.operations if operation.is_call)
    rows = align(keys[0], keys[1], landmarks)
    return Difference((runs[0], runs[1]), rows, (runs[0].total(), runs[1].total()))


def _kind(operation: Operation) -> str:
    """Name an operation without its address."""
    return operation.name.partition(" 0x")[0] if operation.name.startswith("#") else operation.name


def _add(group: Group, side: int, made: Tally) -> None:
    def more(pair: tuple[int, int], number: int) -> tuple[int, int]:
        return (pair[0] + number, pair[1]) if side == 0 else (pair[0], pair[1] + number)

    group.times = more(group.times, 1)
    group.crossings = more(group.crossings, made.crossings.total())
    group.cycles = more(group.cycles, made.price)
