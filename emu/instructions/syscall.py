"""System calls without a table: SYSCALL, SYSRET, SYSENTER, SYSEXIT, and SWAPGS, which goes with them.

Each follows its SDM instruction page.  None of them reads a descriptor: the segments are flat, their selectors come from MSRs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...mmu.address import canonical
from ...mmu.registers import CR0, EFER
from ..descriptors import Segment, intern
from ..events import Kind
from ..faults import GP, UD
from ..registers import AC, ARITHMETIC, DF, GS, IF, IOPL, R11, RAX, RCX, RDI, RDX, RF, RIP, RSI, RSP, SS, U32, U64, VM
from ..table import instruction
from ..transitions import end, origin

if TYPE_CHECKING:
    from ..cpu import Cpu
    from ..insn import Insn

STAR, LSTAR, CSTAR, SFMASK, KERNEL_GS_BASE = 0xC0000081, 0xC0000082, 0xC0000083, 0xC0000084, 0xC0000102
SYSENTER_CS, SYSENTER_ESP, SYSENTER_EIP = 0x174, 0x175, 0x176
_SYSCALL, _SYSRET = Kind.SYSCALL, Kind.SYSRET  # a member read off the class takes 0.1 µs
_PE, _SCE = CR0.PE.mask, EFER.SCE.mask
_LMA_SCE: Final = EFER.LMA.mask | _SCE
_L: Final = 0x2000  # in Segment.access
_SYSRET_FLAGS: Final = 0x3C7FD7

_LAZY: Final = ARITHMETIC | IOPL  # what TCG keeps lazily, and what it never sees
_OTHERS: Final = ~(_LAZY | DF | RF)
_RARE: Final = ~(ARITHMETIC | IF | 2)
Pair = tuple[Segment, Segment]
_PAIRS: dict[tuple[int, int, int, bool], Pair] = {}


def flat_pair(cs: int, ss: int, dpl: int, *, long: bool) -> Pair:
    """Give the flat code and stack segments for two selectors; the same objects for the same arguments."""
    key = (cs, ss, dpl, long)
    found = _PAIRS.get(key)
    if found is None:
        mode = _L if long else 0x4000
        code = intern(Segment(cs & 0xFFFF, 0, U32, 0x809B | dpl << 5 | mode))
        found = _PAIRS[key] = code, intern(Segment(ss & 0xFFFF, 0, U32, 0xC093 | dpl << 5))
    return found


@instruction("syscall")
def syscall(cpu: Cpu, insn: Insn) -> None:
    """SYSCALL: to LSTAR at ring 0; #UD outside 64-bit mode, as on Intel."""
    if cpu.efer & _LMA_SCE != _LMA_SCE or not cpu.segments[1].access & _L:
        raise UD
    q, msr = cpu.q, cpu.msr
    cpu.clock.cycles += cpu.costs.syscall
    if cpu.emit is not None:
        cpu.emit_event(_SYSCALL, cpu.costs.syscall, (q[RAX], q[RDI], q[RSI], q[RDX]))
    flags = cpu.rflags & ~RF
    q[RCX] = q[RIP] + insn.length & U64
    q[R11] = flags
    q[RIP] = msr.get(LSTAR, 0)
    star, mask = msr.get(STAR, 0), msr.get(SFMASK, 0)
    selector = star >> 32 & 0xFFFF
    start = origin(cpu)
    cpu.interrupt_shadow = False
    cpu.load_pair(*flat_pair(selector & 0xFFFC, selector + 8, 0, long=True), 0, flags & ~mask)
    # Only with such a mask is the path the same whatever the flags: it clears DF and AC, and leaves those that TCG keeps lazily.
    if mask & (DF | AC | ARITHMETIC) == DF | AC:
        cpu.other_syscall_path = cpu.syscall_path
        cpu.syscall_path = *start, *end(cpu), q[RIP] - 2 & U64, ~(mask | RF), cpu.iopl << 12


@instruction("sysret", "sysretq")
def sysret(cpu: Cpu, insn: Insn) -> None:
    """SYSRET: to ring 3; a non-canonical RCX is #GP at ring 0, as on Intel."""
    if cpu.efer & _LMA_SCE != _LMA_SCE or not cpu.segments[1].access & _L:
        raise UD
    if cpu.cpl:
        raise GP(0)
    q = cpu.q
    target, star = q[RCX], cpu.msr.get(STAR, 0)
    long = insn.opsize == 64
    if long:
        if not canonical(target):
            raise GP(0)
        selector = star >> 48
        code, stack = flat_pair(selector + 16 | 3, selector + 8 | 3, 3, long=True)
    else:
        target &= U32
        selector = star >> 48
        code, stack = flat_pair(selector | 3, selector + 8 | 3, 3, long=False)
    cpu.clock.cycles += cpu.costs.sysret
    if cpu.emit is not None:
        cpu.emit_event(_SYSRET, cpu.costs.sysret, (q[RAX],))
    q[RIP] = target
    start = origin(cpu)
    cpu.interrupt_shadow = False
    cpu.load_pair(code, stack, 3, q[R11] & _SYSRET_FLAGS)
    if not long:
        cpu.set_segment(SS, stack)
    elif not q[R11] & _RARE:
        cpu.sysret_path = *start, *end(cpu)


@instruction("sysenter")
def sysenter(cpu: Cpu, _insn: Insn) -> None:
    """SYSENTER: to SYSENTER_EIP at ring 0."""
    selector = cpu.msr.get(SYSENTER_CS, 0) & 0xFFFC
    if not (selector and cpu.cr0 & _PE):
        raise GP(0)
    q, long = cpu.q, cpu.long_mode
    cpu.event(Kind.SYSCALL, q[RAX], q[RDI], q[RSI], q[RDX], cost=cpu.costs.syscall)
    mask = U64 if long else U32
    q[RSP] = cpu.msr.get(SYSENTER_ESP, 0) & mask
    q[RIP] = cpu.msr.get(SYSENTER_EIP, 0) & mask
    code, stack = flat_pair(selector, selector + 8, 0, long=long)
    cpu.interrupt_shadow = False
    if cpu.v86:
        cpu.set_v86(False)
    cpu.load_pair(code, stack, 0, cpu.rflags & ~(VM | IF | RF))
    cpu.set_segment(SS, stack)


@instruction("sysexit", "sysexitq")
def sysexit(cpu: Cpu, insn: Insn) -> None:
    """SYSEXIT: to RDX with the stack RCX, at ring 3."""
    selector = cpu.msr.get(SYSENTER_CS, 0) & 0xFFFC
    if not (selector and cpu.cr0 & _PE) or cpu.cpl:
        raise GP(0)
    q = cpu.q
    long = insn.opsize == 64
    if long and not (canonical(q[RCX]) and canonical(q[RDX])):
        raise GP(0)
    cpu.event(Kind.SYSRET, q[RAX], cost=cpu.costs.sysret)
    mask = U64 if long else U32
    q[RSP], q[RIP] = q[RCX] & mask, q[RDX] & mask
    base = selector + (32 if long else 16) | 3
    code, stack = flat_pair(base, base + 8, 3, long=long)
    cpu.interrupt_shadow = False
    cpu.load_pair(code, stack, 3, cpu.rflags)
    cpu.set_segment(SS, stack)


@instruction("swapgs")
def swapgs(cpu: Cpu, insn: Insn) -> None:
    """SWAPGS: exchange GS.base and IA32_KERNEL_GS_BASE."""
    if not cpu.code64:
        raise UD
    if cpu.cpl:
        raise GP(0)
    old = cpu.segment_base(GS)
    cpu.set_segment_base(GS, cpu.msr.get(KERNEL_GS_BASE, 0))
    cpu.msr[KERNEL_GS_BASE] = old
    cpu.event(Kind.SWAPGS, cost=cpu.costs.swapgs)
    cpu.next(insn)
