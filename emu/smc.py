"""Code that is written through another address than it runs at.

Unicorn detects a store into translated code only through the linear page that the code was translated at.  After the first store
through another mapping of the frame it no longer checks that mapping, so stale code would keep running.  So a frame has two states,
and TCG's TLB holds entries of one kind only::

    written ──a fetch──► run        entries to write it are dropped from the TLB
    run     ──a store──► written    its translated code and the entries to fetch from it are dropped

An entry that may both write and run is of the second kind: Unicorn detects every store through it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.rights import EXEC, READ, WRITE

if TYPE_CHECKING:
    from .engine import Engine
    from .memory import Memory

# Linear pages of a frame: a number where there is one, which is what most have.
Pages = int | set[int]
_MANY: Final = 16  # with more, all of the TLB goes


def note(pages: dict[int, Pages], frame: int, page: int) -> None:
    """Add a linear page to a frame's."""
    old = pages.get(frame)
    if old is None:
        pages[frame] = page
    elif isinstance(old, int):
        if old != page:
            pages[frame] = {old, page}
    elif len(old) <= _MANY:
        old.add(page)


class CodePages:
    """Which frames TCG's TLB may run, and which it may write.

    Attributes:
        executable: frame → linear pages it may be fetched from; the same object as `Memory.code`.
        writable: frame → linear pages it may be written through, but not fetched from.

    """

    def __init__(self, engine: Engine, memory: Memory) -> None:
        self.executable = memory.code
        self.writable: dict[int, Pages] = {}
        self._engine = engine
        self._memory = memory

    def grant(self, frame: int, page: int, need: int, rights: int) -> int:
        """Give what of a miss's rights may be cached for a frame, and note it."""
        runs = frame in self.executable
        if need == EXEC or (runs and rights & EXEC):
            if not runs:
                self._drop(self.writable.pop(frame, None))
            note(self.executable, frame, page)
            return rights
        rights &= ~EXEC
        if need == READ and runs:
            return rights & ~WRITE  # a store will ask again
        if rights & WRITE:
            if runs:
                at = self._memory.ram_offset(frame << 12)
                self._engine.drop_code(at, at + 0x1000)
                self._drop(self.executable.pop(frame))
            note(self.writable, frame, page)
        return rights

    def _drop(self, pages: Pages | None) -> None:
        """Drop these linear pages from the TLB."""
        if isinstance(pages, int):
            self._engine.flush_page(pages << 12)
        elif pages is not None and len(pages) > _MANY:
            self._engine.flush_slots()
        else:
            for page in pages or ():
                self._engine.flush_page(page << 12)
