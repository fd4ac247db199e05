"""Physical memory as L1 sees it, for what VMX instructions, entries and exits read and write there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from ..mmu.walk import Memory

_PAGE: Final = -4096
_NOTHING: Final = (1 << 64) - 1


class L1Memory:
    """Memory that answers where `is_l1` says so; elsewhere reads give ones, and writes go nowhere, as where no memory is.

    Attributes:
        watched: pages of whose writes `on_write` is told, with the word's address, and what it held and holds.

    """

    def __init__(self, memory: Memory, is_l1: Callable[[int], bool]) -> None:
        self._memory = memory
        self._is_l1 = is_l1
        self.watched: Container[int] = ()
        self.on_write: Callable[[int, int, int], None] = lambda _address, _old, _new: None

    def read64(self, address: int) -> int:
        """Read an aligned word."""
        return self._memory.read64(address) if self._is_l1(address) else _NOTHING

    def write64(self, address: int, value: int) -> None:
        """Write an aligned word."""
        if not self._is_l1(address):
            return
        if address & _PAGE in self.watched:
            self.on_write(address, self._memory.read64(address), value)
        self._memory.write64(address, value)
