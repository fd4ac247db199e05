"""``paracell create``."""

from __future__ import annotations

import click

from ..oci.command import OciCommand, bundle_options, run_bundle


@click.command("create", cls=OciCommand)
@click.option("-b", "--bundle", metavar="DIR", default=".", help="The directory of config.json.  [default: here]")
@bundle_options
@click.argument("name", metavar="ID")
@click.pass_context
def command(
    context: click.Context,
    /,
    bundle: str,
    console_socket: str | None,
    pid_file: str | None,
    preserve_fds: int,
    name: str,
    **_: bool,
) -> int:
    """Make the container ID of an OCI bundle; its process waits for `start`."""
    return run_bundle(context, name, bundle, console_socket, pid_file, preserve_fds, start=False)
