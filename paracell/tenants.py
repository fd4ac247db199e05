"""Which container a host runs, and how many pages of host memory stand behind its own: read from memory when an event comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .compare.guest_memory import bound_pages
from .emu.events import Kind, Who
from .emu.sinks.perfetto import Memory
from .host_variables import HOST_DIRECT, RUNNING, HostVariables

if TYPE_CHECKING:
    from .emu.events import Event
    from .emu.machine import Machine

_WORD: Final = 8
_HOST: Final = Who.HOST
_LEAVES: Final = frozenset(
    {Kind.IRET, Kind.SYSRET, Kind.VM_ENTRY, Kind.VM_EXIT, Kind.END}
)  # VM_EXIT: to L0, which resumes the guest


class Turns:
    """Follows which container a host runs.

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
        self._host: HostVariables | None = None
        self._asked = False

    def see(self, event: Event) -> bool:
        """Take an event; tells whether the host leaves with it, and `container` is new."""
        if event.who is not _HOST or event.kind not in _LEAVES:
            return False
        if not self._asked:
            self._asked = True
            self._host = HostVariables.of(self._machine)
        if self._host is None:
            return False
        self.container = self._host.container(self._host.turn())
        return True


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
