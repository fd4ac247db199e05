"""A machine's state in memory, to go back to many times: what has been written since is what it costs.

Unlike a snapshot it lives and dies with its machine, and keeps nothing that a file would need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

from attrs import frozen

from ..mmu.address import PAGE
from .snapshot import state_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .machine import Machine
    from .state import State

_ZERO: Final = bytes(PAGE)
_FRAME: Final = 0x000F_FFFF_FFFF_F000
_LARGE: Final = 1 << 7


@frozen
class Apart:
    """The state of a machine apart from its memory and its TLBs: TCG's words, the processor, time, devices."""

    tcg: bytes
    state: State
    time: tuple[int, ...]
    devices: dict[str, Any]

    @classmethod
    def of(cls, machine: Machine) -> Self:
        """Take it."""
        return cls(bytes(machine.engine.raw), state_of(machine), machine.clock.save(), machine.devices.save())

    def put(self, machine: Machine) -> None:
        """Give it back; what was about to happen is forgotten.  Memory is to have its bytes by then."""
        machine.engine.raw[:] = self.tcg
        machine.cpu.load(self.state)
        machine.clock.load(self.time)
        machine.devices.load(self.devices)
        machine.forget_events()


class Checkpoint:
    """The state of `machine` at this moment.

    With `exact`, what the TLB holds belongs to it: two runs from here are the same, walks and accessed bits included.  Without it, a
    way back costs less where one set of page tables is in use, and the second run may find translations that the first one had to walk
    for.  A run that has written to a table of the current CR3, or has left translations of another address space or of a virtual
    machine, takes all of them with it.

    Attributes:
        exact: as it was asked for; always in a virtual machine or beside one, where the tables are under an EPT.
    """

    def __init__(self, machine: Machine, *, exact: bool = True) -> None:
        cpu, memory = machine.cpu, machine.memory
        self._machine = machine
        self.exact = exact = exact or cpu.vmx is not None or cpu.outer is not None
        self._tlb = cpu.translation.tlb.save() if exact else None
        self._apart = Apart.of(machine)
        self._pages = {
            frame: page
            for frame in memory.used
            if memory.is_ram(frame * PAGE) and (page := memory.ram[frame * PAGE : (frame + 1) * PAGE]) != _ZERO
        }
        self._tables_frames = frozenset(_table_frames(cpu.cr3 & _FRAME, memory.words, 4))
        self._told: set[int] = set()  # TCG may write there again without telling, so they always go back
        self._written = memory.mark()
        machine.engine.flush_slots()
        if not exact:
            cpu.translation.reset()

    def restore(self) -> set[int]:
        """Go back; gives the numbers of the physical pages that have been written, for the first time since all this began."""
        machine, memory = self._machine, self._machine.memory
        cpu = machine.cpu
        left_cr3 = cpu.cr3
        changed = self._written | memory.dirty
        written = changed - self._told
        pages = self._pages
        for frame in changed:
            at = frame * PAGE
            page = pages.get(frame, _ZERO)
            if frame in memory.code:
                memory.write(at, page)
            elif memory.is_ram(at):
                memory.ram[at : at + PAGE] = page
        memory.drop_stale_code()
        self._apart.put(machine)
        memory.tell(changed)  # other checkpoints
        if self._tlb is not None:
            cpu.translation.tlb.load(self._tlb)
            self._forget_written()
        elif written & self._tables_frames or cpu.cr3 != left_cr3 or cpu.translation.tlb.is_mixed:
            # The TLBs may hold what is no longer so, or was never so in tables that nobody knows here.
            cpu.translation.reset()
            self._forget_written()
        else:
            self._told |= written
        return written

    def _forget_written(self) -> None:
        """Begin anew to collect what is written."""
        machine = self._machine
        machine.memory.spread()
        machine.engine.flush_slots()
        machine.cpu.translation.forget_code()
        self._told.clear()
        self._written.clear()

    def watch(self, frames: Iterable[int]) -> None:
        """Have `restore` tell again of these pages when they are written."""
        self._machine.cpu.translation.reset()
        self._told.difference_update(frames)
        self._written.difference_update(frames)
        self._machine.memory.dirty.difference_update(frames)


def _table_frames(table: int, words: memoryview, level: int) -> Iterator[int]:
    """Give the frame of a page table and of all tables below it."""
    yield table >> 12
    for entry in words[table >> 3 : (table >> 3) + 512] if level > 1 else ():
        if entry & 1 and not (entry & _LARGE and level < 4):
            yield from _table_frames(entry & _FRAME, words, level - 1)
