"""Lab 8: EPT, and the walk through both stages.  Your work begins at ``map_page``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

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


def map_page(memory: Memory, root: int, gpa: int, physical: int, rights: int) -> None:
    """Have the EPT at `root` lead from a page at `gpa` to one at `physical`; `rights` is R (1), W (2) and X (4) of its last entry."""
    raise NotImplementedError


def translate(memory: Memory, root: int, gpa: int, access: Access, final: bool) -> Found | Violation | Misconfiguration:
    """Take a guest-physical address through the EPT; `final` says that it is the page's own, and no entry's."""
    raise NotImplementedError


def walk(
    memory: Memory, root: int, cr3: int, address: int, access: Access, user: bool
) -> Found | Violation | Misconfiguration | Fault:
    """Translate a linear address through the guest's tables and the EPT."""
    raise NotImplementedError
