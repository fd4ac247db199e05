"""One run of the machine under the command line: console, sinks, progress, Ctrl-C, snapshot, and how it ended."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from attrs import frozen

from .console import Console, interruptible
from .output import whole_file
from .problem import Problem
from .progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .emu.machine import Machine, Stop
    from .guest.image import Image
    from .guest.multiboot import Module

_TRACES = (".jsonl", ".pftrace")


@frozen
class Outputs:
    """What a run leaves behind besides its console: paths or None, and whether a table is wanted."""

    trace: str | None
    snapshot: str | None
    stats: bool


def run_machine(
    image: Image,
    modules: Sequence[Module],
    cmdline: str,
    memory: int,
    outputs: Outputs,
    programs: Sequence[tuple[str, bytes]] = (),
) -> Stop:
    """Boot an image and run it to its end.

    The outputs are opened before the machine starts: a path that cannot be written costs no run.
    """
    if outputs.trace and not outputs.trace.endswith(_TRACES):
        raise Problem(f"a trace is .jsonl or .pftrace: {outputs.trace}")
    with ExitStack() as stack:
        snapshot = stack.enter_context(whole_file(outputs.snapshot)) if outputs.snapshot else None
        trace = stack.enter_context(whole_file(outputs.trace)) if outputs.trace else None
        from .emu.machine import Machine

        console = Console()
        machine = Machine(memory, console)
        machine.load(image, cmdline, modules)
        stop = _run(machine, console)
        if snapshot is not None:
            machine.save(snapshot)
    return stop


def _run(machine: Machine, console: Console) -> Stop:
    with Progress(lambda: f"{machine.clock.cycles / 2.5e9:.3f} s of its time") as progress:
        console.before_output = progress.wipe
        with interruptible(machine.interrupt):
            return machine.run()
