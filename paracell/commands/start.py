"""``paracell start``."""

from __future__ import annotations

import click

from ..oci.command import OciCommand, settings


@click.command("start", cls=OciCommand)
@click.argument("name", metavar="ID")
@click.pass_context
def command(context: click.Context, name: str) -> int:
    """Let the container ID run, which `create` has made."""
    from ..oci.verbs import start

    store, log = settings(context)
    start(store, name, log)
    return 0
