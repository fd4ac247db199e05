"""IRET and far RET, each by the operation section of its SDM instruction page; the order of the checks is the order there."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from ...vmx.exits import VmExit
from ..events import Kind
from ..faults import GP, Fault, Unimplemented
from ..idt import check_stack_room
from ..realmode import enter_v86, paragraph, require_iopl
from ..registers import AC, CS, ID, IF, IOPL, NT, RF, RIP, RSP, SS, TF, U64, VIF, VIP, VM
from ..segments import check_target, forget_inner_segments, return_code, stack_segment
from ..table import instruction
from ..transitions import RARE, keep_iret, origin
from .flags import stack_pointer_mask

if TYPE_CHECKING:
    from ..cpu import Cpu
    from ..descriptors import Segment
    from ..insn import Insn

_L: Final = 0x2000  # in Segment.access
_ORDINARY: Final = 0x8D5 | TF | 1 << 10 | NT  # CF PF AF ZF SF OF, TF, DF, NT
_WIDE: Final = RF | AC | ID  # only from 32 bits on
_VALID: Final = _ORDINARY | _WIDE | IF | IOPL | VM | VIF | VIP | 2
_FORMS: Final = {
    (n, size): struct.Struct(f"<{n}{c}") for n in (2, 3, 5, 9) for size, c in ((2, "H"), (4, "I"), (8, "Q"))
}
_FRAME: Final = _FORMS[5, 8]


def _pop(cpu: Cpu, count: int, size: int, skip: int = 0) -> tuple[int, ...]:
    """Read `count` words above the top of the stack, `skip` bytes up; RSP stays."""
    form = _FORMS[count, size]
    if cpu.code64:
        cpu.require_aligned(cpu.q[RSP] + skip & U64, size, form.size, stack=True)
        return form.unpack(cpu.read_bytes(cpu.q[RSP] + skip & U64, form.size, stack=True))
    stack = cpu.segment(SS)
    top = cpu.q[RSP] + skip & stack_pointer_mask(cpu)
    check_stack_room(stack, top, form.size, 0)
    at = stack.base + top & 0xFFFFFFFF
    cpu.require_aligned(at, size, form.size, stack=True)
    return form.unpack(cpu.read_bytes(at, form.size, stack=True))


def _move_stack(cpu: Cpu, rsp: int) -> None:
    """Set as much of RSP as the stack segment now in force uses."""
    mask = stack_pointer_mask(cpu)
    cpu.q[RSP] = rsp & U64 if mask == U64 else (cpu.q[RSP] & ~mask | rsp & mask) & 0xFFFFFFFF


@instruction("iret", "iretq", "iretd")
def iret(cpu: Cpu, insn: Insn) -> None:
    """IRET to the same or an outer ring, to 64-bit, compatibility or 32-bit code."""
    if cpu.code64:
        cpu.translation.popped(cpu.q[RSP], _FRAME.size)
    blocked = cpu.nmi_blocked
    if cpu.guest is None or cpu.guest.iret_unblocks:
        cpu.nmi_blocked = False  # even if it faults (SDM "Handling Multiple NMIs")
    try:
        if cpu.emulates_8086:
            _iret_8086(cpu, insn)
        else:
            _iret(cpu, insn)
    except (Fault, VmExit) as event:
        event.nmi_unblocking = blocked and not cpu.nmi_blocked
        raise


def _iret(cpu: Cpu, insn: Insn) -> None:
    """The same in protected mode."""
    if cpu.system_flags & NT:
        if cpu.long_mode:
            raise GP(0)
        raise Unimplemented("IRET with NT set: a task return")
    size = insn.opsize >> 3
    old, start = cpu.cpl, origin(cpu)
    popped = _pop(cpu, 5 if cpu.code64 else 3, size)
    rip, cs, image = popped[:3]
    cs &= 0xFFFF
    if image & VM and size == 4 and not old and not cpu.long_mode:
        popped = _pop(cpu, 9, size)
        cpu.event(Kind.IRET, rip, cost=cpu.costs.iret)
        cpu.interrupt_shadow = False
        enter_v86(cpu, popped, cpu.resume(image & _VALID, rip))
        return
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
    flags = cpu.resume(flags, rip)
    cpu.interrupt_shadow = False
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
    if size == 8 and not (old or flags & RARE):
        keep_iret(cpu, start, cs, popped[4] & 0xFFFF)


def _iret_8086(cpu: Cpu, insn: Insn) -> None:
    """IRET from real to real mode, and within a virtual-8086 task of IOPL 3."""
    require_iopl(cpu)
    size = insn.opsize >> 3
    rip, cs, image = _pop(cpu, 3, size)
    code = paragraph(cpu, CS, cs & 0xFFFF)
    check_target(cpu, code, rip)
    flags = _returned_flags(cpu, image, size)
    cpu.event(Kind.IRET, rip, cost=cpu.costs.iret)
    flags = cpu.resume(flags, rip)
    cpu.interrupt_shadow = False
    _move_stack(cpu, cpu.q[RSP] + 3 * size)
    cpu.q[RIP] = rip
    cpu.set_cs(code, cpu.cpl)
    cpu.rflags = flags


def _returned_flags(cpu: Cpu, image: int, size: int) -> int:
    """Merge the popped flags with those that CPL, IOPL and the operand size protect."""
    change = _ORDINARY if size == 2 else _ORDINARY | _WIDE
    if cpu.cpl <= cpu.iopl:
        change |= IF
    if not cpu.cpl:
        change |= IOPL if size == 2 or cpu.emulates_8086 else IOPL | VIF | VIP
    return cpu.rflags & ~change | image & change


def _is64(cpu: Cpu, code: Segment) -> bool:
    return cpu.long_mode and bool(code.access & _L)


@instruction("retf")
def far_return(cpu: Cpu, insn: Insn) -> None:
    """Far RET to the same or an outer ring; an immediate frees parameters on both stacks."""
    size = insn.opsize >> 3
    if cpu.code64:
        cpu.translation.popped(cpu.q[RSP], 2 * size)
    extra = insn.operands[0].value & 0xFFFF if insn.operands else 0
    rip, cs = _pop(cpu, 2, size)
    cs &= 0xFFFF
    in_8086 = cpu.emulates_8086
    code = paragraph(cpu, CS, cs) if in_8086 else return_code(cpu, cs)
    cpl = cpu.cpl if in_8086 else cs & 3
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
