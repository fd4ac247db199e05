"""Ways for a guest to end the machine: isa-debug-exit at port 0xF4, and Bochs's "Shutdown" at 0x8900."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_WORD: Final = b"Shutdown"


class Exit:
    """Calls `end` with ``exit`` and the value, or ``shutdown`` and 0."""

    ports: Final = (0xF4, 0xF5, 0xF6, 0xF7, 0x8900)

    def __init__(self, end: Callable[[str, int], None]) -> None:
        self._end = end
        self._word = b""

    def read(self, _port: int, _size: int) -> int:
        """Nothing is to be read."""
        return 0

    def write(self, port: int, _size: int, value: int) -> None:
        """Take a status, or a letter of the word."""
        if port != self.ports[-1]:
            self._end("exit", value)
            return
        self._word = (self._word + bytes((value & 0xFF,)))[-len(_WORD) :]
        if self._word == _WORD:
            self._end("shutdown", 0)
