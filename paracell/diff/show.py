"""A difference on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from .difference import Difference

NOTHING: Final = "-"


def tables(made: Difference, limit: int) -> list[tuple[str, Sequence[str], list[list[str]]]]:
    """Give the tables of a difference: title, columns, rows; a column that begins with ``>`` is of numbers.

    Args:
        made: the difference.
        limit: how many places of each table are shown; 0 for all.

    """
    sides = "A", "B"
    runs = [
        [
            side,
            run.recorded.path,
            run.recorded.runtime,
            _number(len(run.recorded.events)),
            _number(len(run.operations)),
            _number(total.crossings.total()),
            _number(total.price),
        ]
        for side, run, total in zip(sides, made.runs, made.totals, strict=True)
    ]
    groups = [
        [g.name, *_pair(g.times), _number(g.aligned), *_pair(g.crossings), *_pair(g.cycles), _signed(*g.cycles)]
        for g in made.groups()
    ]
    kinds = [[name, *_pair(times), *_pair(cycles), _signed(*cycles)] for name, times, cycles in made.kinds()]
    places = [
        [
            p.name,
            _number(p.times),
            *(NOTHING if line is None else str(line) for line in p.lines),
            p.changes(),
            _signed(*p.cycles),
        ]
        for p in made.places()
    ]
    found = [
        ("Runs", ("", "trace", "runtime", ">events", ">operations", ">crossings", ">cycles"), runs),
        (
            "Operations of the program",
            ("operation", ">A", ">B", ">aligned", ">crossings A", ">B", ">cycles A", ">B", ">B - A"),
            groups,
        ),
        ("Crossings, and other events", ("event", ">A", ">B", ">cycles A", ">B", ">B - A"), kinds),
        (
            "Where operations differ in crossings",
            ("operation", ">times", ">line in A", ">in B", "B more (+) or less (-)", ">cycles B - A"),
            places,
        ),
    ]
    return [(title, head, _cut(rows, limit)) for title, head, rows in found[: 1 if made.is_same else None]]


def notes(made: Difference) -> list[str]:
    """Tell what a reader must know: no program, no end, nothing in common, no difference."""
    told = []
    if made.is_same:
        told.append("the runs are the same, event by event")
    for run in made.runs:
        if not run.recorded.whole:
            told.append(
                f"{run.recorded.path}: no END: the run was interrupted, or the file is cut; plain code counts as it was charged"
            )
        if not run.operations:
            told.append(f"{run.recorded.path}: no program ran")
    sizes = [len(run.operations) for run in made.runs]
    if all(sizes) and not made.aligned:
        told.append("no operation of A is one of B")
    return told


def show(made: Difference, console: Console, limit: int) -> None:
    """Print a difference."""
    from rich import box
    from rich.table import Table

    for title, head, rows in tables(made, limit):
        if not rows:
            continue
        shown = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
        for name in head:
            shown.add_column(
                name.removeprefix(">"), justify="right" if name.startswith(">") else "left", overflow="fold"
            )
        for row in rows:
            shown.add_row(*row)
        console.print(shown, highlight=False, markup=False)
    for line in notes(made):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _cut(rows: list[list[str]], limit: int) -> list[list[str]]:
    if not limit or len(rows) <= limit:
        return rows
    more = [f"… {len(rows) - limit:,} more", *[""] * (len(rows[0]) - 1)]
    return [*rows[:limit], more]


def _number(value: int) -> str:
    return f"{value:,}" if value else NOTHING


def _pair(values: tuple[int, int]) -> list[str]:
    return [_number(value) for value in values]


def _signed(one: int, other: int) -> str:
    return f"{other - one:+,}" if one != other else "0"
