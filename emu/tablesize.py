"""How large TCG's tables of translations are.

Each slot has one, with 256 entries at first and one place for each page.  TCG chooses another size only when a table is emptied,
by how much of it was in use.  A guest that reaches for many pages and never has its TLB emptied would come to Python for nearly every
access, so a table whose pages come back again and again is emptied for it.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Final

from . import layout
from .layout import UnicornMismatch

if TYPE_CHECKING:
    from .engine import Engine

_ENTRY: Final = 64  # bytes
_SMALLEST, _LARGEST = 1 << 6, 1 << 22  # entries
_ROUNDS: Final = 4  # times its size that a table is filled again before it counts as too small
_MOST_PATIENCE: Final = 1 << 12


class TableSizes:
    """The tables of one engine, by the number of the slot."""

    def __init__(self, engine: Engine, slots: tuple[tuple[int, int], ...]) -> None:
        words = (ctypes.c_uint64 * 2 * len(slots)).from_address(engine.state + layout.TABLES)
        self._tables = [words[mask.bit_length() - 1] for _, mask in slots]
        self._masks = [mask for _, mask in slots]
        self._patience = [_ROUNDS] * len(slots)
        self._engine = engine
        for slot, (last, _) in enumerate(self._tables):
            size = self.entries(slot)
            if last % _ENTRY or size & size - 1 or not _SMALLEST <= size <= _LARGEST:
                raise UnicornMismatch(f"the tables of translations are not {-layout.TABLES} bytes before the CPU state")

    def entries(self, slot: int) -> int:
        """Give the size of a slot's table."""
        return self._tables[slot][0] // _ENTRY + 1

    def outgrown(self, slot: int) -> int:
        """Empty a table that was filled again and again, so that TCG may double it; gives after how many fills more to come back.

        Where TCG does not, because the pages in use merely share places, this waits twice as long the next time.
        """
        before = self.entries(slot)
        self._engine.flush_slots(self._masks[slot])
        entries = self.entries(slot)
        self._patience[slot] = _ROUNDS if entries > before else min(2 * self._patience[slot], _MOST_PATIENCE)
        return entries * self._patience[slot]
