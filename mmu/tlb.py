"""The translation cache that Python keeps behind TCG's: entries live until the guest invalidates them.

Tagged as hardware tags them, by PCID, with global pages apart (SDM "Caching Translation Information").  So a missing
INVLPG shows every time, not by luck.  An entry is what `walk` returned.  A refused access is always decided by a fresh walk,
as processors do before they deliver a page fault ("Operations that Invalidate TLBs and Paging-Structure Caches").
"""

from __future__ import annotations

from typing import Final

from .rights import G
from .walk import LEVEL_SHIFT

CAPACITY: Final = 1 << 16  # of one PCID; a page is 4 KiB here, so 256 MiB
KEPT: Final = 64  # PCIDs that hold translations
_SPANS: Final = {2: 1 << 9, 3: 1 << 18}
_PAGES: Final = tuple(_SPANS.values())
_SIZE: Final = 7 << LEVEL_SHIFT
_SMALL: Final = 1 << LEVEL_SHIFT


class Space(dict[int, int]):
    """Translations of one PCID, or the global ones: page number → entry.

    Attributes:
        large: the page numbers at which cached pages of 2 MiB and 1 GiB begin.

    """

    def __init__(self) -> None:
        super().__init__()
        self.large: set[tuple[int, int]] = set()

    def keep(self, vpn: int, entry: int) -> None:
        """Add a translation; the oldest goes when there are too many."""
        if len(self) >= CAPACITY:
            del self[next(iter(self))]
        self[vpn] = entry
        span = _SPANS.get(entry >> LEVEL_SHIFT & 7)
        if span is not None:
            self.large.add((vpn & -span, span))

    def drop(self, vpn: int) -> bool:
        """Drop the page that holds `vpn`, every fraction of it; tells whether it was a large one."""
        self.pop(vpn, None)
        if not self.large:
            return False
        found = [(vpn & -span, span) for span in _PAGES if (vpn & -span, span) in self.large]
        for first, span in found:
            self.large.discard((first, span))
            for page in [p for p in self if first <= p < first + span]:
                del self[page]
        return bool(found)

    def empty(self) -> None:
        """Drop everything."""
        self.clear()
        self.large.clear()


class Tlb:
    """Translations by PCID.

    Attributes:
        current: those of the current PCID; `select` replaces it.
        shared: the global pages.

    """

    def __init__(self) -> None:
        self.pcid = 0
        self._spaces: dict[int, Space] = {0: Space()}
        self.current = self._spaces[0]
        self.shared = Space()
        self._kept = {0: None}  # least recently selected first

    def select(self, pcid: int) -> None:
        """Make `pcid` current; the PCID selected longest ago loses its translations when too many have some."""
        if pcid == self.pcid:
            return
        self.pcid = pcid
        space = self._spaces.get(pcid)
        if space is None:
            space = self._spaces[pcid] = Space()
        self.current = space
        kept = self._kept
        kept.pop(pcid, None)
        kept[pcid] = None
        if len(kept) > KEPT:
            oldest = next(iter(kept))
            del kept[oldest]
            self._spaces[oldest].clear()  # but not its `large`: whoever asked before may still hold fractions

    def insert(self, vpn: int, entry: int, *, use_global: bool) -> None:
        """Keep a translation."""
        space = self.shared if use_global and entry & G else self.current
        if entry & _SIZE == _SMALL and len(space) < CAPACITY:
            space[vpn] = entry
        else:
            space.keep(vpn, entry)

    def invalidate(self, vpn: int, pcid: int | None = None) -> bool:
        """Drop the page that holds `vpn`: in the current PCID and among the global pages, or in `pcid` alone.

        Returns whether it was larger than 4 KiB.
        """
        if pcid is not None:
            space = self._spaces.get(pcid)
            return space is not None and space.drop(vpn)
        large = self.current.drop(vpn)
        return self.shared.drop(vpn) or large

    def flush_current(self) -> None:
        """Drop the current PCID's translations, global ones excepted: MOV to CR3."""
        self.current.empty()

    def flush_pcid(self, pcid: int) -> None:
        """Drop one PCID's translations, global ones excepted: INVPCID type 1."""
        if pcid in self._spaces:
            self._spaces[pcid].empty()

    def flush_nonglobal(self) -> None:
        """Drop every PCID's translations, global ones excepted: INVPCID type 3."""
        for space in self._spaces.values():
            space.empty()

    def flush_all(self) -> None:
        """Drop everything: INVPCID type 2, changes of CR4.PGE, CR0.PG …."""
        self.flush_nonglobal()
        self.shared.empty()
