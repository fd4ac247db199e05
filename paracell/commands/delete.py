"""``paracell delete``."""

from __future__ import annotations

import click

from ..oci.command import OciCommand, settings


@click.command("delete", cls=OciCommand)
@click.option("-f", "--force", is_flag=True, help="Kill it if it runs.")
@click.argument("name", metavar="ID")
@click.pass_context
def command(context: click.Context, force: bool, name: str) -> int:
    """Forget the container ID, which has stopped."""
    from ..oci.verbs import delete

    store, log = settings(context)
    delete(store, name, log, force=force)
    return 0
