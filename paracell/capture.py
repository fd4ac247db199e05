"""A console that keeps what the guest writes, and gives it input that was prepared."""

from __future__ import annotations

from .emu.devices import NoConsole


class Capture(NoConsole):
    """The serial lines of a machine that a program drives: COM1 is stdout and stdin, COM2 stderr, the debug console what volumes send back.

    Attributes:
        sent: what the guest has written to each line, as bytes.

    """

    def __init__(self, stdin: bytes | str = b"") -> None:
        super().__init__()
        self._input = stdin.encode() if isinstance(stdin, str) else stdin
        self._given = 0  # bytes of it
        self.ended = not self._input

    def read(self, count: int) -> bytes:
        """Give the guest up to `count` bytes of its input."""
        data = self._input[self._given : self._given + count]
        self._given += len(data)
        self.ended = self._given == len(self._input)
        return data

    def text(self, stream: int) -> str:
        """Give what has been written to stdout (0) or stderr (1); bytes that are no UTF-8 come as surrogates."""
        return self.sent[stream].decode("utf-8", "surrogateescape")

    def save(self) -> tuple[bytes, int, int, int]:
        """Give the state: the input that is left, and how much has been written to each stream."""
        return self._input[self._given :], len(self.sent[0]), len(self.sent[1]), len(self.sent[2])

    def load(self, state: tuple[bytes, int, int, int]) -> None:
        """Take a state that `save` gave; what has been written since is gone."""
        self._input, *sizes = state
        self._given = 0
        self.ended = not self._input
        for stream, size in zip(self.sent, sizes, strict=True):
            del stream[size:]
