"""How a session with a debugger ends: it goes, it is wrong, there are two, or somebody sends a signal."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from paracell.debug.packets import Framer, Said, frame

from .test_run import COMMAND, ENVIRONMENT, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Client:
    """A debugger of the plainest kind."""

    def __init__(self, path: Path) -> None:
        end = time.monotonic() + 30
        while not path.exists() and time.monotonic() < end:
            time.sleep(0.02)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(str(path))
        self._framer = Framer()
        self._items: list[bytes] = []

    def say(self, payload: bytes) -> None:
        self.socket.sendall(frame(payload))

    def hear(self) -> bytes:
        while not self._items:
            data = self.socket.recv(4096)
            assert data, "it has hung up"
            self._items += [item.payload for item in self._framer.feed(data) if item.said is Said.PACKET]
        return self._items.pop(0)

    def ask(self, payload: bytes) -> bytes:
        self.say(payload)
        return self.hear()


class Machine(subprocess.Popen[bytes]):
    """A command that waits for a debugger."""

    def lines(self) -> list[str]:
        """Give what it has said on stderr, when it has ended, but for the first line."""
        assert self.stderr is not None
        return self.stderr.read().decode().splitlines()[1:]


@contextmanager
def waiting(path: Path, *program: str) -> Iterator[Machine]:
    command = [*COMMAND, "debug", "--runtime", "native", "--listen", f"unix:{path}", *program]
    with Machine(
        command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as machine:
        try:
            yield machine
        finally:
            machine.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "socket"


@pytest.fixture
def connect(path: Path) -> Iterator[Callable[[], Client]]:
    """Give what makes clients, which hang up in the end."""
    made: list[Client] = []

    def connect() -> Client:
        made.append(Client(path))
        return made[-1]

    yield connect
    for client in made:
        client.socket.close()


def test_a_client_that_vanishes(path: Path, connect: Callable[[], Client]) -> None:
    with waiting(path, "hello") as machine:
        client = connect()
        assert client.ask(b"?") == b"T05thread:1;"
        assert client.ask(b"Z0,1001460,1") == b"OK"
        client.socket.close()
        out, _ = machine.communicate(timeout=30)
        assert out.startswith(b"Hello")  # the guest has gone on, and met no breakpoint
        assert machine.returncode == 0


def test_a_client_that_vanishes_while_the_guest_runs_and_one_that_comes_then(
    path: Path, connect: Callable[[], Client]
) -> None:
    with waiting(path, "spin") as machine:
        client = connect()
        client.say(b"vCont;c")
        time.sleep(0.3)
        client.socket.close()
        time.sleep(0.2)
        another = connect()
        assert another.ask(b"?") == b"T02thread:1;"
        assert another.ask(b"QStartNoAckMode") == b"OK"
        another.say(b"vCont;c")
        time.sleep(0.2)
        another.socket.sendall(b"\x03")
        assert another.hear() == b"T02thread:1;"
        assert another.ask(b"p43") == b"03000000"  # the ring
        another.say(b"k")
        assert machine.wait(30) == 137


def test_a_second_client_is_refused(path: Path, connect: Callable[[], Client]) -> None:
    with waiting(path, "hello") as machine:
        client = connect()
        assert client.ask(b"qC") == b"QC1"
        other = connect()
        assert other.socket.recv(10) == b""
        assert client.ask(b"qC") == b"QC1"
        assert client.ask(b"vCont;c") == b"W00"
        client.socket.close()
        assert machine.wait(30) == 0
        assert machine.lines() == ["paracell: a second debugger was refused: one is connected"]


def test_wrong_packets_are_told_and_lose_nothing(path: Path, connect: Callable[[], Client]) -> None:
    with waiting(path, "hello") as machine:
        client = connect()
        client.socket.sendall(b"\x00\xffnoise$g#00")
        assert client.socket.recv(1) == b"-"
        assert client.ask(b"mzz") == b"E16"
        first = client.ask(b"g")
        client.socket.sendall(b"-")  # it did not arrive
        assert client.hear() == first
        assert client.ask(b"D") == b"OK"
        out, _ = machine.communicate(timeout=30)
        assert out.startswith(b"Hello")
        assert machine.returncode == 0


def test_a_signal_ends_it(path: Path, connect: Callable[[], Client]) -> None:
    for connected in (False, True):
        with waiting(path, "spin") as machine:
            assert machine.stderr is not None
            machine.stderr.readline()
            if connected:
                connect().say(b"vCont;c")
                time.sleep(0.3)
            machine.send_signal(signal.SIGTERM)
            assert machine.wait(30) == 128 + signal.SIGTERM
            assert not path.exists()


def test_a_signal_ends_the_debugger_that_was_started(tmp_path: Path) -> None:
    gdb, began = tmp_path / "gdb", tmp_path / "began"
    gdb.write_text(f"#!/bin/sh\n: > {began}\nexec sleep 600\n", encoding="utf-8")
    gdb.chmod(0o755)
    with subprocess.Popen(
        [*COMMAND, "debug", "--gdb", str(gdb), "spin"], env=ENVIRONMENT, stderr=subprocess.PIPE
    ) as command:
        try:
            end = time.monotonic() + 30
            while not began.exists() and time.monotonic() < end:
                time.sleep(0.05)
            command.send_signal(signal.SIGTERM)
            assert command.wait(30) == 128 + signal.SIGTERM
        finally:
            command.kill()


def test_a_guest_that_cannot_go_on_can_be_looked_at(path: Path, connect: Callable[[], Client]) -> None:
    with waiting(path, "hello") as machine:
        client = connect()
        assert client.ask(b"P1c=0000000000000000") == b"OK"  # CR2; any
        assert client.ask(b"P10=00f0ffff00000000") == b"OK"  # RIP, where nothing is
        answer = client.ask(b"vCont;c")
        said = b""
        while answer.startswith(b"O"):
            said += bytes.fromhex(answer[1:].decode())
            answer = client.hear()
        assert answer[:3] in {b"T04", b"T0b"}
        assert said.startswith(b"the machine cannot go on: ")
        assert client.ask(b"p10") == b"00f0ffff00000000"
        client.socket.close()
        assert machine.wait(30) == 125


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--listen", "10.0.0.1:1", "hello"], "only this computer is listened to"),
        (["--listen", "unix:/nowhere/at/all", "hello"], "No such file or directory: /nowhere/at/all"),
        (["--no-gdb", "--ex", "c", "hello"], "--gdb, --ex and --batch are for a gdb that is started"),
        (["--gdb", "/no/such/gdb", "hello"], "No such file or directory: /no/such/gdb"),
        ([], "Missing argument 'PROGRAM'"),
    ],
)
def test_what_cannot_be_is_one_line(arguments: list[str], line: str) -> None:
    done = run("debug", *arguments)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1, done.stderr
    assert line in done.stderr.decode()
