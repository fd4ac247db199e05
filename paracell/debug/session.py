"""A whole run under a debugger: who is let in, gdb itself where it is started, and how the guest ends."""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ..console import Console
from ..emu.stop import Reason, Stop
from ..session import exit_status, run_machine
from .control import Control, Halt
from .history import History
from .replayed import ReplayedConsole
from .stub import Stub
from .transport import Door, Link, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..emu.devices import ConsolePorts
    from ..machine import Machine
    from ..session import Outputs
    from .files import Files

KILLED: Final = Stop(Reason.INTERRUPTED)  # the debugger has ended the guest
_LOOK: Final = 0.2  # seconds


@frozen
class Options:
    """How a debugger comes in.

    Attributes:
        place: where; None for a socket of our own, for the gdb that is started.
        gdb: the command that starts gdb, or None.
        arguments: for gdb, behind those that connect it.
        history: bytes that the way back may take; 0: there is none.

    """

    place: Place | None = None
    gdb: str | None = None
    arguments: tuple[str, ...] = ()
    history: int = 0


def gdb_command(options: Options, files: Files, address: str) -> list[str]:
    """Give the command that starts gdb, connected."""
    lines = [
        "set pagination off",
        "set trust-readonly-sections on",  # code that is not mapped yet is read from the files
        *files.commands(),
        f"target remote {address}",
        "set pagination on",
    ]
    found = [options.gdb or "gdb", "-q"]
    for line in lines:
        found += ["-ex", line]
    return [*found, *options.arguments]


class Session:
    """Runs one machine for whoever debugs it.

    Args:
        machine: it stands before its first instruction, or wherever it is to be looked at.
        options: how a debugger comes in.
        files: what gdb may load.
        asked: whether a signal to this process asks for the end.

    """

    def __init__(self, machine: Machine, options: Options, files: Files, asked: Callable[[], bool]) -> None:
        self._machine, self._options, self._files, self._asked = machine, options, files, asked
        self._control = Control(machine, asked, History(machine, options.history) if options.history else None)
        self._halt = Halt()

    def run(self) -> Stop:
        """Serve until the guest ends, or its debugger ends it; a guest whose debugger leaves goes on alone."""
        place = self._options.place
        if place is not None and place.is_stdio:
            with _ignoring(signal.SIGINT):  # of a terminal it is gdb's
                stop = self._serve(Link(0, 1)) or self._alone(None)
                assert stop is not None, "nobody else can come"
                return stop
        with ExitStack() as stack:
            if place is None:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="paracell-"))
                place = Place(path=f"{folder}/gdb")
            door = Door(place, tell)
            stack.callback(door.close)
            if self._options.gdb is None:
                line = shlex.join(gdb_command(self._options, self._files, door.address))
                sys.stderr.write(f"paracell: waits for a debugger: {line}\n")
                return self._doorman(door, None)
            child = subprocess.Popen(  # noqa: S603  (the user chose it)
                gdb_command(self._options, self._files, door.address)
            )
            stack.enter_context(_ignoring(signal.SIGINT))
            try:
                return self._doorman(door, child)
            finally:
                door.close()
                if self._asked() or sys.exc_info()[0] is not None:
                    child.terminate()
                child.wait()

    def _doorman(self, door: Door, child: subprocess.Popen[bytes] | None) -> Stop:
        """Let one client in after the other."""
        while True:
            link = door.link(_LOOK)
            if link is None:
                if self._asked():
                    return KILLED
                if child is not None and child.poll() is not None:
                    return KILLED
                continue
            stop = self._serve(link) or self._alone(door)
            if stop is not None:
                return stop

    def _serve(self, link: Link) -> Stop | None:
        """Serve one client; gives how the run ends, or None where the guest is to go on without a debugger."""
        stub = Stub(self._control, link, tell, self._asked, ours=self._options.gdb is not None)
        stub.halt = self._halt
        try:
            ends = stub.serve()
        finally:
            link.close()
            self._control.release()
        if stub.halt.stop is not None:
            return stub.halt.stop
        if ends:
            return KILLED
        return None

    def _alone(self, door: Door | None) -> Stop | None:
        """Run without a debugger, until the end, or until another client comes: then None."""

        def comes(wake: int) -> bool:
            while door is None or not door.waits:
                if select.select([wake], [], [], _LOOK)[0]:
                    return False
            return True

        self._halt = self._control.go_on(comes)
        return self._halt.stop


def debugged(
    make: Callable[[ConsolePorts], Machine],
    outputs: Outputs,
    options: Options,
    files: Callable[[Machine], Files],
    *,
    shifted: bool,
) -> int:
    """Make a machine and run it under a debugger; gives the command's status.

    Args:
        make: makes the machine.
        outputs: what the run leaves behind.
        options: how the debugger comes in.
        files: gives what has symbols.
        shifted: as `paracell.session.exit_status` has it.

    """

    def drive(machine: Machine, asked: Callable[[], bool]) -> Stop:
        return Session(machine, options, files(machine), asked).run()

    with ExitStack() as stack:
        console = Console()
        if options.place is None or options.place.is_stdio:  # gdb has the terminal, or our streams carry its packets
            nothing = os.open(os.devnull, os.O_RDONLY)
            stack.callback(os.close, nothing)
            console = Console(nothing, (2, 2) if options.place else (1, 2))
        replayed = (lambda ports: make(ReplayedConsole(ports))) if options.history else make
        return exit_status(run_machine(replayed, outputs, console=console, drive=drive), shifted=shifted)


def tell(line: str) -> None:
    """Say a line on stderr."""
    sys.stderr.write(f"paracell: {line}\n")


@contextmanager
def _ignoring(number: signal.Signals) -> Iterator[None]:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


__all__ = ["KILLED", "Options", "Session", "gdb_command", "tell"]
