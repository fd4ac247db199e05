"""EPT01: guest-physical memory of L1, which lies at the same physical addresses, but for what is L0's.

RAM is mapped in pages of 2 MiB, from the start or, by an option, when it is first touched; one that holds a table of L1's EPTs, which
L0 protects from stores, is split.  Everything else is mapped a page at a time, when L1 touches it: devices, and addresses that nobody
answers.  An address of L0's own memory is one of these to L1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ..mmu.ept import EptEntry, R, W, X
from .pool import PAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..mmu.walk import Memory
    from .pool import Pool

_FRAME, _PS = EptEntry.FRAME.mask, EptEntry.PS.mask
_ALL: Final = R | W | X
_WB, _UC = 6 << EptEntry.TYPE.shift, 0
_LARGE: Final = 2 << 20
_SLOTS: Final = 512


class Leaf(NamedTuple):
    """An entry of EPT01 that maps a page.

    Attributes:
        at: its physical address.
        entry: itself.
        level: 1 for 4 KiB, 2 for 2 MiB.

    """

    at: int
    entry: int
    level: int


class Ept01:
    """The tables.

    Attributes:
        root: physical address of the PML4 table.
        flush: drops what is cached of an EPT, by its root.

    """

    def __init__(
        self,
        memory: Memory,
        pool: Pool,
        regions: Iterable[tuple[int, int]],
        nothing: int,
        flush: Callable[[int], None],
        *,
        large: bool = True,
        backed: bool = True,
    ) -> None:
        """Make tables for L1's memory.

        Args:
            memory: it.
            pool: pages for tables.
            regions: L1's RAM, (address, size).
            nothing: a page that nobody answers.
            flush: see above.
            large: RAM is mapped in pages of 2 MiB.
            backed: it is mapped from the start.

        """
        self._memory, self._pool = memory, pool
        self._regions, self._nothing, self._large = tuple(regions), nothing, large
        self.flush = flush
        self.root = pool.take()
        self.protected: set[int] = set()
        for first, size in self._regions if backed else ():
            at, end = first, first + size
            while at < end:
                at += _LARGE if self._back(at).level > 1 else PAGE

    def _back(self, gpa: int) -> Leaf:
        """Map the page of RAM that an address lies in: one of 2 MiB where all of that is RAM, and nothing of it is mapped yet."""
        at, memory = gpa & -_LARGE, self._memory
        level = 1
        if self._large and any(first <= at and at + _LARGE <= first + size for first, size in self._regions):
            level = 1 if memory.read64(self._entry(at, 2)) & _ALL else 2
        where = self._entry(gpa, level)
        entry = (at | _PS if level > 1 else gpa & -PAGE) | _ALL | _WB
        memory.write64(where, entry)
        return Leaf(where, entry, level)

    def _entry(self, gpa: int, level: int) -> int:
        """Give the address of an entry, and make the tables above it."""
        at, memory = self.root, self._memory
        for above in range(4, level, -1):
            at += gpa >> 9 * above & 0x1FF << 3
            entry = memory.read64(at)
            if not entry & _ALL:
                entry = self._pool.take() | _ALL
                memory.write64(at, entry)
            elif entry & _PS:
                entry = self._split(at, entry)
            at = entry & _FRAME
        return at + (gpa >> 9 * level & 0x1FF << 3)

    def _split(self, at: int, entry: int) -> int:
        """Have a table of 4 KiB pages in place of one of 2 MiB."""
        table = self._pool.take()
        for slot in range(_SLOTS):
            self._memory.write64(table + 8 * slot, (entry & ~_PS) + PAGE * slot)
        self._memory.write64(at, table | _ALL)
        return table | _ALL

    def is_ram(self, gpa: int) -> bool:
        """Tell whether an address is RAM of L1's."""
        return any(first <= gpa < first + size for first, size in self._regions)

    def leaf(self, gpa: int) -> Leaf | None:
        """Give what maps an address; None where nothing does yet."""
        at, memory = self.root, self._memory
        for level in (4, 3, 2, 1):
            at += gpa >> 9 * level & 0x1FF << 3
            entry = memory.read64(at)
            if not entry & _ALL:
                return None
            if level == 1 or entry & _PS:
                return Leaf(at, entry, level)
            at = entry & _FRAME
        raise AssertionError("a walk ends at level 1")

    def fill(self, gpa: int, *, is_l0s: bool) -> Leaf:
        """Map a page that is not mapped yet: to itself, or, where it is L0's own memory, to what nobody answers."""
        if self.is_ram(gpa):
            return self._back(gpa)
        at, page = self._entry(gpa, 1), self._nothing if is_l0s else gpa & -PAGE
        entry = page | _ALL | _UC
        self._memory.write64(at, entry)
        return Leaf(at, entry, 1)

    # ---- protection from stores --------------------------------------------------------------------------------------------

    def protect(self, page: int) -> None:
        """Have stores to a page of RAM exit."""
        if page not in self.protected:
            self.protected.add(page)
            self._set(page, _ALL & ~W)
            self.flush(self.root)

    def unprotect(self, page: int) -> None:
        """Let a page be written again: nothing that is cached of it matters, for a refusal is walked for afresh."""
        if page in self.protected:
            self.protected.discard(page)
            self._set(page, _ALL)

    def grant(self, page: int, *, write: bool) -> None:
        """Let one store to a protected page pass, and take that back; what is cached is the caller's."""
        self._set(page, _ALL if write else _ALL & ~W)

    def _set(self, page: int, rights: int) -> None:
        if self.leaf(page) is None:
            self._back(page)
        at = self._entry(page, 1)
        self._memory.write64(at, self._memory.read64(at) & ~_ALL | rights)
