"""Far JMP and CALL with their call gates.

Each follows the operation section of its SDM instruction page; the order of the checks is the order there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ...mmu.address import canonical
from ..descriptors import Segment, null_stack, parse
from ..faults import GP, NP, TS, UD, StackFault, Unimplemented
from ..idt import check_stack_room, tss_stack
from ..realmode import paragraph
from ..registers import CS, RIP, RSP, SS, U64
from ..segments import check_target, descriptor_address, mark_accessed, stack_segment
from ..table import instruction
from .flags import stack_pointer_mask

if TYPE_CHECKING:
    from ..cpu import Cpu
    from ..insn import Insn

_CALL_GATE16, _CALL_GATE = 4, 0xC
_TASK_TYPES: Final = frozenset({1, 5, 9})


def _push(cpu: Cpu, size: int, *values: int) -> None:
    """Push words of `size` bytes, all or none; the last value ends on top."""
    mask = stack_pointer_mask(cpu)
    rsp = cpu.q[RSP]
    frame = _frame(size, values)
    top = rsp - len(frame) & mask
    if not cpu.code64:
        check_stack_room(cpu.segment(SS), top, len(frame), 0)
    cpu.require_aligned(cpu.segment_base(SS) + top, size, len(frame), write=True, stack=True)
    cpu.write_bytes(cpu.segment_base(SS) + top, frame, stack=True)
    cpu.q[RSP] = rsp & ~mask | top


def _frame(size: int, values: tuple[int, ...]) -> bytes:
    return b"".join((v & (1 << 8 * size) - 1).to_bytes(size, "little") for v in reversed(values))


@instruction("ljmp", "lcall")
def far_branch(cpu: Cpu, insn: Insn) -> None:
    """Far JMP and CALL, direct or through memory, to a code segment or a call gate."""
    selector, offset = _far_pointer(cpu, insn)
    calls = insn.mnemonic.endswith("call")
    if cpu.emulates_8086:
        _far_branch_8086(cpu, insn, selector, offset, calls=calls)
        return
    error = selector & 0xFFFC
    if not error:
        raise GP(0)
    at = descriptor_address(cpu, selector)
    raw = cpu.read_system(at, 8)
    kind = raw >> 40 & 0x1F
    if not kind & 0x10:
        _through_system_descriptor(cpu, insn, selector, at, raw)
        return
    if not kind & 8 or (cpu.long_mode and raw >> 53 & 3 == 3):
        raise GP(error)
    dpl = raw >> 45 & 3
    if (dpl > cpu.cpl) if kind & 4 else (selector & 3 > cpu.cpl or dpl != cpu.cpl):
        raise GP(error)
    if not raw >> 47 & 1:
        raise NP(error)
    code = parse(error | cpu.cpl, mark_accessed(cpu, at, raw))
    check_target(cpu, code, offset)
    if calls:
        _push(cpu, insn.opsize >> 3, cpu.segments[CS].selector, cpu.q[RIP] + insn.length)
    cpu.q[RIP] = offset
    cpu.set_cs(code, cpu.cpl)


def _far_branch_8086(cpu: Cpu, insn: Insn, selector: int, offset: int, *, calls: bool) -> None:
    """Far JMP and CALL in real and virtual-8086 mode: #SS where the stack has no room comes before #GP of the target."""
    code = paragraph(cpu, CS, selector)
    size = insn.opsize >> 3
    if calls:
        top = cpu.q[RSP] - 2 * size & stack_pointer_mask(cpu)
        check_stack_room(cpu.segment(SS), top, 2 * size, 0)
    check_target(cpu, code, offset)
    if calls:
        _push(cpu, size, cpu.segments[CS].selector, cpu.q[RIP] + insn.length)
    cpu.q[RIP] = offset
    cpu.set_cs(code, cpu.cpl)


def _far_pointer(cpu: Cpu, insn: Insn) -> tuple[int, int]:
    """Give (selector, offset) of ptr16:n or m16:n."""
    if len(insn.operands) == 2:
        selector, offset = insn.operands
        return selector.value & 0xFFFF, offset.value & (1 << insn.opsize) - 1
    (memory,) = insn.operands
    if memory.kind != "mem":
        raise UD
    size = insn.opsize >> 3
    at, stack = cpu.operand_address(insn, memory, size + 2), memory.segment == SS
    cpu.require_aligned(at, size, size + 2, stack=stack)
    raw = cpu.read_bytes(at, size + 2, stack=stack)
    return int.from_bytes(raw[size:], "little"), int.from_bytes(raw[:size], "little")


class CallGate(NamedTuple):
    """A call gate taken apart (SDM "Call Gates", "IA-32e Mode Call Gates")."""

    selector: int
    offset: int
    size: int  # bytes of a word it pushes
    words: int  # how many it copies from the outer stack


def _through_system_descriptor(cpu: Cpu, insn: Insn, selector: int, at: int, raw: int) -> None:
    kind = raw >> 40 & 0x1F
    error = selector & 0xFFFC
    long = cpu.long_mode
    if kind != _CALL_GATE and (long or kind != _CALL_GATE16):
        if kind in _TASK_TYPES and not long:
            raise Unimplemented("a far branch to a TSS or task gate")
        raise GP(error)
    if raw >> 45 & 3 < max(cpu.cpl, selector & 3):
        raise GP(error)
    high = 0
    if long:
        descriptor_address(cpu, selector, size=16)
        high = cpu.read_system(at + 8, 8)
        if high >> 40 & 0x1F:
            raise GP(error)
    if not raw >> 47 & 1:
        raise NP(error)
    offset = raw & 0xFFFF
    if kind == _CALL_GATE:
        offset |= raw >> 32 & 0xFFFF0000 | (high & 0xFFFFFFFF) << 32
    size = 8 if long else 4 if kind == _CALL_GATE else 2
    _through_gate(cpu, insn, CallGate(raw >> 16 & 0xFFFF, offset, size, 0 if long else raw >> 32 & 31))


def _through_gate(cpu: Cpu, insn: Insn, gate: CallGate) -> None:
    error = gate.selector & 0xFFFC
    if not error:
        raise GP(0)
    at = descriptor_address(cpu, gate.selector)
    raw = cpu.read_system(at, 8)
    dpl, conforming = raw >> 45 & 3, raw >> 42 & 1
    calls = insn.mnemonic.endswith("call")
    if raw >> 40 & 0x18 != 0x18 or dpl > cpu.cpl or (cpu.long_mode and raw >> 53 & 3 != 1):
        raise GP(error)
    if not calls and not conforming and dpl != cpu.cpl:
        raise GP(error)
    if not raw >> 47 & 1:
        raise NP(error)
    cpl = cpu.cpl if conforming else dpl
    code = parse(error | cpl, mark_accessed(cpu, at, raw))
    back = cpu.q[RIP] + insn.length
    if cpl < cpu.cpl:
        _inner_call(cpu, gate, code, cpl, back)
        return
    check_target(cpu, code, gate.offset)
    if calls:
        _push(cpu, gate.size, cpu.segments[CS].selector, back)
    cpu.q[RIP] = gate.offset
    cpu.set_cs(code, cpl)


def _inner_call(cpu: Cpu, gate: CallGate, code: Segment, cpl: int, back: int) -> None:
    """Switch to the TSS's stack and push the outer stack, the parameters and the return address."""
    outer, size = cpu.segment(SS), gate.size
    if cpu.long_mode:
        at = 4 + 8 * cpl
        if at + 7 > cpu.tr.limit:
            raise TS(cpu.tr.selector & 0xFFFC)
        rsp, stack, mask = cpu.read_system(cpu.tr.base + at, 8), null_stack(cpl), U64
        if not canonical(rsp):
            raise StackFault(0)
    else:
        rsp, selector = tss_stack(cpu, cpl)
        stack = stack_segment(cpu, selector, cpl, fault=TS)
        mask = stack.pointer_mask
    parameters = b""
    if gate.words:
        top = cpu.q[RSP] & stack_pointer_mask(cpu)
        check_stack_room(outer, top, gate.words * size, 0)
        cpu.require_aligned(outer.base + top & 0xFFFFFFFF, size, gate.words * size, stack=True)
        parameters = cpu.read_bytes(outer.base + top & 0xFFFFFFFF, gate.words * size, stack=True)
    frame = _frame(size, (cpu.segments[CS].selector, back)) + parameters
    frame += _frame(size, (outer.selector, cpu.q[RSP]))
    top = rsp - len(frame) & mask
    if not cpu.long_mode:
        check_stack_room(stack, top, len(frame), stack.selector & 0xFFFC)
    check_target(cpu, code, gate.offset)
    cpu.write_bytes(stack.base + top, frame, user=False, stack=True)
    cpu.q[RIP] = gate.offset
    cpu.set_cs(code, cpl)
    cpu.set_segment(SS, stack)
    cpu.q[RSP] = rsp & ~mask | top
