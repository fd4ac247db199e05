"""``paracell run``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..completion import files, programs
from ..options import Variable, machine_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..emu.features import Features
    from ..emu.machine import ClockKind


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.option(
    "--runtime",
    type=click.Choice(["native", "paracell"]),
    default="paracell",
    show_default=True,
    help="The container kernel at ring 0, or at ring 3 on protection keys above the ParaCell host.",
)
@click.option("--rootfs", metavar="DIR|TAR", shell_complete=files, help="The container's files.")
@click.option("--env", "environment", type=Variable(), multiple=True, metavar="K=V", help="Add to the environment.")
@machine_options("256M")
@click.argument("program", shell_complete=programs)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARG]...", shell_complete=files)
def command(
    runtime: str,
    rootfs: str | None,
    environment: Sequence[str],
    memory: int,
    clock: ClockKind,
    append: str,
    cpu: Features,
    trace: str | None,
    stats: bool,
    snapshot: str | None,
    program: str,
    arguments: Sequence[str],
) -> int:
    """Run PROGRAM, a static x86-64 Linux executable, in a container.

    It is looked up in the rootfs, among the programs that ParaCell ships, and on this computer; its exit status is the command's.
    On a terminal every key is the program's, Ctrl-C and Ctrl-Z too; Ctrl-] ends the run.
    """
    from ..console import terminals, window
    from ..container import prepare
    from ..guest import image
    from ..session import Job, Outputs, exit_status, run_machine

    container = prepare(runtime, program, arguments, environment, rootfs, memory)
    outputs = Outputs(trace=trace, snapshot=snapshot, stats=stats)
    # The kernel's options: which streams are terminals, and how large the screen is.
    size = "rows={} columns={} ".format(*known) if (known := window()) else ""
    line = f"tty={terminals()} {size}{append}".strip()
    job = Job(
        *(image.load(container.image), container.modules, line, memory, container.symbols),
        paracell=runtime == "paracell",
        container=True,
        cpu=cpu,
        clock=clock,
    )
    return exit_status(run_machine(job, outputs), shifted=False)
