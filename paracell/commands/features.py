"""``paracell features``."""

from __future__ import annotations

import json

import click

from ..oci.command import OciCommand


@click.command("features", cls=OciCommand)
def command() -> int:
    """Show what this runtime knows of the OCI specification, as JSON."""
    from ..oci.features import features

    click.echo(json.dumps(features(), indent=2))
    return 0
