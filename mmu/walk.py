"""The page walk: from a linear address to a frame and its attributes, or to the fault and the bit that decided it.

::

     47      39 38      30 29      21 20      12 11          0
    ┌──────────┬──────────┬──────────┬──────────┬─────────────┐
    │  PML4    │  PDPT    │   PD     │   PT     │   offset    │   4-level; PAE and 32-bit paging have fewer
    └──────────┴──────────┴──────────┴──────────┴─────────────┘

`walk` is the walker: one loop over the levels of every paging mode, which reaches memory only through the `Memory` protocol, so
that a second translation (EPT) can stand behind it.  It is on the machine's hottest path, so it returns one integer;
`explain.Walk` tells the rest when asked.

`walker` is a short cut for one case: 4-level tables in plain RAM whose entries need no A or D bit.  It reads the four entries
without a loop or a call, in a third of the time, and calls the loop for everything else.  A test compares the two exhaustively.
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
USED: Final = _P | _A
SIZE: Final = 7 << LEVEL_SHIFT  # in an entry that `walk` gives: the size of its page
SMALL: Final = 1 << LEVEL_SHIFT  # 4 KiB, as such a size
# W, U, D and G of an attribute index, by these bits of an entry: they stand alike, further apart.
LOW_INDEX: Final = bytes((e & 6) >> 1 | (e & 0x40) >> 3 | (e & 0x100) >> 4 for e in range(0x147))


class Memory(Protocol):
    """The physical memory that holds the tables, as `walk` reaches it.

    A second stage of translation is a `Memory` too: it takes guest-physical addresses.  Where it refuses one it raises
    `SecondStageFault`, and `walk` lets that pass.
    """

    def read64(self, address: int) -> int:
        """Read an aligned word of a table; ones where nothing answers."""

    def write64(self, address: int, value: int) -> None:
        """Write an aligned word of a table: accessed and dirty bits."""


class Ram(Memory, Protocol):
    """Memory that `walker` may read by itself, since nothing translates its addresses."""

    @property
    def words(self) -> Any:
        """RAM as 64-bit words, ``words[address >> 3]``; zero or ``IndexError`` where there is none."""

    @property
    def low(self) -> int:
        """RAM without holes reaches up to here."""


class SecondStageFault(Exception):
    """The second stage refuses a guest-physical address: an EPT violation or misconfiguration, or a page-modification log that is full.

    Attributes:
        result: `VIOLATION`, `MISCONFIGURATION` or `LOG_FULL`.
        gpa: the guest-physical address, exact to the byte.
        qualification: the exit qualification (SDM "Exit Qualification for EPT Violations"); 0 for anything else.
        final: it is the address that a linear one translates to, and no use of a guest paging structure.

    """

    def __init__(self, result: int, gpa: int, qualification: int = 0) -> None:
        super().__init__(f"the second stage refuses guest-physical address {gpa:#x}")
        self.result, self.gpa, self.qualification = result, gpa, qualification
        self.final = False


class Refusal(NamedTuple):
    """A translation that was refused: what the fault's error code, or the exit's information, is made from.

    Attributes:
        result: `NOT_PRESENT`, `RESERVED`, `RIGHTS` or `NOT_CANONICAL`; or `VIOLATION`, `MISCONFIGURATION` or `LOG_FULL`.
        gva: the linear address.
        need: READ, WRITE or EXEC.
        gpa: the guest-physical address that the second stage refused, else 0.
        qualification: the exit qualification, else 0.

    """

    result: int
    gva: int
    need: int
    gpa: int = 0
    qualification: int = 0


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


@lru_cache(maxsize=64)
def reserved_bits(mode: Mode, *, nxe: bool, maxphyaddr: int, page1g: bool = True) -> tuple[int, ...]:
    """Give `Paging.reserved` for a mode; `page1g` says that there are pages of 1 GiB."""
    masks = [0] * 9
    if mode is Mode.BITS32:
        masks[6] = reserved32(_PS, pse=True, maxphyaddr=maxphyaddr)
        return tuple(masks)
    pae = mode is Mode.PAE
    for level in range(1, 5):
        for large in (False, True):
            masks[level + 4 * large] = reserved(
                level, large=large and level in {2, 3}, nxe=nxe, maxphyaddr=maxphyaddr, pae=pae
            )
    if not page1g:
        masks[7] |= _PS
    masks[0] = _PS | masks[1] | masks[2] | masks[3] | masks[4]
    return tuple(masks)


# Why an access is refused: by the tables; by the form of the address, before any table is read; by the second stage.
NOT_PRESENT, RESERVED, RIGHTS, NOT_CANONICAL, VIOLATION, MISCONFIGURATION, LOG_FULL = -1, -2, -3, -4, -5, -6, -7
_LEVEL4: Final = Mode.LEVEL4  # reading a member off the class takes 0.1 µs
# Of each level: its number; the shift and mask that make the linear address an offset into the table; the bit of an entry that
# says that it maps a page; and the bits of the address that are the offset into that page.
_LEVELS4: Final = (
    (4, 36, 0xFF8, 0, 0),
    (3, 27, 0xFF8, _PS, (1 << 30) - 1),
    (2, 18, 0xFF8, _PS, (1 << 21) - 1),
    (1, 9, 0xFF8, _P, 0xFFF),
)
_LEVELS_PAE: Final = _LEVELS4[2:]
_LEVELS32: Final = ((2, 20, 0xFFC, 0, 0), (1, 10, 0xFFC, _P, 0xFFF))
_LEVELS32_PSE: Final = ((2, 20, 0xFFC, _PS, (1 << 22) - 1), _LEVELS32[1])


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

    Raises:
        SecondStageFault: `memory` is a second stage and refuses the address of an entry.

    """
    mode, root, masks, _, pse, pdptes = paging
    if mode is _LEVEL4:
        return _descend(memory, masks, root, _LEVELS4, gva, need, table, trail)
    if mode is Mode.PAE:
        register = pdptes[gva >> 30 & 3]
        if not register & _P:
            return NOT_PRESENT
        return _descend(memory, masks, register & FRAME, _LEVELS_PAE, gva, need, table, trail)
    return _descend(_Halves(memory), masks, root, _LEVELS32_PSE if pse else _LEVELS32, gva, need, table, trail)


def walker(ram: Ram, paging: Paging) -> Callable[[int, int, bytes], int]:
    """Make `walk` for one set of 4-level tables in plain RAM, with everything bound that stays: what a TLB calls."""
    root, masks, words, low = paging.root, paging.reserved, ram.words, ram.low
    mask = masks[0]

    def walk_bound(gva: int, need: int, table: bytes) -> int:
        return _descend(ram, masks, root, _LEVELS4, gva, need, table, None)

    def walk4(gva: int, need: int, table: bytes) -> int:
        # The usual case at once, by reading alone: four tables, all accessed before.  Anything else goes level by level.
        try:
            pml4e = words[root + (gva >> 36 & 0xFF8) >> 3]
            pdpte = words[(pml4e & FRAME) + (gva >> 27 & 0xFF8) >> 3]
            pde = words[(pdpte & FRAME) + (gva >> 18 & 0xFF8) >> 3]
            pte = words[(pde & FRAME) + (gva >> 9 & 0xFF8) >> 3]
        except IndexError:
            return _descend(ram, masks, root, _LEVELS4, gva, need, table, None)
        every = pml4e & pdpte & pde & pte
        some = pml4e | pdpte | pde | pte
        if every & USED == USED and not some & mask:
            index = LOW_INDEX[every & 6 | pte & 0x140]
            if some >> 59:
                index |= pte >> 54 & 0x1E0 | (0 if some >> 63 else 4)
            else:
                index |= 4
            if table[index] & need:
                found: int = pte & FRAME | SMALL | index
                return found
        elif not pml4e & _P:
            return NOT_PRESENT
        elif (
            not pte & _P and pml4e & pdpte & pde & USED == USED
            and not (pml4e | pdpte | pde) & mask and pde & FRAME < low
        ):  # fmt: skip
            return NOT_PRESENT  # behind three tables that were accessed before: what demand paging meets
        return _descend(ram, masks, root, _LEVELS4, gva, need, table, None)

    return walk4 if root < low else walk_bound


def _descend(
    memory: Memory,
    masks: tuple[int, ...],
    at: int,
    levels: tuple[tuple[int, int, int, int, int], ...],
    gva: int,
    need: int,
    table: bytes,
    trail: list[int] | None,
) -> int:
    """Go down the `levels` from the table at `at`."""
    read = memory.read64
    both, xd = 6, 0
    for level, shift, slots, page, offset in levels:
        at += gva >> shift & slots
        entry = read(at)
        if trail is not None:
            trail += (at, entry)
        if not entry & 1:
            return NOT_PRESENT
        both &= entry
        xd |= entry
        if entry & page:
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
                return entry & FRAME | SMALL | index
            frame = entry & FRAME & ~offset
            if slots == 0xFFC:  # PSE-36: bits 20:13 are bits 39:32 of the address
                frame |= (entry >> 13 & 0xFF) << 32
            return frame | gva & offset & -4096 | level << LEVEL_SHIFT | index
        if entry & masks[level]:
            return RESERVED
        if not entry & _A:
            memory.write64(at, entry | _A)
        at = entry & FRAME
    raise AssertionError("a walk ends at level 1")


class _Halves:
    """Memory as 32-bit paging sees it: entries of 4 bytes (SDM "32-Bit Paging")."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def read64(self, address: int) -> int:
        """Read the entry at `address`."""
        try:
            return self._memory.read64(address & ~7) >> (address & 4) * 8 & 0xFFFFFFFF
        except SecondStageFault as fault:
            fault.gpa = address
            raise

    def write64(self, address: int, value: int) -> None:
        """Write the entry at `address`, and nothing beside it."""
        try:
            word, shift = self._memory.read64(address & ~7), (address & 4) * 8
            self._memory.write64(address & ~7, word & ~(0xFFFFFFFF << shift) | value << shift)
        except SecondStageFault as fault:
            fault.gpa = address
            raise


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
