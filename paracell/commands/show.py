"""``paracell show``."""

from __future__ import annotations

import click

from ..completion import files
from ..problem import Problem


@click.command("show")
@click.argument("file", metavar="TRACE|SNAPSHOT", shell_complete=files)
@click.option(
    *("-o", "--output"),
    metavar="FILE",
    default="run.html",
    show_default=True,
    shell_complete=files,
    help="The HTML file to write.",
)
def command(file: str, output: str) -> int:
    """Draw a trace, or the machine in a snapshot, as one HTML file that opens in a browser from disk.

    TRACE is what run, boot or debug wrote with --trace FILE.jsonl; with --trace-detail besides, the page shows registers, call stacks,
    page walks and VMCS fields of each event.  SNAPSHOT is what they wrote with --snapshot.
    """
    from ..output import check_place, whole_file
    from ..show.file import show

    check_place(output)
    try:
        made = show(file)
    except ValueError as error:
        raise Problem(str(error)) from error
    with whole_file(output) as out:
        out.write(made.encode("utf-8", "replace"))
    return 0
