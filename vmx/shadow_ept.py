"""EPT02: by which L2 runs, merged of L1's EPT12 and of EPT01; real tables in memory, filled when L2 touches a page.

::

    EPT12 (L1's)   L2's guest-physical ──▶ L1's guest-physical
    EPT01 (L0's)   L1's guest-physical ──▶ physical
    EPT02          L2's guest-physical ──▶ physical             what both allow

A table of EPT02 stands for one of EPT12, with the same rights in the same slots, or for a part of a large page that EPT01 has in small
ones.  The tables of EPT12 that have such a counterpart are protected from stores, so what stands in EPT02 is never older than its
source; a store that was let pass drops the entry of its slot (`stored`).  When a table is protected is a matter of policy: when it is
walked through (lazy, as Linux' KVM does), or as soon as a protected table links it (eager).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from attrs import field, frozen

from ..mmu.ept import XU, A, D, EptEntry, R, Root, W, X, descend, use
from .pool import PAGE, Exhausted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..mmu.ept import Log
    from ..mmu.walk import Memory
    from .ept01 import Ept01
    from .pool import Pool

_FRAME, _PS = EptEntry.FRAME.mask, EptEntry.PS.mask
_RIGHTS: Final = R | W | X | XU
_ANY: Final = R | W | X
_LARGE_SHIFT, _LARGE_OFFSET = 21, (2 << 20) - 1
_LEVELS, _SLOTS = 4, 512
ROOTS: Final = 16  # of L1's that have a counterpart
FLOOD: Final = 16  # stores to a root that nobody uses: it is a table no more


def _tuples(values: Iterable[Iterable[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(value) for value in values)


class Source(NamedTuple):
    """What a table of EPT02 stands for.

    Attributes:
        address: of a table of EPT12; of an entry of EPT12 that maps a large page, where `split`.
        level: of the table of EPT02.
        split: see there.
        dirty: EPT12 has accessed and dirty flags, so a page without the dirty flag must not be writable.
        part: which 2 MiB of a page of 1 GiB, where that is split so far.

    """

    address: int
    level: int
    split: bool
    dirty: bool
    part: int = 0


@frozen
class ShadowState:
    """What a snapshot keeps of `Shadow`, besides memory.

    Attributes:
        tables: the parts of each `Source`, and the table that stands for it.
        roots: tables of roots, used longest ago first, and the stores to what they stand for.
        waiting: entries that are to lead to a table as soon as a walk has been there.

    """

    tables: tuple[tuple[int, ...], ...] = field(default=(), converter=_tuples)
    roots: tuple[tuple[int, ...], ...] = field(default=(), converter=_tuples)
    waiting: tuple[tuple[int, ...], ...] = field(default=(), converter=_tuples)


class Filled(NamedTuple):
    """What `Shadow.fill` has done: the physical page, the level of its entry, and whether L2 may do what it wants now."""

    page: int
    level: int
    allowed: bool


def changed_slots(before: bytes, after: bytes) -> dict[int, int]:
    """Give the entries by which two contents of a table differ, as they are afterwards."""
    old, new = memoryview(before).cast("Q"), memoryview(after).cast("Q")
    return {slot: new[slot] for slot in range(_SLOTS) if old[slot] != new[slot]}


class Shadow:
    """EPT02 for every EPT that L1 uses.

    Attributes:
        eager: the policy of protection.
        changes: counts the roots that came and went.

    """

    def __init__(
        self,
        memory: Memory,
        l1: Memory,
        pool: Pool,
        ept01: Ept01,
        is_l0s: Callable[[int], bool],
        *,
        eager: bool = False,
    ) -> None:
        self._memory, self._l1, self._pool, self._ept01, self._is_l0s = memory, l1, pool, ept01, is_l0s
        self.eager = eager
        self.changes = 0
        self._roots: dict[Source, Root] = {}  # used longest ago first
        self._tables: dict[Source, int] = {}
        self._sources: dict[int, Source] = {}
        self._of: dict[int, set[Source]] = {}  # those that stand for a table of EPT12, by its address
        self._links: dict[int, int] = {}  # entry of EPT02 → the table that it leads to, or is to lead to
        self._parents: dict[int, set[int]] = {}
        self._maps: dict[int, set[int]] = {}  # page, or address | 1 of 2 MiB → entries of EPT02 that map it
        self._mapped: dict[int, int] = {}
        self._stores: dict[int, int] = {}  # to roots, since they were used

    # ---- roots -------------------------------------------------------------------------------------------------------------

    def root(self, root12: Root) -> Root:
        """Give the EPT02 that stands for an EPT12."""
        source = Source(root12.address, _LEVELS, split=False, dirty=root12.dirty)
        found = self._roots.pop(source, None)
        if found is None:
            if len(self._roots) >= ROOTS:
                self._drop_root(next(iter(self._roots)))
            try:
                table = self._table(source)
            except Exhausted:
                self.empty()
                table = self._table(source)
            found = Root(table, root12.reserved, dirty=root12.dirty)
            self.changes += 1
        self._roots[source] = found
        self._stores.pop(root12.address, None)
        return found._replace(mode_based=root12.mode_based)

    def known(self, address: int) -> list[int]:
        """Give the roots of EPT02 that stand for the EPT12 with its root at `address`."""
        return [root.address for source, root in self._roots.items() if source.address == address]

    def all_roots(self) -> list[int]:
        """Give every root of EPT02."""
        return [root.address for root in self._roots.values()]

    def _drop_root(self, source: Source) -> None:
        root = self._roots.pop(source)
        self.changes += 1
        self._free(root.address)
        self._ept01.flush(root.address)

    def empty(self) -> None:
        """Drop all that is not a root: there is no room for more."""
        for root in self._roots.values():
            self._clear_table(root.address)
            self._ept01.flush(root.address)

    # ---- snapshots ---------------------------------------------------------------------------------------------------------

    def save(self) -> ShadowState:
        """Give what memory does not tell."""
        tables = [(*source, table) for source, table in self._tables.items()]
        waiting = [(where, child) for where, child in self._links.items() if not self._memory.read64(where)]
        roots = [(root.address, self._stores.get(source.address, 0)) for source, root in self._roots.items()]
        return ShadowState(tables, roots, waiting)

    def load(self, state: ShadowState, masks: tuple[int, ...]) -> None:
        """Take what `save` gave, with memory as it was then; `masks` are the reserved bits of entries."""
        for kept in (
            self._roots, self._tables, self._sources, self._of, self._links, self._parents, self._maps, self._mapped, self._stores
        ):  # fmt: skip
            kept.clear()
        for address, level, split, dirty, part, table in state.tables:
            source = Source(address, level, bool(split), bool(dirty), part)
            self._tables[source], self._sources[table], self._parents[table] = table, source, set()
            if not split:
                self._of.setdefault(address, set()).add(source)
        for table, stores in state.roots:
            source = self._sources[table]
            self._roots[source] = Root(table, masks, dirty=source.dirty)
            if stores:
                self._stores[source.address] = stores
        for table, source in self._sources.items():
            for where in range(table, table + 8 * _SLOTS, 8):
                entry = self._memory.read64(where)
                if not entry & _RIGHTS:
                    continue
                if source.level == 1 or entry & _PS:
                    self._note_map(where, entry & _FRAME | (0 if source.level == 1 else 1))
                else:
                    self._note_link(where, entry & _FRAME)
        for where, child in state.waiting:
            self._note_link(where, child)

    def _note_link(self, where: int, child: int) -> None:
        self._links[where] = child
        self._parents[child].add(where)

    def _note_map(self, where: int, key: int) -> None:
        self._mapped[where] = key
        self._maps.setdefault(key, set()).add(where)

    # ---- filling -----------------------------------------------------------------------------------------------------------

    def fill(self, root12: Root, gpa: int, need: int, kind: int, log: Log | None = None) -> Filled:
        """Map a page of L2's.

        Args:
            root12: L1's EPT.
            gpa: L2's guest-physical address.
            need: as for `ept.descend`.
            kind: as there.
            log: as `SecondStage.log`.

        Raises:
            SecondStageFault: EPT12 refuses; L1 is to hear of it.

        """
        found = descend(self._l1, root12, gpa, need, kind)
        rights = found.last & _RIGHTS & (use(self._l1, root12, found, need, gpa, log) | ~W)
        try:
            return self._map(root12, gpa, need, found.frame, rights, found.path)
        except Exhausted:
            self.empty()
            return self._map(root12, gpa, need, found.frame, rights, found.path)

    def _map(self, root12: Root, gpa: int, need: int, page1: int, rights: int, path: list[int]) -> Filled:
        """Put the entries in place: `page1` is L1's page, and `path` the walk through EPT12."""
        at = self.root(root12).address
        dirty = root12.dirty
        for table in path[::2]:
            if self._ept01.is_ram(table):
                self._ept01.protect(table & -PAGE)
        leaf = self._ept01.leaf(page1) or self._ept01.fill(page1, is_l0s=self._is_l0s(page1))
        last12 = _LEVELS + 1 - len(path) // 2
        last = min(last12, leaf.level)
        for level in range(_LEVELS, last, -1):
            where = at + (gpa >> 9 * level & 0xFF8)
            if level > last12:
                entry = path[2 * (_LEVELS - level) + 1]
                at = self._table(Source(entry & _FRAME, level - 1, split=False, dirty=dirty))
                self._link(where, at, entry & _RIGHTS)
            else:
                part = gpa >> _LARGE_SHIFT & _SLOTS - 1 if level < last12 else 0
                at = self._table(Source(path[-2], level - 1, split=True, dirty=dirty, part=part))
                self._link(where, at, _RIGHTS)
        where = at + (gpa >> 9 * last & 0xFF8)
        page = leaf.entry & _FRAME | (page1 & _LARGE_OFFSET & -PAGE if leaf.level > 1 else 0)
        allowed01 = leaf.entry & _ANY | (XU if leaf.entry & X else 0)
        both = rights & allowed01
        self._clear(where)
        if last > 1:
            page &= ~_LARGE_OFFSET
        self._memory.write64(where, page | both | leaf.entry & 0x78 | (_PS if last > 1 else 0))
        self._note_map(where, page | (1 if last > 1 else 0))
        return Filled(page, last, not need & ~both)

    def _table(self, source: Source) -> int:
        """Give the table of EPT02 that stands for `source`."""
        found = self._tables.get(source)
        if found is None:
            found = self._tables[source] = self._pool.take()
            self._sources[found] = source
            self._parents[found] = set()
            if not source.split:
                self._of.setdefault(source.address, set()).add(source)
                if self._ept01.is_ram(source.address):
                    self.drop_maps(source.address)
                    self._ept01.protect(source.address)
        return found

    def _link(self, where: int, child: int, rights: int) -> None:
        """Have an entry lead to a table."""
        entry = self._memory.read64(where)
        if (entry ^ (child | rights)) & ~(A | D):
            if self._links.get(where) != child:
                self._clear(where)
            self._memory.write64(where, child | rights)
        self._note_link(where, child)

    # ---- what goes ---------------------------------------------------------------------------------------------------------

    def _clear(self, where: int) -> None:
        """Drop an entry, and a table to which nothing leads any more."""
        if self._memory.read64(where):
            self._memory.write64(where, 0)
        key = self._mapped.pop(where, None)
        if key is not None:
            entries = self._maps[key]
            entries.discard(where)
            if not entries:
                del self._maps[key]
        child = self._links.pop(where, None)
        if child is not None:
            parents = self._parents[child]
            parents.discard(where)
            if not parents and self._sources[child] not in self._roots:
                self._free(child)

    def _clear_table(self, table: int) -> None:
        for where in range(table, table + 8 * _SLOTS, 8):
            if where in self._links or where in self._mapped:
                self._clear(where)

    def _free(self, table: int) -> None:
        self._clear_table(table)
        source = self._sources.pop(table)
        del self._tables[source]
        for where in list(self._parents.pop(table)):
            self._links.pop(where, None)
            self._memory.write64(where, 0)
        self._pool.give(table)
        if not source.split:
            others = self._of[source.address]
            others.discard(source)
            if not others:
                del self._of[source.address]
                self._ept01.unprotect(source.address)

    def drop_maps(self, page1: int) -> None:
        """Drop the entries that map a page of L1's: it is to be protected, or is protected again."""
        entries = [where for key in (page1, page1 & ~_LARGE_OFFSET | 1) for where in self._maps.get(key, ())]
        for where in entries:
            self._clear(where)
        if entries:
            self._flush_all()

    def _flush_all(self) -> None:
        for root in self.all_roots():
            self._ept01.flush(root)

    # ---- stores of L1's ----------------------------------------------------------------------------------------------------

    def is_table(self, page: int) -> bool:
        """Tell whether a page of L1's is protected, for EPT02 has been made of it."""
        return page in self._of

    def stored(self, page: int, changed: Mapping[int, int]) -> None:
        """Follow a store to a protected page, which has changed the entries of these slots."""
        for slot, entry in changed.items():
            for source in list(self._of.get(page, ())):
                table = self._tables.get(source)
                if table is not None:
                    self._clear(table + 8 * slot)
                    if self.eager and source.level > 1:
                        self._link_at_once(source, table + 8 * slot, entry)
        if len(changed) > 1:  # no table is written so
            self._forget(page)
        self._count(page)

    def _link_at_once(self, source: Source, where: int, entry: int) -> None:
        """Protect a table that L1 has just linked."""
        masks = next(iter(self._roots.values())).reserved
        if not entry & _ANY or entry & (R | W) == W or entry & (_PS if source.level < _LEVELS else 0):
            return
        if entry & masks[source.level] or not self._ept01.is_ram(entry & _FRAME):
            return
        try:
            child = self._table(Source(entry & _FRAME, source.level - 1, split=False, dirty=source.dirty))
        except Exhausted:
            return
        self._note_link(where, child)
        if entry & A or not source.dirty:  # else the walk that comes first must set the accessed flag
            self._memory.write64(where, child | entry & _RIGHTS)

    def _forget(self, page: int) -> None:
        """Take a page for a table no more, until a walk goes through it again."""
        for source in list(self._of.get(page, ())):
            table = self._tables.get(source)
            if table is None:
                continue
            if source in self._roots:
                self._clear_table(table)
                continue
            for where in list(self._parents[table]):
                self._clear(where)

    def _count(self, page: int) -> None:
        """Let a root go that is written again and again, and not used."""
        roots = [source for source in self._roots if source.address == page]
        if not roots:
            return
        count = self._stores[page] = self._stores.get(page, 0) + 1
        if count >= FLOOD:
            for source in roots:
                self._drop_root(source)
