"""``paracell bench``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..bench.measure import Row


@click.command("bench")
@click.option("--json", "as_json", is_flag=True, help="A list of rows with name, ratio, bound and reached.")
@click.option(
    "--access",
    metavar="IMAGE",
    help="kvm-unit-tests' access_test image, for the row of permutations; takes half an hour.  Else our own image.",
)
def command(as_json: bool, access: str | None) -> int:
    """Measure the speed table: each row beside its floor, in the same run.

    The exit status is 0 when every row that could be measured reaches its bound, else 1.
    """
    from ..bench.rows import Table
    from ..guest import image

    if access is not None:
        image.load(access)  # a bad one is found now, not after the other rows
    from ..progress import Progress

    rows: list[Row] = []
    with Progress(lambda: f"{len(rows)} rows measured"):
        try:
            for row in Table(access).rows():
                rows.append(row)  # one by one, for the line above  # noqa: PERF402
        except KeyboardInterrupt:
            if rows and not as_json:
                click.echo(_table(rows))
            raise
    click.echo(_json(rows) if as_json else _table(rows))
    return int(any(row.reached is False for row in rows))


def _json(rows: list[Row]) -> str:
    records = [
        {
            "name": r.name,
            "ratio": r.ratio,
            "bound": r.bound,
            "at_least": r.at_least,
            "reached": r.reached,
            "note": r.note,
        }
        for r in rows
    ]
    return json.dumps(records, indent=2)


def _table(rows: list[Row]) -> str:
    width = max(len(r.name) for r in rows)
    lines = [f"{'row':<{width}}  {'ratio':>7}  {'bound':>7}  reached"]
    for r in rows:
        ratio = "-" if r.ratio is None else f"{r.ratio:.2f}"
        reached = {True: "yes", False: "NO", None: "-"}[r.reached]
        bound = "" if r.bound is None else f"{'≥' if r.at_least else '≤'} {r.bound:.1f}"
        lines.append(f"{r.name:<{width}}  {ratio:>7}  {bound:>7}  {reached:<7}  {r.note}")
    return "\n".join(lines)
