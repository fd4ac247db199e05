"""EPT entries, and the walk from a guest-physical address to a physical one (SDM "The Extended Page Table Mechanism (EPT)").

::

    63            52 51                12 11 10 9 8 7  6   5   3  2 1 0
    ┌───────────────┬────────────────────┬──┬──┬─┬─┬──┬───┬──────┬─┬─┬─┐
    │ ignored       │ frame or next table│  │XU│D│A│PS│IPT│ type │X│W│R│   XU with mode-based execute control only, else ignored
    └───────────────┴────────────────────┴──┴──┴─┴─┴──┴───┴──────┴─┴─┴─┘   type and IPT (ignore PAT) in the last entry only
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from .entry import FRAME
from .walk import LOG_FULL, MISCONFIGURATION, VIOLATION, SecondStageFault
from .word import Bits, Word

if TYPE_CHECKING:
    from collections.abc import Callable

    from .walk import Memory

    # Logs a page whose dirty flag is about to be set, or with None only says whether there is room.
    Log = Callable[[int | None], bool]


class EptEntry(Word):
    """An EPT entry, any level."""

    R = Bits(0)
    W = Bits(1)
    X = Bits(2)
    TYPE = Bits(5, 3)
    IPAT = Bits(6)
    PS = Bits(7)
    A = Bits(8)
    D = Bits(9)
    XU = Bits(10)
    FRAME = Bits(51, 12)


class Qualification(Word):
    """The exit qualification of an EPT violation (SDM "Exit Qualification for EPT Violations")."""

    READ = Bits(0)
    WRITE = Bits(1)
    FETCH = Bits(2)
    READABLE = Bits(3)
    WRITABLE = Bits(4)
    EXECUTABLE = Bits(5)
    USER_EXECUTABLE = Bits(6)
    LINEAR_VALID = Bits(7)
    FINAL = Bits(8)
    USER_PAGE = Bits(9)
    RW_PAGE = Bits(10)
    XD_PAGE = Bits(11)
    NMI_UNBLOCKING = Bits(12)


NAMES: Final = {4: "EPT PML4E", 3: "EPT PDPTE", 2: "EPT PDE", 1: "EPT PTE"}
R, W, X, XU = (bits.mask for bits in (EptEntry.R, EptEntry.W, EptEntry.X, EptEntry.XU))
A, D = EptEntry.A.mask, EptEntry.D.mask
PS: Final = EptEntry.PS.mask
_ANY: Final = R | W | X
BAD_TYPES: Final = 0x8C  # bit n: memory type n is reserved
WIDTH: Final = 48  # bits of a guest-physical address that four levels translate
# Of each level: its number; the shift that makes an address an offset into the table; the bit that says that an entry maps a page; and
# the bits of the address that are the offset into that page.
_LEVELS: Final = ((4, 36, 0, 0), (3, 27, PS, (1 << 30) - 1), (2, 18, PS, (1 << 21) - 1), (1, 9, _ANY | XU, 0xFFF))
_SLOTS: Final = 0xFF8


@lru_cache(maxsize=16)
def reserved(maxphyaddr: int) -> tuple[int, ...]:
    """Give the bits of a present entry that must be zero, ``[level]`` for a table and ``[level + 4]`` for a page."""
    beyond = FRAME & ~((1 << maxphyaddr) - 1)
    table = beyond | 0x78
    pages = (beyond, beyond | 0x1FF000, beyond | 0x3FFFF000)
    return (0, 0, table, table, table | PS, *pages, 0)


def reserved_bits_of(root: Root, level: int, entry: int) -> int:
    """Give the reserved bits that a present entry sets."""
    page = level == 1 or (level < 4 and entry & PS)
    return entry & root.reserved[level + 4 if page else level]


class Root(NamedTuple):
    """What an EPT walk begins with, and how it reads entries.

    Attributes:
        address: physical address of the EPT's PML4 table (EP4TA).
        reserved: `reserved` for the physical-address width.
        dirty: accessed and dirty flags are enabled (EPTP bit 6).
        mode_based: mode-based execute control: fetches from user-mode linear addresses need XU, others X.

    """

    address: int
    reserved: tuple[int, ...]
    dirty: bool = False
    mode_based: bool = False


class Found(NamedTuple):
    """A guest-physical address translated.

    Attributes:
        frame: physical address of the 4 KiB page.
        every: the R, W, X and XU that all entries have; without mode-based execute control, XU is as X.
        last: the last entry.
        path: (address, entry) of each level, flat.

    """

    frame: int
    every: int
    last: int
    path: list[int]


def descend(memory: Memory, root: Root, gpa: int, need: int, kind: int, trail: list[int] | None = None) -> Found:
    """Walk an EPT, and set nothing.

    Args:
        memory: physical memory.
        root: the EPT.
        gpa: a guest-physical address.
        need: the bits that every entry must have: R, W and X are READ, WRITE and EXEC; XU with mode-based execute control only.
        kind: bits of the exit qualification of a violation, besides the access and what the entries allow.
        trail: takes (address, entry) of each level, flat, as they were read, if anybody wants them.

    Raises:
        SecondStageFault: an EPT violation or misconfiguration (SDM "EPT-Induced VM Exits").

    """
    at, masks, mode_based = root.address, root.reserved, root.mode_based
    present = _ANY | XU if mode_based else _ANY
    every, read = _ANY | XU, memory.read64
    path: list[int] = [] if trail is None else trail
    if gpa >> WIDTH:
        raise _violation(gpa, need, kind)
    for level, shift, page, offset in _LEVELS:  # noqa: B007
        at += gpa >> shift & _SLOTS
        entry = read(at)
        path += (at, entry)
        if not entry & present:
            raise _violation(gpa, need, kind)
        last = entry & page
        if entry & (R | W) == W or entry & masks[level + 4 if last else level]:
            raise SecondStageFault(MISCONFIGURATION, gpa)
        every &= entry
        if last:
            if BAD_TYPES >> (entry >> 3 & 7) & 1:
                raise SecondStageFault(MISCONFIGURATION, gpa)
            break
        at = entry & FRAME
    else:
        raise AssertionError("a walk ends at level 1")
    if need & ~every:
        raise _violation(gpa, need, kind | (every & _ANY) << 3 | (every >> 4 & 0x40 if mode_based else 0))
    if not mode_based:
        every = every & _ANY | (XU if every & X else 0)
    return Found(entry & FRAME & ~offset | gpa & offset & -4096, every, entry, path)


def _violation(gpa: int, need: int, kind: int) -> SecondStageFault:
    return SecondStageFault(VIOLATION, gpa, kind | need & _ANY | (X if need & XU else 0))


def use(memory: Memory, root: Root, found: Found, need: int, gpa: int, log: Log | None) -> int:
    """Set the flags that an access sets (SDM "Accessed and Dirty Flags for EPT", "Page-Modification Logging").

    Gives W where the page may be written without another look at the entries, else 0.

    Raises:
        SecondStageFault: `LOG_FULL`, and no flag has been set.

    """
    if not root.dirty:
        return W
    dirties = need & W and not found.last & D
    if (
        log is not None
        and (dirties or not all(entry & A for entry in found.path[1::2]))
        and not log(gpa & -4096 if dirties else None)
    ):
        raise SecondStageFault(LOG_FULL, gpa)
    _mark(memory, found, A | D if dirties else A)
    return W if need & W or found.last & D else 0


def _mark(memory: Memory, found: Found, put: int) -> None:
    """Set the accessed flag of the entries used, and in the last one `put`."""
    path = found.path
    for i in range(0, len(path), 2):
        at, entry = path[i], path[i + 1]
        bits = put if i + 2 == len(path) else A
        if entry & bits != bits:
            memory.write64(at, entry | bits)
