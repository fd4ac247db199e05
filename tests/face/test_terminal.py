"""Somebody sits at the terminal: line editing, Ctrl-C, Ctrl-Z, Ctrl-] and another size of the window, in an interactive shell."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import shutil
import signal
import sys
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paracell.runtimes import RUNTIMES

if TYPE_CHECKING:
    from collections.abc import Iterator

BUSYBOX = shutil.which("busybox")
pytestmark = pytest.mark.skipif(BUSYBOX is None, reason="busybox-static is not installed")
PATIENCE = 60.0
IDLE = 5_000_000  # nanoseconds


class Terminal:
    """A shell in a container, on a terminal of its own."""

    def __init__(self, runtime: str) -> None:
        self.pid, self.fd = pty.fork()
        if not self.pid:
            command = [sys.executable, "-m", "paracell", "run", "--runtime", runtime, "busybox", "sh"]
            os.execv(sys.executable, command)
        self.seen = b""

    def resize(self, lines: int, columns: int) -> None:
        termios.tcsetwinsize(self.fd, (lines, columns))

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def expect(self, text: str) -> str:
        """Wait until `text` appears, and give what came before it."""
        wanted, end = text.encode(), time.monotonic() + PATIENCE
        while wanted not in self.seen:
            assert time.monotonic() < end, f"no {text!r} in {self.seen!r}"
            if select.select([self.fd], [], [], 0.1)[0]:
                self.seen += self._read()
        before, _, self.seen = self.seen.partition(wanted)
        return before.decode()

    def idle(self) -> None:
        """Wait until the container waits: its process uses hardly any processor time for a fifth of a second."""
        end, used, before = time.monotonic() + PATIENCE, 0, -IDLE
        while used - before >= IDLE:
            assert time.monotonic() < end, "it is never idle"
            time.sleep(0.2)
            before, used = used, int(Path(f"/proc/{self.pid}/schedstat").read_text(encoding="ascii").split()[0])

    def _read(self) -> bytes:
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            data = b""
        assert data, f"the terminal has gone; there was {self.seen!r}"
        return data

    def status(self) -> int:
        end = time.monotonic() + PATIENCE
        while True:
            assert time.monotonic() < end, "it goes on"
            if select.select([self.fd], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):
                    os.read(self.fd, 65536)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)


@pytest.fixture(params=list(RUNTIMES))
def terminal(request: pytest.FixtureRequest) -> Iterator[Terminal]:
    shell = Terminal(request.param)
    shell.expect("~ # ")
    yield shell
    with contextlib.suppress(ProcessLookupError):
        os.kill(shell.pid, signal.SIGKILL)


def test_a_line_is_edited_and_run(terminal: Terminal) -> None:
    terminal.type("echo helpo\x7f\x7flo\x1b[D\x1b[D\x1b[D\x1b[D\x1b[Dsay \n")
    terminal.expect("say hello\r\n")
    terminal.expect("~ # ")
    terminal.type("exit 3\n")
    assert terminal.status() == 3


def test_ctrl_c_ends_what_runs_and_not_the_shell(terminal: Terminal) -> None:
    terminal.type("sh -c 'echo g\"\"o; cat'\n")  # what is typed before the shell lets go is not echoed
    terminal.expect("go\r\n")
    terminal.type("hello\n")
    terminal.expect("hello\r\nhello\r\n")
    terminal.type("\x03")
    terminal.expect("~ # ")
    terminal.type("echo status $?\n")
    terminal.expect("status 130\r\n")
    terminal.expect("~ # ")
    terminal.type("echo g''o; while :; do :; done\n")  # no event in it
    terminal.expect("go\r\n")
    terminal.type("\x03")
    terminal.expect("~ # ")
    terminal.type("exit\n")
    assert terminal.status() == 130


def test_ctrl_z_stops_a_job_and_fg_goes_on(terminal: Terminal) -> None:
    terminal.type("sh -c 'echo g\"\"o; sleep 1000'\n")
    terminal.expect("go\r\n")
    terminal.type("\x1a")
    terminal.expect("[1]+  Stopped")
    terminal.expect("~ # ")
    terminal.type("jobs; kill -9 %1; fg; echo gone $?\n")
    terminal.expect("Stopped")
    terminal.expect("gone 137\r\n")
    terminal.expect("~ # ")
    terminal.type('sh -c \'echo g""o; while read line; do echo "<$line>"; done\'\n')
    terminal.expect("go\r\n")
    terminal.type("once\n")
    terminal.expect("<once>\r\n")
    terminal.type("\x1a")
    terminal.expect("Stopped")
    terminal.expect("~ # ")
    terminal.type("fg\n")
    terminal.expect("echo g")
    terminal.type("again\n")
    terminal.expect("<again>\r\n")  # only now has the shell left its raw mode, in which Ctrl-D is a byte like any other
    terminal.type("\x04")
    terminal.expect("~ # ")
    terminal.type("exit\n")
    assert terminal.status() == 0


def test_the_window_changes_its_size(terminal: Terminal) -> None:
    """While a program waits for a key, while one sleeps, and while one runs without a break."""
    terminal.type('sh -c \'trap "stty size" WINCH; echo g""o; read x; sleep 1; while :; do :; done\'\n')
    terminal.expect("go\r\n")
    terminal.idle()  # a signal that comes between the shell's last look and its poll() waits for a key, on Linux too
    terminal.resize(30, 100)
    terminal.expect("30 100\r\n")
    terminal.type("\n")
    terminal.resize(31, 101)
    terminal.expect("31 101\r\n")
    terminal.resize(32, 102)
    terminal.expect("32 102\r\n")
    terminal.type("\x03")
    terminal.expect("~ # ")


def test_ctrl_bracket_ends_the_run_whatever_the_guest_does(terminal: Terminal) -> None:
    terminal.type("trap '' INT TERM HUP; echo g''o; while :; do :; done\n")
    terminal.expect("go\r\n")
    terminal.type("\x03\x03\x1d")
    assert terminal.status() == 130
