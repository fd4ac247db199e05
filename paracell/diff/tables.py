"""A difference as tables, on the terminal and on a page.

A column whose name begins with ``>`` is of numbers, one with ``+`` of numbers with their sign.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from .difference import Difference

Cell: TypeAlias = "str | int | None"
_NAMED: Final = 3  # kinds of crossings that a row names before it says how many more there are


class Table(NamedTuple):
    """Rows under a title, and a sentence."""

    title: str
    head: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    says: str = ""


def tables(made: Difference, *, whole: bool = False) -> list[Table]:
    """Give the tables of a difference; of runs that are the same, the first.  `whole`: each change of crossings is named."""
    runs = [
        (
            side,
            run.recorded.path,
            run.recorded.runtime,
            len(run.recorded.events),
            len(run.operations),
            total.crossings.total(),
            total.price,
        )
        for side, run, total in zip("AB", made.runs, made.totals, strict=True)
    ]
    head = ("", "trace", "runtime", ">events", ">operations", ">crossings", ">cycles")
    found = [Table("Runs", head, [*runs])]
    return (
        found if made.is_same else [*found, _operations(made), _kinds(made), _places(made, None if whole else _NAMED)]
    )


def side_by_side(made: Difference, limit: int) -> Table:
    """Give the operations of both runs beside each other, in order, `limit` at most."""
    rows: list[tuple[Cell, ...]] = []
    for pair in made.pairs():
        if len(rows) == limit:
            break
        one, other = pair
        tallies = [operation.made if operation else None for operation in pair]
        prices = [tally.price if tally else 0 for tally in tallies]
        rows.append(
            (
                one.line if one else None,
                other.line if other else None,
                (one or other).name,  # type: ignore[union-attr]  # there is one of them
                *(tally.crossings.total() if tally else None for tally in tallies),
                *(tally.price if tally else None for tally in tallies),
                prices[1] - prices[0],
            )
        )
    head = (">line in A", ">in B", "operation", ">crossings A", ">B", ">cycles A", ">B", "+B - A")
    says = f"The first {limit:,} of {len(made.rows):,}." if len(made.rows) > limit else ""
    return Table("Operation by operation", head, rows, says)


def _operations(made: Difference) -> Table:
    rows = [(g.name, *g.times, g.aligned, *g.crossings, *g.cycles, g.cycles[1] - g.cycles[0]) for g in made.groups()]
    head = ("operation", ">A", ">B", ">aligned", ">crossings A", ">B", ">cycles A", ">B", "+B - A")
    return Table("Operations of the program", head, [*rows])


def _kinds(made: Difference) -> Table:
    rows = [(name, *times, *cycles, cycles[1] - cycles[0]) for name, times, cycles in made.kinds()]
    return Table("Crossings, and other events", ("event", ">A", ">B", ">cycles A", ">B", "+B - A"), [*rows])


def _places(made: Difference, most: int | None) -> Table:
    rows = [(p.name, p.times, *p.lines, p.changes(most), p.cycles[1] - p.cycles[0]) for p in made.places()]
    head = ("operation", ">times", ">line in A", ">in B", "B more (+) or less (-)", "+cycles B - A")
    return Table("Where operations differ in crossings", head, [*rows], "The lines are those of the first one.")


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
    """Print a difference, of each table `limit` rows, or all for 0."""
    from rich import box
    from rich.table import Table as Shown

    for table in tables(made):
        if not table.rows:
            continue
        shown = Shown(title=table.title, box=box.SIMPLE_HEAD, title_justify="left")
        for name in table.head:
            shown.add_column(
                name.lstrip(">+"), justify="right" if name.startswith((">", "+")) else "left", overflow="fold"
            )
        cut = table.rows[:limit] if limit else table.rows
        for row in cut:
            shown.add_row(*(_text(cell, name) for cell, name in zip(row, table.head, strict=True)))
        if len(cut) < len(table.rows):
            shown.add_row(f"… {len(table.rows) - len(cut):,} more")
        console.print(shown, highlight=False, markup=False)
    for line in notes(made):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _text(cell: Cell, name: str) -> str:
    if isinstance(cell, int):
        return f"{cell:+,}" if name.startswith("+") and cell else f"{cell:,}" if cell or name.startswith("+") else "-"
    return "-" if cell is None else cell


def heads(names: Sequence[str]) -> list[str]:
    """Give the names of columns for a page, which knows no signs."""
    return [name.replace("+", ">", 1) if name.startswith("+") else name for name in names]
