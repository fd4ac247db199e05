"""Alignment checking: #AC for data accesses of CPL 3 while CR0.AM and RFLAGS.AC are set (SDM "Alignment Check Exception (#AC)").

TCG checks none of its accesses.  So in that state the run loop has it run one instruction at a time with a hook on memory.  An
instruction that had an access that is not aligned is undone: registers and memory are what they were, and #AC is delivered in its
place, behind the page faults that its accesses met before.

    CR0.AM, CPL ──▶ bits of hflags ┐
    RFLAGS.AC ─────────────────────┴▶ TCG keeps blocks of that state apart: one that appears elsewhere than here is dropped at once

Each access has at most eight bytes, which is also what the manual's table of types asks for: wider types need no more alignment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .callbacks import MEM
from .engine import MEM_WRITE
from .layout import HF_STEP
from .registers import HFLAGS

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cpu import Cpu


class Alignment:
    """The checks of one processor.

    Attributes:
        found: the instruction that runs now has had an access that is not aligned: whatever comes of it counts for nothing.
        undone: the instruction that ran last had one, and has been undone.

    """

    def __init__(self, cpu: Cpu) -> None:
        self._cpu = cpu
        self.found = self.undone = False
        self._stored: list[tuple[int, bytes]] = []
        self._callback = MEM(self._touch)

    def run(self, run: Callable[[], int]) -> int:
        """Have `run` run one instruction, and undo that where it must not have been; Unicorn's error code."""
        cpu = self._cpu
        engine, translation, d = cpu.engine, cpu.translation, cpu.d
        d[HFLAGS] |= HF_STEP
        before = bytes(engine.raw)
        self.found = False
        self._stored.clear()
        hook = engine.hook_memory(self._callback)
        in_place, translation.in_place = translation.in_place, False
        try:
            error = run()
        finally:
            translation.in_place = in_place
            engine.unhook(hook)
            if self.found:
                engine.raw[:] = before
            d[HFLAGS] &= ~HF_STEP
        if not self.found:
            return error
        self.found, self.undone = False, True
        for address, data in reversed(self._stored):
            cpu.memory.write(address, data)
        translation.refusal = None
        engine.counting.begin()
        return 0

    def _touch(self, _engine: int, kind: int, address: int, size: int, _value: int, _user: Any) -> None:
        """Look at an access that TCG is about to make; Unicorn gives the physical address, whose lower bits are the linear one's."""
        cpu = self._cpu
        try:
            if kind == MEM_WRITE and cpu.memory.is_ram(address):
                self._stored.append((address, cpu.memory.read(address, size)))
            self.found |= bool(address & size - 1)
        except BaseException as error:  # noqa: BLE001  (the run loop raises it)
            cpu.fail(error)
