"""What a debugger is connected by: a Unix socket, a TCP port of this computer, or standard input and output.

`Door` lets one client in at a time and tells a second one off; `Link` is the connection to the one that is in.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import frozen

from .packets import Framer, Item, Said, frame

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK: Final = 1 << 16
_LOOPBACK: Final = ("", "localhost", "127.0.0.1", "::1")
_AGAIN: Final = 0.05  # seconds
_PATIENCE: Final = struct.pack("ll", 20, 0)  # struct timeval: seconds, microseconds
_WAITING: Final = 4096  # things that a client may say before anybody listens
STDIO: Final = "stdio"


@frozen
class Place:
    """Where a debugger comes in: a path, or a port; neither for standard input and output."""

    path: str = ""
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Place:
        """Take ``stdio``, ``unix:PATH``, a path with a slash, or ``[tcp:][HOST]:PORT``; ``ValueError`` for another."""
        if text == STDIO:
            return cls()
        if text.startswith("unix:") or ("/" in text and not text.startswith("tcp:")):
            path = text.removeprefix("unix:")
            if not path or len(os.fsencode(path)) > 107:  # sun_path of unix(7)
                raise ValueError(f"no path for a Unix socket, at most 107 bytes: {text}")
            return cls(path=path)
        host, _, port = text.removeprefix("tcp:").rpartition(":")
        if not port.isdecimal() or int(port) > 0xFFFF:
            raise ValueError(f"neither stdio, nor unix:PATH, nor [HOST]:PORT: {text}")
        if host.strip("[]") not in _LOOPBACK:
            raise ValueError(f"a debugger may do everything, so only this computer is listened to, not {host}: {text}")
        return cls(port=int(port))

    @property
    def is_stdio(self) -> bool:
        """Standard input and output are meant."""
        return not self.path and self.port is None


class Link:
    """A connection to a client.

    Attributes:
        closed: nobody is at the other end any more.
        acknowledges: packets are acknowledged; gdb switches that off when both can.

    """

    def __init__(self, reads: int, writes: int, close: Callable[[], None] = lambda: None) -> None:
        self.closed = False
        self.acknowledges = True
        self._reads, self._writes, self._close = reads, writes, close
        self._framer, self._items, self._last = Framer(), list[Item](), b""

    def item(self, seconds: float | None = None) -> Item | None:
        """Give the next thing that the client says; None when it has gone, or after `seconds`."""
        while not self._items:
            if self.closed or not select.select([self._reads], [], [], seconds)[0]:
                return None
            self._receive()
        item = self._items.pop(0)
        if item.said is Said.AGAIN:
            self._write(self._last)
        elif self.acknowledges and item.said in {Said.PACKET, Said.WRONG}:
            self._write(b"+" if item.said is Said.PACKET else b"-")
        return item

    def interrupted(self, wake: int) -> bool:
        """Wait for Ctrl-C, or the end of the connection, while the guest runs, or until `wake` can be read; else all waits for `item`."""
        known = self.closed or any(item.said is Said.INTERRUPT for item in self._items)
        if not known and self._reads in select.select([self._reads, wake], [], [])[0]:
            self._receive()
        meant = [item for item in self._items if item.said is Said.INTERRUPT]
        self._items = [item for item in self._items if item.said is not Said.INTERRUPT]
        return bool(meant) or self.closed

    def _receive(self) -> None:
        try:
            data = os.read(self._reads, _CHUNK)
        except OSError:
            data = b""
        if not data or len(self._items) > _WAITING:
            self.closed = True
        else:
            self._items += self._framer.feed(data)

    def send(self, payload: bytes) -> None:
        """Send a packet; to a client that has gone, nothing."""
        self._last = frame(payload)
        self._write(self._last)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view and not self.closed:
            try:
                view = view[os.write(self._writes, view) :]
            except OSError:
                self.closed = True

    def close(self) -> None:
        """Hang up."""
        self.closed = True
        self._close()


class Door:
    """A listening socket, with a thread that refuses whoever comes while somebody is in.

    Attributes:
        address: what gdb's ``target remote`` takes.

    """

    def __init__(self, place: Place, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._path = place.path
        if place.path:
            self._socket = socket.socket(socket.AF_UNIX)
        else:
            self._socket = socket.socket(socket.AF_INET)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind(place.path or ("127.0.0.1", place.port))
        except OSError as error:
            self._socket.close()
            raise OSError(error.errno, error.strerror, place.path or f"port {place.port}") from error
        self._socket.listen()
        self.address = place.path or f"localhost:{self._socket.getsockname()[1]}"
        self._in: socket.socket | None = None
        self._came = threading.Event()
        self._shut = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._shut:
            try:
                if not select.select([self._socket], [], [], _AGAIN)[0]:
                    continue
                client, _ = self._socket.accept()
            except (OSError, ValueError):  # it has been shut
                return
            with self._lock:
                taken = self._in is not None
                if not taken:
                    self._in = client
                    self._came.set()
            if taken:
                client.close()
                self._tell("a second debugger was refused: one is connected")

    @property
    def waits(self) -> bool:
        """Somebody has come and is not served yet."""
        return self._came.is_set()

    def link(self, seconds: float | None = None) -> Link | None:
        """Give the client that has come; None where nobody does in `seconds`."""
        if not self._came.wait(seconds):
            return None
        self._came.clear()
        client = self._in
        assert client is not None
        client.setblocking(True)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _PATIENCE)  # one that does not read has gone
        if not self._path:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Link(client.fileno(), client.fileno(), self._leave)

    def _leave(self) -> None:
        with self._lock:
            client, self._in = self._in, None
        if client is not None:
            client.close()

    def close(self) -> None:
        """Let nobody in any more."""
        self._shut = True
        self._thread.join()
        self._leave()
        self._socket.close()
        if self._path:
            with suppress(OSError):
                Path(self._path).unlink()
