"""``paracell run``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..completion import files, programs
from ..options import Variable, machine_options
from ..runtimes import DEFAULT, RUNTIMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..emu.cost import Costs
    from ..emu.devices import ConsolePorts
    from ..emu.features import Features
    from ..emu.machine import ClockKind


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.option(
    "--runtime",
    type=click.Choice(list(RUNTIMES)),
    default=DEFAULT.name,
    show_default=True,
    help=f"{'; '.join(f'{r.name}: {r.says}' for r in RUNTIMES.values())}.",
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
    costs: Costs,
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
    from ..container import Container
    from ..session import Outputs, exit_status, run_machine

    # The kernel's options: which streams are terminals, and how large the screen is.
    size = "rows={} columns={} ".format(*known) if (known := window()) else ""
    line = f"tty={terminals()} {size}{append}".strip()

    def make(console: ConsolePorts) -> Container:
        return Container(
            *(program, *arguments),
            runtime=runtime,
            rootfs=rootfs,
            environment=dict(v.split("=", 1) for v in environment),
            memory=memory,
            append=line,
            cpu=cpu,
            clock=clock,
            costs=costs,
            console=console,
        )

    outputs = Outputs(trace=trace, snapshot=snapshot, stats=stats)
    return exit_status(run_machine(make, outputs, whole=True), shifted=False)
