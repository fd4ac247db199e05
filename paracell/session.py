"""One run of the machine under the command line: console, sinks, progress, Ctrl-C, snapshot, and how it ended."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import frozen

from .console import Console, interruptible, unedited
from .output import whole_file
from .problem import FAILED, SIGINT, Problem
from .progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .emu.machine import Machine, Stop
    from .guest.image import Image
    from .guest.multiboot import Module

_TRACES: Final = (".jsonl", ".pftrace")


@frozen
class Outputs:
    """What a run leaves behind besides its console: paths or None, and whether a table is wanted."""

    trace: str | None
    snapshot: str | None
    stats: bool


@frozen
class Job:
    """What the machine is to do.

    Attributes:
        image: the kernel to boot.
        modules: what stands beside it.
        cmdline: its options.
        memory: bytes of RAM.
        programs: (name, bytes) of further ELF files whose symbols a trace may want.

    """

    image: Image
    modules: Sequence[Module]
    cmdline: str
    memory: int
    programs: Sequence[tuple[str, bytes]] = ()


def run_machine(job: Job, outputs: Outputs) -> Stop:
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
        machine = Machine(job.memory, console)
        machine.load(job.image, job.cmdline, job.modules)
        if trace is not None or outputs.stats:
            from .observers import Observers

            suffix = Path(outputs.trace).suffix if outputs.trace else ""
            observers = Observers(machine, job, trace, suffix=suffix, stats=outputs.stats)
            stop = _run(machine, console)
            observers.finish(console.before_output)
        else:
            stop = _run(machine, console)
        if snapshot is not None:
            with Path(snapshot).open("wb") as file:
                machine.save(file)
    return stop


def _run(machine: Machine, console: Console) -> Stop:
    with Progress(lambda: f"{machine.clock.cycles / 2.5e9:.3f} s of its time") as progress:
        console.before_output = progress.wipe
        with unedited(), interruptible(machine.interrupt):
            return machine.run()


def exit_status(stop: Stop, *, shifted: bool) -> int:
    """Give the command's status for how the machine ended, and tell on stderr if the guest did not end it.

    Args:
        stop: how it ended.
        shifted: as under QEMU's isa-debug-exit, ``value << 1 | 1``; else the value itself.

    """
    from .emu.machine import Reason

    if stop.reason is Reason.EXIT:
        return stop.status if shifted else stop.value & 0xFF
    if stop.reason is Reason.SHUTDOWN:
        return 0
    if stop.reason is Reason.INTERRUPTED:
        return SIGINT
    lines = [f"paracell: the machine stopped: {stop.reason}", *stop.report]
    sys.stderr.write("\n".join(lines) + "\n")
    return FAILED
