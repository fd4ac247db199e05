"""A container's own process: the machine that it runs in.

::

    create          the container's process
      fork ───────▶  its terminal, its machine
      ◀── "ready" ──  waits at exec.fifo
    start ── reads ─▶ runs; its exit status is the container's
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import termios
import time
import traceback
from typing import TYPE_CHECKING, Final, NoReturn

from attrs import frozen

from ..emu.clock import TSC_HZ
from ..emu.stop import Reason
from ..machine import power_on
from ..problem import FAILED, SIGNALLED, explain
from ..session import Outcome, exit_status
from ..signals import lethal
from ..write_back import write_back
from .console import ServiceConsole, forwarded, make_raw
from .problem import OciProblem
from .store import is_alive

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .ready import Ready

_READY: Final = b"\0"
_POLL: Final = 0.05  # seconds


@frozen
class Launched:
    """A container's process that makes itself ready.

    Attributes:
        pid: its number.

    """

    pid: int
    _go: int
    _said: int

    def finish(self) -> None:
        """Let it read the bundle, and wait until it is ready; `OciProblem` if it could not be made so."""
        os.close(self._go)
        with os.fdopen(self._said, "rb") as pipe:
            said = pipe.read()
        if said != _READY:
            raise OciProblem(said.decode(errors="replace") or "the container's process died before it was ready")


def launch(prepare: Callable[[], Ready], fifo: Path, console_socket: str | None, *, detached: bool) -> Launched:
    """Start the process.  It reads the bundle when it is told to, and then waits at `fifo`."""
    said, into = os.pipe()
    wait, go = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(said)
        os.close(go)
        _in_child(lambda: _serve(prepare, wait, fifo, console_socket, into, detached=detached), into)
    os.close(into)
    os.close(wait)
    return Launched(pid, go, said)


def release(fifo: Path, pid: int, began: int) -> None:
    """Let a process go on that waits at `fifo`; `OciProblem` if it has died."""
    descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while not select.select([descriptor], [], [], _POLL)[0] or not os.read(descriptor, 1):
            if not is_alive(pid, began):
                raise OciProblem("cannot start a container that has stopped")
            time.sleep(_POLL / 10)
    finally:
        os.close(descriptor)
    fifo.unlink()


def wait_for(pid: int) -> int:
    """Wait for a child, pass signals on to it, and give its exit status."""

    def forward(number: int, _frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    before = {s: signal.signal(s, forward) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)}
    try:
        _, status = os.waitpid(pid, 0)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    code = os.waitstatus_to_exitcode(status)
    return SIGNALLED - code if code < 0 else code


def _in_child(serve: Callable[[], int], into: int) -> NoReturn:
    """Run, and never come back into the code of the process that forked."""
    status = FAILED
    lethal()
    try:
        status = serve()
        sys.stdout.flush()
    except BrokenPipeError:
        status = SIGNALLED + signal.SIGPIPE
    except BaseException as error:  # noqa: BLE001 -- nobody is above us
        problem = explain(error)
        line = problem.line if problem else f"internal error: {type(error).__name__}: {error}"
        if problem is None and os.environ.get("PARACELL_DEBUG"):
            traceback.print_exc()
        try:
            os.write(into, line.encode(errors="replace"))
        except OSError:  # it has run already, and nobody listens but stderr
            os.write(2, f"paracell: {line}\n".encode(errors="replace"))
    finally:
        os._exit(status)


def _serve(
    prepare: Callable[[], Ready], wait: int, fifo: Path, console_socket: str | None, into: int, *, detached: bool
) -> int:
    if detached:
        os.setsid()
    os.read(wait, 1)  # until the hooks have run
    ready = prepare()
    if console_socket is not None:
        _take_terminal(console_socket, ready.size)
    console = ServiceConsole()
    bundle, size = ready.bundle, _window(ready)
    append = f"tty={7 if ready.terminal else 0} {size}{ready.append}".strip()
    image = bundle.runtime.load()
    inner = power_on(
        image, bundle.modules, append, ready.memory, bundle.runtime, ready.cpu or "pks", "blocks", None, console
    )
    inner.symbols.add(*bundle.program)
    console.accepts = 2 * ready.memory if bundle.volumes else 0
    console.on_flood = inner.request_stop
    os.write(into, _READY)
    os.close(into)
    file = fifo.open("wb")  # waits for `start`
    with contextlib.ExitStack() as stack:
        stack.enter_context(forwarded(console, inner.poll_console))  # before anybody is told that it runs
        with file:
            file.write(_READY)
        if ready.terminal and os.isatty(0):
            make_raw(0)
        console.raw = ready.terminal
        if ready.terminal:
            from ..console import watched

            stack.enter_context(watched(console, inner.poll_console))
        stop = inner.run()
    outcome = Outcome(stop, None, bytes(console.returned))
    status = exit_status(outcome, shifted=False)
    if stop.reason is Reason.EXIT and bundle.volumes:
        write_back(outcome.returned, bundle.volumes, inner.clock.cycles / TSC_HZ)
    return status


def _window(ready: Ready) -> str:
    if not ready.terminal:
        return ""
    try:
        lines, columns = ready.size or termios.tcgetwinsize(0)
    except termios.error:
        return ""
    return f"rows={lines} columns={columns} " if lines and columns else ""


def _take_terminal(console_socket: str, size: tuple[int, int] | None) -> None:
    """Make a pseudo-terminal, send its master through the socket as runc does, and have the slave for all three streams."""
    master, slave = os.openpty()
    if size is not None:
        termios.tcsetwinsize(slave, size)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(console_socket)
        socket.send_fds(connection, [os.fsencode(os.ttyname(slave))], [master])
    os.close(master)
    for descriptor in range(3):
        os.dup2(slave, descriptor)
    os.close(slave)
