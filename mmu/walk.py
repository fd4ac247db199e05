"""The page walk: from a linear address to a frame and its attributes, or to the fault and the bit that decided it.

::

     47      39 38      30 29      21 20      12 11          0
    ┌──────────┬──────────┬──────────┬──────────┬─────────────┐
    │  PML4    │  PDPT    │   PD     │   PT     │   offset    │   4-level; PAE and 32-bit paging have fewer
    └──────────┴──────────┴──────────┴──────────┴─────────────┘

There is one walker, `walk`.  It is on the machine's hottest path, so it returns one integer; `explain.Walk` tells the rest when asked.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from . import rights
from .entry import FRAME, reserved, reserved32
from .registers import PFErr
from .rights import EXEC, INDEX_BITS, WRITE, Context

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_P, _W, _U, _RSVD, _I, _PK = 1, 2, 4, 8, 16, 32
_A: Final = 1 << 5
_D: Final = 1 << 6
_PS: Final = 1 << 7
LEVEL_SHIFT: Final = INDEX_BITS
FRAME_SHIFT: Final = 12
INDEX_MASK: Final = (1 << INDEX_BITS) - 1
_USED: Final = _P | _A
_PAGE: Final = 1 << LEVEL_SHIFT
# W, U, D and G of an attribute index, by these bits of an entry: they stand alike, further apart.
_LOW_INDEX: Final = bytes((e & 6) >> 1 | (e & 0x40) >> 3 | (e & 0x100) >> 4 for e in range(0x147))


class Memory(Protocol):
    """Guest-physical memory as the walker sees it."""

    @property
    def words(self) -> Any:
        """RAM as 64-bit words, ``words[address >> 3]``; zero or ``IndexError`` where there is none."""

    @property
    def low(self) -> int:
        """RAM without holes reaches up to here."""

    def read64(self, address: int) -> int:
        """Read any aligned word; ones where nothing answers."""

    def write64(self, address: int, value: int) -> None:
        """Write a word: accessed and dirty bits."""


class Mode(IntEnum):
    """Paging modes, by number of levels (SDM "Paging Modes and Control Bits")."""

    NONE = 0
    BITS32 = 2
    PAE = 3
    LEVEL4 = 4


class Paging(NamedTuple):
    """What the tables mean.

    Attributes:
        mode: the paging mode.
        root: physical address of the top table.
        reserved: reserved bits by level, ``[level]`` for a table entry and ``[level + 4]`` for a page;
            ``[0]`` those of any level, and the page size bit.
        fetch_bit: the error code reports fetches (EFER.NXE with PAE, or CR4.SMEP).
        pse: CR4.PSE, for 32-bit paging.
        pdptes: the four PDPTE registers of PAE paging.

    """

    mode: Mode
    root: int
    reserved: tuple[int, ...] = ()
    fetch_bit: bool = False
    pse: bool = False
    pdptes: tuple[int, int, int, int] = (0, 0, 0, 0)


def reserved_bits(mode: Mode, *, nxe: bool, maxphyaddr: int) -> tuple[int, ...]:
    """Give `Paging.reserved` for a mode."""
    pae = mode is Mode.PAE
    masks = [0] * 9
    for level in range(1, 5):
        for large in (False, True):
            masks[level + 4 * large] = reserved(
                level, large=large and level in {2, 3}, nxe=nxe, maxphyaddr=maxphyaddr, pae=pae
            )
    masks[0] = _PS | masks[1] | masks[2] | masks[3] | masks[4]
    return tuple(masks)


NOT_PRESENT, RESERVED, RIGHTS = -1, -2, -3  # why an access is refused
_LEVEL4: Final = Mode.LEVEL4  # reading a member off the class takes 0.1 µs
_LEVELS4: Final = ((4, 39), (3, 30), (2, 21), (1, 12))
_LEVELS_PAE: Final = ((2, 21), (1, 12))


def walk(memory: Memory, paging: Paging, gva: int, need: int, table: bytes, trail: list[int] | None = None) -> int:
    """Walk the tables for one access; set accessed and dirty bits as the processor does.

    Args:
        memory: where the tables are.
        paging: the mode and the root.
        gva: a canonical linear address.
        need: READ, WRITE or EXEC.
        table: `rights.table` of the access's context.
        trail: takes (address, entry) of each level, flat, as they were read, if anybody wants them.

    Returns:
        ``frame << 12 | level << 9 | attributes`` of the 4 KiB page, or `NOT_PRESENT`, `RESERVED` or `RIGHTS`, which are negative.

    """
    mode, root, masks, _, _, pdptes = paging
    if mode is not _LEVEL4:
        if mode is Mode.BITS32:
            return _walk32(memory, paging, gva, need, table, trail)
        register = pdptes[gva >> 30 & 3]
        if not register & _P:
            return NOT_PRESENT
        return _descend(memory, masks, register & FRAME, _LEVELS_PAE, gva, need, table, trail)
    if trail is None:
        return walker(memory, paging)(gva, need, table)
    return _descend(memory, masks, root, _LEVELS4, gva, need, table, trail)


def walker(memory: Memory, paging: Paging) -> Callable[[int, int, bytes], int]:
    """Make `walk` for one set of 4-level tables, with everything bound that stays: what a TLB calls."""
    root, masks, words = paging.root, paging.reserved, memory.words
    mask = masks[0]

    def walk4(gva: int, need: int, table: bytes) -> int:
        # The usual case at once, by reading alone: four tables, all accessed before.  Anything else goes level by level.
        try:
            pml4e = words[root + (gva >> 36 & 0xFF8) >> 3]
            pdpte = words[(pml4e & FRAME) + (gva >> 27 & 0xFF8) >> 3]
            pde = words[(pdpte & FRAME) + (gva >> 18 & 0xFF8) >> 3]
            pte = words[(pde & FRAME) + (gva >> 9 & 0xFF8) >> 3]
        except IndexError:
            return _descend(memory, masks, root, _LEVELS4, gva, need, table, None)
        every = pml4e & pdpte & pde & pte
        some = pml4e | pdpte | pde | pte
        if every & _USED == _USED and not some & mask:
            index = _LOW_INDEX[every & 6 | pte & 0x140]
            if some >> 59:
                index |= pte >> 54 & 0x1E0 | (0 if some >> 63 else 4)
            else:
                index |= 4
            if table[index] & need:
                found: int = pte & FRAME | _PAGE | index
                return found
        elif not pml4e & _P:
            return NOT_PRESENT
        elif not pte & _P and pml4e & pdpte & pde & _USED == _USED and not (pml4e | pdpte | pde) & mask:
            return NOT_PRESENT  # behind three tables that were accessed before: what demand paging meets
        return _descend(memory, masks, root, _LEVELS4, gva, need, table, None)

    return walk4


def _descend(
    memory: Memory,
    masks: tuple[int, ...],
    at: int,
    levels: tuple[tuple[int, int], ...],
    gva: int,
    need: int,
    table: bytes,
    trail: list[int] | None,
) -> int:
    """Go down the `levels`, 8-byte entries each, from the table at `at`."""
    words, low = memory.words, memory.low
    both, xd = 6, 0
    for level, shift in levels:
        at += (gva >> shift & 511) << 3
        entry = words[at >> 3] if at < low else memory.read64(at)
        if trail is not None:
            trail += (at, entry)
        if not entry & 1:
            return NOT_PRESENT
        both &= entry
        xd |= entry
        if level == 1 or (entry & _PS and level < 4):
            if entry & masks[level + 4]:
                return RESERVED
            index = both >> 1 | (0 if xd >> 63 else 4) | (entry & 0x40) >> 3 | (entry & 256) >> 4 | entry >> 54 & 0x1E0
            if not table[index] >> 4 & need:
                return RIGHTS
            put = _A | _D if need == WRITE else _A
            if entry & put != put:
                memory.write64(at, entry | put)
                if need == WRITE:
                    index |= rights.D
            if level == 1:
                return entry & FRAME | level << LEVEL_SHIFT | index
            offset = (1 << shift) - 1
            return (entry & FRAME & ~offset | gva & offset & -4096) | level << LEVEL_SHIFT | index
        if entry & masks[level]:
            return RESERVED
        if not entry & _A:
            memory.write64(at, entry | _A)
        at = entry & FRAME
    raise AssertionError("a walk ends at level 1")


def _read32(memory: Memory, at: int) -> int:
    return memory.read64(at & ~7) >> (at & 4) * 8 & 0xFFFFFFFF


def _write32(memory: Memory, at: int, value: int) -> None:
    word, shift = memory.read64(at & ~7), (at & 4) * 8
    memory.write64(at & ~7, word & ~(0xFFFFFFFF << shift) | value << shift)


def _walk32(memory: Memory, paging: Paging, gva: int, need: int, table: bytes, trail: list[int] | None) -> int:
    """Walk two levels of 4-byte entries (SDM "32-Bit Paging"); PSE-36 reaches 40 physical bits."""
    at, both = paging.root, 6
    for level, shift in ((2, 22), (1, 12)):
        at += (gva >> shift & 1023) << 2
        entry = _read32(memory, at)
        if trail is not None:
            trail += (at, entry)
        if not entry & 1:
            return NOT_PRESENT
        both &= entry
        large = level == 2 and paging.pse and entry & _PS
        if level == 2 and entry & reserved32(entry, pse=paging.pse):
            return RESERVED
        if large or level == 1:
            index = both >> 1 | rights.X | (entry & _D) >> 3 | (entry & 256) >> 4
            if not table[index] >> 4 & need:
                return RIGHTS
            put = _A | _D if need == WRITE else _A
            if entry & put != put:
                _write32(memory, at, entry | put)
                if need == WRITE:
                    index |= rights.D
            frame = entry & 0xFFFFF000
            if large:
                frame = entry & 0xFFC00000 | (entry >> 13 & 0xFF) << 32 | gva & 0x3FF000
            return frame | level << LEVEL_SHIFT | index
        if not entry & _A:
            _write32(memory, at, entry | _A)
        at = entry & 0xFFFFF000
    raise AssertionError("a walk ends at level 1")


@lru_cache(maxsize=64)
def plain_error(need: int, result: int, *, user: bool, fetch_bit: bool) -> int:
    """Give the error code but for PK: what was refused, why, and to whom (SDM "Page-Fault Exceptions")."""
    code = 0 if result == NOT_PRESENT else _P
    if need == WRITE:
        code |= _W
    if user:
        code |= _U
    if need == EXEC and fetch_bit:
        code |= _I
    if result == RESERVED:
        code |= _RSVD
    return code


def error_code(paging: Paging, context: Context, need: int, result: int, index: int) -> PFErr:
    """Give the page-fault error code (SDM "Page-Fault Exceptions")."""
    code = plain_error(need, result, user=context.user, fetch_bit=paging.fetch_bit)
    if result == RIGHTS and need != EXEC and rights.key_denied(context, index) & need:
        code |= _PK
    return PFErr(code)


def attributes(steps: Sequence[int]) -> int:
    """Give the attribute index of a walk's raw trail (the entries at odd places)."""
    both, xd = 6, 0
    for entry in steps[1::2]:
        both &= entry
        xd |= entry
    leaf = steps[-1]
    return both >> 1 | (~xd >> 63 & 1) << 2 | (leaf & _D) >> 3 | (leaf & 256) >> 4 | (leaf >> 59 & 15) << 5
