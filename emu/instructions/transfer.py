"""Far transfers: IRET, far RET, far JMP and CALL with their call gates, INT1.

Each follows the operation section of its SDM instruction page; the order of the checks is the order there.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from ...mmu.rights import READ
from ..cpu import CS, RIP, RSP, SS, Segment
from ..events import Kind
from ..exceptions import check_stack_room, enter, tss_stack
from ..faults import GP, NP, TS, UD, Fault, Unimplemented
from ..faults import SS as StackFault
from ..segments import (
    canonical,
    check_target,
    descriptor_address,
    forget_inner_segments,
    mark_accessed,
    null_stack,
    parse,
    return_code,
    stack_segment,
)
from ..table import instruction
from .flags import stack_pointer_mask

if TYPE_CHECKING:
    from ..cpu import Cpu
    from ..decode import Insn

_L: Final = 0x2000  # in Segment.access
_TF, _IF, _IOPL, _NT, _RF, _VM = 1 << 8, 1 << 9, 3 << 12, 1 << 14, 1 << 16, 1 << 17
_AC, _VIF, _VIP, _ID = 1 << 18, 1 << 19, 1 << 20, 1 << 21
_ORDINARY: Final = 0x8D5 | _TF | 1 << 10 | _NT  # CF PF AF ZF SF OF, TF, DF, NT
_WIDE: Final = _RF | _AC | _ID  # only from 32 bits on
_U64: Final = (1 << 64) - 1
_CALL_GATE16, _CALL_GATE = 4, 0xC
_TASK_TYPES: Final = frozenset({1, 5, 9})
_FORMS: Final = {(n, size): struct.Struct(f"<{n}{c}") for n in (2, 3, 5) for size, c in ((2, "H"), (4, "I"), (8, "Q"))}
_FRAME: Final = _FORMS[5, 8]


def _pop(cpu: Cpu, count: int, size: int, skip: int = 0) -> tuple[int, ...]:
    """Read `count` words above the top of the stack, `skip` bytes up; RSP stays."""
    form = _FORMS[count, size]
    if cpu.code64:
        return form.unpack(cpu.read_bytes(cpu.q[RSP] + skip & _U64, form.size, stack=True))
    stack = cpu.segment(SS)
    top = cpu.q[RSP] + skip & stack_pointer_mask(cpu)
    check_stack_room(stack, top, form.size, 0)
    return form.unpack(cpu.read_bytes(stack.base + top & 0xFFFFFFFF, form.size, stack=True))


def _push(cpu: Cpu, size: int, *values: int) -> None:
    """Push words of `size` bytes, all or none; the last value ends on top."""
    mask = stack_pointer_mask(cpu)
    rsp = cpu.q[RSP]
    frame = _frame(size, values)
    top = rsp - len(frame) & mask
    if not cpu.code64:
        check_stack_room(cpu.segment(SS), top, len(frame), 0)
    cpu.write_bytes(cpu.segment_base(SS) + top, frame, stack=True)
    cpu.q[RSP] = rsp & ~mask | top


def _frame(size: int, values: tuple[int, ...]) -> bytes:
    return b"".join((v & (1 << 8 * size) - 1).to_bytes(size, "little") for v in reversed(values))


def _move_stack(cpu: Cpu, rsp: int) -> None:
    """Set as much of RSP as the stack segment now in force uses."""
    mask = stack_pointer_mask(cpu)
    cpu.q[RSP] = rsp & _U64 if mask == _U64 else (cpu.q[RSP] & ~mask | rsp & mask) & 0xFFFFFFFF


# ---- returns --------------------------------------------------------------------------------------------------


@instruction("iret", "iretq", "iretd")
def iret(cpu: Cpu, insn: Insn) -> None:
    """IRET to the same or an outer ring, to 64-bit, compatibility or 32-bit code."""
    cpu.nmi_blocked = False  # even if it faults (SDM "Handling Multiple NMIs")
    if cpu.system_flags & _NT:
        if cpu.long_mode:
            raise GP(0)
        raise Unimplemented("IRET with NT set: a task return")
    size = insn.opsize >> 3
    if size == 8 and _return_quickly(cpu):  # noqa: PLR2004
        return
    old = cpu.cpl
    popped = _pop(cpu, 5 if cpu.code64 else 3, size)
    rip, cs, image = popped[:3]
    cs &= 0xFFFF
    if image & _VM and size == 4 and not old and not cpu.long_mode:
        raise Unimplemented("IRET to virtual-8086 mode")
    code = return_code(cpu, cs)
    cpl = cs & 3
    if cpl > old and len(popped) == 3:
        popped = _pop(cpu, 5, size)
    stack = None
    if len(popped) == 5:
        stack = stack_segment(cpu, popped[4] & 0xFFFF, cpl, null_allowed=_is64(cpu, code))
    check_target(cpu, code, rip)
    flags = _returned_flags(cpu, image, size)
    cpu.event(Kind.IRET, rip, cost=cpu.costs.iret)
    cpu.shadow = False
    cpu.q[RIP] = rip
    if stack is None:
        mask = stack_pointer_mask(cpu)
        cpu.q[RSP] = cpu.q[RSP] & ~mask | cpu.q[RSP] + 3 * size & mask
        cpu.set_cs(code, cpl)
        cpu.rflags = flags
        return
    cpu.load_pair(code, stack, cpl, flags)
    if code.access & _L:
        cpu.q[RSP] = popped[3]
    else:
        cpu.set_segment(SS, stack)
        _move_stack(cpu, popped[3])
    if cpl > old:
        forget_inner_segments(cpu, cpl)


@lru_cache(maxsize=4096)
def _landing(cs: int, raw: int, ss: int, stack: int, cpl: int) -> tuple[Segment, Segment] | None:
    """Check the descriptors of a return to 64-bit code that IRETQ pops; None for any that needs the whole way."""
    rpl = cs & 3
    good_code = cs & 0xFFFC and rpl >= cpl and raw >> 40 & 0x9D == 0x99 and raw >> 53 & 3 == 1 and raw >> 45 & 3 == rpl  # noqa: PLR2004
    if not good_code:
        return None
    if not ss & 0xFFFC:
        return (parse(cs, raw), null_stack(rpl)) if ss == rpl != 3 else None  # noqa: PLR2004
    if ss & 3 != rpl or stack >> 40 & 0x9B != 0x93 or stack >> 45 & 3 != rpl:  # noqa: PLR2004
        return None
    return parse(cs, raw), parse(ss, stack)


def _return_quickly(cpu: Cpu) -> bool:
    """IRETQ between 64-bit code when nothing is unusual and all that it touches is cached; else do nothing.

    No check is left out: whatever fails one here goes the whole way, which raises the fault.
    """
    quick, words, q = cpu.translation.quick, cpu.memory.words, cpu.q
    place = quick(q[RSP], 40, READ)
    base, limit = cpu.gdtr
    if place < 0 or base & 7:
        return False
    rip, cs, image, rsp, ss = _FRAME.unpack_from(cpu.memory.ram, place)
    cs &= 0xFFFF
    ss &= 0xFFFF
    at, stack_at = cs & 0xFFFC, ss & 0xFFFC  # with TI kept: an LDT's selector fails the alignment
    place = quick(base + at, 8, READ, system=True)
    stack_place = quick(base + stack_at, 8, READ, system=True) if stack_at else 0
    if (place | stack_place) & 7 or place < 0 or stack_place < 0 or at + 7 > limit or stack_at + 7 > limit:
        return False
    old = cpu.cpl
    landing = _landing(cs, words[place >> 3], ss, words[stack_place >> 3] if stack_at else 0, old)
    if landing is None or (rip + (1 << 47) & _U64) >> 48:
        return False
    flags = _returned_flags(cpu, image, 8)
    cpu.event(Kind.IRET, rip, cost=cpu.costs.iret)
    cpu.shadow = False
    q[RIP] = rip
    cpu.load_pair(*landing, cs & 3, flags)
    q[RSP] = rsp
    if cs & 3 != old:
        forget_inner_segments(cpu, cs & 3)
    return True


def _returned_flags(cpu: Cpu, image: int, size: int) -> int:
    """Merge the popped flags with those that CPL, IOPL and the operand size protect."""
    change = _ORDINARY if size == 2 else _ORDINARY | _WIDE
    if cpu.cpl <= cpu.iopl:
        change |= _IF
    if not cpu.cpl:
        change |= _IOPL if size == 2 else _IOPL | _VIF | _VIP
    return cpu.rflags & ~change | image & change


def _is64(cpu: Cpu, code: Segment) -> bool:
    return cpu.long_mode and bool(code.access & _L)


@instruction("retf")
def far_return(cpu: Cpu, insn: Insn) -> None:
    """Far RET to the same or an outer ring; an immediate frees parameters on both stacks."""
    size = insn.opsize >> 3
    extra = insn.operands[0].value & 0xFFFF if insn.operands else 0
    rip, cs = _pop(cpu, 2, size)
    cs &= 0xFFFF
    code = return_code(cpu, cs)
    cpl = cs & 3
    used = 2 * size + extra
    if cpl == cpu.cpl:
        check_target(cpu, code, rip)
        mask = stack_pointer_mask(cpu)
        cpu.q[RSP] = cpu.q[RSP] & ~mask | cpu.q[RSP] + used & mask
        cpu.q[RIP] = rip
        cpu.set_cs(code, cpl)
        return
    rsp, ss = _pop(cpu, 2, size, used)
    stack = stack_segment(cpu, ss & 0xFFFF, cpl, null_allowed=_is64(cpu, code))
    check_target(cpu, code, rip)
    cpu.q[RIP] = rip
    cpu.set_cs(code, cpl)
    cpu.set_segment(SS, stack)
    _move_stack(cpu, rsp + extra)
    forget_inner_segments(cpu, cpl)


# ---- far JMP and CALL -----------------------------------------------------------------------------------------


@instruction("ljmp", "lcall", "jmp", "call")
def far_branch(cpu: Cpu, insn: Insn) -> None:
    """Far JMP and CALL, direct or through memory, to a code segment or a call gate."""
    selector, offset = _far_pointer(cpu, insn)
    calls = insn.mnemonic.endswith("call")
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


def _far_pointer(cpu: Cpu, insn: Insn) -> tuple[int, int]:
    """Give (selector, offset) of ptr16:n or m16:n."""
    if len(insn.operands) == 2:
        selector, offset = insn.operands
        return selector.value & 0xFFFF, offset.value & (1 << insn.opsize) - 1
    (memory,) = insn.operands
    if memory.kind != "mem":
        raise UD
    size = insn.opsize >> 3
    raw = cpu.read_bytes(cpu.operand_address(insn, memory), size + 2, stack=memory.segment == SS)
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
        rsp, stack, mask = cpu.read_system(cpu.tr.base + at, 8), null_stack(cpl), _U64
        if not canonical(rsp):
            raise StackFault(0)
    else:
        rsp, selector = tss_stack(cpu, cpl)
        stack = stack_segment(cpu, selector, cpl, fault=TS)
        mask = 0xFFFFFFFF if stack.access & 0x4000 else 0xFFFF
    parameters = b""
    if gate.words:
        top = cpu.q[RSP] & stack_pointer_mask(cpu)
        check_stack_room(outer, top, gate.words * size, 0)
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


# ---- INT1 -----------------------------------------------------------------------------------------------------


@instruction("int1")
def int1(cpu: Cpu, insn: Insn) -> None:
    """INT1: a #DB that leaves DR6 alone and asks no gate for its DPL."""
    before = cpu.q[RIP]
    cpu.next(insn)
    cpu.event(Kind.EXCEPTION, 1, 0, 0, cost=cpu.costs.exception)
    try:
        enter(cpu, 1, None, rf=0, external=1)
    except Fault:
        cpu.q[RIP] = before
        raise
