"""QEMU's pc-testdev, by which kvm-unit-tests try accesses of every kind: a port that keeps what is written, and 64 KiB of memory.

::

    port 0xE0 … 0xE3   four bytes, in accesses of 1, 2 or 4; 0xE8 … 0xEB the same four
    0xFF000000         64 KiB that TCG reaches like RAM; the guest is not told of them, and code does not run there
"""

from __future__ import annotations

import ctypes
import mmap
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ..engine import Engine

MEMORY: Final = 0xFF000000
SIZE: Final = 0x10000
_FIRST, _AGAIN, _WIDTH = 0xE0, 0xE8, 4


class TestDevice:
    """The device.

    Attributes:
        memory: its 64 KiB.

    """

    __test__ = False  # it is no class of tests
    ports: Final = (*range(_FIRST, _FIRST + _WIDTH), *range(_AGAIN, _AGAIN + _WIDTH))

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, SIZE)
        self._latch = bytearray(_WIDTH)

    def attach(self, engine: Engine) -> None:
        """Give the engine its memory."""
        engine.map_ram(MEMORY, SIZE, ctypes.addressof(ctypes.c_char.from_buffer(self.memory)))

    def holds(self, address: int) -> bool:
        """Tell whether a physical address is in its memory."""
        return MEMORY <= address < MEMORY + SIZE

    def read(self, port: int, size: int) -> int:
        """Read the latch from a port on."""
        first = port % _WIDTH
        return int.from_bytes(self._latch[first : first + size], "little")

    def write(self, port: int, size: int, value: int) -> None:
        """Write the latch from a port on, to its end at most."""
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
