"""Lab 1: a page walker for 4-level paging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol


class Memory(Protocol):
    """Physical memory, as the tests hand it to you."""

    def read64(self, address: int) -> int:
        """Read 8 bytes as a number; `address` is a multiple of 8."""

    def write64(self, address: int, value: int) -> None:
        """Write 8 bytes."""


@dataclass(frozen=True)
class Page:
    """The access is allowed.

    Attributes:
        physical: the physical address, to the byte.

    """

    physical: int


@dataclass(frozen=True)
class Fault:
    """The access is refused with #PF.

    Attributes:
        error: the error code.

    """

    error: int


P, RW, US, A, D, PS, XD = 1, 2, 4, 1 << 5, 1 << 6, 1 << 7, 1 << 63
W_BIT, U_BIT, RSVD_BIT, I_BIT = 2, 4, 8, 16
FRAME = (1 << 52) - 4096
TOO_WIDE = (1 << 52) - (1 << 46)
LEVELS = ((4, 39), (3, 30), (2, 21), (1, 12))


def indexes(address: int) -> tuple[int, int, int, int]:
    a, b, c, d = (address >> shift & 511 for _, shift in LEVELS)
    return a, b, c, d


def walk(memory: Memory, cr3: int, address: int, access: Literal["read", "write", "fetch"], user: bool) -> Page | Fault:
    error = (W_BIT if access == "write" else 0) | (U_BIT if user else 0) | (I_BIT if access == "fetch" else 0)
    table = cr3 & FRAME
    both, some = RW | US, 0
    for level, shift in LEVELS:
        at = table + 8 * (address >> shift & 511)
        entry = memory.read64(at)
        if not entry & P:
            return Fault(error)
        large = level in {2, 3} and entry & PS
        reserved = TOO_WIDE
        if level == 4:
            reserved |= PS
        if large:
            reserved |= (1 << shift) - (1 << 13)
        if entry & reserved:
            return Fault(error | P | RSVD_BIT)
        both &= entry
        some |= entry
        if level == 1 or large:
            break
        memory.write64(at, entry | A)
        table = entry & FRAME
    refused = user and not both & US
    refused |= access == "write" and not both & RW
    refused |= access == "fetch" and bool(some & XD)
    if refused:
        return Fault(error | P)
    memory.write64(at, entry | A | (D if access == "write" else 0))
    inside = (1 << shift) - 1
    return Page(entry & FRAME & ~inside | address & inside)
