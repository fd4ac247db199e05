"""``paracell compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.console import Console

    from ..compare.table import Table

_WIDTH: Final = 170  # columns of a report that goes to no terminal


def _names(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Split names at commas."""
    return tuple(name.strip() for name in value.split(",") if name.strip()) if value is not None else ()


@click.command("compare")
@click.option("--quick", is_flag=True, help="A few operations and workloads, in short forms: two minutes.")
@click.option(
    "--jobs", type=click.IntRange(1), metavar="N", help="Processes at a time.  [default: one for each processor]"
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep each result in DIR, and use those that are there.",
)
@click.option("--json", "as_json", type=click.Path(path_type=Path), metavar="FILE", help="The report as JSON.")
@click.option("--csv", "as_csv", type=click.Path(path_type=Path), metavar="FILE", help="Every row for a spreadsheet.")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="The report as one page, with pictures.")
@click.option("--runtimes", callback=_names, metavar="NAME,…", help="Only these of native, paracell, pvm, runv.")
@click.option("--rows", callback=_names, metavar="NAME,…", help="Only these operations of lat, and workloads.")
@click.option("--places", callback=_names, metavar="NAME,…", help="Only these of bare, nested, nested-cold.")
@click.option("--policies", callback=_names, metavar="NAME,…", help="Only these memory policies.")
def command(
    *,
    quick: bool,
    jobs: int | None,
    out: Path | None,
    as_json: Path | None,
    as_csv: Path | None,
    html: Path | None,
    rows: tuple[str, ...],
    **only: tuple[str, ...],
) -> int:
    """Compare ParaCell, PVM, RunV and their memory policies, beside what was published.

    Each row is counted in events and priced by emu/costs.toml, so the same command gives the same report.  docs/compare.md explains it.
    """
    import os

    from ..compare.cells import plan
    from ..compare.report import report
    from ..compare.results import Results
    from ..compare.run import run
    from ..output import check_place
    from ..problem import Problem
    from ..progress import Progress

    try:
        cells = plan(quick=quick, rows=rows, **{name: names for name, names in only.items() if names})
        results = Results(out)
    except ValueError as error:
        raise Problem(str(error)) from error
    results.look_round(cells)
    for path in (as_json, as_csv, html):
        if path is not None:
            check_place(str(path))
    counted = [0, len(cells)]

    def told(done: int, every: int) -> None:
        counted[:] = done, every

    with Progress(lambda: f"{counted[0]} of {counted[1]} cells measured", lambda: counted[0] / max(counted[1], 1)):
        try:
            found = run(cells, results, jobs=jobs if jobs is not None else os.cpu_count() or 1, told=told)
        finally:
            for line in results.complaints:
                click.echo(f"paracell: {line}", err=True)
    with Progress(lambda: "the report is written"):
        made = report(found)
        _write(made, as_json, as_csv, html)
    _show(made)
    return 0


def _write(made: Mapping[str, Any], as_json: Path | None, as_csv: Path | None, html: Path | None) -> None:
    import json

    from ..compare import table
    from ..compare.page import page
    from ..output import whole_file

    forms: tuple[tuple[Path | None, Callable[[Mapping[str, Any]], str]], ...] = (
        (as_json, lambda told: json.dumps(told, indent=1) + "\n"),
        (as_csv, table.as_csv),
        (html, page),
    )
    for path, form in forms:
        if path is not None:
            with whole_file(str(path)) as file:
                file.write(form(made).encode())


def _show(made: Mapping[str, Any]) -> None:
    import sys

    from rich.console import Console

    from ..compare.table import tables

    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH, color_system=None)
    for each in tables(made):
        _print(console, each)
    for line in made["missing"]:
        console.print(f"not measured: {line}", markup=False, highlight=False, soft_wrap=True)


def _print(console: Console, made: Table) -> None:
    from rich import box
    from rich.table import Table as Shown

    shown = Shown(
        title=made.title, caption=made.says, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left"
    )
    for name in made.head:
        shown.add_column(name.removeprefix(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
    for row in made.rows:
        shown.add_row(*row)
    console.print(shown, highlight=False)
