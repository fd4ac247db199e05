"""``paracell replay``."""

from __future__ import annotations

import click

from ..completion import files


@click.command("replay")
@click.argument("file", shell_complete=files)
def command(file: str) -> int:
    """Run the input again that `paracell fuzz` saved in FILE, and print what happens, event by event.

    The exit status is 1 if it comes to something again, 0 if it does not.
    """
    from ..fuzz.finding import BadFinding, open_finding
    from ..problem import Problem
    from ..signals import stopping

    try:
        finding, target = open_finding(file)
    except BadFinding as error:
        raise Problem(f"{file}: {error}") from error
    try:
        if finding.digest != target.digest():
            click.echo(f"paracell: {file}: found with other images or files than those that are here", err=True)
        stop = target.machine.request_stop if target.machine is not None else lambda: None
        with stopping(stop):
            found = target.run(finding.data, tell=click.echo)
    finally:
        target.close()
    click.echo(str(found) if found else "nothing found")
    return 1 if found else 0
