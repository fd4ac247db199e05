"""``paracell kill``."""

from __future__ import annotations

import click

from ..oci.command import OciCommand, settings


@click.command("kill", cls=OciCommand)
@click.option("-a", "--all", "_everyone", is_flag=True, help="Accepted: what ends the first process ends them all.")
@click.argument("name", metavar="ID")
@click.argument("number", metavar="[SIGNAL]", default="TERM")
@click.pass_context
def command(context: click.Context, _everyone: bool, name: str, number: str) -> int:
    """Send the first process of the container ID a signal, by name or number; without SIGNAL it is TERM."""
    from ..oci.verbs import kill, signal_number

    kill(settings(context)[0], name, signal_number(number))
    return 0
