"""One run of the machine under the command line: console, sinks, progress, Ctrl-C, snapshot, and how it ended."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from pathlib import PurePath
from typing import TYPE_CHECKING

from attrs import frozen

from .console import Console, unedited, watched
from .emu.sinks import DETAILED, SUFFIXES
from .emu.stop import Reason
from .output import whole_file
from .problem import FAILED, SIGNALLED, Problem
from .progress import Progress
from .signals import interruptible

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO

    from .emu.devices import ConsolePorts
    from .emu.stop import Stop
    from .machine import Machine

    Drive = Callable[[Machine, Callable[[], bool]], Stop]


@frozen
class Outputs:
    """What a run leaves behind besides its console: paths or None, whether a table is wanted, and whether the trace is a detailed one."""

    trace: str | None
    snapshot: str | None
    stats: bool
    detail: bool = False


@frozen
class Outcome:
    """How the machine stopped, the signal that made us stop it, or None, and what came back from volumes."""

    stop: Stop
    signal: int | None
    returned: bytes = b""


def run_machine(
    make: Callable[[ConsolePorts], Machine],
    outputs: Outputs,
    *,
    whole: bool = False,
    console: Console | None = None,
    drive: Drive | None = None,
) -> Outcome:
    """Make a machine with a console on this process's streams, and run it to its end.

    The outputs are opened before the machine is made: a path that cannot be written costs no run.

    Args:
        make: makes the machine.
        outputs: what the run leaves behind.
        whole: whether a terminal's keys, Ctrl-C among them, are for the program inside.
        console: another than that of this process's streams.
        drive: runs the machine instead, as a debugger says, and is told whether a signal asks for the end.

    """
    with ExitStack() as stack:
        snapshot = _open(stack, outputs.snapshot)
        if outputs.detail and PurePath(outputs.trace or "").suffix != DETAILED:
            raise Problem(f"--trace-detail is for a trace that is {DETAILED}: {outputs.trace or 'there is no --trace'}")
        trace = _open(stack, outputs.trace, traces=True)
        console = console or Console()
        made = make(console)
        machine = made.inner
        if trace or outputs.stats:
            from .observers import Observers

            traced = (PurePath(outputs.trace or "").suffix, trace) if trace else None
            observers = Observers(machine, traced, stats=outputs.stats, detail=outputs.detail)
            outcome = _run(made, console, whole=whole, drive=drive)
            observers.finish()
        else:
            outcome = _run(made, console, whole=whole, drive=drive)
        if snapshot:
            with Progress(lambda: "the snapshot is written"):
                machine.save(snapshot)
    return outcome


def _open(stack: ExitStack, path: str | None, *, traces: bool = False) -> IO[bytes] | None:
    """Open an output for writing; it takes its place when `stack` ends well."""
    if path is None:
        return None
    if traces and PurePath(path).suffix not in SUFFIXES:
        raise Problem(f"a trace is {' or '.join(SUFFIXES)}: {path}")
    return stack.enter_context(whole_file(path))


def _run(made: Machine, console: Console, *, whole: bool, drive: Drive | None) -> Outcome:
    machine = made.inner
    with ExitStack() as stack:
        caught = stack.enter_context(interruptible(machine.request_stop))
        if stack.enter_context(unedited(whole=whole)) and whole:
            console.raw = console.paced = True
            stack.enter_context(watched(console, machine.poll_console))
        elif drive is None:
            progress = stack.enter_context(Progress(lambda: f"{machine.clock.cycles / 2.5e9:.3f} s of its time"))
            console.before_output = progress.wipe
        console.on_flood = machine.request_stop
        stop = machine.run() if drive is None else drive(made, lambda: bool(caught))
    killed = signal.SIGKILL if drive is not None and stop.reason is Reason.INTERRUPTED else None  # by its debugger
    return Outcome(stop, caught[0] if caught else killed, bytes(console.returned))


def exit_status(outcome: Outcome, *, shifted: bool) -> int:
    """Give the command's status for how the machine ended, and tell on stderr if the guest did not end it.

    Args:
        outcome: how it ended.
        shifted: as under QEMU's isa-debug-exit, ``value << 1 | 1``; else the value itself.

    """
    stop = outcome.stop
    if stop.reason is Reason.EXIT:
        return stop.status if shifted else stop.value & 0xFF
    if stop.reason in {Reason.SHUTDOWN, Reason.RESET}:
        return 0
    if outcome.signal is not None:
        return SIGNALLED + outcome.signal
    lines = [f"paracell: the machine stopped: {stop.reason}", *stop.report]
    sys.stderr.write("\n".join(lines) + "\n")
    return FAILED
