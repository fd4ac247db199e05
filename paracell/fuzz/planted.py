"""Mistakes of Pager's host, planted: a sink changes what the host keeps just before it looks, as a host with the bug would have it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from ..attacks import HOST
from ..emu.events import Event, Kind
from ..guest import shipped
from ..guest.elf import parse
from ..host_variables import HOST_BASE
from ..mmu.address import PAGE
from ..oracle.bindings import HC_PAGER

if TYPE_CHECKING:
    from ..emu.machine import Machine

BOUND_TWICE, ANOTHERS = "bound-check", "free-list"
PLANTED: Final = {
    BOUND_TWICE: "the host looks whether a page that is to be bound is bound already",
    ANOTHERS: "the host's free list holds no page that a container has",
}
_ADDRESS: Final = 0x000F_FFFF_FFFF_F000
_OFFSET: Final = (1 << 39) - 1  # in the host's direct map


class PlantedMistake:
    """Makes a host forget one of its checks, at the first request of a try that the mistake shows in.

    Attributes:
        done: the mistake has been made since `again`.

    """

    def __init__(self, machine: Machine, mistake: str) -> None:
        self._machine, self._another = machine, mistake == ANOTHERS
        self._slots, self._free = _variable("slots", 16), _variable("free_list", 8)
        self.done = False

    def again(self) -> None:
        """Wait for the next try's request."""
        self.done = False

    def emit(self, event: Event) -> None:
        """Wait for a request that the mistake shows in."""
        if event.kind is not Kind.HYPERCALL or event.nr != HC_PAGER or self.done:
            return
        memory, own = self._machine.memory, self._bound(0)
        unbinds, binds = event.arg1 >> 32, event.arg1 & 0xFFFFFFFF
        if event.arg0 >> 12 >= PAGE or unbinds + binds > PAGE // 8:
            return
        at = memory.read64(own + 8 * (event.arg0 >> 12)) & _ADDRESS
        words = struct.unpack(f"<{unbinds + binds}Q", memory.read(at, 8 * (unbinds + binds)))
        if self._another:
            if binds:
                self._give_a_neighbours_page()
            return
        for word in words[unbinds:]:
            entry = own + 8 * ((word & _ADDRESS) >> 12)
            if memory.is_ram(entry) and memory.read64(entry) and word not in words[:unbinds]:
                memory.write64(entry, 0)  # "it is not bound"
                self.done = True

    def close(self) -> None:
        """Nothing is buffered."""

    def _bound(self, slot: int) -> int:
        """Give the physical address of the table of what a container has bound: a word for each of its pages."""
        return self._machine.memory.read64(self._slots + 8 * slot) & _OFFSET

    def _give_a_neighbours_page(self) -> None:
        """A page of the other container's comes to the front of the free ones."""
        memory, theirs = self._machine.memory, self._bound(1)
        last = max(page for page in range(PAGE) if memory.read64(theirs + 8 * page))
        hpa = memory.read64(theirs + 8 * last) & _ADDRESS
        memory.write64(hpa, memory.read64(self._free))
        memory.write64(self._free, memory.read64(self._slots) & ~_OFFSET | hpa)
        self.done = True


def _variable(name: str, size: int) -> int:
    """Give the physical address of a variable of the host's, of so many bytes: names of static ones can come twice."""
    symbols = parse(shipped.image(HOST).read_bytes(), HOST).symbols()
    (found,) = [s for s in symbols if (s.name, s.size) == (name, size)]
    return found.address - HOST_BASE
