"""The debug console of QEMU (``isa-debugcon``): one port that takes bytes, as many at once as there are.

It is at port 0x402, where SeaBIOS and OVMF write to it; Bochs's own, 0xE9, belongs to `testdev`.  Reading gives 0xE9, which tells
that it is there (QEMU, "debugcon").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PORT, THERE = 0x402, 0xE9


class DebugConsole:
    """The port.

    Args:
        send: takes bytes that the guest writes.

    """

    ports = range(PORT, PORT + 1)

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send

    def read(self, _port: int, _size: int) -> int:
        """Tell that it is there."""
        return THERE

    def write(self, _port: int, _size: int, value: int) -> None:
        """Take one byte."""
        self._send(bytes((value & 0xFF,)))

    def write_block(self, data: bytes) -> bool:
        """Take a whole string that REP OUTS has for it."""
        self._send(data)
        return True
