"""Lab 1: a page walker for 4-level paging.  Your work begins at ``indexes``."""

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


def indexes(address: int) -> tuple[int, int, int, int]:
    """Give the indexes of `address` into the PML4, the PDPT, the PD and the PT."""
    raise NotImplementedError


def walk(memory: Memory, cr3: int, address: int, access: Literal["read", "write", "fetch"], user: bool) -> Page | Fault:
    """Translate `address` for one access, and set A and D bits as the processor does."""
    raise NotImplementedError
