"""QEMU's firmware configuration device, its legacy face: selector at port 0x510, data at 0x511 (QEMU docs/specs/fw_cfg)."""

from __future__ import annotations

import struct
from typing import Final

_SIGNATURE, _ID, _RAM_SIZE, _PROCESSORS = 0, 1, 3, 5


class FwCfg:
    """Tells RAM size and the number of processors."""

    ports: Final = (0x510, 0x511)

    def __init__(self, memory: int) -> None:
        self._files = {
            _SIGNATURE: b"QEMU",
            _ID: struct.pack("<I", 1),
            _RAM_SIZE: struct.pack("<Q", memory),
            _PROCESSORS: struct.pack("<H", 1),
        }
        self._selected, self._at = 0, 0

    def read(self, port: int, _size: int) -> int:
        """Read the next byte of the selected entry; zeros behind its end."""
        if port == self.ports[0]:
            return self._selected
        data = self._files.get(self._selected, b"")
        self._at += 1
        return data[self._at - 1] if self._at <= len(data) else 0

    def write(self, port: int, _size: int, value: int) -> None:
        """Select an entry."""
        if port == self.ports[0]:
            self._selected, self._at = value & 0xFFFF, 0

    def save(self) -> list[int]:
        """Give its state."""
        return [self._selected, self._at]

    def load(self, state: list[int]) -> None:
        """Take the state that `save` gave."""
        self._selected, self._at = state
