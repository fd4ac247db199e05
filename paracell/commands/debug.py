"""``paracell debug``."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..completion import files, programs
from ..options import ListenType, Variable, beside_option, history_option, machine_options
from ..runtimes import DEFAULT, RUNTIMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..debug.transport import Place
    from ..emu.cost import Costs
    from ..emu.devices import ConsolePorts
    from ..emu.features import Features
    from ..emu.machine import ClockKind
    from ..machine import Machine


@click.command("debug", context_settings={"allow_interspersed_args": False})
@click.option(
    "--runtime",
    type=click.Choice(list(RUNTIMES)),
    default=DEFAULT.name,
    show_default=True,
    help=f"{'; '.join(f'{r.name}: {r.says}' for r in RUNTIMES.values())}.",
)
@click.option("--rootfs", metavar="DIR|TAR|IMAGE", shell_complete=files, help="The container's files, as for run.")
@click.option("--env", "environment", type=Variable(), multiple=True, metavar="K=V", help="Add to the environment.")
@click.option(
    "--listen",
    "place",
    type=ListenType(),
    metavar="unix:PATH|[HOST]:PORT|stdio",
    help="Wait there for a debugger instead of starting one; stdio is for gdb's 'target remote | paracell debug …'.",
)
@click.option("--no-gdb", is_flag=True, help="Start no gdb, and print the line that does; without --listen, port 1234.")
@click.option("--gdb", metavar="COMMAND", help="The gdb to start.  [default: gdb]")
@click.option(
    "--ex", "commands", multiple=True, metavar="COMMAND", help="Have gdb run this command once it is connected."
)
@click.option("--batch", is_flag=True, help="Have gdb leave when it has run those; the guest ends with it.")
@beside_option
@history_option
@machine_options("256M")
@click.argument("program", required=False, shell_complete=programs)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARG]...", shell_complete=files)
def command(
    runtime: str,
    rootfs: str | None,
    environment: Sequence[str],
    place: Place | None,
    gdb: str | None,
    commands: Sequence[str],
    beside: Sequence[tuple[str, ...]],
    history: int,
    memory: int,
    clock: ClockKind,
    costs: Costs,
    append: str,
    cpu: Features,
    trace: str | None,
    stats: bool,
    snapshot: str | None,
    program: str | None,
    arguments: Sequence[str],
    *,
    no_gdb: bool,
    batch: bool,
    nested: bool,
    detail: bool,
) -> int:
    """Run PROGRAM in a container, as run does, under gdb: it stands before the first instruction of the machine.

    gdb is started, connected, and knows the symbols of program, container kernel and host; docs/debug.md shows what it can be asked.
    The exit status is the program's, or 137 where the debugger ends it.
    """
    from ..container import Container
    from ..debug.files import Files
    from ..debug.session import Options, debugged
    from ..debug.transport import Place
    from ..session import Outputs

    if program is None and rootfs is None:
        raise click.UsageError("Missing argument 'PROGRAM'.")
    wanted = None if no_gdb or place is not None else gdb or shutil.which("gdb")
    if wanted is None and (commands or batch or gdb):
        raise click.UsageError("--gdb, --ex and --batch are for a gdb that is started, and there is none.")
    more = [word for each in commands for word in ("-ex", each)] + (["-batch"] if batch else [])
    options = Options(place or (None if wanted else Place(port=1234)), wanted, tuple(more), history)
    with tempfile.TemporaryDirectory(prefix="paracell-") as made:
        folder = Path(made)

        def make(console: ConsolePorts) -> Container:
            return Container(
                program,
                *arguments,
                runtime=runtime,
                rootfs=rootfs,
                environment=dict(v.split("=", 1) for v in environment),
                memory=memory,
                append=append,
                cpu=cpu,
                clock=clock,
                costs=costs,
                console=console,
                nested=nested,
                beside=beside,
            )

        def symbols(machine: Machine) -> Files:
            assert isinstance(machine, Container)
            return Files.of_container(machine, folder)

        outputs = Outputs(trace=trace, snapshot=snapshot, stats=stats, detail=detail)
        return debugged(make, outputs, options, symbols, shifted=False)
