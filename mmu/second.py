"""The second stage of translation: guest-physical memory through an EPT, with the guest-physical mappings that are cached.

A `SecondStage` is a `Memory` to the walker, which reads and marks the guest's tables through it; `finish` then translates the address
that the walk led to, and folds what the EPT allows into the entry that the TLB keeps::

    walk's entry        frame (guest-physical) │ size │ key G D X U W
    and the EPT's page  frame (physical)       │ R XU │ 1 1 D X 1 1    D: it may be written without a further look
    ──────────────────────────────────────────────────────────────────
    the TLB's entry     frame (physical)       │ size │ key G D X U W

So rights of the EPT need no table of their own: what an entry refuses is walked for anew in any case.  A page that may be fetched and not
read has no such entry; its size is 0, and nobody keeps it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import rights
from .entry import FRAME
from .ept import BAD_TYPES, PS, WIDTH, XU, A, Qualification, R, Root, W, X, descend, use
from .rights import EXEC, READ, WRITE
from .walk import INDEX_MASK, LOW_INDEX, NOT_PRESENT, SIZE, SMALL, USED, Mode, SecondStageFault, walk

if TYPE_CHECKING:
    from collections.abc import Callable

    from .ept import Log
    from .tlb import GuestPhysical
    from .walk import Paging, Ram

_FOLD: Final = INDEX_MASK & ~(rights.X | rights.D)
_XU_SHIFT, _READABLE = 9, 1 << 10  # in a page
_P: Final = 1
_FRAME_2M: Final = FRAME & -(1 << 21)
_UNPAGED: Final = SMALL | rights.W | rights.U | rights.X | rights.D  # without paging, an address may do anything
_U32_FRAME: Final = 0xFFFFF000
_LINEAR, _FINAL = Qualification.LINEAR_VALID.mask, Qualification.FINAL.mask
# Of a guest's attribute index, what the qualification has of it (SDM: "advanced VM-exit information").
_ADVANCED: Final = tuple(
    _LINEAR | _FINAL | (i & rights.U) << 8 | (i & rights.W) << 10 | (0 if i & rights.X else Qualification.XD_PAGE.mask)
    for i in range(8)
)


class SecondStage:
    """Guest-physical memory through one EPT.

    Attributes:
        root: the EPT.
        mappings: the guest-physical mappings, which all that use this EPT share.
        log: takes the guest-physical address of a page whose dirty flag is about to be set, and tells whether the page-modification log
            had room for it; None without PML.
        memory: physical memory.
        entries: how many entries of the EPT have been read; whoever asks sets it to 0 before.

    With `still`, it leaves no trace: what is cached stays as it is, and so do accessed and dirty flags.
    """

    def __init__(
        self,
        memory: Ram,
        root: Root,
        mappings: GuestPhysical,
        log: Log | None = None,
        *,
        still: bool = False,
    ) -> None:
        self.root = root
        self._still = still
        self.mappings = mappings
        self.log = log
        self.entries = 0
        self.memory = memory
        self._quick = None if still else self._bind_quick()
        # With accessed and dirty flags, any use of a guest paging structure is a write.
        self._use = READ | WRITE if root.dirty else READ

    # ---- guest paging structures -------------------------------------------------------------------------------------------

    def read64(self, address: int) -> int:
        """Read an entry of a guest paging structure."""
        at = self.mappings.tables.get(address & FRAME)
        if at is not None:
            found: int = self.memory.words[at + (address >> 3 & 511)]
            return found
        frame = self._page(address, self._use, _LINEAR) & FRAME
        if frame < self.memory.low and not self._still:
            self.mappings.tables[address & FRAME] = frame >> 3
        return self.memory.read64(frame | address & 0xFFF)

    def write64(self, address: int, value: int) -> None:
        """Write an entry of a guest paging structure: its accessed or dirty flag."""
        frame = self._page(address, READ | WRITE, _LINEAR) & FRAME
        if not self._still:
            self.memory.write64(frame | address & 0xFFF, value)

    def still(self) -> SecondStage:
        """Give the same, as it leaves no trace."""
        return SecondStage(self.memory, self.root, self.mappings, still=True)

    def again(self, mappings: GuestPhysical) -> SecondStage:
        """Give the same, with guest-physical mappings that have replaced its own."""
        return SecondStage(self.memory, self.root, mappings, self.log)

    def read_register(self, address: int) -> int:
        """Read a PDPTE that MOV to CR loads: a read, and of no linear address."""
        return self.memory.read64(self._page(address, READ, 0) & FRAME | address & 0xFFF)

    # ---- pages -------------------------------------------------------------------------------------------------------------

    def translate(self, paging: Paging, gva: int, need: int, table: bytes, trail: list[int] | None = None) -> int:
        """Translate a linear address through both stages; gives, and takes, what `walk` does.  A frame of size 0 may be fetched only."""
        if paging.mode is Mode.NONE:
            return self.finish(gva & _U32_FRAME | _UNPAGED, gva, need)
        found = walk(self, paging, gva, need, table, trail)
        return found if found < 0 else self.finish(found, gva, need)

    def finish(self, entry: int, gva: int, need: int) -> int:
        """Translate the page that a walk for `gva` has led to."""
        gpa = entry & FRAME | gva & 0xFFF
        wanted = XU if need == EXEC and self.root.mode_based and entry & rights.U else need
        try:
            page = self._page(gpa, wanted, _ADVANCED[entry & 7])
        except SecondStageFault as fault:
            fault.final = True
            raise
        mask = page
        if entry & rights.U and self.root.mode_based:
            mask = page & ~rights.X | (page >> _XU_SHIFT & 1) << 2
        size = entry & SIZE if page & _READABLE else 0
        return page & FRAME | size | entry & mask & INDEX_MASK

    def _page(self, gpa: int, need: int, kind: int) -> int:
        """Translate an address, by a cached mapping if that allows the access; `need` as for `ept.descend`."""
        page = self.mappings.pages.get(gpa & FRAME)
        if page is None or _WANTED[need] & ~page:
            return self._walk(gpa, need, kind)
        return page

    def _walk(self, gpa: int, need: int, kind: int, trail: list[int] | None = None) -> int:
        mappings, root = self.mappings, self.root
        quick = self._quick
        if quick is not None:
            page = quick(gpa, need)
            if page >= 0:
                mappings.keep(gpa & FRAME, page if self.log is None else page & ~rights.D)
                return page
        trail = [] if trail is None else trail
        try:
            found = descend(self.memory, root, gpa, need, kind, trail)
        except SecondStageFault:
            if not self._still:  # what was used is dropped (SDM "Operations that Invalidate Cached Mappings")
                mappings.drop(gpa & FRAME)
            raise
        finally:
            self.entries += len(trail) >> 1
        every, writable = found.every, found.every & W
        if not self._still:
            writable &= use(self.memory, root, found, need, gpa, self.log)
        page = found.frame | _FOLD | (every & X) | writable << 2 | (every & XU) >> 1
        if every & R:
            page |= _READABLE
            if not self._still:
                # With a log, dirty flags are looked at for each new combined mapping: hosts clear them all the time.
                mappings.keep(gpa & FRAME, page if self.log is None else page & ~rights.D)
        return page

    # ---- the usual cases ---------------------------------------------------------------------------------------------------

    def _bind_quick(self) -> Callable[[int, int], int]:
        """Make a walk of the EPT for one case: a page of 4 KiB or 2 MiB that may be read, and whose flags need no change; else -1."""
        root, words = self.root, self.memory.words
        at, upper, table, page, large = (
            root.address,
            root.reserved[4],
            root.reserved[2],
            root.reserved[5],
            root.reserved[6],
        )
        used = R | A if root.dirty else R

        def quick(gpa: int, need: int) -> int:
            try:
                pml4e = words[at + (gpa >> 36 & 0xFF8) >> 3]
                pdpte = words[(pml4e & FRAME) + (gpa >> 27 & 0xFF8) >> 3]
                pde = words[(pdpte & FRAME) + (gpa >> 18 & 0xFF8) >> 3]
                every = pml4e & pdpte & pde
                if pde & PS:
                    last, frame = pde, pde & _FRAME_2M | gpa & 0x1FF000
                    bad = (pml4e | pdpte) & upper or pde & large
                else:
                    last = words[(pde & FRAME) + (gpa >> 9 & 0xFF8) >> 3]
                    every &= last
                    frame = last & FRAME
                    bad = (pml4e | pdpte) & upper or pde & table or last & page
            except IndexError:
                return -1
            writable = every & W if not root.dirty else every & W & last >> 8
            if (
                bad or every & used != used or need & ~every or (need & W and not writable)
                or BAD_TYPES >> (last >> 3 & 7) & 1 or gpa >> WIDTH
            ):  # fmt: skip
                return -1
            self.entries += 3 if pde & PS else 4
            user = every & XU if root.mode_based else (every & X) << 8
            found: int = frame | _FOLD | _READABLE | every & X | writable << 2 | user >> 1
            return found

        return quick

    def walker(self, paging: Paging) -> Callable[[int, int, bytes], int]:
        """Make `translate` for one set of 4-level tables, as `walk.walker` does for one stage."""
        root, mask, words = paging.root, paging.reserved[0], self.memory.words
        tables, pages, rest = self.mappings.tables, self.mappings.pages, self.translate

        def walk4(gva: int, need: int, table: bytes) -> int:
            # By reading alone: four tables and a page that are cached, all accessed before.
            try:
                pml4e = words[tables[root] + (gva >> 39 & 511)]
                pdpte = words[tables[pml4e & FRAME] + (gva >> 30 & 511)]
                pde = words[tables[pdpte & FRAME] + (gva >> 21 & 511)]
                pte = words[tables[pde & FRAME] + (gva >> 12 & 511)]
            except KeyError:
                return rest(paging, gva, need, table)
            every = pml4e & pdpte & pde & pte
            some = pml4e | pdpte | pde | pte
            if every & USED == USED and not some & mask:
                page = pages.get(pte & FRAME)
                if page is None:
                    return rest(paging, gva, need, table)
                index = LOW_INDEX[every & 6 | pte & 0x140]
                if some >> 59:
                    index |= pte >> 54 & 0x1E0 | (0 if some >> 63 else 4)
                else:
                    index |= 4
                index &= page
                if table[index] & need:
                    found: int = page & FRAME | SMALL | index
                    return found
            elif (
                not pte & _P and pml4e & pdpte & pde & USED == USED and not (pml4e | pdpte | pde) & mask
            ):  # fmt: skip
                return NOT_PRESENT  # what demand paging meets
            return rest(paging, gva, need, table)

        def walk_mode_based(gva: int, need: int, table: bytes) -> int:
            return rest(paging, gva, need, table)

        return walk_mode_based if self.root.mode_based else walk4


# What a cached page must have for an access.
_WANTED: Final = {
    READ: _READABLE,
    WRITE: rights.D,
    READ | WRITE: _READABLE | rights.D,
    EXEC: rights.X,
    XU: 1 << _XU_SHIFT,
}
