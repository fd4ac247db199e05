"""``paracell walk``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ..completion import files
from ..mmu.address import canonical
from ..options import Number
from ..problem import Problem

if TYPE_CHECKING:
    from ..emu.machine import Machine

REFUSED = 1


@click.command("walk")
@click.argument("snapshot", shell_complete=files)
@click.argument("address", type=Number())
@click.option("--user", is_flag=True, help="A user-mode access; else supervisor.")
@click.option("--write", is_flag=True, help="A write; else a read.")
@click.option("--exec", "fetch", is_flag=True, help="An instruction fetch.")
@click.option("--pkru", type=Number(), metavar="V", help="PKRU, if not that of the snapshot.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(snapshot: str, address: int, user: bool, write: bool, fetch: bool, pkru: int | None, as_json: bool) -> int:
    """Explain the page walk for ADDRESS in SNAPSHOT, level by level, with the entry and the bit that decided.

    The exit status is 0 when the access is allowed, 1 when it is refused.
    """
    if write and fetch:
        raise click.UsageError("--write and --exec exclude each other")
    if pkru is not None and pkru >> 32:
        raise click.BadParameter(f"{pkru:#x} does not fit into 32 bits", param_hint="--pkru")
    from ..mmu.render import lines, record
    from ..mmu.rights import EXEC, READ, WRITE

    machine = _restore(snapshot)
    if pkru is not None:
        machine.cpu.set_pkru(pkru)
    need = WRITE if write else EXEC if fetch else READ
    _check_canonical(machine, address)
    found = machine.cpu.translation.explain(address, need, user=user)
    click.echo(json.dumps(record(found), indent=2) if as_json else "\n".join(lines(found)))
    return REFUSED if found.fault else 0


def _restore(path: str) -> Machine:
    from ..emu.machine import Machine
    from ..emu.snapshot import BadSnapshot

    with open(path, "rb") as file:  # noqa: PTH123 -- the path goes into OSError as the user wrote it
        try:
            return Machine.restore(file)
        except BadSnapshot as error:
            raise Problem(f"{error}: {path}") from error


def _check_canonical(machine: Machine, address: int) -> None:
    from ..mmu.walk import Mode

    mode = machine.cpu.translation.paging.mode
    if mode is Mode.NONE:
        raise Problem("paging is off in this snapshot: linear addresses are physical", REFUSED)
    if mode is Mode.LEVEL4 and not canonical(address):
        raise Problem(f"not canonical, a general-protection or stack fault and no walk: {address:#x}", REFUSED)
    if mode is not Mode.LEVEL4 and address >> 32:
        raise Problem(f"the snapshot is not in 64-bit mode, its linear addresses have 32 bits: {address:#x}")
