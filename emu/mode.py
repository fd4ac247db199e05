"""What TCG is told of the processor's mode: derived from CR0, CR4, EFER and the segments, whenever one of them changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.registers import CR0, CR4, EFER
from . import layout
from .layout import HF_AM, HF_CS64
from .registers import CS, DS, ES, FS, HFLAGS, SS

if TYPE_CHECKING:
    from .cpu import Cpu
    from .descriptors import Segment

_HF_CS32, _HF_SS32, _HF_ADDSEG, _HF_PE = 1 << 4, 1 << 5, 1 << 6, 1 << 7
_HF_LMA, _HF_OSFXSR = 1 << 14, 1 << 22
HF_8086: Final = 1 << 28  # means nothing to TCG, and keeps blocks of real and virtual-8086 mode apart
_HF_TS_EM_MP: Final = 7 << 9
HF_OURS: Final = (
    _HF_CS32 | _HF_SS32 | _HF_ADDSEG | _HF_PE | _HF_LMA | HF_CS64 | _HF_OSFXSR | _HF_TS_EM_MP | HF_8086 | HF_AM
)  # fmt: skip
_CR0_PE, _CR0_AM = CR0.PE.mask, CR0.AM.mask
_CR4_OSFXSR, _CR4_FSGSBASE, _CR4_TSD = CR4.OSFXSR.mask, CR4.FSGSBASE.mask, CR4.TSD.mask
_EFER_LMA: Final = EFER.LMA.mask


def tcg_segment(cpu: Cpu, number: int, segment: Segment) -> None:
    """Store a segment register in TCG's state; in 64-bit mode ES, CS, SS and DS have base 0."""
    at = layout.SEGMENTS + 24 * number
    base = 0 if number < FS and cpu.segments[CS].access & 0x2000 and cpu.efer & _EFER_LMA else segment.base
    cpu.d[at >> 2] = segment.selector
    cpu.q[at + 8 >> 3] = base
    cpu.d[at + 16 >> 2] = segment.limit
    cpu.d[at + 20 >> 2] = (segment.access & 0xF0FF) << 8


def derive_mode(cpu: Cpu) -> None:
    """Derive TCG's mode bits from CS, SS, CR0 and EFER."""
    long = cpu.efer & _EFER_LMA
    access = cpu.segments[CS].access
    cpu.emulates_8086 = cpu.v86 or not cpu.cr0 & _CR0_PE
    # Real mode, too, is protected mode to TCG, and virtual-8086 mode has no VM: so far branches and loads of segment registers trap.
    flags = _HF_PE | HF_8086 if cpu.emulates_8086 else _HF_PE
    if long and access & 0x2000:
        flags |= _HF_LMA | HF_CS64 | _HF_CS32 | _HF_SS32
    else:
        if long:
            flags |= _HF_LMA
        if access & 0x4000:
            flags |= _HF_CS32
        else:
            flags |= _HF_ADDSEG
        if cpu.segments[SS].access & 0x4000:
            flags |= _HF_SS32
        if cpu.segments[DS].base | cpu.segments[ES].base | cpu.segments[SS].base:
            flags |= _HF_ADDSEG
    flags |= (cpu.cr0 & 0xE) << 8
    if cpu.cr4 & _CR4_OSFXSR:
        flags |= _HF_OSFXSR
    if cpu.cr0 & _CR0_AM:
        flags |= HF_AM
    hflags = cpu.d[HFLAGS]
    if hflags & HF_OURS != flags:
        cpu.d[HFLAGS] = hflags & ~HF_OURS | flags
        cpu.translation.code_size = 64 if flags & HF_CS64 else (32 if flags & _HF_CS32 else 16)
        cpu.translation.forget_code()
    if cpu.emulates_8086 or cpu.limits.pages:
        cpu.limits.update()
    tcg_segment(cpu, CS, cpu.segments[CS])
    for number in (ES, SS, DS):  # their bases count outside 64-bit mode only
        kept = cpu.segments[number]
        if cpu.d[layout.SEGMENTS + 24 * number >> 2] & 0xFFFF == kept.selector:
            tcg_segment(cpu, number, kept)


def sync_control(cpu: Cpu) -> None:
    """Derive everything that depends on CR0, CR4, EFER or CPL."""
    cpu.q[layout.CR >> 3] = cpu.cr0 | _CR0_PE
    # TSD makes RDTSC trap, and without OSXSAVE and PKE the XSAVE family and RDPKRU do; FSGSBASE and FXSAVE run natively.
    cpu.q[layout.CR + 32 >> 3] = _CR4_TSD | cpu.cr4 & (_CR4_FSGSBASE | _CR4_OSFXSR)
    for number in (ES, SS, DS):  # their bases count only outside 64-bit mode; those of FS and GS are live in TCG
        tcg_segment(cpu, number, cpu.segments[number])
    derive_mode(cpu)
    cpu.translation.configure()
