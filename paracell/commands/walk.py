"""``paracell walk``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ..completion import files
from ..options import Number
from ..problem import Problem

if TYPE_CHECKING:
    from ..view import Access

REFUSED = 1


@click.command("walk")
@click.argument("snapshot", shell_complete=files)
@click.argument("address", type=Number())
@click.option("--user", is_flag=True, help="A user-mode access; else supervisor.")
@click.option("--write", is_flag=True, help="A write; else a read.")
@click.option("--exec", "fetch", is_flag=True, help="An instruction fetch.")
@click.option("--pkru", type=Number(), metavar="V", help="PKRU, if not that of the snapshot.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--python", "as_python", is_flag=True, help="Print the Python that does the same, instead.")
def command(
    snapshot: str,
    address: int,
    user: bool,
    write: bool,
    fetch: bool,
    pkru: int | None,
    as_json: bool,
    as_python: bool,
) -> int:
    """Explain the page walk for ADDRESS in SNAPSHOT, level by level, with the entry and the bit that decided.

    The exit status is 0 when the access is allowed, 1 when it is refused.
    """
    if write and fetch:
        raise click.UsageError("--write and --exec exclude each other")
    if pkru is not None and pkru >> 32:
        raise click.BadParameter(f"{pkru:#x} does not fit into 32 bits", param_hint="--pkru")
    access: Access = "write" if write else "fetch" if fetch else "read"
    if as_python:
        click.echo(_python(snapshot, address, access, user, pkru, as_json))
        return 0
    from ..emu.snapshot import BadSnapshot
    from ..machine import Machine
    from ..progress import Progress
    from ..view import NoWalk

    try:
        with Progress(lambda: f"{snapshot} is read"), Machine.restore(snapshot) as machine:
            found = machine.walk(address, access, user=user, pkru=pkru)
    except BadSnapshot as error:
        raise Problem(f"{error}: {snapshot}") from error
    except NoWalk as error:
        raise Problem(str(error), REFUSED) from error
    except ValueError as error:
        raise Problem(str(error)) from error
    click.echo(json.dumps(found.as_dict(), indent=2) if as_json else str(found))
    return REFUSED if found.refused else 0


def _python(snapshot: str, address: int, access: Access, user: bool, pkru: int | None, as_json: bool) -> str:
    """Write the program that does the same."""
    rights = f"user={user}" if pkru is None else f"user={user}, pkru={pkru:#x}"
    walk = f"machine.walk({address:#x}, {access!r}, {rights})"
    lines = [
        *(["import json", ""] if as_json else []),
        "import paracell",
        "",
        f"with paracell.Machine.restore({snapshot!r}) as machine:",
        f"    walk = {walk}",
        "    print(json.dumps(walk.as_dict(), indent=2))" if as_json else "    print(walk)",
    ]
    return "\n".join(lines)
