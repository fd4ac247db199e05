"""``paracell replay``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..completion import files
from ..options import ListenType, history_option

if TYPE_CHECKING:
    from ..debug.transport import Place


@click.command("replay")
@click.option(
    "--gdb",
    "place",
    type=ListenType(),
    metavar="unix:PATH|[HOST]:PORT|stdio",
    help="Stand at the first instruction of the input's run until a debugger comes in there.",
)
@history_option
@click.argument("file", shell_complete=files)
def command(file: str, place: Place | None, history: int) -> int:
    """Run the input again that `paracell fuzz` saved in FILE, and print what happens, event by event.

    The exit status is 1 if it comes to something again, 0 if it does not; with --gdb it is 0.
    """
    from ..fuzz.finding import BadFinding, open_finding
    from ..fuzz.target import BadTarget
    from ..problem import Problem
    from ..signals import stopping

    try:
        finding, target = open_finding(file)
    except BadFinding as error:
        raise Problem(f"{file}: {error}") from error
    try:
        if finding.digest != target.digest():
            click.echo(f"paracell: {file}: found with other images or files than those that are here", err=True)
        if place is not None:
            from ..debug.files import Files
            from ..debug.prepared import debug_prepared
            from ..debug.session import Options

            machine = target.prepare(finding.data)
            debug_prepared(machine, Options(place, history=history), Files.of_runtime(finding.options.boots))
            return 0
        with stopping(target.request_stop):
            found = target.run(finding.data, tell=click.echo)
    except BadTarget as error:
        raise Problem(f"{file}: {error}") from error
    finally:
        target.close()
    click.echo(str(found) if found else "nothing found")
    return 1 if found else 0
