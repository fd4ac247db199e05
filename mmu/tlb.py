"""The translation cache that Python keeps behind TCG's: entries live until the guest invalidates them.

Tagged as hardware tags them, by VPID, EPT and PCID, with global pages apart (SDM "Caching Translation Information").  So a
missing INVLPG shows every time, not by luck.  An entry is what `walk` returned.  A refused access is always decided by a fresh walk,
as processors do before they deliver a page fault ("Operations that Invalidate TLBs and Paging-Structure Caches").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .rights import G
from .walk import LEVEL_SHIFT, SIZE, SMALL

if TYPE_CHECKING:
    from collections.abc import Iterable

CAPACITY: Final = 1 << 16  # of one address space; a page is 4 KiB here, so 256 MiB
KEPT: Final = 64  # address spaces that hold translations
NO_EPT: Final = -1  # beside any root, for 0 is one
UNPAGED: Final = -1  # beside any PCID
_2M, _1G = 1 << 9, 1 << 18  # of 4 KiB pages
_SPANS: Final = {2: _2M, 3: _1G}


class Space(dict[int, int]):
    """Translations of one address space, or the global ones: page number → entry.

    Attributes:
        large: the page numbers at which cached pages of 2 MiB and 1 GiB begin.
        overflowed: since it was last empty, translations have gone for want of room.

    """

    def __init__(self) -> None:
        super().__init__()
        self.large: set[tuple[int, int]] = set()
        self.overflowed = False

    def keep(self, vpn: int, entry: int) -> None:
        """Add a translation; the oldest goes when there are too many."""
        if len(self) >= CAPACITY:
            del self[next(iter(self))]
            self.overflowed = True
        self[vpn] = entry
        span = _SPANS.get(entry >> LEVEL_SHIFT & 7)
        if span is not None:
            self.large.add((vpn & -span, span))

    def drop(self, vpn: int) -> bool:
        """Drop the page that holds `vpn`, every fraction of it; tells whether it was a large one."""
        self.pop(vpn, None)
        large = self.large
        if not large or ((vpn & -_2M, _2M) not in large and (vpn & -_1G, _1G) not in large):
            return False
        found = [(vpn & -span, span) for span in (_2M, _1G) if (vpn & -span, span) in large]
        for first, span in found:
            self.large.discard((first, span))
            for page in [p for p in self if first <= p < first + span]:
                del self[page]
        return bool(found)

    def empty(self) -> None:
        """Drop everything."""
        self.clear()
        self.large.clear()
        self.overflowed = False

    def become(self, entries: dict[int, int], large: Iterable[tuple[int, int]]) -> None:
        """Hold these translations and no others."""
        self.empty()
        self.update(entries)
        self.large.update(large)


class GuestPhysical:
    """The guest-physical mappings of one EPT (SDM "Caching Translation Information"): only an INVEPT or a violation drops them.

    Attributes:
        pages: guest-physical page → what `second.SecondStage` has found there; nothing that cannot be read.
        tables: guest-physical page → index in RAM's words of a page that guest paging structures are in: some of `pages`, readier.

    """

    def __init__(self) -> None:
        self.pages: dict[int, int] = {}
        self.tables: dict[int, int] = {}

    def keep(self, gpa: int, page: int) -> None:
        """Add a mapping; the oldest goes when there are too many."""
        if len(self.pages) >= CAPACITY:
            self.drop(next(iter(self.pages)))
        self.pages[gpa] = page

    def drop(self, gpa: int) -> None:
        """Drop a page."""
        self.pages.pop(gpa, None)
        self.tables.pop(gpa, None)

    def empty(self) -> None:
        """Drop everything."""
        self.pages.clear()
        self.tables.clear()

    def become(self, pages: dict[int, int], tables: dict[int, int]) -> None:
        """Hold these mappings and no others."""
        self.empty()
        self.pages.update(pages)
        self.tables.update(tables)


class Tag(NamedTuple):
    """What an address space is known by (SDM "Caching Translation Information", "VPID", "EPT").

    Attributes:
        vpid: the virtual processor; 0 outside VMX non-root operation.
        eptp: physical address of the EPT's root (EP4TA), or `NO_EPT`.
        pcid: the process context; 0 without CR4.PCIDE, and `UNPAGED` without paging.

    """

    vpid: int = 0
    eptp: int = NO_EPT
    pcid: int = 0


def _drop(spaces: list[Space], vpn: int) -> bool:
    return max([space.drop(vpn) for space in spaces], default=False)  # all of them, not up to the first large page


class Tlb:
    """Translations by address space, and guest-physical mappings by EPT.

    Attributes:
        tag: the current address space.
        current: its translations; `select` replaces it.
        shared: the global pages of its VPID and EPT; `select` replaces it too.
        gone: counts how often spaces have been replaced; until then, these three may be set to what they were.

    """

    def __init__(self) -> None:
        self.tag = Tag()
        self.gone = 0
        self._spaces: dict[Tag, Space] = {}  # selected longest ago first
        self._globals: dict[tuple[int, int], Space] = {}
        self._guest_physical: dict[int, GuestPhysical] = {}  # used longest ago first
        self.empty()

    def empty(self) -> None:
        """Drop everything of everybody, as a reset does."""
        self.gone += 1
        self._spaces.clear()
        self._globals.clear()
        for mappings in self._guest_physical.values():
            mappings.empty()
        self.current = self._spaces[self.tag] = Space()
        self.shared = self._globals[self.tag[:2]] = Space()

    def select(self, pcid: int, vpid: int = 0, eptp: int = NO_EPT) -> bool:
        """Make an address space current; the one selected longest ago loses its translations when too many have some.

        Returns whether that one had large pages.  TCG's TLB may still hold 4 KiB pieces of these, and a later INVLPG could no longer
        know that it must flush them all: the caller flushes them now.
        """
        if (vpid, eptp, pcid) == self.tag:
            return False
        self.tag = tag = Tag(vpid, eptp, pcid)
        spaces = self._spaces
        space = spaces.pop(tag, None)
        self.current = spaces[tag] = Space() if space is None else space
        shared = self._globals.get(tag[:2])
        if shared is None:
            shared = self._globals[tag[:2]] = Space()
        self.shared = shared
        return len(spaces) > KEPT and self._evict(next(iter(spaces)))

    def _evict(self, tag: Tag) -> bool:
        """Forget an address space, and the global pages of its VPID and EPT with the last that could use them."""
        self.gone += 1
        large = bool(self._spaces.pop(tag).large)
        pair = tag[:2]
        if not any(other[:2] == pair for other in self._spaces):
            large |= bool(self._globals.pop(pair).large)
        return large

    def guest_physical(self, eptp: int) -> GuestPhysical:
        """Give the guest-physical mappings of an EPT, by its root; the EPT used longest ago loses its own when too many have some."""
        kept = self._guest_physical
        found = kept[eptp] = kept.pop(eptp) if eptp in kept else GuestPhysical()
        if len(kept) > KEPT:
            self.gone += 1
            kept.pop(next(iter(kept))).empty()
        return found

    def insert(self, vpn: int, entry: int, *, use_global: bool) -> None:
        """Keep a translation."""
        space = self.shared if use_global and entry & G else self.current
        if entry & SIZE == SMALL and len(space) < CAPACITY:
            space[vpn] = entry
        else:
            space.keep(vpn, entry)

    # ---- what the guest invalidates: of its own VPID, under any EPT (SDM "Operations that Invalidate Cached Mappings") -----

    def _of(self, vpid: int, pcid: int | None = None) -> list[Space]:
        """Give the spaces of a VPID, of every PCID or of one."""
        return [s for tag, s in self._spaces.items() if tag.vpid == vpid and pcid in {None, tag.pcid}]

    def _globals_of(self, vpid: int) -> list[Space]:
        return [space for pair, space in self._globals.items() if pair[0] == vpid]

    @property
    def is_alone(self) -> bool:
        """No other EPT has translations of the current VPID, or can have."""
        return len(self._globals) == 1 or sum(pair[0] == self.tag.vpid for pair in self._globals) == 1

    def invalidate(self, vpn: int, pcid: int | None = None) -> bool:
        """Drop the page that holds `vpn`: in the current PCID and among the global pages, or in `pcid` alone.

        Returns whether it was larger than 4 KiB.
        """
        if pcid is not None:
            spaces = self._of(self.tag.vpid, pcid)
        elif len(self._globals) == 1:  # one VPID and no EPT: the usual case
            large = self.current.drop(vpn)
            return self.shared.drop(vpn) or large
        else:
            spaces = [*self._of(self.tag.vpid, self.tag.pcid), *self._globals_of(self.tag.vpid)]
        return _drop(spaces, vpn)

    def flush_current(self) -> None:
        """Drop the current PCID's translations, global ones excepted: MOV to CR3."""
        if len(self._globals) == 1:
            self.current.empty()
        else:
            self.flush_pcid(self.tag.pcid)

    def flush_pcid(self, pcid: int) -> None:
        """Drop one PCID's translations, global ones excepted: INVPCID type 1."""
        for space in self._of(self.tag.vpid, pcid):
            space.empty()

    def flush_nonglobal(self) -> None:
        """Drop every PCID's translations, global ones excepted: INVPCID type 3."""
        self.flush_vpid(self.tag.vpid, keep_global=True)

    def flush_all(self) -> None:
        """Drop everything of the current VPID: INVPCID type 2, changes of CR4.PGE, CR0.PG …."""
        self.flush_vpid(self.tag.vpid)

    # ---- what a hypervisor invalidates (SDM "INVVPID", "INVEPT") -----------------------------------------------------------

    def invalidate_vpid(self, vpn: int, vpid: int) -> bool:
        """Drop the page that holds `vpn` in all of a VPID's address spaces: INVVPID type 0.  Returns as `invalidate`."""
        return _drop([*self._of(vpid), *self._globals_of(vpid)], vpn)

    def flush_vpid(self, vpid: int, *, keep_global: bool = False) -> None:
        """Drop a VPID's translations: INVVPID type 1, and type 3 with `keep_global`."""
        for space in self._of(vpid):
            space.empty()
        for space in () if keep_global else self._globals_of(vpid):
            space.empty()

    def flush_vpids(self) -> None:
        """Drop the translations of every VPID but 0: INVVPID type 2."""
        for vpid in {pair[0] for pair in self._globals} - {0}:
            self.flush_vpid(vpid)

    def flush_ept(self, eptp: int | None = None) -> None:
        """Drop what was translated through an EPT, of every VPID, and its guest-physical mappings: INVEPT type 1; of any EPT: type 2."""
        for key, space in (*self._spaces.items(), *self._globals.items()):
            if key[1] == eptp or (eptp is None and key[1] != NO_EPT):
                space.empty()
        for root, mappings in self._guest_physical.items():
            if eptp in {None, root}:
                mappings.empty()

    def drop_used(self, vpn: int) -> bool:
        """Drop a page of the current address space, as an EPT violation does.  Returns as `invalidate`."""
        return _drop([self.current, self.shared], vpn)

    @property
    def is_mixed(self) -> bool:
        """Something was translated for another address space than the current one, or by an EPT."""
        current = self.current
        return any(space and space is not current for space in self._spaces.values()) or any(
            mappings.pages for mappings in self._guest_physical.values()
        )

    # ---- checkpoints ------------------------------------------------------------------------------------------------------

    def save(self) -> tuple[Any, ...]:
        """Give everything that is cached, for `load`."""
        spaces, shared = (
            {key: (dict(space), set(space.large)) for key, space in kept.items()}
            for kept in (self._spaces, self._globals)
        )
        mappings = {root: (dict(kept.pages), dict(kept.tables)) for root, kept in self._guest_physical.items()}
        return self.tag, spaces, shared, mappings

    def load(self, state: tuple[Any, ...]) -> None:
        """Take what `save` gave; a space that is still there stays the object that it is."""
        self.gone += 1
        self.tag, spaces, shared, mappings = state
        self._spaces = {tag: self._spaces.get(tag, Space()) for tag in spaces}
        self._globals = {pair: self._globals.get(pair, Space()) for pair in shared}
        for kept, saved in ((self._spaces, spaces), (self._globals, shared)):
            for key, space in kept.items():
                space.become(*saved[key])
        self.current, self.shared = self._spaces[self.tag], self._globals[self.tag[:2]]
        for root in self._guest_physical.keys() | mappings.keys():
            self.guest_physical(root).become(*mappings.get(root, ({}, {})))
