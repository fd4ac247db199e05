"""Lab 5: demand paging and copy-on-write.  Your work is in ``Kernel``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class System(Protocol):
    """The hardware, as the tests hand it to you; the hand-out has a table of it."""

    def read64(self, address: int) -> int:
        """Read 8 bytes of physical memory."""

    def write64(self, address: int, value: int) -> None:
        """Write 8 bytes of physical memory."""

    def take(self) -> int:
        """Take a frame, with rubbish in it; give its physical address."""

    def give(self, frame: int) -> None:
        """Give a frame back."""

    def zero(self, frame: int) -> None:
        """Fill a frame with zeros."""

    def copy(self, to: int, source: int) -> None:
        """Copy a frame."""

    def install(self, root: int) -> None:
        """Put what the machine needs into slot 511 of a top table."""

    def invlpg(self, address: int) -> None:
        """Make the processor forget what it knows of a page."""


@dataclass(frozen=True)
class Area:
    """Pages from `start` to before `end`, which a program may read and, if `writable`, write."""

    start: int
    end: int
    writable: bool


@dataclass(frozen=True)
class Space:
    """The address space of one program.

    Attributes:
        root: the frame of its top table.
        areas: what it was promised.

    """

    root: int
    areas: tuple[Area, ...]


class Kernel:
    """Your kernel."""

    def __init__(self, system: System) -> None:
        self.system = system

    def spawn(self, areas: tuple[Area, ...]) -> Space:
        """Make a space in which nothing is mapped."""
        root = self.system.take()
        self.system.zero(root)
        self.system.install(root)
        return Space(root, areas)

    def fault(self, space: Space, address: int, error: int) -> bool:
        """Answer a page fault: True, and the processor tries again; or False, and the program is killed."""
        raise NotImplementedError

    def fork(self, parent: Space) -> Space:
        """Make a copy of the space that runs now."""
        raise NotImplementedError

    def exit(self, space: Space) -> None:
        """Give back every frame that nobody else needs; the space does not run any more."""
        raise NotImplementedError
