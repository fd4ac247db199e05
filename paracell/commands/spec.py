"""``paracell spec``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..oci.command import OciCommand


@click.command("spec", cls=OciCommand)
@click.option("-b", "--bundle", metavar="DIR", default=".", help="Where to write it.  [default: here]")
def command(bundle: str) -> int:
    """Write a config.json to begin with: a shell on a terminal, all of which is honoured."""
    from ..oci.features import template
    from ..oci.problem import OciProblem
    from ..output import whole_file

    path = Path(bundle, "config.json")
    if path.exists():
        raise OciProblem(f"it is there already, remove it first: {path}")
    with whole_file(str(path)) as file:
        file.write(json.dumps(template(), indent="\t").encode() + b"\n")
    return 0
