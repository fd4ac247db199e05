"""The CRT controller of a colour text adapter (Motorola MC6845 data sheet; IBM VGA Technical Reference, "CRT Controller Registers").

It keeps its registers, for kernels that ask it where the cursor stands.  Nobody looks at the screen; the text at 0xB8000 is RAM.
"""

from __future__ import annotations

from typing import Any, Final

_REGISTERS: Final = 0x19


class Crtc:
    """Index at port 0x3D4, data at 0x3D5."""

    ports: Final = (0x3D4, 0x3D5)

    def __init__(self) -> None:
        self._index = 0
        self._registers = bytearray(_REGISTERS)

    def read(self, port: int, _size: int) -> int:
        """Read the index, or the register that it names."""
        if port == self.ports[0]:
            return self._index
        return self._registers[self._index] if self._index < _REGISTERS else 0

    def write(self, port: int, size: int, value: int) -> None:
        """Write the index, or the register; a word to the index port writes both."""
        if port == self.ports[0]:
            self._index = value & 0x1F
            if size == 1:
                return
            value >>= 8
        if self._index < _REGISTERS:
            self._registers[self._index] = value & 0xFF

    def save(self) -> dict[str, Any]:
        """Give its state."""
        return {"index": self._index, "registers": self._registers.hex()}

    def load(self, state: dict[str, Any]) -> None:
        """Take the state that `save` gave."""
        self._index, self._registers[:] = state["index"], bytes.fromhex(state["registers"])
