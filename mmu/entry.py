"""Paging-structure entries (SDM "Hierarchical Paging Structures", "4-Level Paging", "32-Bit Paging", "PAE Paging").

::

     63 62  59 58    52 51                    12 11  9 8 7  6 5 4   3   2   1   0
    ┌──┬──────┬────────┬────────────────────────┬─────┬─┬──┬─┬─┬───┬───┬───┬───┬─┐
    │XD│ PKEY │ ignored│ frame or next table    │ ign │G│PS│D│A│PCD│PWT│U/S│R/W│P│   PS is PAT in a 4 KiB PTE
    └──┴──────┴────────┴────────────────────────┴─────┴─┴──┴─┴─┴───┴───┴───┴───┴─┘
"""

from __future__ import annotations

from typing import Final

from .word import Bits, Word


class Entry(Word):
    """An entry of 4-level or PAE paging, any level."""

    P = Bits(0)
    RW = Bits(1)
    US = Bits(2)
    PWT = Bits(3)
    PCD = Bits(4)
    A = Bits(5)
    D = Bits(6)
    PS = Bits(7)
    G = Bits(8)
    FRAME = Bits(51, 12)
    PKEY = Bits(62, 59)
    XD = Bits(63)


class Entry32(Word):
    """An entry of 32-bit paging."""

    P = Bits(0)
    RW = Bits(1)
    US = Bits(2)
    PWT = Bits(3)
    PCD = Bits(4)
    A = Bits(5)
    D = Bits(6)
    PS = Bits(7)
    G = Bits(8)
    FRAME = Bits(31, 12)


FRAME: Final = Entry.FRAME.mask
LEVEL_NAMES: Final = {4: "PML4E", 3: "PDPTE", 2: "PDE", 1: "PTE"}
_XD: Final = 1 << 63
_PS: Final = 1 << 7


def reserved(level: int, *, large: bool, nxe: bool, maxphyaddr: int, pae: bool = False) -> int:
    """Give the bits of a present entry that must be zero.

    `level` counts from 1 (PTE) to 4 (PML4E); `large` says that the entry maps a page at level 2 or 3.
    """
    mask = FRAME & ~((1 << maxphyaddr) - 1)
    if not nxe:
        mask |= _XD
    if pae:
        mask |= 0x7FF << 52
    if level == 4 or (pae and level == 3):
        mask |= _PS
    if large:
        mask |= (1 << (12 + 9 * (level - 1))) - (1 << 13)  # bit 12 is PAT
    return mask


def reserved32(entry: int, *, pse: bool, maxphyaddr: int = 52) -> int:
    """Give the reserved bits of a page-directory entry of 32-bit paging.

    A 4 MiB page keeps physical bits 39:32, or as many as there are, from bit 13 on (PSE-36).
    """
    if not (pse and entry & _PS):
        return 0
    return (1 << 22) - (1 << 13 + max(0, min(maxphyaddr, 40) - 32))


def reserved_pdpte(maxphyaddr: int = 52) -> int:
    """Give the bits that must be zero in a present PDPTE register: MOV to CR3 raises #GP(0) for them.

    SDM "PDPTE Registers".
    """
    return 0x1E6 | (1 << 64) - (1 << maxphyaddr)
