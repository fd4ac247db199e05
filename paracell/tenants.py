"""Which container a host runs, and how many pages of host memory stand behind its own: read from memory when an event comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .compare.guest_memory import CONTAINER, HOST_DIRECT, LENT, RUNNING
from .emu.events import Kind, Who
from .emu.sinks.perfetto import Memory

if TYPE_CHECKING:
    from .emu.events import Event
    from .emu.machine import Machine

_WORD: Final = 8
_IS_ANY: Final = bytes(value > 0 for value in range(256))
_IS_LENT: Final = bytes(bool(value & LENT) for value in range(256))
_BYTES: Final = range(
    1, 6
)  # of a word, that hold the address: physical addresses have 48 bits here, and the lowest 12 are flags


class Tenants:
    """Reads the host's `self` and the array of its bound pages (`guest/host/core/host.h`), by symbol.

    It looks at the events by which the host leaves the processor to others, for nobody else changes them.  It only reads, so the run is
    the same without it.  A machine whose image is no host of ours has one container of which nothing is known.
    """

    def __init__(self, machine: Machine) -> None:
        """Begin with the machine's next event."""
        self._machine = machine
        self._names: tuple[str, str] | None = None
        self._asked = False
        self._places: tuple[int, int, int] | None = None  # of the pointer and the array, physical; of the array, linear
        self._now = Memory()
        self._seen: dict[int, bytes] = {}
        self._bound: dict[int, int] = {}

    def __call__(self, event: Event) -> Memory:
        """Tell of the moment at which an event is made."""
        if event.who is _HOST and event.kind in _LEAVES:
            if self._places is None:
                self._places = self._find()
            if self._places is not None:
                self._now = self._look(*self._places)
        return self._now

    def _find(self) -> tuple[int, int, int] | None:
        """Give the places of the host's variables, once it has switched its page tables on."""
        symbols, memory = self._machine.symbols, self._machine.memory
        if not self._asked:
            self._asked = True
            found = {name.rpartition("!")[2]: name for name in symbols if name.endswith(("!self", "!containers"))}
            self._names = (found["self"], found["containers"]) if len(found) == 2 else None
        if self._names is None:
            return None
        pointer, first = (symbols[name] for name in self._names)
        places = [self._machine.cpu.translation.physical(address) for address in (pointer, first)]
        if any(place is None or place + CONTAINER.size > memory.size for place in places):
            return None
        return places[0] or 0, places[1] or 0, first

    def _look(self, pointer: int, first: int, linear: int) -> Memory:
        memory = self._machine.memory
        place = first + memory.read64(pointer) - linear
        number, _, state, _, _, _, _, _, array, end = CONTAINER.unpack(memory.read(place, CONTAINER.size))
        if state not in RUNNING:
            return Memory(number)
        words = memory.read(array - HOST_DIRECT, _WORD * end)
        if words != self._seen.get(number):
            self._seen[number] = words
            self._bound[number] = _count(words)
        return Memory(number, self._bound[number])


def _count(words: bytes) -> int:
    """Count the pages that are bound, and not lent."""
    bound = 0
    for byte in _BYTES:
        bound |= int.from_bytes(words[byte::_WORD].translate(_IS_ANY), "little")
    return (bound & ~int.from_bytes(words[0::_WORD].translate(_IS_LENT), "little")).bit_count()


_HOST: Final = Who.HOST
_LEAVES: Final = frozenset(
    {Kind.IRET, Kind.SYSRET, Kind.VM_ENTRY, Kind.VM_EXIT, Kind.END}
)  # to L0, which resumes the guest
