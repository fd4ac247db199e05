"""``paracell diff``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from ..completion import files
from ..options import cost_options

if TYPE_CHECKING:
    from ..emu.cost import Costs

_WIDTH: Final = 150  # columns where stdout is no terminal


@click.command("diff")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--html", metavar="FILE", help="Write one page with all rows, and the operations side by side.")
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=25,
    show_default=True,
    metavar="N",
    help="Show so many rows of each table, the greatest differences first; 0 for all.",
)
@cost_options
@click.argument("a", metavar="A.jsonl", shell_complete=files)
@click.argument("b", metavar="B.jsonl", shell_complete=files)
def command(a: str, b: str, *, as_json: bool, html: str | None, limit: int, costs: Costs) -> int:
    """Compare two runs of one program, from their traces: where they cross from one domain to another, and what that costs.

    The operations of the program, its system calls and faults, are aligned, and both runs are priced by the same costs, those of
    emu/costs.toml unless --cost or --costs say otherwise.  The exit status is 0, whatever differs.
    """
    import sys

    from ..diff.difference import difference
    from ..output import check_place, whole_file
    from ..progress import Progress

    if html is not None:
        check_place(html)
    doing = ["reading"]
    with Progress(lambda: doing[0]):
        made = difference(a, b, costs, lambda text: doing.__setitem__(0, text))
    if html is not None:
        from ..diff.page import as_page

        with whole_file(html) as file:
            file.write(as_page(made).encode())
    if as_json:
        import json

        click.echo(json.dumps(made.as_dict(), indent=1))
        return 0
    from rich.console import Console

    from ..diff.tables import show

    console = Console() if sys.stdout.isatty() else Console(width=_WIDTH, color_system=None)
    show(made, console, limit)
    return 0
