"""``paracell replay``."""

from __future__ import annotations

from pathlib import Path

import click

from ..completion import files


@click.command("replay")
@click.argument("file", shell_complete=files)
def command(file: str) -> int:
    """Make the try again that `paracell fuzz` saved in FILE, and print what it does, event by event.

    The exit status is 1 if it gets through again, 0 if it does not.
    """
    from ..fuzz import BadFinding, attacker_for, finding_of
    from ..problem import Problem
    from ..signals import stopping

    try:
        finding = finding_of(Path(file).read_text(errors="replace"))
    except BadFinding as error:
        raise Problem(f"{file}: {error}") from error
    attacker = attacker_for(finding.target, finding.off)
    with stopping(attacker.machine.request_stop):
        got = attacker.attempt(finding.attempt, tell=click.echo)
    if got is None:
        click.echo("nothing got through")
        return 0
    click.echo(f"{got[0]}, at {got[1]:#x}")
    return 1
