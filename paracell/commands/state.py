"""``paracell state``."""

from __future__ import annotations

import json

import click

from ..oci.command import OciCommand, settings


@click.command("state", cls=OciCommand)
@click.argument("name", metavar="ID")
@click.pass_context
def command(context: click.Context, name: str) -> int:
    """Show the state of the container ID, as JSON."""
    store, _ = settings(context)
    state = store.read(name)
    click.echo(json.dumps(state.described(store.status(state)), indent=2))
    return 0
