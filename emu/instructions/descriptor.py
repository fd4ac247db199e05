"""Descriptor tables and segment registers: LGDT … STR, LMSW, SMSW, LAR, LSL, VERR, VERW, MOV, POP and Lxx to a segment register.

Each follows its SDM instruction page.  SGDT, SIDT, SLDT, STR and SMSW obey CR4.UMIP (SDM "Control Registers").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...mmu.address import canonical
from ...mmu.registers import CR0, CR4
from ..descriptors import UNUSABLE, Segment, Table, parse
from ..faults import GP, NP, UD
from ..limits import check_room
from ..realmode import require_protected
from ..registers import CS, DS, ES, FS, GS, RSP, SS
from ..segments import descriptor_address, load_segment
from ..table import instruction
from .control import load_cr0
from .flags import stack_pointer_mask

if TYPE_CHECKING:
    from ..cpu import Cpu
    from ..insn import Insn, Operand

_UMIP: Final = CR4.UMIP.mask
_ZF: Final = 1 << 6
_BUSY: Final = 2
_LDT, _TSS16, _TSS = 2, 1, 9
# SDM "LAR", "Segment and Gate Types", and "LSL", "Segment and Gate Descriptor Types": protected mode, IA-32e mode.
_LAR_TYPES: Final = (frozenset({1, 2, 3, 4, 5, 9, 0xB, 0xC}), frozenset({2, 9, 0xB, 0xC}))
_LSL_TYPES: Final = (frozenset({1, 2, 3, 9, 0xB}), frozenset({2, 9, 0xB}))
_POINTER_LOADS: Final = {"les": ES, "lss": SS, "lds": DS, "lfs": FS, "lgs": GS}


def _memory_only(insn: Insn) -> Operand:
    operand = insn.operands[-1]
    if operand.kind != "mem":
        raise UD
    return operand


def _require_umip(cpu: Cpu) -> None:
    if cpu.cpl and cpu.cr4 & _UMIP:
        raise GP(0)


# ---- GDTR and IDTR --------------------------------------------------------------------------------------------


@instruction("lgdt", "lidt")
def load_table(cpu: Cpu, insn: Insn) -> None:
    """LGDT and LIDT m16&32, m16&64 in 64-bit mode; a 16-bit operand size keeps 24 bits of the base."""
    memory = _memory_only(insn)
    cpu.require_ring0()
    size = 10 if cpu.code64 else 6
    raw = cpu.read_bytes(cpu.operand_address(insn, memory), size, stack=memory.segment == SS)
    base = int.from_bytes(raw[2:], "little")
    if cpu.code64:
        if not canonical(base):
            raise GP(0)
    elif insn.opsize == 16:
        base &= 0xFFFFFF
    table = Table(base, int.from_bytes(raw[:2], "little"))
    if insn.mnemonic == "lgdt":
        cpu.gdtr = table
        cpu.forget_transitions()
    else:
        cpu.idtr = table
        cpu.forget_transitions()
    cpu.next(insn)


@instruction("sgdt", "sidt")
def store_table(cpu: Cpu, insn: Insn) -> None:
    """SGDT and SIDT: 10 bytes in 64-bit mode, else 6 with the whole 32-bit base."""
    memory = _memory_only(insn)
    _require_umip(cpu)
    table = cpu.gdtr if insn.mnemonic == "sgdt" else cpu.idtr
    raw = table.limit.to_bytes(2, "little") + table.base.to_bytes(8, "little")
    size = 10 if cpu.code64 else 6
    at, stack = cpu.store_address(insn, memory), memory.segment == SS
    cpu.require_aligned(at, 2, size, write=True, stack=stack)
    cpu.require_aligned(at + 2, size - 2, write=True, stack=stack)
    cpu.write_bytes(at, raw[:size], stack=stack)
    cpu.next(insn)


# ---- LDTR and TR ----------------------------------------------------------------------------------------------


@instruction("lldt")
def lldt(cpu: Cpu, insn: Insn) -> None:
    """LLDT r/m16: a null selector makes the LDT unusable."""
    require_protected(cpu)
    cpu.require_ring0()
    selector = cpu.get(insn, insn.operands[0]) & 0xFFFF
    if selector & 0xFFFC:
        cpu.ldtr = _system_segment(cpu, selector, frozenset({_LDT}))[0]
    else:
        cpu.ldtr = Segment(selector, 0, 0, UNUSABLE)
    cpu.next(insn)


@instruction("ltr")
def ltr(cpu: Cpu, insn: Insn) -> None:
    """LTR r/m16: an available TSS, which becomes busy."""
    require_protected(cpu)
    cpu.require_ring0()
    selector = cpu.get(insn, insn.operands[0]) & 0xFFFF
    if not selector & 0xFFFC:
        raise GP(0)
    wanted = frozenset({_TSS}) if cpu.long_mode else frozenset({_TSS16, _TSS})
    segment, at = _system_segment(cpu, selector, wanted)
    cpu.write_system(at + 5, 1, (segment.access | _BUSY) & 0xFF)
    cpu.forget_transitions()
    cpu.tr = Segment(selector, segment.base, segment.limit, segment.access | _BUSY)
    cpu.next(insn)


def _system_segment(cpu: Cpu, selector: int, types: frozenset[int]) -> tuple[Segment, int]:
    """Give an LDT or TSS from the GDT, 16 bytes of descriptor in IA-32e mode, and the descriptor's address."""
    error = selector & 0xFFFC
    if selector & 4:
        raise GP(error)
    long = cpu.long_mode
    at = descriptor_address(cpu, selector, size=16 if long else 8)
    raw = cpu.read_system(at, 8)
    if raw >> 40 & 0x1F not in types:
        raise GP(error)
    high = cpu.read_system(at + 8, 8) if long else 0
    if high >> 40 & 0x1F:
        raise GP(error)
    if not raw >> 47 & 1:
        raise NP(error)
    segment = parse(selector, raw, high)
    if not canonical(segment.base):
        raise GP(error)
    return segment, at


@instruction("sldt", "str")
def store_selector(cpu: Cpu, insn: Insn) -> None:
    """SLDT and STR: 16 bits to memory, zero-extended to a register."""
    require_protected(cpu)
    _require_umip(cpu)
    source = cpu.ldtr if insn.mnemonic == "sldt" else cpu.tr
    cpu.put(insn, insn.operands[0], source.selector)
    cpu.next(insn)


# ---- the machine status word ----------------------------------------------------------------------------------


@instruction("smsw")
def smsw(cpu: Cpu, insn: Insn) -> None:
    """SMSW: CR0, as much as the operand holds."""
    _require_umip(cpu)
    cpu.put(insn, insn.operands[0], cpu.cr0)
    cpu.next(insn)


@instruction("lmsw")
def lmsw(cpu: Cpu, insn: Insn) -> None:
    """LMSW: PE, MP, EM and TS of CR0; PE can be set but not cleared."""
    cpu.require_ring0()
    source = cpu.get(insn, insn.operands[0])
    load_cr0(cpu, cpu.cr0 & ~0xE | source & 0xF | cpu.cr0 & CR0.PE.mask)
    cpu.next(insn)


# ---- looking at descriptors -----------------------------------------------------------------------------------


def _visible(cpu: Cpu, selector: int) -> int | None:
    """Give the descriptor if `selector` names one and CPL and RPL allow a look at it; privilege does not bind conforming code."""
    if not selector & 0xFFFC:
        return None
    try:
        address = descriptor_address(cpu, selector)
    except GP:
        return None
    raw = cpu.read_system(address, 8)
    if raw >> 40 & 0x1C != 0x1C and max(cpu.cpl, selector & 3) > raw >> 45 & 3:
        return None
    return raw


def _answer(cpu: Cpu, insn: Insn, *, good: bool) -> None:
    cpu.rflags = cpu.rflags & ~_ZF | (_ZF if good else 0)
    cpu.next(insn)


@instruction("lar")
def lar(cpu: Cpu, insn: Insn) -> None:
    """LAR: access rights as in the descriptor's second doubleword, and ZF."""
    require_protected(cpu)
    target, source = insn.operands
    raw = _visible(cpu, cpu.get(insn, source) & 0xFFFF)
    good = raw is not None and bool(raw >> 44 & 1 or raw >> 40 & 0xF in _LAR_TYPES[cpu.long_mode])
    if raw is not None and good:
        cpu.put(insn, target, raw >> 32 & 0x00F0FF00)
    _answer(cpu, insn, good=good)


@instruction("lsl")
def lsl(cpu: Cpu, insn: Insn) -> None:
    """LSL: the limit in bytes, and ZF."""
    require_protected(cpu)
    target, source = insn.operands
    selector = cpu.get(insn, source) & 0xFFFF
    raw = _visible(cpu, selector)
    good = raw is not None and bool(raw >> 44 & 1 or raw >> 40 & 0xF in _LSL_TYPES[cpu.long_mode])
    if raw is not None and good:
        cpu.put(insn, target, parse(selector, raw).limit)
    _answer(cpu, insn, good=good)


@instruction("verr", "verw")
def verify(cpu: Cpu, insn: Insn) -> None:
    """VERR and VERW: ZF tells whether the segment could be read or written."""
    require_protected(cpu)
    raw = _visible(cpu, cpu.get(insn, insn.operands[0]) & 0xFFFF)
    kind = 0 if raw is None else raw >> 40 & 0x1F
    readable = kind & 0x10 != 0 and kind & 0x0A != 0x08  # not execute-only code
    writable = kind & 0x1A == 0x12  # data
    _answer(cpu, insn, good=writable if insn.mnemonic == "verw" else readable)


@instruction("arpl")
def arpl(cpu: Cpu, insn: Insn) -> None:
    """ARPL: raise the RPL of a selector to that of another; ZF tells whether it was lower.

    In protected mode TCG runs it by itself; real and virtual-8086 mode, where it is #UD, have it hooked.
    """
    require_protected(cpu)
    target, source = insn.operands
    selector, least = cpu.get(insn, target) & 0xFFFF, cpu.get(insn, source) & 3
    lower = selector & 3 < least
    cpu.put(insn, target, selector & ~3 | least if lower else selector)
    _answer(cpu, insn, good=lower)


# ---- segment registers ----------------------------------------------------------------------------------------


@instruction("mov_to_sreg")
def mov_to_sreg(cpu: Cpu, insn: Insn) -> None:
    """MOV Sreg, r/m16; SS holds interrupts off for one instruction."""
    target, source = insn.operands
    if target.number == CS:
        raise UD
    load_segment(cpu, target.number, cpu.get(insn, source) & 0xFFFF)
    cpu.interrupt_shadow = False
    cpu.next(insn)
    if target.number == SS:
        cpu.block_interrupts()


@instruction("mov_from_sreg")
def mov_from_sreg(cpu: Cpu, insn: Insn) -> None:
    """MOV r/m, Sreg: 16 bits to memory, zero-extended to a register."""
    target, source = insn.operands
    if target.kind == "mem":
        cpu.write(cpu.store_address(insn, target), 2, cpu.segment(source.number).selector, stack=target.segment == SS)
    else:
        cpu.put(insn, target, cpu.segment(source.number).selector)
    cpu.next(insn)


@instruction("pop_sreg")
def pop_sreg(cpu: Cpu, insn: Insn) -> None:
    """POP Sreg: the stack moves only if the load succeeds."""
    number = insn.operands[0].number
    size = insn.opsize // 8
    if cpu.code64 and size == 4:
        size = 8  # 64 is the default there
    mask = stack_pointer_mask(cpu)
    rsp = cpu.q[RSP]
    check_room(cpu, SS, rsp & mask, size)
    selector = cpu.read((rsp & mask) + cpu.segment_base(SS), size, stack=True) & 0xFFFF
    load_segment(cpu, number, selector)
    cpu.q[RSP] = rsp & ~mask | (rsp + size) & mask
    cpu.interrupt_shadow = False
    cpu.next(insn)
    if number == SS:
        cpu.block_interrupts()


@instruction("les", "lss", "lds", "lfs", "lgs")
def load_far_pointer(cpu: Cpu, insn: Insn) -> None:
    """LDS, LES, LSS, LFS, LGS: m16:16, m16:32 or m16:64."""
    memory = _memory_only(insn)
    size = insn.opsize // 8
    at, stack = cpu.operand_address(insn, memory, size + 2), memory.segment == SS
    cpu.require_aligned(at, size, size + 2, stack=stack)
    raw = cpu.read_bytes(at, size + 2, stack=stack)
    number = _POINTER_LOADS[insn.mnemonic]
    load_segment(cpu, number, int.from_bytes(raw[size:], "little"))
    cpu.put(insn, insn.operands[0], int.from_bytes(raw[:size], "little"))
    cpu.interrupt_shadow = False  # LSS is atomic as it is: it holds nothing off
    cpu.next(insn)
