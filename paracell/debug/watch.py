"""Watchpoints that the guest cannot see.

An access that TCG makes is told by a hook on data accesses, and while one is set TCG counts instructions, so that it stops right
behind the one that made it.  What Python does for the guest (an exception's frame, an accessed bit, a saved state) makes an event, at which
the bytes are compared with what they were; reads of that kind are not seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..emu.breakpoints import linear_page
from ..emu.callbacks import MEM
from ..emu.engine import MEM_WRITE
from ..emu.sinks import Listener
from ..emu.stop import Reason
from ..mmu.address import PAGE
from . import memory

if TYPE_CHECKING:
    from ..emu.events import Event
    from ..machine import Machine

WRITE, READ, ACCESS = 2, 3, 4  # numbers of the packets Z2, Z3 and Z4
PHYSICAL: Final = -1  # by ``monitor watch``: writes to physical memory
KINDS: Final = {WRITE: "watch", READ: "rwatch", ACCESS: "awatch"}
LONGEST: Final = PAGE  # bytes of one watchpoint


class Watchpoint(NamedTuple):
    """One watchpoint: what is watched for, and which bytes."""

    kind: int
    address: int
    size: int


class Watchpoints:
    """The watchpoints of one session.

    Attributes:
        wanted: those that are set.
        seen: the one that was met, and the address, since `arm`; or None.

    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.wanted: set[Watchpoint] = set()
        self.seen: tuple[Watchpoint, int] | None = None
        self._armed: tuple[Watchpoint, ...] = ()
        self._hooks: list[int] = []
        self._callback = MEM(self._on_access)
        self._listener = Listener(self._on_event)
        self._before: dict[Watchpoint, tuple[int | None, bytes]] = {}

    def arm(self) -> bool:
        """Have the next run stop behind what is watched for; tells whether anything is."""
        inner = self._machine.inner
        self.seen = None
        self._armed = tuple(self.wanted)
        if bool(self._armed) != bool(self._hooks):
            inner.cpu.translation.unhook(self._hooks)
            self._hooks = [inner.engine.hook_memory(self._callback)] if self._armed else []
            inner.engine.drop_all_code()
        self._before = {point: self._bytes(point) for point in self._armed if point.kind != READ}
        if self._before:
            inner.add_sink(self._listener)
        return bool(self._armed)

    def arm_again(self) -> None:
        """Begin anew: what was met is told, or belongs to another time."""
        self.disarm()
        self.arm()

    def disarm(self) -> None:
        """Listen no more; the hook stays for the next run."""
        if self._before:
            self._before = {}
            self._machine.inner.remove_sink(self._listener)

    def close(self) -> None:
        """Take everything back."""
        self.wanted.clear()
        self.arm()

    @property
    def frames(self) -> frozenset[int] | None:
        """The physical pages that are watched; None where there are linear addresses, which may be on any page."""
        if any(point.kind != PHYSICAL for point in self.wanted):
            return None
        bounds = ((point.address, point.address + point.size - 1) for point in self.wanted)
        return frozenset(frame for first, last in bounds for frame in range(first // PAGE, last // PAGE + 1))

    def _bytes(self, point: Watchpoint) -> tuple[int | None, bytes]:
        """Give the bytes that are watched, and where they are in physical memory."""
        if point.kind == PHYSICAL:
            return point.address, memory.read(self._machine, point.address, point.size, physical=True)
        return self._machine.translate(point.address), memory.read(self._machine, point.address, point.size)

    def _note(self, point: Watchpoint, address: int) -> None:
        if self.seen is None:
            self.seen = point, address
            self._machine.inner.request_stop(Reason.REACHED)

    def _on_access(self, _engine: int, kind: int, pa: int, size: int, _value: int, _user: Any) -> None:
        """Look at an access that TCG is about to make, of which Unicorn gives the physical address."""
        cpu = self._machine.inner.cpu
        try:
            write, at = kind == MEM_WRITE, pa % PAGE
            for point in self._armed:
                if point.kind == PHYSICAL:
                    if write and pa < point.address + point.size and point.address < pa + size:
                        self._note(point, max(pa, point.address))
                        return
                    continue
                first = point.address % PAGE
                if not _concerns(point.kind, write=write) or not (
                    (first - at < size and at - first < point.size) or first + PAGE - at < size
                ):
                    continue
                address = linear_page(cpu, pa, write=write) << 12 | at
                if address < point.address + point.size and point.address < address + size:
                    self._note(point, max(address, point.address))
                    return
        except BaseException as error:  # noqa: BLE001  (the run loop raises it)
            cpu.fail(error)

    def _on_event(self, _event: Event) -> None:
        """Compare the bytes: what Python has written, no hook tells."""
        for point, (where, data) in self._before.items():
            place, now = self._bytes(point)
            if place != where or len(now) != len(data):  # other tables
                self._before[point] = place, now
            elif now != data:
                self._before[point] = place, now
                first = next(i for i, (a, b) in enumerate(zip(data, now, strict=True)) if a != b)
                self._note(point, point.address + first)


def _concerns(kind: int, *, write: bool) -> bool:
    return kind == ACCESS or (kind == WRITE) is write
