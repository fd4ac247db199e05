"""Physical memory as L1 sees it: all but what the outermost hypervisor keeps for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..mmu.walk import Memory

_NOTHING: Final = (1 << 64) - 1


class L1Memory:
    """Memory that answers where `is_l1` says so; elsewhere reads give ones, and writes go nowhere, as where no memory is."""

    def __init__(self, memory: Memory, is_l1: Callable[[int], bool]) -> None:
        self._memory = memory
        self._is_l1 = is_l1

    def read64(self, address: int) -> int:
        """Read an aligned word."""
        return self._memory.read64(address) if self._is_l1(address) else _NOTHING

    def write64(self, address: int, value: int) -> None:
        """Write an aligned word."""
        if self._is_l1(address):
            self._memory.write64(address, value)
