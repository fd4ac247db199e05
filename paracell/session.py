"""One run of the machine under the command line: console, sinks, progress, Ctrl-C, snapshot, and how it ended."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from attrs import frozen

from .console import Console, interruptible, unedited, watched
from .emu.features import DEFAULT
from .output import whole_file
from .problem import FAILED, SIGNALLED, Problem
from .progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import IO

    from .emu.features import Features
    from .emu.machine import ClockKind, Machine
    from .emu.stop import Stop
    from .guest.elf import Symbol
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
        clock: what `Machine` is to count.
        symbols: names of further ELF files, each with a function that gives its symbols.
        paracell: whether the image is the ParaCell host.
        container: whether a terminal's keys, Ctrl-C among them, are for the program inside.
        cpu: the processor's features.

    """

    image: Image
    modules: Sequence[Module]
    cmdline: str
    memory: int
    symbols: Sequence[tuple[str, Callable[[], Iterable[Symbol]]]] = ()
    paracell: bool = False
    container: bool = False
    cpu: Features = DEFAULT
    clock: ClockKind = "blocks"


@frozen
class Outcome:
    """How the machine stopped, and the signal that made us stop it, or None."""

    stop: Stop
    signal: int | None


def run_machine(job: Job, outputs: Outputs) -> Outcome:
    """Boot an image and run it to its end.

    The outputs are opened before the machine starts: a path that cannot be written costs no run.
    """
    with ExitStack() as stack:
        snapshot = _open(stack, outputs.snapshot)
        trace = _open(stack, outputs.trace, _TRACES)
        from .emu.machine import Machine

        console = Console()
        machine = Machine(job.memory, console, features=job.cpu, clock=job.clock)
        machine.load(job.image, job.cmdline, job.modules)
        for name, symbols in job.symbols:
            machine.symbols.add(name, symbols)
        if trace or outputs.stats:
            from .observers import Observers

            traced = (PurePath(outputs.trace or "").suffix, trace) if trace else None
            observers = Observers(machine, traced, stats=outputs.stats, paracell=job.paracell)
            outcome = _run(machine, console, whole=job.container)
            observers.finish()
        else:
            outcome = _run(machine, console, whole=job.container)
        if snapshot:
            machine.save(snapshot)
    return outcome


def _open(stack: ExitStack, path: str | None, suffixes: tuple[str, ...] = ()) -> IO[bytes] | None:
    """Open an output for writing; it takes its place when `stack` ends well."""
    if path is None:
        return None
    if suffixes and PurePath(path).suffix not in suffixes:
        raise Problem(f"a trace is {' or '.join(suffixes)}: {path}")
    return stack.enter_context(whole_file(path))


def _run(machine: Machine, console: Console, *, whole: bool) -> Outcome:
    with ExitStack() as stack:
        caught = stack.enter_context(interruptible(machine.request_stop))
        if stack.enter_context(unedited(whole=whole)) and whole:
            console.raw = console.paced = True
            stack.enter_context(watched(console, machine.poll_console))
        else:
            progress = stack.enter_context(Progress(lambda: f"{machine.clock.cycles / 2.5e9:.3f} s of its time"))
            console.before_output = progress.wipe
        stop = machine.run()
    return Outcome(stop, caught[0] if caught else None)


def exit_status(outcome: Outcome, *, shifted: bool) -> int:
    """Give the command's status for how the machine ended, and tell on stderr if the guest did not end it.

    Args:
        outcome: how it ended.
        shifted: as under QEMU's isa-debug-exit, ``value << 1 | 1``; else the value itself.

    """
    from .emu.stop import Reason

    stop = outcome.stop
    if stop.reason is Reason.EXIT:
        return stop.status if shifted else stop.value & 0xFF
    if stop.reason is Reason.SHUTDOWN:
        return 0
    if outcome.signal is not None:
        return SIGNALLED + outcome.signal
    lines = [f"paracell: the machine stopped: {stop.reason}", *stop.report]
    sys.stderr.write("\n".join(lines) + "\n")
    return FAILED
