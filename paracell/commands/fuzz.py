"""``paracell fuzz`` and what it leaves behind."""

from __future__ import annotations

import time
from pathlib import Path

import click


@click.command("fuzz")
@click.option("--tries", type=click.IntRange(1), default=20_000, show_default=True, help="How many.")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Of all of them: the same seed, the same tries.",
)
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="The number of the first.")
@click.option(
    "--target",
    type=click.Choice(["gates", "pager"]),
    default="gates",
    show_default=True,
    help="A program that attacks the gates, or a container kernel that attacks Pager's host.",
)
@click.option("--off", multiple=True, metavar="DEFENCE", help="Switch a defence off, to see something found.")
@click.option("--save", default="finding.json", show_default=True, metavar="FILE", help="Where the first finding goes.")
def command(tries: int, seed: int, first: int, target: str, off: tuple[str, ...], save: str) -> int:
    """Attack the gates with random code and registers, from container user, or the host with random requests for memory.

    The first try that gets through is saved for `paracell replay`; the exit status is then 1.
    """
    from ..attacks import ATTACKS
    from ..fuzz import attacker_for
    from ..output import check_place, whole_file
    from ..progress import Progress
    from ..signals import Interrupted, interruptible

    known = {d for a in ATTACKS for d in a.off}
    for defence in off:
        if defence not in known:
            raise click.UsageError(f"no such defence: {defence}; there are {', '.join(sorted(known))}")
    check_place(save)
    done, start = 0, time.perf_counter()
    attacker = attacker_for(target, off)
    with (
        Progress(lambda: f"{done} tries, {done / (time.perf_counter() - start):.0f} a second"),
        interruptible(attacker.machine.request_stop) as caught,
    ):
        for number in range(first, first + tries):
            finding = attacker.search(seed, number)
            if caught:
                break
            done += 1
            if finding:
                break
    rate = done / (time.perf_counter() - start)
    if caught:
        click.echo(f"interrupted after {done} tries, {rate:.0f} a second: nothing got through", err=True)
        raise Interrupted(caught[0])
    if finding:
        told = f"try {finding.number} of seed {seed}: {finding.what}, at {finding.rip:#x}"
        try:
            with whole_file(save) as file:
                file.write(finding.to_json().encode())
        except OSError:
            click.echo(told)  # enough to make it again
            raise
        click.echo(f"{told}; saved as {Path(save)}")
        return 1
    click.echo(f"{done} tries, {rate:.0f} a second: nothing got through")
    return 0
