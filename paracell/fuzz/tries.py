"""What a try of `gates` consists of, and its bytes.

::

    16 registers, 8 bytes each │ RFLAGS, 4 bytes │ code, to the end

What is missing of a short input is zero.
"""

from __future__ import annotations

import struct
from typing import Final

from attrs import frozen

from ..mmu.address import PAGE

_HEAD: Final = struct.Struct("<16QI")
LONGEST: Final = _HEAD.size + PAGE


@frozen
class Try:
    """What one try does: the code, the registers by number, RFLAGS.

    Attributes:
        code: at the beginning of the page; what is behind it does not count.
        registers: RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 … R15.
        flags: what of RFLAGS a program can set.

    """

    code: bytes
    registers: tuple[int, ...]
    flags: int

    def to_bytes(self) -> bytes:
        """Give it as an input."""
        return _HEAD.pack(*self.registers, self.flags) + self.code

    @classmethod
    def from_bytes(cls, data: bytes) -> Try:
        """Take any bytes as a try."""
        *registers, flags = _HEAD.unpack(data[: _HEAD.size].ljust(_HEAD.size, b"\0"))
        return cls(data[_HEAD.size : LONGEST], tuple(registers), flags)
