"""QEMU's pc-testdev, for kvm-unit-tests: a port that keeps what is written, interrupt lines, and 64 KiB of memory.

::

    port 0xE0 … 0xE3   four bytes, in accesses of 1, 2 or 4; 0xE8 … 0xEB the same four
    0x2000 … 0x2017    an interrupt line each: what is written to it is its level
    0xFF000000         64 KiB that TCG reaches like RAM; the guest is not told of them, and code does not run there
"""

from __future__ import annotations

import ctypes
import mmap
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine import Engine

MEMORY: Final = 0xFF000000
SIZE: Final = 0x10000
_FIRST, _AGAIN, _WIDTH = 0xE0, 0xE8, 4
_LINES: Final = range(0x2000, 0x2018)


class TestDevice:
    """The device; `set_line` takes an interrupt line's number and level.

    Attributes:
        memory: its 64 KiB.

    """

    __test__ = False  # it is no class of tests
    ports: Final = (*range(_FIRST, _FIRST + _WIDTH), *range(_AGAIN, _AGAIN + _WIDTH), *_LINES)

    def __init__(self, set_line: Callable[[int, bool], None]) -> None:
        self._set_line = set_line
        self.memory = mmap.mmap(-1, SIZE)
        self._latch = bytearray(_WIDTH)

    def attach(self, engine: Engine) -> None:
        """Give the engine its memory."""
        engine.map_ram(MEMORY, SIZE, ctypes.addressof(ctypes.c_char.from_buffer(self.memory)))

    def holds(self, address: int) -> bool:
        """Tell whether a physical address is in its memory."""
        return MEMORY <= address < MEMORY + SIZE

    def read(self, port: int, size: int) -> int:
        """Read the latch from a port on; a line reads 0."""
        if port in _LINES:
            return 0
        first = port % _WIDTH
        return int.from_bytes(self._latch[first : first + size], "little")

    def write(self, port: int, size: int, value: int) -> None:
        """Write the latch from a port on, to its end at most, or the level of a line."""
        if port in _LINES:
            self._set_line(port - _LINES.start, bool(value))
            return
        first = port % _WIDTH
        size = min(size, _WIDTH - first)
        self._latch[first : first + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")

    def mmio_read(self, address: int, size: int) -> int:
        """Read its memory."""
        at = address - MEMORY
        return int.from_bytes(self.memory[at : at + size], "little")

    def mmio_write(self, address: int, size: int, value: int) -> None:
        """Write its memory."""
        at = address - MEMORY
        self.memory[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")

    def save(self) -> dict[str, Any]:
        """Give its state."""
        return {"latch": self._latch.hex(), "memory": self.memory[:].rstrip(b"\0").hex()}

    def load(self, state: dict[str, Any]) -> None:
        """Take the state that `save` gave."""
        self._latch[:] = bytes.fromhex(state["latch"])
        self.memory[:] = bytes.fromhex(state["memory"]).ljust(SIZE, b"\0")
