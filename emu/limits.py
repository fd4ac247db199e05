"""Segment limits in real and virtual-8086 mode, which TCG does not check (SDM volume 3, "Limit Checking", "8086 Emulation").

An access by a 16-bit offset exceeds a limit only if it touches the first byte behind the segment, or, where the limit is below FFFFH,
what follows it.  So the pages of those bytes are guarded: each access to one comes to Python, which looks what the instruction reaches
and either raises its fault or has TCG run it alone::

    base                    base + limit
      ├───────────────────────┤                      an offset of 32 bits can reach anything: an instruction with such an address
      ────────┼───────────┼───────────┼────────      has a hook instead, and so has one that goes on behind the limit of CS
                          └ guarded ──┘
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from .decode import decode
from .faults import GP, Fault, StackFault, Unimplemented
from .registers import CS, DS, ES, FS, GS, RAX, RBP, RBX, RCX, RIP, RSP, SS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .cpu import Cpu
    from .descriptors import Segment
    from .insn import Insn, Operand
    from .operands import Operands

GUARDED: Final = -100  # the result of a refused fill of a guarded page; the walker gives none below -16
_ALL: Final = 0xFFFF  # no offset of 16 bits is above
_EXPAND_DOWN: Final = 4  # in `Segment.access`, of a data segment
_NO_ACCESS: Final = frozenset({"lea", "nop"})
_PUSHES: Final = frozenset({"push", "push_sreg", "pushf", "call"})
_POPS: Final = frozenset({"pop", "pop_sreg", "popf", "ret"})
_SIZES: Final = {"fxsave": 512, "fxrstor": 512, "fnsave": 94, "frstor": 94}
_OVERRIDES: Final = {0x26: ES, 0x2E: CS, 0x36: SS, 0x3E: DS, 0x64: FS, 0x65: GS}
_XLAT: Final = "xlatb"


class Limits:
    """The guards of one processor.

    Attributes:
        pages: linear pages that TCG is not given for data.
        granted: those that the instruction at RIP may use, alone.

    """

    def __init__(self, cpu: Cpu) -> None:
        self.pages: set[int] = set()
        self.granted: set[int] = set()
        self._cpu = cpu
        self._for: tuple[Segment, ...] = ()

    def update(self) -> None:
        """Guard what lies behind the segments as they are now."""
        cpu = self._cpu
        segments = tuple(cpu.segments) if cpu.emulates_8086 else ()
        if segments == self._for:
            return
        self._for = segments
        before = set(self.pages)
        self.pages.clear()
        for segment in segments:
            if segment.limit <= _ALL and not segment.access & _EXPAND_DOWN:
                first, last = segment.base + segment.limit + 1, segment.base + _ALL + 1
                self.pages.update(range(first >> 12, (last >> 12) + 1))
        for page in self.pages - before:
            cpu.engine.flush_page(page << 12)

    def grant(self, page: int) -> None:
        """Let the next instruction have a guarded page; `revoke` behind it."""
        self.granted.add(page)

    def revoke(self) -> None:
        """Take back what was granted."""
        for page in self.granted:
            self._cpu.engine.flush_page(page << 12)
        self.granted.clear()


def violation(cpu: Cpu) -> Fault | None:
    """Give the fault of the instruction at RIP, if it reaches beyond a limit: #SS(0) in the stack segment, else #GP(0)."""
    rip = cpu.q[RIP]
    insn = _decoded(cpu.code_at(rip), cpu.translation.code_size)
    limit = cpu.segments[CS].limit
    if rip + insn.length - 1 > limit:
        if rip > limit + 1:
            raise Unimplemented("a near branch beyond the limit of CS")
        return GP(0)
    try:
        for number, offset, size in _accesses(cpu, insn):
            check_room(cpu, number, offset, size)
    except Fault as fault:
        return fault
    return None


@lru_cache(maxsize=4096)
def _decoded(code: bytes, size: int) -> Insn:
    return decode(code, size, in_8086=True)


def check_room(cpu: Operands, number: int, offset: int, size: int) -> None:
    """Raise the fault of an access beyond a segment's limit; nothing but in real and virtual-8086 mode."""
    segment = cpu.segments[number]
    if cpu.emulates_8086 and offset + size - 1 > segment.limit and not segment.access & _EXPAND_DOWN:
        raise StackFault(0) if number == SS else GP(0)


def offset_of(cpu: Operands, insn: Insn, memory: Operand) -> int:
    """Give the effective address of a memory operand, without its segment's base."""
    q = cpu.q
    offset = memory.disp
    if memory.rip_relative:
        offset += q[RIP] + insn.length
    if memory.base is not None:
        offset += q[memory.base]
    if memory.index is not None:
        offset += q[memory.index] * memory.scale
    return offset & (1 << 8 * memory.address_size) - 1


def _accesses(cpu: Cpu, insn: Insn) -> Iterator[tuple[int, int, int]]:
    """Give what an instruction reaches: segment register, offset, bytes."""
    q, name = cpu.q, insn.mnemonic
    if name in _NO_ACCESS or (insn.rep and not q[RCX] & (1 << 8 * insn.address_size) - 1):
        return
    for operand in insn.operands:
        if operand.kind == "mem":
            yield operand.segment, offset_of(cpu, insn, operand), _SIZES.get(name, operand.size)
    if name == _XLAT:
        mask = (1 << 8 * insn.address_size) - 1
        number = next((_OVERRIDES[byte] for byte in insn.bytes[-2::-1] if byte in _OVERRIDES), DS)
        yield number, q[RBX] + (q[RAX] & 0xFF) & mask, 1
        return
    size = insn.opsize >> 3
    mask = cpu.segments[SS].pointer_mask
    if name in _PUSHES:
        yield SS, q[RSP] - size & mask, size
    elif name in _POPS:
        yield SS, q[RSP] & mask, size
    elif name.startswith("pusha"):
        yield SS, q[RSP] - 8 * size & mask, 8 * size
    elif name.startswith("popa"):
        yield SS, q[RSP] & mask, 8 * size
    elif name == "leave":
        yield SS, q[RBP] & mask, size
    elif name == "enter":
        words = 1 + (insn.operands[1].value & 31)
        yield SS, q[RSP] - words * size & mask, words * size
