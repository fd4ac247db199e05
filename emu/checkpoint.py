"""A machine's state in memory, to go back to many times: what has been written since is what it costs.

Unlike a snapshot it lives and dies with its machine, and keeps nothing that a file would need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .snapshot import state_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .machine import Machine

_PAGE: Final = 4096
_FRAME: Final = 0x000F_FFFF_FFFF_F000
_LARGE: Final = 1 << 7


class Checkpoint:
    """The state of `machine` at this moment."""

    def __init__(self, machine: Machine) -> None:
        cpu, memory = machine.cpu, machine.memory
        self._machine = machine
        self._tcg = bytes(machine.engine.raw)
        self._state = state_of(machine)
        self._cycles = machine.clock.now, machine.clock.counted
        self._devices = machine.devices.save()
        self._ram = bytes(memory.ram)
        self._tables_frames = frozenset(_table_frames(cpu.cr3 & _FRAME, memory.words, 4))
        self._often: set[int] = (
            set()
        )  # written before: TCG may write there again without telling, so they always go back
        memory.dirty.clear()
        cpu.translation.reset()

    def restore(self) -> set[int]:
        """Go back; gives the numbers of the physical pages that have been written, for the first time since all this began."""
        machine, memory = self._machine, self._machine.memory
        cpu = machine.cpu
        written = memory.dirty - self._often
        for frame in memory.dirty:
            at = frame * _PAGE
            if frame in memory.code:
                memory.write(at, self._ram[at : at + _PAGE])
            elif memory.is_ram(at):
                memory.ram[at : at + _PAGE] = self._ram[at : at + _PAGE]
        memory.drop_stale_code()
        machine.engine.raw[:] = self._tcg
        cpu.load(self._state)
        machine.clock.cycles, machine.clock.counted = self._cycles
        machine.devices.load(self._devices)
        machine.forget_events()
        if written & self._tables_frames:  # the TLBs may hold what is no longer so
            cpu.translation.reset()
            self._often.clear()
            memory.dirty.clear()
        else:
            self._often |= written
        return written

    def watch(self, frames: Iterable[int]) -> None:
        """Have `restore` tell again of these pages when they are written."""
        self._machine.cpu.translation.reset()
        self._often.difference_update(frames)
        self._machine.memory.dirty.difference_update(frames)


def _table_frames(table: int, words: memoryview, level: int) -> Iterator[int]:
    """Give the frame of a page table and of all tables below it."""
    yield table >> 12
    for entry in words[table >> 3 : (table >> 3) + 512] if level > 1 else ():
        if entry & 1 and not (entry & _LARGE and level < 4):
            yield from _table_frames(entry & _FRAME, words, level - 1)
