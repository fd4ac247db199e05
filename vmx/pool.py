"""Pages of the outermost hypervisor's own memory, for its tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from ..mmu.walk import Memory

if TYPE_CHECKING:
    from collections.abc import Iterable

PAGE: Final = 4096


class PageMemory(Memory, Protocol):
    """Physical memory that can be written a page at a time, too."""

    def write(self, address: int, data: bytes) -> None:
        """Write bytes."""


class Exhausted(Exception):
    """No page is left."""


class Pool:
    """Pages that are free, each of them zero."""

    def __init__(self, memory: PageMemory, pages: Iterable[int]) -> None:
        self._memory = memory
        self._free = list(pages)[::-1]

    def take(self) -> int:
        """Give the address of a page; `Exhausted` where there is none."""
        if not self._free:
            raise Exhausted
        return self._free.pop()

    def give(self, page: int) -> None:
        """Take a page back."""
        self._memory.write(page, bytes(PAGE))
        self._free.append(page)

    @property
    def free(self) -> tuple[int, ...]:
        """Those that are left, the last one first to go."""
        return tuple(self._free)

    @free.setter
    def free(self, pages: Iterable[int]) -> None:
        """Take what this gave before; memory is as it was."""
        self._free = list(pages)
