"""Descriptors and the loading of segment registers (SDM "Segment Descriptors", "Checking Caller Access Privileges").

Where a function takes `external`, that is the EXT bit of the error codes it raises (SDM "Error Code").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.address import canonical
from ..mmu.registers import EFER
from . import layout
from .descriptors import ACCESSED, UNUSABLE, Segment, null_stack, parse
from .faults import GP, NP, TS, StackFault
from .realmode import paragraph
from .registers import DS, ES, FS, GS, SS

if TYPE_CHECKING:
    from .cpu import Cpu

_LMA: Final = EFER.LMA.mask
_DATA: Final = tuple((number, layout.SEGMENTS + 24 * number >> 2) for number in (ES, DS, FS, GS))
_ES_WORD, _DS_WORD, _FS_WORD, _GS_WORD = (at for _, at in _DATA)


def descriptor_address(cpu: Cpu, selector: int, *, size: int = 8, fault: type[GP | TS] = GP, external: int = 0) -> int:
    """Give the linear address of a selector's descriptor; outside its table, `fault` of the selector."""
    if selector & 4:
        base, limit = cpu.ldtr.base, cpu.ldtr.limit
        if cpu.ldtr.access & UNUSABLE:
            raise fault(selector & 0xFFFC | external)
    else:
        base, limit = cpu.gdtr
    offset = selector & 0xFFF8
    if offset + size - 1 > limit:
        raise fault(selector & 0xFFFC | external)
    return base + offset


def mark_accessed(cpu: Cpu, at: int, raw: int) -> int:
    """Set the accessed bit of a code or data descriptor, if it is not set, and give the descriptor."""
    if not raw & ACCESSED:
        raw |= ACCESSED
        cpu.write_system(at + 5, 1, raw >> 40 & 0xFF)
    return raw


def load_segment(cpu: Cpu, number: int, selector: int) -> None:
    """Load ES, SS, DS, FS or GS as MOV and POP do (SDM "MOV", "Loading a segment register while in protected mode")."""
    if cpu.emulates_8086:
        cpu.set_segment(number, paragraph(cpu, number, selector))
        return
    if number == SS:
        cpu.set_segment(SS, stack_segment(cpu, selector, cpu.cpl, null_allowed=cpu.code64))
        return
    error = selector & 0xFFFC
    if not error:
        cpu.set_segment(number, Segment(selector, 0, 0, UNUSABLE))
        return
    at = descriptor_address(cpu, selector)
    raw = cpu.read_system(at, 8)
    kind = raw >> 40 & 0x1F
    if not kind & 0x10 or kind & 0x1A == 0x18:  # a system segment, or execute-only code
        raise GP(error)
    if kind & 0x1C != 0x1C and max(cpu.cpl, selector & 3) > raw >> 45 & 3:  # conforming code is for all
        raise GP(error)
    if not raw >> 47 & 1:
        raise NP(error)
    cpu.set_segment(number, parse(selector, mark_accessed(cpu, at, raw)))


def stack_segment(
    cpu: Cpu, selector: int, cpl: int, *, fault: type[GP | TS] = GP, external: int = 0, null_allowed: bool = False
) -> Segment:
    """Check a stack selector for privilege level `cpl` and give the segment.

    A null one is good only where `null_allowed` (64-bit code), below ring 3, with RPL = `cpl`.
    """
    error = selector & 0xFFFC | external
    if not selector & 0xFFFC:
        if null_allowed and cpl != 3 and selector == cpl:
            return null_stack(cpl)
        raise fault(external)
    at = descriptor_address(cpu, selector, fault=fault, external=external)
    raw = cpu.read_system(at, 8)
    if selector & 3 != cpl or raw >> 40 & 0x1A != 0x12 or raw >> 45 & 3 != cpl:
        raise fault(error)
    if not raw >> 47 & 1:
        raise StackFault(error)
    return parse(selector, mark_accessed(cpu, at, raw))


def return_code(cpu: Cpu, selector: int) -> Segment:
    """Check the code selector that IRET and far RET pop, whose RPL is the new privilege level, and give the segment."""
    error = selector & 0xFFFC
    if not error:
        raise GP(0)
    at = descriptor_address(cpu, selector)
    raw = cpu.read_system(at, 8)
    rpl, dpl = selector & 3, raw >> 45 & 3
    if raw >> 40 & 0x18 != 0x18 or rpl < cpu.cpl or (cpu.efer & _LMA and raw >> 53 & 3 == 3):
        raise GP(error)
    if dpl > rpl if raw >> 42 & 1 else dpl != rpl:
        raise GP(error)
    if not raw >> 47 & 1:
        raise NP(error)
    return parse(selector, mark_accessed(cpu, at, raw))


def check_target(cpu: Cpu, code: Segment, offset: int) -> None:
    """Raise #GP(0) unless `offset` is canonical for 64-bit code, or within the limit of other code."""
    if code.access & 0x2000 and cpu.efer & _LMA:
        if not canonical(offset):
            raise GP(0)
    elif offset > code.limit:
        raise GP(0)


def forget_inner_segments(cpu: Cpu, cpl: int) -> None:
    """Null the data segments that the new, outer privilege level may not keep, null ones too (SDM "RET", "IRET")."""
    d = cpu.d
    if not (d[_ES_WORD] | d[_DS_WORD] | d[_FS_WORD] | d[_GS_WORD]) & 0xFFFF:
        return  # all 0, as 64-bit kernels leave them
    for number, at in _DATA:
        if not d[at] & 0xFFFF:
            continue
        segment = cpu.segment(number)
        if not d[at] & 0xFFFC or (segment.access & 0x1C != 0x1C and segment.dpl < cpl):  # conforming code may stay
            # The selector goes, and the RPL of a null one; processors keep the base, and with it what a kernel reaches through GS.
            cpu.set_segment(number, Segment(0, segment.base, segment.limit, UNUSABLE))
