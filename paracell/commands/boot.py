"""``paracell boot``."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

import click

from ..completion import files
from ..options import ListenType, history_option, machine_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..debug.transport import Place
    from ..emu.cost import Costs
    from ..emu.devices import ConsolePorts
    from ..emu.features import Features
    from ..emu.machine import ClockKind


@click.command("boot")
@click.argument("image", shell_complete=files)
@click.option(
    *("--module", "modules"),
    multiple=True,
    metavar="FILE",
    shell_complete=files,
    help="Put FILE beside the image; more than once if needed.",
)
@click.option("--initrd", metavar="FILE", shell_complete=files, help="Linux's initial RAM disk: the first module.")
@click.option("--bios", is_flag=True, help="Leave interrupts as a PC's BIOS does: real mode's table, and a timer.")
@click.option("--hpet", is_flag=True, help="Give the machine a high-precision event timer.")
@click.option(
    "--gdb",
    "place",
    type=ListenType(),
    metavar="unix:PATH|[HOST]:PORT|stdio",
    help="Stand before the first instruction until a debugger comes in there; on stderr, the line that starts gdb.",
)
@history_option
@machine_options("1G")
def command(
    image: str,
    initrd: str | None,
    modules: Sequence[str],
    place: Place | None,
    history: int,
    memory: int,
    clock: ClockKind,
    costs: Costs,
    append: str,
    cpu: Features,
    trace: str | None,
    detail: bool,
    stats: bool,
    snapshot: str | None,
    *,
    bios: bool,
    hpet: bool,
    nested: bool,
) -> int:
    """Boot IMAGE, a Linux, multiboot-1, PVH or 64-bit ELF kernel; its first serial port is stdin and stdout, the second stderr."""
    from ..guest.files import read_regular
    from ..guest.multiboot import Module
    from ..machine import Machine
    from ..session import Outputs, exit_status, run_machine

    names = [*([initrd] if initrd is not None else []), *modules]
    files = [Module(posixpath.basename(name), read_regular(name)) for name in names]

    def make(console: ConsolePorts) -> Machine:
        return Machine.boot(
            image,
            modules=files,
            append=append,
            memory=memory,
            cpu=cpu,
            clock=clock,
            costs=costs,
            console=console,
            nested=nested,
            bios=bios,
            hpet=hpet,
        )

    outputs = Outputs(trace=trace, snapshot=snapshot, stats=stats, detail=detail)
    if place is None:
        return exit_status(run_machine(make, outputs), shifted=True)
    from ..debug.files import Files
    from ..debug.session import Options, debugged

    return debugged(make, outputs, Options(place, history=history), lambda _: Files.of_kernel(image), shifted=True)
