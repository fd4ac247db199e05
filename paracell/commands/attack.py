"""``paracell attack``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from ..completion import attacks
from ..options import cost_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..attacks import Row
    from ..emu.cost import Costs


@click.command("attack")
@click.option("--json", "as_json", is_flag=True, help="Print a list of rows with name, refused, control_succeeds.")
@cost_options
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=attacks)
def command(names: Sequence[str], *, as_json: bool, costs: Costs) -> int:
    """Attack the container kernel and the host, with each defence and without.

    A row is good if the attack is refused and its control, with that one defence switched off, succeeds.  Without NAME, all of
    them.  The exit status is 1 if a row is not good.
    """
    from ..attacks import ATTACKS
    from ..progress import Progress

    done: list[Row] = []
    count = len(names) or len(ATTACKS)
    with Progress(lambda: f"{len(done)} of {count} attacks", lambda: len(done) / count) as progress:
        for row in _rows(names, costs):
            done.append(row)
            if not as_json:
                progress.wipe()
                _print(row, first=len(done) == 1)
    if as_json:
        rows = [
            {
                "name": r.name, "refused": r.refused, "control_succeeds": r.control_succeeds,
                "defence": r.defence, "attack": r.says, "control": list(r.harm),
            }
            for r in done
        ]  # fmt: skip
        json.dump(rows, sys.stdout, indent=1)
        sys.stdout.write("\n")
    return 0 if all(r.refused and r.control_succeeds for r in done) else 1


def _rows(names: Sequence[str], costs: Costs) -> Iterator[Row]:
    from ..attacks import ATTACKS, measure

    known = {a.name: a for a in ATTACKS}
    for name in names:
        if name not in known:
            raise click.UsageError(f"no such attack: {name}; there are {', '.join(known)}")
    for attack in [known[n] for n in names] or ATTACKS:
        yield measure(attack, costs)


def _print(row: Row, *, first: bool) -> None:
    if first:
        click.echo(
            f"{'attack':<15} {'refused':<8} {'control':<9} {'without':<11} what it does; what comes of the control"
        )
    refused, control = "yes" if row.refused else "NO", "succeeds" if row.control_succeeds else "FAILS"
    click.echo(f"{row.name:<15} {refused:<8} {control:<9} {row.defence:<11} {row.says}; {', '.join(row.harm)}")
