"""Trapped instructions at known addresses: one closure for each, with its operands bound.

A handler takes its operands apart each time.  For the instructions that programs and kernels run most often, what is left then is a
few reads and writes; the closure of `MAKERS` does them, and says that it did.  In any case but the usual one it does nothing and says
so, and the handler has the case, or the fault.  `Translation.sites` keeps closures by RIP, with the words of memory that
hold the instruction: those are compared at each trap, so code that was written anew is met anew.  A change of a control register, of
the mode or of a translation drops them (`Invalidation.forget_code`), so what a maker has checked of those holds.

SYSRETQ and IRETQ between contexts that have met before follow a cached transition (`transitions`).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from ..mmu.address import SIGNS
from ..mmu.rights import READ
from .contexts import NOT_SLOT, SLOT_FLAGS, SMAP_SLOT
from .events import Kind
from .instructions.control import drop_page, load_cr3
from .instructions.time import TSD
from .msr_index import IA32_TSC_AUX
from .registers import (
    AC,
    ARITHMETIC,
    CC_OP,
    CC_SRC,
    CS_WORD,
    DF_WORD,
    EFLAGS,
    FS,
    GS,
    HFLAGS,
    IF,
    R11,
    RAX,
    RCX,
    RDX,
    RIP,
    RSP,
    SS_WORD,
    U32,
    U64,
)
from .segments import forget_inner_segments
from .state import STI_SHADOW

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cpu import Cpu
    from .insn import Insn

    Closure = Callable[[], bool]

_PCIDE, _PKE = 1 << 17, 1 << 22
_NO_FLUSH: Final = 1 << 63  # in the operand of MOV to CR3
# In the state's 32-bit words.  An instruction ends in the page where it begins, so RIP's upper half stays as it is.
_EAX, _ECX, _EDX, _EIP = 2 * RAX, 2 * RCX, 2 * RDX, 2 * RIP
_FRAME: Final = struct.Struct("<5Q")
_UNUSUAL: Final = ~(ARITHMETIC | IF | 2)  # in the RFLAGS that SYSRET loads
# A member read off the class takes 0.1 µs.
_RDTSC, _WRPKRU, _SYSRET = Kind.RDTSC, Kind.WRPKRU, Kind.SYSRET
_CONTROL: Final = {0: "cr0", 2: "cr2", 3: "cr3", 4: "cr4"}


def _wrpkru(cpu: Cpu, _insn: Insn, after: int) -> Closure | None:
    if not cpu.cr4 & _PKE:
        return None
    q, d, clock, translation = cpu.q, cpu.d, cpu.clock, cpu.translation
    slots, slot_flags = translation.slots, SLOT_FLAGS
    # The change of slot of the last time: from which hflags and to which PKRU, in which epoch; then the slot, its hflags and rights.
    hflags = wanted = epoch = number = hflags_after = -1
    table = b""

    def run() -> bool:
        nonlocal hflags, wanted, epoch, number, hflags_after, table
        pkru, before = d[_EAX], d[HFLAGS]
        if d[_ECX] or d[_EDX]:
            return False
        if pkru != wanted or before != hflags or cpu.epoch != epoch:
            found = translation.slot_by_pkru.get(pkru)
            if found is None or (found == SMAP_SLOT and q[EFLAGS] & AC):
                return False
            wanted, hflags, epoch = pkru, before if found != SMAP_SLOT else -1, cpu.epoch
            number, hflags_after, table = found, before & NOT_SLOT | slot_flags[found], slots[found].table
        cost = cpu.costs.wrpkru
        clock.cycles += cost
        old, cpu.pkru = cpu.pkru, pkru
        if cpu.emit is not None:
            cpu.emit_event(_WRPKRU, cost, (old, pkru))  # by whom it makes of who runs
        now = translation.current_slot
        if number != now:
            translation.previous_slot = now
            translation.current_slot = number
            translation.table = table
            d[HFLAGS] = hflags_after
        d[_EIP] = after
        return True

    return run


def _sysretq(cpu: Cpu, _insn: Insn, _after: int) -> Closure:
    q, d, segments, clock, translation = cpu.q, cpu.d, cpu.segments, cpu.clock, cpu.translation
    slots, not_slot, slot_flags = translation.slots, NOT_SLOT, SLOT_FLAGS

    def run() -> bool:
        path, flags, target = cpu.sysret_path, q[R11], q[RCX]
        if path is None or flags & _UNUSUAL or target >> 47 not in SIGNS:
            return False
        hflags, code_from, user, stack, cs, ss, after, slot, table, slot_by_pkru = path
        if d[HFLAGS] != hflags or segments[1] is not code_from:
            return False
        number = slot_by_pkru.get(cpu.pkru)  # ring 0 may have one slot for many PKRUs
        if number != slot:
            if number is None:
                return False
            after, table = after & not_slot | slot_flags[number], slots[number].table
        cost = cpu.costs.sysret
        clock.cycles += cost
        if cpu.emit is not None:
            cpu.emit_event(_SYSRET, cost, (q[RAX],))
        q[RIP] = target
        q[CC_SRC] = flags & ARITHMETIC
        d[CC_OP] = d[DF_WORD] = 1
        q[EFLAGS] = flags & IF | 2
        d[CS_WORD], d[SS_WORD], d[HFLAGS] = cs, ss, after
        segments[1], segments[2] = user, stack
        cpu.cpl, cpu.interrupt_shadow = 3, False
        now = translation.current_slot
        if number != now:  # as `Contexts.enter`, without a call
            translation.previous_slot = now
            translation.current_slot = number
            translation.table = table
        translation.slot_by_pkru = slot_by_pkru
        return True

    return run


def _iretq(cpu: Cpu, _insn: Insn, _after: int) -> Closure:
    q, ram, translation, iret_paths = cpu.q, cpu.memory.ram, cpu.translation, cpu.iret_paths
    probe_with, take_iret, frame = translation.probe_with, cpu.take_iret, _FRAME.unpack_from

    def run() -> bool:
        at = probe_with(q[RSP], 40, READ, translation.table)
        if at < 0:
            return False
        rip, cs, image, rsp, ss = frame(ram, at)
        known = iret_paths.get((cs & 0xFFFF) << 16 | ss & 0xFFFF)
        old = cpu.cpl
        if known is None or not take_iret(known, rip, image, rsp):
            return False
        cpu.nmi_blocked = False
        if cpu.cpl != old:
            forget_inner_segments(cpu, cpu.cpl)
        return True

    return run


def _rdtsc(cpu: Cpu, _insn: Insn, after: int) -> Closure:
    q, d, read, clock = cpu.q, cpu.d, cpu.tsc.read, cpu.clock

    def run() -> bool:
        if cpu.cpl and cpu.cr4 & TSD:
            return False
        cost = cpu.costs.rdtsc
        now = read() + cost & U64
        q[RAX], q[RDX] = now & U32, now >> 32
        d[_EIP] = after
        clock.cycles += cost
        if cpu.emit is not None:
            cpu.emit_event(_RDTSC, cost, (now,))
        return True

    return run


def _rdtscp(cpu: Cpu, insn: Insn, after: int) -> Closure | None:
    if "rdtscp" not in cpu.features:
        return None
    q, msr, rdtsc = cpu.q, cpu.msr, _rdtsc(cpu, insn, after)

    def run() -> bool:
        if not rdtsc():
            return False
        q[RCX] = msr.get(IA32_TSC_AUX, 0) & U32
        return True

    return run


def _cli(cpu: Cpu, _insn: Insn, after: int) -> Closure:
    q, d = cpu.q, cpu.d

    def run() -> bool:
        if cpu.cpl > cpu.iopl:
            return False
        q[EFLAGS] &= ~IF
        d[_EIP] = after
        return True

    return run


def _sti(cpu: Cpu, _insn: Insn, after: int) -> Closure:
    q, d = cpu.q, cpu.d

    def run() -> bool:
        if cpu.cpl > cpu.iopl:
            return False
        flags = q[EFLAGS]
        if not flags & IF:
            q[EFLAGS] = flags | IF
            cpu.interrupt_shadow = STI_SHADOW
        d[_EIP] = after
        return True

    return run


def _rdpkru(cpu: Cpu, _insn: Insn, after: int) -> Closure | None:
    if not cpu.cr4 & _PKE:
        return None
    q, d = cpu.q, cpu.d

    def run() -> bool:
        if d[_ECX]:
            return False
        q[RAX], q[RDX] = cpu.pkru, 0
        d[_EIP] = after
        return True

    return run


def _mov_from_cr(cpu: Cpu, insn: Insn, after: int) -> Closure | None:
    target, source = insn.operands
    name = _CONTROL.get(source.number)
    if name is None:
        return None
    q, d, number = cpu.q, cpu.d, target.number

    def run() -> bool:
        if cpu.cpl:
            return False
        q[number] = getattr(cpu, name)
        d[_EIP] = after
        return True

    return run


def _mov_to_cr(cpu: Cpu, insn: Insn, after: int) -> Closure | None:
    target, source = insn.operands
    if target.number != 3:
        return None
    q, d, number = cpu.q, cpu.d, source.number

    def run() -> bool:
        value = q[number]
        address = value & ~_NO_FLUSH if cpu.cr4 & _PCIDE else value
        if cpu.cpl or address >> cpu.features.maxphyaddr:
            return False
        load_cr3(cpu, value)
        d[_EIP] = after
        return True

    return run


def _invlpg(cpu: Cpu, insn: Insn, after: int) -> Closure | None:
    (memory,) = insn.operands
    if memory.kind != "mem" or memory.rip_relative or memory.index is not None or memory.base is None:
        return None
    if memory.segment in {FS, GS} or memory.address_size != 8:
        return None
    q, d, base, disp = cpu.q, cpu.d, memory.base, memory.disp

    def run() -> bool:
        if cpu.cpl:
            return False
        address = q[base] + disp & U64
        d[_EIP] = after
        drop_page(cpu, address)
        return True

    return run


# Each is given the processor, the instruction, and the lower half of the next one's RIP.
MAKERS: Final[dict[str, Callable[[Cpu, Insn, int], Closure | None]]] = {
    "wrpkru": _wrpkru,
    "sysretq": _sysretq,
    "iretq": _iretq,
    "rdtsc": _rdtsc,
    "rdtscp": _rdtscp,
    "cli": _cli,
    "sti": _sti,
    "rdpkru": _rdpkru,
    "mov_from_cr": _mov_from_cr,
    "mov_to_cr": _mov_to_cr,
    "invlpg": _invlpg,
}
