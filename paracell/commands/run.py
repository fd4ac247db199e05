"""``paracell run``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from ..completion import files, programs
from ..oci.command import bundle_options, logged, run_bundle
from ..options import Variable, VolumeType, beside_option, machine_options
from ..pager.policies import POLICIES, check
from ..runtimes import DEFAULT, RUNTIMES
from ..settings import FAULT_AROUND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..emu.cost import Costs
    from ..emu.devices import ConsolePorts
    from ..emu.features import Features
    from ..emu.machine import ClockKind
    from ..volumes import Volume


_OF_BUNDLES = {
    *("bundle", "detach", "keep", "console_socket", "pid_file", "preserve_fds", "no_pivot", "no_new_keyring"),
    *("program", "arguments"),
}


@click.command("run", context_settings={"allow_interspersed_args": False})
@click.option(
    "--runtime",
    type=click.Choice(list(RUNTIMES)),
    default=DEFAULT.name,
    show_default=True,
    help=f"{'; '.join(f'{r.name}: {r.says}' for r in RUNTIMES.values())}.",
)
@click.option(
    "--rootfs",
    metavar="DIR|TAR|IMAGE",
    shell_complete=files,
    help="The container's files: a directory, a tar, or an OCI or docker-save image (IMAGE:REFERENCE picks one).",
)
@click.option(
    *("-v", "--volume", "volumes"),
    type=VolumeType(),
    multiple=True,
    metavar="HOST:GUEST[:ro]",
    help="Carry files in, and, unless ro, what changed back out when the program ends with status 0.",
)
@click.option(
    *("-u", "--user"), metavar="USER[:GROUP]", help="Run as this user of the container's /etc/passwd, or number."
)
@click.option(*("-w", "--workdir", "cwd"), metavar="DIR", help="Start in this directory.")
@click.option("--env", "environment", type=Variable(), multiple=True, metavar="K=V", help="Add to the environment.")
@click.option(
    "--seed",
    type=click.IntRange(0, (1 << 64) - 2),
    metavar="N",
    help="Choose random numbers and where a program's parts lie in memory; without it both are always the same.",
)
@click.option(
    "--fault-around",
    type=click.Choice(FAULT_AROUND),
    help="How many pages of memory without a file come with a page fault; 4 without it, 1 on Linux.",
)
@click.option(
    "--pager",
    type=click.Choice(["on", "off"]),
    help="Short for --memory-policy pager, or touch; on by itself under paracell.",
)
@click.option(
    "--memory-policy",
    type=click.Choice(list(POLICIES)),
    help=f"When pages become host memory, and stop being it.  {'; '.join(f'{p.name}: {p.says}' for p in POLICIES.values())}.",
)
@beside_option
@machine_options("256M")
@click.option("-b", "--bundle", metavar="DIR", help="Run an OCI bundle: PROGRAM is the ID of the container.")
@click.option("-d", "--detach", is_flag=True, help="With --bundle: let it run, and come back at once.")
@click.option("--keep", is_flag=True, help="With --bundle: keep the state of the container when it has ended.")
@bundle_options
@click.argument("program", required=False, shell_complete=programs)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARG]...", shell_complete=files)
@click.pass_context
def command(
    context: click.Context,
    /,
    runtime: str,
    rootfs: str | None,
    volumes: Sequence[Volume],
    user: str | None,
    cwd: str | None,
    environment: Sequence[str],
    seed: int | None,
    fault_around: int | None,
    pager: str | None,
    memory_policy: str | None,
    memory: int,
    clock: ClockKind,
    costs: Costs,
    append: str,
    cpu: Features,
    trace: str | None,
    detail: bool,
    stats: bool,
    snapshot: str | None,
    nested: bool,
    beside: Sequence[tuple[str, ...]],
    bundle: str | None,
    detach: bool,
    keep: bool,
    console_socket: str | None,
    pid_file: str | None,
    preserve_fds: int,
    program: str | None,
    arguments: Sequence[str],
    **_: bool,
) -> int:
    """Run PROGRAM, an x86-64 Linux executable, in a container.

    It is looked up in the rootfs, among the programs that ParaCell ships, and on this computer; its exit status is the command's.
    Without PROGRAM the one that an image names is run.  With --bundle, PROGRAM is an ID, and the bundle's config.json says all else.
    On a terminal every key is the program's, Ctrl-C and Ctrl-Z too; Ctrl-] ends the run.
    """
    from ..console import Console, terminals, window
    from ..container import Container
    from ..emu.stop import Reason
    from ..progress import Progress
    from ..session import Outputs, exit_status, run_machine

    # The kernel's options: which streams are terminals, and how large the screen is.
    size = "rows={} columns={} ".format(*known) if (known := window()) else ""
    line = f"tty={terminals()} {size}{append}".strip()

    if bundle is not None:
        given = [p for p in context.params if context.get_parameter_source(p) is ParameterSource.COMMANDLINE]
        if other := sorted(set(given) - _OF_BUNDLES):
            raise click.UsageError(f"config.json says it, not the command line: {', '.join(other)}.")
        if program is None or arguments:
            raise click.UsageError("With --bundle there is one argument, the ID.")
        options = (bundle, console_socket, pid_file, preserve_fds)
        return logged(context, lambda: run_bundle(context, program, *options, detach=detach, keep=keep))
    if wrong := [o for o in ("detach", "keep", "console_socket", "pid_file", "preserve_fds") if context.params[o]]:
        raise click.UsageError(f"only with --bundle: {', '.join(wrong)}.")
    if program is None and rootfs is None:
        raise click.UsageError("Missing argument 'PROGRAM'.")
    if memory_policy is not None and pager is not None:
        raise click.UsageError("--pager and --memory-policy: one of them is enough.")
    if wanted := "pager" if pager == "on" else memory_policy:
        try:
            check(wanted, runtime)
        except ValueError as error:
            raise click.UsageError(f"{error}.") from error
    made: list[Container] = []

    def make(console: ConsolePorts) -> Container:
        with Progress(lambda: "the container's files are read"):
            container = Container(
                program,
                *arguments,
                runtime=runtime,
                rootfs=rootfs,
                environment=dict(v.split("=", 1) for v in environment),
                volumes=volumes,
                user=user,
                cwd=cwd,
                memory=memory,
                append=line,
                seed=seed,
                fault_around=fault_around,
                pager=None if pager is None else pager == "on",
                memory_policy=memory_policy,
                cpu=cpu,
                clock=clock,
                costs=costs,
                console=console,
                nested=nested,
                beside=beside,
            )
        made.append(container)
        for missing in container.left_out:
            click.echo(f"paracell: left out, {missing}", err=True)
        return container

    outputs, plug = Outputs(trace=trace, snapshot=snapshot, stats=stats, detail=detail), Console()
    plug.accepts = 2 * memory if volumes else 0
    outcome = run_machine(make, outputs, whole=True, console=plug)
    status = exit_status(outcome, shifted=False)
    if volumes and outcome.stop.reason is Reason.EXIT and status == 0:
        with Progress(lambda: "the volumes are written back"):
            made[0].write_volumes(outcome.returned)
    return status
