"""Model-specific registers: one table (SDM "Model-Specific Registers").  What is not in it is #GP(0)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.address import canonical
from ..mmu.registers import CR0, EFER
from .faults import GP
from .registers import FS, GS, U64

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cpu import Cpu

_TSC, _APIC_BASE, _TSC_ADJUST, _DEADLINE = 0x10, 0x1B, 0x3B, 0x6E0
_EFER, _FS_BASE, _GS_BASE, _PKRS, _XSS = 0xC0000080, 0xC0000100, 0xC0000101, 0x6E1, 0xDA0
_PAT: Final = 0x277
_PAT_RESET: Final = 0x0007040600070406
_MTRR_CAP, _MTRR_DEF = 0xFE, 0x2FF
_EFER_KNOWN: Final = EFER.SCE.mask | EFER.LME.mask | EFER.LMA.mask | EFER.NXE.mask


class Plain:
    """A register that only keeps its value: a reset value, the bits that may be set, and whether it is an address."""

    def __init__(self, reset: int = 0, mask: int = U64, *, address: bool = False) -> None:
        self.reset, self.mask, self.address = reset, mask, address


PLAIN: Final[dict[int, Plain]] = {
    0xC0000081: Plain(),  # STAR
    0xC0000082: Plain(address=True),  # LSTAR
    0xC0000083: Plain(address=True),  # CSTAR
    0xC0000084: Plain(mask=0xFFFFFFFF),  # SFMASK
    0xC0000102: Plain(address=True),  # KERNEL_GS_BASE
    0xC0000103: Plain(mask=0xFFFFFFFF),  # TSC_AUX
    0x174: Plain(mask=0xFFFFFFFF),  # SYSENTER_CS
    0x175: Plain(address=True),
    0x176: Plain(address=True),
    0x1A0: Plain(1, 0x4_01C5_1889),  # MISC_ENABLE: fast strings …
    0x1D9: Plain(mask=0),  # DEBUGCTL: no LBR, no BTF
    0x8B: Plain(0, U64),  # BIOS_SIGN_ID
    **{0x200 + i: Plain(mask=0xFFFFFFFFFFF07 if not i & 1 else 0xFFFFFFFFFF800) for i in range(16)},  # MTRR_PHYS…
    **{n: Plain() for n in (0x250, 0x258, 0x259, *range(0x268, 0x270))},  # MTRR_FIX…
    _MTRR_DEF: Plain(0xC06, 0xCFF),
}
# Read-only: MTRRCAP (8 variable, fixed), PLATFORM_ID, PLATFORM_INFO, MCG_CAP, MCG_STATUS
_CONSTANT: Final = {_MTRR_CAP: 0x508, 0x17: 0, 0xCE: 25 << 8, 0x179: 0, 0x17A: 0}


def read(cpu: Cpu, msr: int) -> int:
    """Read an MSR."""
    plain = PLAIN.get(msr)
    if plain is not None:
        return cpu.msr.get(msr, plain.reset)
    if msr in _CONSTANT:
        return _CONSTANT[msr]
    special = _READ.get(msr)
    if special is not None:
        return special(cpu)
    if 0x800 <= msr <= 0x83F:
        value: int | None = cpu.devices.lapic.msr_read(msr)
        if value is not None:
            return value
    raise GP(0)


def write(cpu: Cpu, msr: int, value: int) -> None:
    """Write an MSR; #GP(0) on a reserved bit, or an address that is not canonical."""
    plain = PLAIN.get(msr)
    if plain is not None:
        if (plain.address and not canonical(value)) or (not plain.address and value & ~plain.mask):
            raise GP(0)
        cpu.msr[msr] = value
        cpu.forget_transitions()
        return
    special = _WRITE.get(msr)
    if special is not None:
        special(cpu, value)
        return
    if 0x800 <= msr <= 0x83F and cpu.devices.lapic.msr_write(msr, value):
        return
    raise GP(0)


def _write_efer(cpu: Cpu, value: int) -> None:
    if value & ~_EFER_KNOWN or ((value ^ cpu.efer) & EFER.LME.mask and cpu.cr0 & CR0.PG.mask):
        raise GP(0)
    old = cpu.efer
    cpu.set_efer(value & ~EFER.LMA.mask | old & EFER.LMA.mask)
    if (old ^ value) & EFER.NXE.mask:
        cpu.translation.flush_all()


def _write_base(number: int) -> Callable[[Cpu, int], None]:
    def write_base(cpu: Cpu, value: int) -> None:
        if not canonical(value):
            raise GP(0)
        cpu.set_segment_base(number, value)

    return write_base


def _read_tsc(cpu: Cpu) -> int:
    cpu.sync_clock()
    return cpu.clock.cycles + cpu.tsc_offset & U64


def _write_tsc(cpu: Cpu, value: int) -> None:
    delta = value - _read_tsc(cpu)
    cpu.tsc_offset += delta
    cpu.msr[_TSC_ADJUST] = cpu.msr.get(_TSC_ADJUST, 0) + delta & U64


def _write_tsc_adjust(cpu: Cpu, value: int) -> None:
    cpu.tsc_offset += value - cpu.msr.get(_TSC_ADJUST, 0)
    cpu.msr[_TSC_ADJUST] = value


def _write_pkrs(cpu: Cpu, value: int) -> None:
    if value >> 32:
        raise GP(0)
    cpu.set_pkrs(value)


def _write_pat(cpu: Cpu, value: int) -> None:
    if any(value >> 8 * i & 0xFF not in {0, 1, 4, 5, 6, 7} for i in range(8)):
        raise GP(0)
    cpu.msr[_PAT] = value


def _write_apic_base(cpu: Cpu, value: int) -> None:
    if not cpu.devices.lapic.set_base(value):
        raise GP(0)


def _write_xss(cpu: Cpu, value: int) -> None:
    if value:
        raise GP(0)
    cpu.xss = value


def _ignore(_cpu: Cpu, value: int) -> None:
    if value:
        raise GP(0)


_READ: Final[dict[int, Callable[[Cpu], int]]] = {
    _TSC: _read_tsc,
    _APIC_BASE: lambda cpu: int(cpu.devices.lapic.base),
    _TSC_ADJUST: lambda cpu: cpu.msr.get(_TSC_ADJUST, 0),
    _DEADLINE: lambda cpu: int(cpu.devices.lapic.deadline_tsc),
    _EFER: lambda cpu: cpu.efer,
    _FS_BASE: lambda cpu: cpu.segment_base(FS),
    _GS_BASE: lambda cpu: cpu.segment_base(GS),
    _PKRS: lambda cpu: cpu.pkrs,
    _PAT: lambda cpu: cpu.msr.get(_PAT, _PAT_RESET),
    _XSS: lambda cpu: cpu.xss,
}
_WRITE: Final[dict[int, Callable[[Cpu, int], None]]] = {
    _TSC: _write_tsc,
    _APIC_BASE: _write_apic_base,
    _TSC_ADJUST: _write_tsc_adjust,
    _DEADLINE: lambda cpu, value: cpu.devices.lapic.set_deadline(value),
    _EFER: _write_efer,
    _FS_BASE: _write_base(FS),
    _GS_BASE: _write_base(GS),
    _PKRS: _write_pkrs,
    _PAT: _write_pat,
    _XSS: _write_xss,
    0x17A: _ignore,
    0x79: lambda _cpu, _value: None,  # a microcode update: there is none to take
}
