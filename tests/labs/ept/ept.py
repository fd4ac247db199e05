"""Lab 8: EPT, and the walk through both stages.  A solution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

Access: TypeAlias = Literal["read", "write", "fetch"]


class Memory(Protocol):
    """Physical memory, as the tests hand it to you."""

    def table(self) -> int:
        """Give a page of zeros for a table: its physical address."""

    def read64(self, address: int) -> int:
        """Read 8 bytes of physical memory."""

    def write64(self, address: int, value: int) -> None:
        """Write 8 bytes of physical memory."""


@dataclass(frozen=True)
class Found:
    """There is a translation.

    Attributes:
        physical: the physical address, to the byte.
        reads: the physical address of each entry that was read, in order.

    """

    physical: int
    reads: list[int]


@dataclass(frozen=True)
class Violation:
    """An EPT violation.

    Attributes:
        gpa: the guest-physical address that is refused, to the byte.
        qualification: the exit qualification; bits 11:9 are 0.
        reads: what had been read.

    """

    gpa: int
    qualification: int
    reads: list[int]


@dataclass(frozen=True)
class Misconfiguration:
    """An EPT misconfiguration: the guest-physical address, and what had been read."""

    gpa: int
    reads: list[int]


@dataclass(frozen=True)
class Fault:
    """A page fault of the guest's: its error code, and what had been read."""

    error: int
    reads: list[int]


R, W, X, PS = 1, 2, 4, 1 << 7
P, RW, US, XD = 1, 2, 4, 1 << 63
FRAME: Final = 0xF_FFFF_FFFF_F000
SHIFTS: Final = (39, 30, 21, 12)
NEEDS: Final = {"read": R, "write": W, "fetch": X}
NO_TYPES: Final = (2, 3, 7)


def map_page(memory: Memory, root: int, gpa: int, physical: int, rights: int) -> None:
    """Go down, make tables on the way, and write the last entry."""
    table = root
    for shift in SHIFTS[:3]:
        at = table + 8 * (gpa >> shift & 511)
        if not memory.read64(at):
            memory.write64(at, memory.table() | R | W | X)
        table = memory.read64(at) & FRAME
    memory.write64(table + 8 * (gpa >> 12 & 511), physical | 6 << 3 | rights)


def translate(memory: Memory, root: int, gpa: int, access: Access, final: bool) -> Found | Violation | Misconfiguration:
    """Go down, and keep what all entries allow."""
    kind, every, table = 1 << 7 | final << 8 | NEEDS[access], R | W | X, root
    reads: list[int] = []
    for shift in SHIFTS:
        reads.append(table + 8 * (gpa >> shift & 511))
        entry = memory.read64(reads[-1])
        if not entry & (R | W | X):
            return Violation(gpa, kind, reads)
        last = shift == 12 or (shift == 21 and entry & PS)
        if entry & (R | W) == W or (last and entry >> 3 & 7 in NO_TYPES):
            return Misconfiguration(gpa, reads)
        every &= entry
        if last:
            break
        table = entry & FRAME
    if not every & NEEDS[access]:
        return Violation(gpa, kind | every << 3, reads)
    inside = (1 << shift) - 1
    return Found(entry & FRAME & ~inside | gpa & inside, reads)


def walk(
    memory: Memory, root: int, cr3: int, address: int, access: Access, user: bool
) -> Found | Violation | Misconfiguration | Fault:
    """Walk the guest's tables, each entry's address through the EPT."""
    reads: list[int] = []
    table, every, never = cr3 & FRAME, RW | US, 0
    error = (2 if access == "write" else 0) | (4 if user else 0) | (16 if access == "fetch" else 0)
    for shift in SHIFTS:
        got = translate(memory, root, table + 8 * (address >> shift & 511), "read", False)
        if not isinstance(got, Found):
            return with_reads(got, reads)
        reads += [*got.reads, got.physical]
        entry = memory.read64(got.physical)
        if not entry & P:
            return Fault(error, reads)
        every, never = every & entry, never | entry & XD
        table = entry & FRAME
    if (user and not every & US) or (access == "write" and not every & RW) or (access == "fetch" and never):
        return Fault(error | P, reads)
    got = translate(memory, root, table | address & 0xFFF, access, True)
    return with_reads(got, reads)


def with_reads(got: Found | Violation | Misconfiguration, reads: list[int]) -> Found | Violation | Misconfiguration:
    """Put what was read before in front."""
    if isinstance(got, Found):
        return Found(got.physical, reads + got.reads)
    if isinstance(got, Violation):
        return Violation(got.gpa, got.qualification, reads + got.reads)
    return Misconfiguration(got.gpa, reads + got.reads)
