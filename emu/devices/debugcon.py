"""The debug console of Bochs and QEMU (``isa-debugcon``): one port that takes bytes, as many at once as there are.

Source: Bochs User Manual, "port_e9_hack"; reading the port gives its number, which tells that it is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

PORT: Final = 0xE9


class DebugConsole:
    """The port.

    Args:
        send: takes bytes that the guest writes.

    """

    ports = range(PORT, PORT + 1)

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send

    def read(self, port: int, _size: int) -> int:
        """Tell that it is there."""
        return port

    def write(self, _port: int, _size: int, value: int) -> None:
        """Take one byte."""
        self._send(bytes((value & 0xFF,)))

    def write_block(self, data: bytes) -> bool:
        """Take a whole string that REP OUTS has for it."""
        self._send(data)
        return True
