"""The translation cache that Python keeps behind TCG's: entries live until the guest invalidates them.

Tagged as hardware tags them, by PCID, with global pages apart (SDM "Caching Translation Information").  So a missing
INVLPG shows every time, not by luck.  An entry is what `walk` returned.  A refused access is always decided by a fresh walk,
as processors do before they deliver a page fault ("Operations that Invalidate TLBs and Paging-Structure Caches").
"""

from __future__ import annotations

from typing import Final

from .rights import G
from .walk import LEVEL_SHIFT

CAPACITY: Final = 1 << 16
_SPAN: Final = (0, 1, 1 << 9, 1 << 18, 1 << 27)


class Tlb:
    """Translations by PCID.

    Attributes:
        current: page number → entry, of the current PCID; the dictionary is replaced by `select`.
        shared: the same for global pages.

    """

    def __init__(self) -> None:
        self.pcid = 0
        self._spaces: dict[int, dict[int, int]] = {0: {}}
        self.current = self._spaces[0]
        self.shared: dict[int, int] = {}

    def select(self, pcid: int) -> None:
        """Make `pcid` current."""
        self.pcid = pcid
        self.current = self._spaces.setdefault(pcid, {})

    def insert(self, vpn: int, entry: int, *, use_global: bool) -> None:
        """Keep a translation; the oldest goes when there are too many."""
        space = self.shared if use_global and entry & G else self.current
        if len(space) >= CAPACITY:
            del space[next(iter(space))]
        space[vpn] = entry

    def invalidate(self, vpn: int, pcid: int | None = None) -> bool:
        """Drop the page that holds `vpn`, in `pcid` (default: current) and, for the current one, among the global pages.

        Returns whether it was larger than 4 KiB (then every fraction has been dropped).
        """
        large = False
        spaces = [self.current, self.shared] if pcid is None else [self._spaces.get(pcid, {})]
        for space in spaces:
            entry = space.pop(vpn, None)
            span = _SPAN[entry >> LEVEL_SHIFT & 7] if entry is not None else 1
            if span == 1:
                span = self._span_of(space, vpn)
            if span > 1:
                large = True
                first = vpn & -span
                for page in [p for p in space if first <= p < first + span]:
                    del space[page]
        return large

    @staticmethod
    def _span_of(space: dict[int, int], vpn: int) -> int:
        """Give the size in pages of a cached large page around `vpn` whose fraction at `vpn` is not cached."""
        for level in (2, 3):
            span = _SPAN[level]
            first = vpn & -span
            if len(space) < span:
                hit = any(first <= p < first + span and e >> LEVEL_SHIFT & 7 == level for p, e in space.items())
            else:
                hit = any(space.get(p, 0) >> LEVEL_SHIFT & 7 == level for p in range(first, first + span))
            if hit:
                return span
        return 1

    def flush_current(self) -> None:
        """Drop the current PCID's translations, global ones excepted: MOV to CR3."""
        self.current.clear()

    def flush_pcid(self, pcid: int) -> None:
        """Drop one PCID's translations, global ones excepted: INVPCID type 1."""
        self._spaces.get(pcid, {}).clear()

    def flush_nonglobal(self) -> None:
        """Drop every PCID's translations, global ones excepted: INVPCID type 3."""
        for space in self._spaces.values():
            space.clear()

    def flush_all(self) -> None:
        """Drop everything: INVPCID type 2, changes of CR4.PGE, CR0.PG …."""
        self.flush_nonglobal()
        self.shared.clear()
