"""Through a gate of the IDT, all or nothing (SDM "Exception- or Interrupt-Handler Procedures", "INT n/INTO/INT3/INT1").

::

    long mode             32-bit (SS:ESP only when the privilege level changes; 16-bit gates push words; `realmode` has the rest)
    rsp+40  SS            esp+20  SS
       +32  RSP              +16  ESP
       +24  RFLAGS           +12  EFLAGS
       +16  CS                +8  CS
        +8  RIP               +4  EIP
        +0  error code, if the vector has one (else all lie one word lower)
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from ..mmu.address import canonical
from ..mmu.registers import CR0, EFER
from ..vmx.exits import VmExit
from .descriptors import Segment, null_stack, parse
from .faults import GP, NP, TS, Fault, StackFault, Unimplemented
from .realmode import enter_real, leave_v86, outer_words
from .registers import AC, CS, IF, NT, RF, RIP, RSP, SS, TF, U64, VM
from .segments import descriptor_address, mark_accessed, stack_segment
from .transitions import keep_gate, origin

if TYPE_CHECKING:
    from .cpu import Cpu

_PE, _LMA = CR0.PE.mask, EFER.LMA.mask
_TASK_GATE: Final = 5
_GATES32: Final = frozenset({_TASK_GATE, 6, 7, 14, 15})
_GATES64: Final = frozenset({14, 15})
_PUSH_5: Final = struct.Struct("<5Q")
_PUSH_6: Final = struct.Struct("<6Q")


class Gate(NamedTuple):
    """An IDT entry taken apart (SDM "IDT Descriptors")."""

    kind: int
    dpl: int
    present: int
    selector: int
    target: int
    ist: int
    clear: int  # the RFLAGS bits that going through it clears


@lru_cache(maxsize=1024)
def gate(low: int, high: int = 0) -> Gate:
    """Take a gate's one or two words apart; a 16-bit gate has 16 bits of offset."""
    kind = low >> 40 & 0x1F
    wide = kind & 8
    target = low & 0xFFFF | (low >> 32 & 0xFFFF0000 if wide else 0) | (high & 0xFFFFFFFF) << 32
    clear = TF | NT | RF | VM | (0 if kind & 1 else IF)
    return Gate(kind, low >> 45 & 3, low >> 47 & 1, low >> 16 & 0xFFFF, target, low >> 32 & 7, clear)


def enter(cpu: Cpu, vector: int, error: int | None, *, rf: int, external: int, software: bool = False) -> None:
    """Go through the gate of `vector`, all or nothing.

    `external` is the EXT bit of the faults this raises; `software` makes the gate's DPL count; `rf` is or-ed into the
    RFLAGS that are pushed.
    """
    if cpu.efer & _LMA:
        path = cpu.gate_paths.get(vector | software << 8)
        if path is not None and cpu.take_gate(path, error, rf):
            return
        _enter64(cpu, vector, error, rf, external, software=software)
    elif cpu.cr0 & _PE:
        _enter32(cpu, vector, error, rf, external, software=software)
    else:
        enter_real(cpu, vector)


# ---- through the gate -----------------------------------------------------------------------------------------


def _check_gate(cpu: Cpu, found: Gate, kinds: frozenset[int], reference: int, *, software: bool) -> None:
    if found.kind not in kinds or (software and found.dpl < cpu.cpl):
        raise GP(reference)
    if not found.present:
        raise NP(reference)


def _enter64(cpu: Cpu, vector: int, error: int | None, rf: int, external: int, *, software: bool) -> None:
    base, limit = cpu.idtr
    reference = vector * 8 + 2 + external
    if vector * 16 + 15 > limit:
        raise GP(reference)
    at = base + vector * 16
    low, high = cpu.read_system(at, 8), cpu.read_system(at + 8, 8)
    found = gate(low, high)
    _check_gate(cpu, found, _GATES64, reference, software=software)
    start = origin(cpu)
    code, cpl, descriptor = _gate_code(cpu, found.selector, external)
    q, old, old_code, old_stack = cpu.q, cpu.cpl, cpu.segments[CS], cpu.segment(SS)
    rsp = top = q[RSP]
    pointer = None
    if found.ist or cpl < old:
        offset = 36 + 8 * (found.ist - 1) if found.ist else 4 + 8 * cpl
        top = _tss64_stack(cpu, offset, external)
        pointer = cpu.tr.base + offset, top
    target = found.target
    if not canonical(target):
        raise GP(external)
    flags = cpu.rflags
    if error is None:
        frame = _PUSH_5.pack(q[RIP], old_code.selector, flags | rf, rsp, old_stack.selector)
    else:
        frame = _PUSH_6.pack(error, q[RIP], old_code.selector, flags | rf, rsp, old_stack.selector)
    top = (top & ~15) - len(frame) & U64
    # The push is an access of the new privilege level, so that comes first, and goes back if the push fails.
    if cpl == old:
        cpu.set_cs(code, cpl)
    else:
        cpu.load_pair(code, null_stack(cpl), cpl, flags & ~found.clear)
    try:
        cpu.write_bytes(top, frame, stack=True)
    except (Fault, VmExit) as fault:
        if cpl == old:
            cpu.set_cs(old_code, old)
        else:
            cpu.load_pair(old_code, old_stack, old, flags)
        if isinstance(fault, StackFault):
            raise StackFault(external) from None
        raise
    if cpl == old:
        cpu.set_system_flags(found.clear, 0)
    q[RSP] = top
    q[RIP] = target
    if not flags & AC:
        keep_gate(cpu, vector | software << 8, start, found, (at, low, high), descriptor, pointer, old)


def _tss64_stack(cpu: Cpu, at: int, external: int) -> int:
    """Give RSPn or ISTn from byte `at` of the 64-bit TSS."""
    if at + 7 > cpu.tr.limit:
        raise TS(cpu.tr.selector & 0xFFFC | external)
    rsp = cpu.read_system(cpu.tr.base + at, 8)
    if not canonical(rsp):
        raise StackFault(external)
    return rsp


def _gate_code(cpu: Cpu, selector: int, external: int) -> tuple[Segment, int, tuple[int, int]]:
    """Give the code segment that a gate names, the privilege level it leads to, and the descriptor's address and word."""
    if not selector & 0xFFFC:
        raise GP(external)
    at = descriptor_address(cpu, selector, external=external)
    raw = cpu.read_system(at, 8)
    dpl = raw >> 45 & 3
    if raw >> 40 & 0x18 != 0x18 or dpl > cpu.cpl or (cpu.efer & _LMA and raw >> 53 & 3 != 1):
        raise GP(selector & 0xFFFC | external)
    if not raw >> 47 & 1:
        raise NP(selector & 0xFFFC | external)
    cpl = cpu.cpl if raw >> 42 & 1 else dpl
    if cpu.v86 and cpl:
        raise GP(selector & 0xFFFC | external)
    return parse(selector & 0xFFFC | cpl, mark_accessed(cpu, at, raw)), cpl, (at, raw)


def _enter32(cpu: Cpu, vector: int, error: int | None, rf: int, external: int, *, software: bool) -> None:
    base, limit = cpu.idtr
    reference = vector * 8 + 2 + external
    if vector * 8 + 7 > limit:
        raise GP(reference)
    found = gate(cpu.read_system(base + vector * 8, 8))
    _check_gate(cpu, found, _GATES32, reference, software=software)
    if found.kind == _TASK_GATE:
        raise Unimplemented(f"a task gate (vector {vector})")
    code, cpl, _ = _gate_code(cpu, found.selector, external)
    q, old, old_code, old_stack, v86 = cpu.q, cpu.cpl, cpu.segments[CS], cpu.segment(SS), cpu.v86
    flags, rsp, stack = cpu.rflags, q[RSP], old_stack
    words = [q[RIP], old_code.selector, flags | rf]
    if error is not None:
        words.insert(0, error)
    if cpl < old:
        words += [rsp, old_stack.selector]
        if v86:
            words += outer_words(cpu)
        rsp, selector = tss_stack(cpu, cpl, external)
        stack = stack_segment(cpu, selector, cpl, fault=TS, external=external)
    size = 4 if found.kind & 8 else 2
    frame = b"".join((word & (1 << 8 * size) - 1).to_bytes(size, "little") for word in words)
    mask = stack.pointer_mask
    top = rsp - len(frame) & mask
    inner_error = stack.selector & 0xFFFC | external if cpl < old else external
    check_stack_room(stack, top, len(frame), inner_error)
    if found.target > code.limit:
        raise GP(external)
    if v86:
        cpu.set_v86(False)
    cpu.set_cs(code, cpl)
    try:
        cpu.write_bytes(stack.base + top & 0xFFFFFFFF, frame, stack=True)
    except (Fault, VmExit):
        if v86:
            cpu.set_v86(True)
        cpu.set_cs(old_code, old)
        raise
    q[RSP] = rsp & ~mask & 0xFFFFFFFF | top
    q[RIP] = found.target
    if cpl < old:
        cpu.set_segment(SS, stack)
    if v86:
        leave_v86(cpu)
    cpu.set_system_flags(found.clear, 0)


def check_stack_room(stack: Segment, top: int, size: int, error: int) -> None:
    """Raise #SS(error) unless [top, top + size) lies within the stack segment (SDM "Limit Checking")."""
    last = top + size - 1
    first, end = 0, stack.limit
    if stack.access & 4:  # expand-down: offsets above the limit are the valid ones
        first, end = stack.limit + 1, stack.pointer_mask
    if top < first or last > end:
        raise StackFault(error)


def tss_stack(cpu: Cpu, cpl: int, external: int = 0) -> tuple[int, int]:
    """Give (ESPn, SSn) of a 32-bit TSS, (SPn, SSn) of a 16-bit one (SDM "Task-State Segment (TSS)")."""
    width = 4 if cpu.tr.access & 8 else 2
    at = 4 + 8 * cpl if width == 4 else 2 + 4 * cpl
    if at + width + 1 > cpu.tr.limit:
        raise TS(cpu.tr.selector & 0xFFFC | external)
    base = cpu.tr.base + at
    return cpu.read_system(base, width), cpu.read_system(base + width, 2)
