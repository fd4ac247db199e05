"""Transfers between privilege levels and code segments: SYSCALL, SYSRET, SYSENTER, SYSEXIT, IRET, far JMP, CALL and RET.

Each follows the operation section of its SDM instruction page; the order of the checks is the order there.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from ..cpu import CS, GS, R11, RAX, RCX, RDI, RDX, RIP, RSI, RSP, SS, Segment
from ..events import Kind
from ..faults import GP, NP, TS, UD, Unimplemented
from ..faults import SS as StackFault
from ..segments import (
    code_descriptor,
    descriptor_address,
    forget_inner_segments,
    mark_accessed,
    parse,
    read_descriptor,
    stack_segment,
)
from ..table import instruction
from .flags import stack_pointer_mask

if TYPE_CHECKING:
    from ..cpu import Cpu
    from ..decode import Insn

STAR, LSTAR, CSTAR, SFMASK, KERNEL_GS_BASE = 0xC0000081, 0xC0000082, 0xC0000083, 0xC0000084, 0xC0000102
SYSENTER_CS, SYSENTER_ESP, SYSENTER_EIP = 0x174, 0x175, 0x176
_SCE: Final = 1
_TF, _IF, _IOPL, _NT, _RF, _VM = 1 << 8, 1 << 9, 3 << 12, 1 << 14, 1 << 16, 1 << 17
_AC, _VIF, _VIP, _ID = 1 << 18, 1 << 19, 1 << 20, 1 << 21
_U64: Final = (1 << 64) - 1
_SYSCALL_FLAGS: dict[tuple[int, int], tuple[Segment, Segment]] = {}


def _canonical(address: int) -> bool:
    return not (address + (1 << 47) & _U64) >> 48


def flat_code(selector: int, dpl: int, *, long: bool) -> Segment:
    """Give the flat code segment that SYSCALL and its kin load without reading a descriptor."""
    return Segment(selector, 0, 0xFFFFFFFF, 0x809B | dpl << 5 | (0x2000 if long else 0x4000))


def flat_data(selector: int, dpl: int) -> Segment:
    """Give the flat stack segment that SYSCALL and its kin load."""
    return Segment(selector, 0, 0xFFFFFFFF, 0xC093 | dpl << 5)


def _pair(cs: int, ss: int, dpl: int, *, long: bool) -> tuple[Segment, Segment]:
    key = (cs << 16 | ss, dpl << 1 | long)
    found = _SYSCALL_FLAGS.get(key)
    if found is None:
        found = _SYSCALL_FLAGS[key] = (flat_code(cs, dpl, long=long), flat_data(ss, dpl))
    return found


@instruction("syscall")
def syscall(cpu: Cpu, insn: Insn) -> None:
    """SYSCALL: to LSTAR at ring 0; #UD outside 64-bit mode, as on Intel."""
    if not cpu.efer & _SCE or not cpu.code64:
        raise UD
    q, msr = cpu.q, cpu.msr
    if cpu.emit is not None:
        cpu.event(Kind.SYSCALL, q[RAX], q[RDI], q[RSI], q[RDX])
    cpu.clock.cycles += cpu.costs.syscall
    flags = cpu.rflags
    q[RCX] = q[RIP] + insn.length & _U64
    q[R11] = flags & ~_RF
    q[RIP] = msr.get(LSTAR, 0)
    selector = msr.get(STAR, 0) >> 32 & 0xFFFC
    code, data = _pair(selector, selector + 8, 0, long=True)
    cpu.load_pair(code, data, 0, flags & ~(msr.get(SFMASK, 0) | _RF))


@instruction("sysretq", "sysret", "sysretl")
def sysret(cpu: Cpu, insn: Insn) -> None:
    """SYSRET: to ring 3; a non-canonical RCX is #GP at ring 0, as on Intel."""
    if not cpu.efer & _SCE or not cpu.code64:
        raise UD
    if cpu.cpl:
        raise GP(0)
    q = cpu.q
    target = q[RCX]
    star = cpu.msr.get(STAR, 0) >> 48
    if insn.opsize == 64:
        if not _canonical(target):
            raise GP(0)
        code, data = _pair(star + 16 | 3, star + 8 | 3, 3, long=True)
    else:
        target &= 0xFFFFFFFF
        code, data = _pair(star | 3, star + 8 | 3, 3, long=False)
    if cpu.emit is not None:
        cpu.event(Kind.SYSRET, q[RAX])
    cpu.clock.cycles += cpu.costs.sysret
    q[RIP] = target
    cpu.load_pair(code, data, 3, q[R11] & 0x3C7FD7 | 2)


@instruction("sysenter")
def sysenter(cpu: Cpu, _insn: Insn) -> None:
    """SYSENTER: to SYSENTER_EIP at ring 0."""
    selector = cpu.msr.get(SYSENTER_CS, 0)
    if not selector & 0xFFFC:
        raise GP(0)
    q, long = cpu.q, cpu.long_mode
    mask = _U64 if long else 0xFFFFFFFF
    if cpu.emit is not None:
        cpu.event(Kind.SYSCALL, q[RAX], q[RDI], q[RSI], q[RDX])
    q[RSP] = cpu.msr.get(SYSENTER_ESP, 0) & mask
    q[RIP] = cpu.msr.get(SYSENTER_EIP, 0) & mask
    code, data = _pair(selector & 0xFFFC, (selector & 0xFFFC) + 8, 0, long=long)
    cpu.load_pair(code, data, 0, cpu.rflags & ~(_VM | _IF | _RF))


@instruction("sysexit", "sysexitq")
def sysexit(cpu: Cpu, insn: Insn) -> None:
    """SYSEXIT: to RDX with the stack RCX, at ring 3."""
    selector = cpu.msr.get(SYSENTER_CS, 0)
    if not selector & 0xFFFC or cpu.cpl:
        raise GP(0)
    q = cpu.q
    long = insn.opsize == 64
    if long and not (_canonical(q[RCX]) and _canonical(q[RDX])):
        raise GP(0)
    mask = _U64 if long else 0xFFFFFFFF
    q[RSP], q[RIP] = q[RCX] & mask, q[RDX] & mask
    base = (selector & 0xFFFC) + (32 if long else 16)
    code, data = _pair(base | 3, base + 8 | 3, 3, long=long)
    cpu.load_pair(code, data, 3, cpu.rflags)


@instruction("swapgs")
def swapgs(cpu: Cpu, insn: Insn) -> None:
    """SWAPGS: exchange GS.base and IA32_KERNEL_GS_BASE."""
    if not cpu.code64:
        raise UD
    cpu.require_ring0()
    old = cpu.segment_base(GS)
    cpu.set_segment_base(GS, cpu.msr.get(KERNEL_GS_BASE, 0))
    cpu.msr[KERNEL_GS_BASE] = old
    cpu.event(Kind.SWAPGS, cost=cpu.costs.swapgs)
    cpu.next(insn)


@instruction("iret", "iretq", "iretd")
def iret(cpu: Cpu, insn: Insn) -> None:
    """IRET to the same or an outer ring, to 64-bit, compatibility or 32-bit code."""
    if cpu.system_flags & _NT:
        if cpu.long_mode:
            raise GP(0)
        raise Unimplemented("IRET with NT set: a task return")
    size = insn.opsize // 8
    mask = stack_pointer_mask(cpu)
    rsp = cpu.q[RSP]
    base = cpu.segment_base(SS)
    form = {2: "<HHHHH", 4: "<IIIII", 8: "<QQQQQ"}[size]
    if cpu.code64:
        rip, cs, flags, new_rsp, ss = struct.unpack(form, cpu.read_bytes(rsp, 5 * size, stack=True))
        used, full = 5 * size, True
    else:
        rip, cs, flags = struct.unpack(form[:4], cpu.read_bytes(base + (rsp & mask), 3 * size, stack=True))
        used, new_rsp, ss, full = 3 * size, 0, 0, False
    if size == 4 and flags & _VM and not cpu.long_mode and cpu.cpl == 0:
        raise Unimplemented("IRET to virtual-8086 mode")
    cs &= 0xFFFF
    cpl = cs & 3
    at, raw = code_descriptor(cpu, cs)
    error = cs & 0xFFFC
    dpl = raw >> 45 & 3
    if cpl < cpu.cpl or (dpl > cpl if raw >> 42 & 1 else dpl != cpl):
        raise GP(error)
    if not raw >> 47 & 1:
        raise NP(error)
    outer = cpl > cpu.cpl
    if outer and not full:
        extra = cpu.read_bytes(base + (rsp + used & mask), 2 * size, stack=True)
        new_rsp, ss = struct.unpack(form[:3], extra)
        used, full = 5 * size, True
    code = parse(cs, mark_accessed(cpu, at, raw))
    _check_target(cpu, code, rip)
    stack = None
    if full:
        stack = _iret_stack(cpu, ss & 0xFFFF, cpl, code)
    change = 0xDD5 & ~_IF | _TF | _NT
    if size > 2:
        change |= _RF | _AC | _ID
    old = cpu.cpl
    if old <= cpu.iopl:
        change |= _IF
    if old == 0:
        change |= _IOPL | (_VIF | _VIP if size > 2 else 0)
    cpu.event(Kind.IRET, rip, cost=cpu.costs.iret)
    cpu.nmi_blocked = False
    _finish(cpu, code, cpl, rip)
    if stack is not None:
        cpu.set_segment(SS, stack)
        new_mask = stack_pointer_mask(cpu)
        cpu.q[RSP] = new_rsp if new_mask == _U64 else (rsp & ~new_mask | new_rsp & new_mask) & 0xFFFFFFFF
    else:
        cpu.q[RSP] = rsp & ~mask | rsp + used & mask
    cpu.rflags = cpu.rflags & ~change | flags & change
    if outer:
        forget_inner_segments(cpu, cpl)


def _iret_stack(cpu: Cpu, ss: int, cpl: int, code: Segment) -> Segment:
    """Check the stack segment that IRET or far RET loads; a null one may go with 64-bit code below ring 3."""
    if not ss & 0xFFFC:
        if cpu.long_mode and code.access & 0x2000 and cpl != 3 and ss & 3 == cpl:
            return Segment(ss, 0, 0, 1 << 16 | cpl << 5)
        raise GP(0)
    return stack_segment(cpu, ss, cpl)


def _check_target(cpu: Cpu, code: Segment, rip: int) -> None:
    if cpu.long_mode and code.access & 0x2000:
        if not _canonical(rip):
            raise GP(0)
    elif rip > code.limit:
        raise GP(0)


def _finish(cpu: Cpu, code: Segment, cpl: int, rip: int) -> None:
    cpu.q[RIP] = rip
    cpu.set_cs(code, cpl)


@instruction("ljmp", "lcall")
def far_branch(cpu: Cpu, insn: Insn) -> None:
    """Far JMP and CALL, direct or through memory, to a code segment or a call gate."""
    selector, offset = _far_pointer(cpu, insn)
    error = selector & 0xFFFC
    if not error:
        raise GP(0)
    at, raw = read_descriptor(cpu, selector)
    kind = raw >> 40 & 0x1F
    if kind in {0xC, 4}:
        _call_gate(cpu, insn, selector, at, raw)
        return
    if not kind & 0x10:
        if kind in {1, 9, 5} and not cpu.long_mode:
            raise Unimplemented("a far branch to a TSS or task gate")
        raise GP(error)
    if not kind & 8 or (cpu.long_mode and raw >> 53 & 3 == 3):
        raise GP(error)
    dpl = raw >> 45 & 3
    if (dpl > cpu.cpl) if kind & 4 else (selector & 3 > cpu.cpl or dpl != cpu.cpl):
        raise GP(error)
    if not raw >> 47 & 1:
        raise NP(error)
    code = parse(error | cpu.cpl, raw)
    _check_target(cpu, code, offset)
    if insn.mnemonic == "lcall":
        _push(cpu, [cpu.segments[CS].selector, cpu.q[RIP] + insn.length], insn.opsize // 8)
    mark_accessed(cpu, at, raw)
    _finish(cpu, code, cpu.cpl, offset)


def _far_pointer(cpu: Cpu, insn: Insn) -> tuple[int, int]:
    if len(insn.operands) == 2:
        selector, offset = insn.operands
        return selector.value & 0xFFFF, offset.value & (1 << insn.opsize) - 1
    (mem,) = insn.operands
    size = insn.opsize // 8
    raw = cpu.read_bytes(cpu.operand_address(insn, mem), size + 2, stack=mem.segment == SS)
    return int.from_bytes(raw[size:], "little"), int.from_bytes(raw[:size], "little")


def _push(cpu: Cpu, values: list[int], size: int) -> None:
    mask = stack_pointer_mask(cpu)
    rsp = cpu.q[RSP]
    frame = b"".join((v & (1 << 8 * size) - 1).to_bytes(size, "little") for v in reversed(values))
    new = rsp - len(frame) & mask
    cpu.write_bytes(cpu.segment_base(SS) + new, frame, stack=True)
    cpu.q[RSP] = rsp & ~mask | new


def _call_gate(cpu: Cpu, insn: Insn, selector: int, at: int, raw: int) -> None:
    """Go through a 32-bit or 64-bit call gate (SDM "Call Gates", "Stack Switching in 64-Bit Mode")."""
    error = selector & 0xFFFC
    long = cpu.long_mode
    if raw >> 45 & 3 < max(cpu.cpl, selector & 3):
        raise GP(error)
    if not raw >> 47 & 1:
        raise NP(error)
    offset = raw & 0xFFFF | raw >> 32 & 0xFFFF0000
    if long:
        descriptor_address(cpu, selector, size=16)
        high = cpu.read_system(at + 8, 8)
        if high >> 40 & 0x1F:
            raise GP(error)
        offset |= (high & 0xFFFFFFFF) << 32
    elif raw >> 40 & 0x1F == 4:
        raise Unimplemented("a 16-bit call gate")
    cs = raw >> 16 & 0xFFFF
    code_at, code_raw = code_descriptor(cpu, cs)
    dpl = code_raw >> 45 & 3
    if dpl > cpu.cpl or (long and code_raw >> 53 & 3 != 1):
        raise GP(cs & 0xFFFC)
    if not code_raw >> 47 & 1:
        raise NP(cs & 0xFFFC)
    conforming = code_raw >> 42 & 1
    if insn.mnemonic == "ljmp" and not conforming and dpl != cpu.cpl:
        raise GP(cs & 0xFFFC)
    cpl = cpu.cpl if conforming or insn.mnemonic == "ljmp" else dpl
    code = parse(cs & 0xFFFC | cpl, mark_accessed(cpu, code_at, code_raw))
    _check_target(cpu, code, offset)
    size = 8 if long else 4
    back = cpu.q[RIP] + insn.length
    if insn.mnemonic == "lcall":
        if cpl < cpu.cpl:
            _inner_call(cpu, cpl, back, size, raw >> 32 & 31)
        else:
            _push(cpu, [cpu.segments[CS].selector, back], size)
    _finish(cpu, code, cpl, offset)


def _inner_call(cpu: Cpu, cpl: int, back: int, size: int, count: int) -> None:
    """Switch to the inner stack of the TSS and push the outer stack and the return address."""
    rsp, ss, cs = cpu.q[RSP], cpu.segment(SS).selector, cpu.segments[CS].selector
    if size == 8:
        if 4 + 8 * cpl + 7 > cpu.tr.limit:
            raise TS(cpu.tr.selector & 0xFFFC)
        new = cpu.read_system(cpu.tr.base + 4 + 8 * cpl, 8)
        stack = Segment(cpl, 0, 0, 1 << 16 | cpl << 5)
        frame = struct.pack("<QQQQ", back & _U64, cs, rsp, ss)
    else:
        if count:
            raise Unimplemented("a call gate that copies parameters")
        new = cpu.read_system(cpu.tr.base + 4 + 8 * cpl, 4)
        stack = stack_segment(cpu, cpu.read_system(cpu.tr.base + 8 + 8 * cpl, 2), cpl, TS)
        frame = struct.pack("<IIII", back & 0xFFFFFFFF, cs, rsp & 0xFFFFFFFF, ss)
    if size == 8 and not _canonical(new):
        raise StackFault(0)
    new -= len(frame)
    cpu.write_bytes(stack.base + new, frame, user=False, stack=True)
    cpu.set_segment(SS, stack)
    cpu.q[RSP] = new


@instruction("retf")
def far_return(cpu: Cpu, insn: Insn) -> None:
    """Far RET to the same or an outer ring."""
    size = insn.opsize // 8
    mask = stack_pointer_mask(cpu)
    rsp = cpu.q[RSP]
    base = cpu.segment_base(SS)
    extra = insn.operands[0].value & 0xFFFF if insn.operands else 0
    form = {2: "<HH", 4: "<II", 8: "<QQ"}[size]
    rip, cs = struct.unpack(form, cpu.read_bytes(base + (rsp & mask), 2 * size, stack=True))
    cs &= 0xFFFF
    cpl, error = cs & 3, cs & 0xFFFC
    at, raw = code_descriptor(cpu, cs)
    dpl = raw >> 45 & 3
    if cpl < cpu.cpl or (dpl > cpl if raw >> 42 & 1 else dpl != cpl):
        raise GP(error)
    if not raw >> 47 & 1:
        raise NP(error)
    code = parse(cs, mark_accessed(cpu, at, raw))
    _check_target(cpu, code, rip)
    used = 2 * size + extra
    if cpl == cpu.cpl:
        _finish(cpu, code, cpl, rip)
        cpu.q[RSP] = rsp & ~mask | rsp + used & mask
        return
    new_rsp, ss = struct.unpack(form, cpu.read_bytes(base + (rsp + used & mask), 2 * size, stack=True))
    stack = _iret_stack(cpu, ss & 0xFFFF, cpl, code)
    _finish(cpu, code, cpl, rip)
    cpu.set_segment(SS, stack)
    new_mask = stack_pointer_mask(cpu)
    cpu.q[RSP] = rsp & ~new_mask | new_rsp + extra & new_mask
    forget_inner_segments(cpu, cpl)
