"""Lab 5: demand paging and copy-on-write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator


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

    P, RW, US = 1, 2, 4
    FRAME = (1 << 52) - 4096

    def __init__(self, system: System) -> None:
        self.system = system
        self.owners: dict[int, int] = {}

    def spawn(self, areas: tuple[Area, ...]) -> Space:
        root = self.system.take()
        self.system.zero(root)
        self.system.install(root)
        return Space(root, areas)

    def _entry(self, root: int, address: int) -> int:
        table = root
        for shift in (39, 30, 21):
            at = table + 8 * (address >> shift & 511)
            entry = self.system.read64(at)
            if not entry & self.P:
                entry = self.system.take() | self.P | self.RW | self.US
                self.system.zero(entry & self.FRAME)
                self.system.write64(at, entry)
            table = entry & self.FRAME
        return table + 8 * (address >> 12 & 511)

    def _present(self, table: int, level: int = 4, base: int = 0) -> Iterator[tuple[int, int, int]]:
        for slot in range(511 if level == 4 else 512):
            at, address = table + 8 * slot, base | slot << 12 + 9 * (level - 1)
            entry = self.system.read64(at)
            if entry & self.P:
                if level > 1:
                    yield from self._present(entry & self.FRAME, level - 1, address)
                yield level, address, at

    def fault(self, space: Space, address: int, error: int) -> bool:
        write = bool(error & self.RW)
        area = next((area for area in space.areas if area.start <= address < area.end), None)
        if area is None or (write and not area.writable):
            return False
        at = self._entry(space.root, address)
        entry = self.system.read64(at)
        if not entry & self.P:
            frame = self.system.take()
            self.system.zero(frame)
            self.owners[frame] = 1
            self.system.write64(at, frame | self.P | self.US | (self.RW if area.writable else 0))
            return True
        frame = entry & self.FRAME
        if self.owners[frame] > 1:
            self.owners[frame] -= 1
            shared, frame = frame, self.system.take()
            self.system.copy(frame, shared)
            self.owners[frame] = 1
        self.system.write64(at, frame | self.P | self.US | self.RW)
        return True

    def fork(self, parent: Space) -> Space:
        child = self.spawn(parent.areas)
        for level, address, at in list(self._present(parent.root)):
            if level > 1:
                continue
            entry = self.system.read64(at) & ~self.RW
            self.system.write64(at, entry)
            self.system.invlpg(address)
            self.system.write64(self._entry(child.root, address), entry)
            self.owners[entry & self.FRAME] += 1
        return child

    def exit(self, space: Space) -> None:
        for level, _, at in list(self._present(space.root)):
            frame = self.system.read64(at) & self.FRAME
            if level == 1:
                self.owners[frame] -= 1
                if self.owners[frame]:
                    continue
            self.system.give(frame)
        self.system.give(space.root)
