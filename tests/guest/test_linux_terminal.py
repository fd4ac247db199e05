"""A terminal: one static program, and the same keys typed, on this computer's Linux and in the container; the same on the screen."""

from __future__ import annotations

import os
import pty
import select
import socket
import sys
import time
from typing import TYPE_CHECKING

import pytest

from paracell.emu.stop import Reason
from paracell.guest import shipped
from paracell.runtimes import RUNTIMES

from .kernels import boot, tar_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

OWNER = ("owner", "/dev/console")  # the terminal, by a name of its own
PARTS = ("lines", "echoes", "full", "flow", "times", "edges", "wakes")
PATIENCE = 60.0
LONGEST = 8192
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no Linux here to compare with")


class Requests:
    """What the program wants to have typed: each time a length in four bytes, and the keys."""

    def __init__(self) -> None:
        self._bytes = b""

    def take(self, data: bytes) -> Iterator[bytes]:
        self._bytes += data
        while len(self._bytes) >= 4:
            n = int.from_bytes(self._bytes[:4], "little")
            assert n <= LONGEST, f"no request: {self._bytes!r}"
            if len(self._bytes) < 4 + n:
                break
            yield self._bytes[4 : 4 + n]
            self._bytes = self._bytes[4 + n :]


class Typist:
    """A console with somebody at it who types at once what is asked for; without one, time jumps."""

    def __init__(self) -> None:
        self.ended = False
        self.listens = False
        self.paced = True
        self.screen = bytearray()
        self._requests = Requests()
        self._typed = b""
        self._new = False  # typed since it was last asked
        self._idle = 0

    def write(self, stream: int, data: bytes) -> None:
        if stream:
            keys = b"".join(self._requests.take(data))
            self._typed += keys
            self._new |= bool(keys)
        else:
            self.screen += data

    def read(self, count: int) -> bytes:
        data, self._typed = self._typed[:count], self._typed[count:]
        return data

    def control(self, count: int) -> bytes:
        del count
        return b""

    def wait(self, seconds: float | None) -> bool:
        del seconds
        comes, self._new = self._new, False
        self._idle = 0 if comes else self._idle + 1
        assert self._idle < LONGEST, f"it waits for ever: {bytes(self.screen)!r}"
        return comes


def in_container(runtime: str, arguments: Sequence[str]) -> tuple[str, int]:
    program = shipped.image("linux/terminal").read_bytes()
    console = Typist()
    stop = boot(
        runtime, tar_of({"bin/terminal": program}), ["/bin/terminal", *arguments], options="tty=3", console=console
    ).run()
    assert stop.reason is Reason.EXIT, "\n".join(stop.report)
    return console.screen.decode(), stop.value & 127


def on_linux(arguments: Sequence[str]) -> tuple[str, int]:
    program = str(shipped.image("linux/terminal"))
    ours, its = socket.socketpair()
    pid, terminal = pty.fork()
    if not pid:
        os.dup2(its.fileno(), 2)
        os.execv(program, [program, *(os.ttyname(0) if a == "/dev/console" else a for a in arguments)])
    its.close()
    screen, requests, end = b"", Requests(), time.monotonic() + PATIENCE
    open_ones = [terminal, requested := ours.detach()]
    while open_ones:
        assert time.monotonic() < end, f"it goes on: {screen!r}"
        for descriptor in select.select(open_ones, [], [], 1)[0]:
            try:
                data = os.read(descriptor, 65536)
            except OSError:  # how a terminal ends
                data = b""
            if not data:
                open_ones.remove(descriptor)
                os.close(descriptor)
            elif descriptor == requested:
                for keys in requests.take(data):
                    os.write(terminal, keys)
                    os.write(requested, b"!")
            else:
                screen += data
    return screen.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("part", [*((p,) for p in PARTS), OWNER], ids=[*PARTS, OWNER[0]])
def test_as_on_linux(part: Sequence[str], runtime: str) -> None:
    real, ours = on_linux(part), in_container(runtime, part)
    assert ours[0].split("\r\n") == real[0].split("\r\n")
    assert ours[1] == real[1] == 42
