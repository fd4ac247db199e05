"""Linear and physical addresses: their widths, and which linear ones are canonical."""

from __future__ import annotations

from typing import Final

U32: Final = (1 << 32) - 1
U64: Final = (1 << 64) - 1
HALF: Final = 1 << 47  # where the lower canonical half ends, with 4-level paging
SIGNS: Final = frozenset({0, (1 << 17) - 1})  # what bits 63:47 of a canonical address can be
PAGE: Final = 4096  # bytes of the smallest page


def canonical(address: int) -> bool:
    """Tell whether bits 63:47 of a 64-bit address are all the same (SDM "Canonical Addressing").

    Where a function call is too dear, the same is written ``address >> 47 in SIGNS``.
    """
    return address >> 47 in SIGNS


class Address(int):
    """An address, or a register without fields: a number that shows itself in hexadecimal.

    Example:
        >>> Address(4096)
        0x1000

    """

    def __repr__(self) -> str:
        """Show it in hexadecimal."""
        return hex(self)
