"""Operands of instructions that Python runs: their addresses and values, and the step to the next instruction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.address import PAGE, U32, U64
from ..mmu.registers import EFER
from . import layout
from .access import LinearAccess
from .faults import GP
from .layout import HF_CS64
from .limits import check_room, offset_of
from .registers import CS, EFLAGS, HFLAGS, RF, RIP, SS
from .state import MOV_SS_SHADOW

if TYPE_CHECKING:
    from .descriptors import Segment
    from .insn import Insn, Operand

_LMA: Final = EFER.LMA.mask
_L: Final = 0x2000  # in Segment.access


class Operands(LinearAccess):
    """The part of the processor that instructions reach their operands through."""

    q: memoryview
    d: memoryview
    segments: list[Segment]
    interrupt_shadow: int
    shadow_at: int
    emulates_8086: bool

    @property
    def code64(self) -> bool:
        """64-bit mode (not compatibility mode)."""
        return bool(self.efer & _LMA and self.segments[CS].access & _L)

    @property
    def linear_rip(self) -> int:
        """The linear address of the instruction at RIP."""
        rip = self.q[RIP]
        return rip if self.code64 else rip + self.segments[CS].base & U32

    def segment_base(self, number: int) -> int:
        """Give the live base; 0 for ES, CS, SS and DS in 64-bit mode."""
        return self.q[layout.SEGMENTS + 24 * number + 8 >> 3]

    def next(self, insn: Insn) -> None:
        """Step over `insn`."""
        rip = self.q[RIP] + insn.length
        self.q[RIP] = rip if self.d[HFLAGS] & HF_CS64 else rip & U32

    def block_interrupts(self) -> None:
        """Keep interrupts and debug exceptions from the instruction at RIP (SDM "… When Switching Stacks")."""
        self.interrupt_shadow = MOV_SS_SHADOW
        self.pass_breakpoint()

    def pass_breakpoint(self) -> None:
        """Let no instruction breakpoint stop the instruction at RIP, behind MOV SS: RF does that, and ends with it."""
        self.shadow_at = self.q[RIP]
        if self.breakpoints.on_code:
            self.q[EFLAGS] |= RF
            self.breakpoints.on_hit()

    def operand_address(self, insn: Insn, mem: Operand, size: int = 0) -> int:
        """Give the linear address of a memory operand of `size` bytes; in real and virtual-8086 mode within its segment's limit."""
        address = offset_of(self, insn, mem)
        if self.emulates_8086:
            check_room(self, mem.segment, address, size or mem.size)
        address += self.segment_base(mem.segment)
        return address & (U64 if self.code64 else U32)

    def store_address(self, insn: Insn, mem: Operand) -> int:
        """As `operand_address`, for a store; #GP(0) through CS, which protected mode writes in 64-bit code only (SDM "Type Checking")."""
        if mem.segment == CS and not (self.code64 or self.emulates_8086):
            raise GP(0)
        return self.operand_address(insn, mem)

    def get(self, insn: Insn, operand: Operand) -> int:
        """Read a register, memory or immediate operand."""
        kind = operand.kind
        if kind == "reg":
            value = self.q[operand.number] >> (8 if operand.high else 0)
            return value & (1 << 8 * operand.size) - 1
        if kind == "mem":
            return self.read(self.operand_address(insn, operand), operand.size, stack=operand.segment == SS)
        return int(operand.value)

    def put(self, insn: Insn, operand: Operand, value: int) -> None:
        """Write a register or memory operand; a 32-bit register write clears the upper half."""
        if operand.kind == "mem":
            self.write(self.store_address(insn, operand), operand.size, value, stack=operand.segment == SS)
            return
        size, number = operand.size, operand.number
        if size >= 4:
            self.q[number] = value & (1 << 8 * size) - 1
            return
        shift = 8 if operand.high else 0
        mask = (1 << 8 * size) - 1 << shift
        self.q[number] = self.q[number] & ~mask | value << shift & mask

    def code_at(self, rip: int, size: int = 15) -> bytes:
        """Give up to `size` instruction bytes at `rip`; fewer where the next page cannot be fetched."""
        linear = rip if self.code64 else rip + self.segments[CS].base & U32
        locate, ram = self.translation.fetch, self.memory.ram
        pa = locate(linear)
        if pa is None:
            return b""
        first = PAGE - (pa & PAGE - 1)
        code: bytes = ram[pa : pa + min(size, first)]
        if size > first:
            more = locate(linear + first)
            if more is not None:
                code += ram[more : more + size - first]
        return code
