"""``paracell walk``."""

from __future__ import annotations

import click

from ..options import Number


@click.command("walk")
@click.argument("snapshot")
@click.argument("address", type=Number())
@click.option("--user", is_flag=True, help="A user-mode access; else supervisor.")
@click.option("--write", is_flag=True, help="A write; else a read.")
@click.option("--exec", "fetch", is_flag=True, help="An instruction fetch.")
@click.option("--pkru", type=Number(), metavar="V", help="PKRU, if not that of the snapshot.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(snapshot: str, address: int, user: bool, write: bool, fetch: bool, pkru: int | None, as_json: bool) -> int:
    """Explain the page walk for ADDRESS in SNAPSHOT, level by level, with the entry and the bit that decided."""
    if write and fetch:
        raise click.UsageError("--write and --exec exclude each other")
    raise NotImplementedError
