"""``paracell list``."""

from __future__ import annotations

import json

import click

from ..oci.command import OciCommand, settings

_HEAD = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")
_KEYS = ("id", "pid", "status", "bundle", "created", "owner")


@click.command("list", cls=OciCommand)
@click.option("-f", "--format", "style", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("-q", "--quiet", is_flag=True, help="Only the names.")
@click.pass_context
def command(context: click.Context, style: str, quiet: bool) -> int:
    """List the OCI containers."""
    store, _ = settings(context)
    states = [store.read(name) for name in store.names()]
    found = [state.described(store.status(state)) for state in states]
    if quiet:
        for one in found:
            click.echo(one["id"])
    elif style == "json":
        click.echo(json.dumps(found))
    else:
        rows = [_HEAD, *(tuple(str(one[key]) for key in _KEYS) for one in found)]
        widths = [max(len(row[n]) for row in rows) for n in range(len(_HEAD))]
        for row in rows:
            click.echo("   ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    return 0
