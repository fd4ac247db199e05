"""Which container a host runs, and how many pages of host memory stand behind its own: read from memory when an event comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .compare.guest_memory import CONTAINER, HOST_DIRECT, RUNNING, bound_pages
from .emu.events import Kind, Who
from .emu.sinks.perfetto import Memory

if TYPE_CHECKING:
    from .emu.events import Event
    from .emu.machine import Machine

_WORD: Final = 8
_HOST: Final = Who.HOST
_LEAVES: Final = frozenset(
    {Kind.IRET, Kind.SYSRET, Kind.VM_ENTRY, Kind.VM_EXIT, Kind.END}
)  # VM_EXIT: to L0, which resumes the guest


class Turns:
    """Follows which container a host runs, by the host's `self` (`guest/host/core/host.h`).

    It looks at the events by which the host leaves the processor to others, for nobody else changes that.  It only reads, so the run is
    the same without it.

    Attributes:
        container: the beginning of its `struct container`, as `CONTAINER` has it; None where nobody has had a turn, or the image is no
            host of ours.

    """

    def __init__(self, machine: Machine) -> None:
        """Begin with the machine's next event."""
        self.container: tuple[int, ...] | None = None
        self._machine = machine
        self._names: tuple[str, str] | None = None
        self._asked = False
        self._places: tuple[int, int, int] | None = None  # of the pointer and the array, physical; of the array, linear

    def see(self, event: Event) -> bool:
        """Take an event; tells whether the host leaves with it, and `container` is new."""
        if event.who is not _HOST or event.kind not in _LEAVES:
            return False
        if self._places is None:
            self._places = self._find()
            if self._places is None:
                return False
        pointer, first, linear = self._places
        memory = self._machine.memory
        place = first + memory.read64(pointer) - linear
        self.container = CONTAINER.unpack(memory.read(place, CONTAINER.size))
        return True

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


class Tenants:
    """Tells whose turn it is, and how many pages are bound; of a machine without a host of ours it knows nothing."""

    def __init__(self, machine: Machine) -> None:
        """Begin with the machine's next event."""
        self._memory, self._turns = machine.memory, Turns(machine)
        self._now = Memory()
        self._seen: dict[int, bytes] = {}
        self._bound: dict[int, int] = {}

    def __call__(self, event: Event) -> Memory:
        """Tell of the moment at which an event is made."""
        if self._turns.see(event) and self._turns.container is not None:
            self._now = self._look(self._turns.container)
        return self._now

    def _look(self, container: tuple[int, ...]) -> Memory:
        number, _, state, *_, array, end = container
        if state not in RUNNING:
            return Memory(number)
        words = self._memory.read(array - HOST_DIRECT, _WORD * end)
        if words != self._seen.get(number):
            self._seen[number] = words
            self._bound[number] = bound_pages(words).bit_count()
        return Memory(number, self._bound[number])
