"""Model-specific registers: one table (SDM "Model-Specific Registers").  What is not in it is #GP(0)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.address import canonical
from ..mmu.registers import CR0, EFER
from ..vmx.caps import DEBUGCTL_KNOWN
from . import msr_index as index
from .faults import GP, Unimplemented
from .registers import FS, GS, U64

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cpu import Cpu

_LOCK, VMX_ON = 1, 5  # in IA32_FEATURE_CONTROL: locked; locked with VMX outside SMX


class Plain:
    """A register that only keeps its value.

    Attributes:
        reset: its value at reset.
        mask: the bits that may be set.
        address: it is a linear address, and takes canonical ones only.
        physical: it holds a physical address, and takes MAXPHYADDR bits of `mask`.

    """

    def __init__(self, reset: int = 0, mask: int = U64, *, address: bool = False, physical: bool = False) -> None:
        self.reset, self.mask, self.address, self.physical = reset, mask, address, physical


PLAIN: Final[dict[int, Plain]] = {
    index.IA32_STAR: Plain(),
    index.IA32_LSTAR: Plain(address=True),
    index.IA32_CSTAR: Plain(address=True),
    index.IA32_FMASK: Plain(mask=0xFFFFFFFF),
    index.IA32_KERNEL_GS_BASE: Plain(address=True),
    index.IA32_TSC_AUX: Plain(mask=0xFFFFFFFF),
    index.IA32_SYSENTER_CS: Plain(mask=0xFFFFFFFF),
    index.IA32_SYSENTER_ESP: Plain(address=True),
    index.IA32_SYSENTER_EIP: Plain(address=True),
    index.IA32_MISC_ENABLE: Plain(1, 0x4_01C5_1889),  # fast strings …
    index.IA32_BIOS_SIGN_ID: Plain(),
    **{index.IA32_MTRR_PHYSBASE0 + i: Plain(mask=0xFFFFFFFFFFF07, physical=True) for i in range(0, 16, 2)},
    **{index.IA32_MTRR_PHYSBASE0 + i: Plain(mask=0xFFFFFFFFFF800, physical=True) for i in range(1, 16, 2)},  # …MASK
    **{number: Plain() for number in index.MTRR_FIX},
    index.IA32_MTRR_DEF_TYPE: Plain(0xC06, 0xCFF),
}
# The processor runs nothing ahead of its turn, so it has none of the leaks that IA32_ARCH_CAPABILITIES can deny: RDCL_NO,
# SKIP_L1DFL_VMENTRY, SSB_NO, MDS_NO, IF_PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO, GDS_NO, RFDS_NO.
_IMMUNE: Final = sum(1 << bit for bit in (0, 3, 4, 5, 6, 8, 13, 14, 15, 20, 26, 27))
# Read-only: eight variable MTRRs and the fixed ones; no machine-check banks.
_CONSTANT: Final = {
    index.IA32_MTRRCAP: 0x508,
    index.IA32_PLATFORM_ID: 0,
    index.MSR_PLATFORM_INFO: 25 << 8,
    index.IA32_ARCH_CAPABILITIES: _IMMUNE,
    index.IA32_MCG_CAP: 0,
    index.IA32_MCG_STATUS: 0,
}


def read(cpu: Cpu, msr: int) -> int:
    """Read an MSR; #GP(0) where there is none, or the processor's features have none."""
    if msr in cpu.features.no_msrs:
        raise GP(0)
    plain = PLAIN.get(msr)
    if plain is not None:
        return cpu.msr.get(msr, plain.reset)
    if msr in _CONSTANT:
        return _CONSTANT[msr]
    special = _READ.get(msr)
    if special is not None:
        return special(cpu)
    if index.IA32_VMX_BASIC <= msr <= index.IA32_VMX_TRUE_ENTRY_CTLS and cpu.features.vmx is not None:
        return cpu.features.vmx.msrs[msr]
    if index.IA32_X2APIC_FIRST <= msr <= index.IA32_X2APIC_LAST:
        value: int | None = cpu.devices.lapic.msr_read(msr)
        if value is not None:
            return value
    raise GP(0)


def write(cpu: Cpu, msr: int, value: int) -> None:
    """Write an MSR; #GP(0) on a reserved bit, or an address that is not canonical."""
    if msr in cpu.features.no_msrs:
        raise GP(0)
    plain = PLAIN.get(msr)
    if plain is not None:
        if (plain.address and not canonical(value)) or (not plain.address and value & ~plain.mask):
            raise GP(0)
        if plain.physical and value >> cpu.features.maxphyaddr:
            raise GP(0)
        cpu.msr[msr] = value
        cpu.switched_msrs = None
        cpu.forget_transitions()
        return
    special = _WRITE.get(msr)
    if special is not None:
        special(cpu, value)
        return
    if index.IA32_X2APIC_FIRST <= msr <= index.IA32_X2APIC_LAST and cpu.devices.lapic.msr_write(msr, value):
        return
    raise GP(0)


def _write_efer(cpu: Cpu, value: int) -> None:
    if value & ~cpu.features.efer or ((value ^ cpu.efer) & EFER.LME.mask and cpu.cr0 & CR0.PG.mask):
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
    return cpu.tsc.read()


def _write_tsc(cpu: Cpu, value: int) -> None:
    cpu.tsc.write(value)


def _write_tsc_adjust(cpu: Cpu, value: int) -> None:
    cpu.tsc.set_adjust(value)


def _write_deadline(cpu: Cpu, value: int) -> None:
    cpu.devices.lapic.set_deadline(value)


def _write_pkrs(cpu: Cpu, value: int) -> None:
    if value >> 32:
        raise GP(0)
    cpu.set_pkrs(value)


def _write_pat(cpu: Cpu, value: int) -> None:
    if any(value >> 8 * i & 0xFF not in {0, 1, 4, 5, 6, 7} for i in range(8)):
        raise GP(0)
    _store_switched(cpu, index.IA32_PAT, value)


def _store_switched(cpu: Cpu, msr: int, value: int) -> None:
    """Store an MSR that belongs to one side of a virtual machine."""
    cpu.msr[msr] = value
    cpu.switched_msrs = None


def _write_apic_base(cpu: Cpu, value: int) -> None:
    lapic = cpu.devices.lapic
    before = lapic.page
    if not lapic.set_base(value):
        raise GP(0)
    if lapic.mapped and cpu.memory.is_ram(lapic.page):
        raise Unimplemented(f"the local APIC's page over RAM, at {lapic.page:#x}")
    if lapic.page != before:
        cpu.engine.flush_slots()  # they know which page was the APIC's


def _write_feature_control(cpu: Cpu, value: int) -> None:
    """IA32_FEATURE_CONTROL: without SMX there are the lock and VMX outside SMX; locked it stays as it is until a reset."""
    if cpu.msr.get(index.IA32_FEATURE_CONTROL, 0) & _LOCK or value & ~VMX_ON:
        raise GP(0)
    cpu.msr[index.IA32_FEATURE_CONTROL] = value


def _write_debugctl(cpu: Cpu, value: int) -> None:
    """IA32_DEBUGCTL has BTF alone; LBR, where the model has no last-branch records, may be written and reads 0 (SDM "Last Branch …")."""
    if value & ~DEBUGCTL_KNOWN:
        raise GP(0)
    _store_switched(cpu, index.IA32_DEBUGCTL, value & index.BTF)
    cpu.engine.stop()  # with BTF the run loop lets TCG run single instructions


def _write_xss(cpu: Cpu, value: int) -> None:
    if value:
        raise GP(0)
    cpu.xss = value


def _ignore(_cpu: Cpu, value: int) -> None:
    if value:
        raise GP(0)


_READ: Final[dict[int, Callable[[Cpu], int]]] = {
    index.IA32_TIME_STAMP_COUNTER: _read_tsc,
    index.IA32_APIC_BASE: lambda cpu: int(cpu.devices.lapic.base),
    index.IA32_TSC_ADJUST: lambda cpu: cpu.tsc.adjust,
    index.IA32_TSC_DEADLINE: lambda cpu: int(cpu.devices.lapic.deadline_tsc),
    index.IA32_EFER: lambda cpu: cpu.efer,
    index.IA32_FS_BASE: lambda cpu: cpu.segment_base(FS),
    index.IA32_GS_BASE: lambda cpu: cpu.segment_base(GS),
    index.IA32_PKRS: lambda cpu: cpu.pkrs,
    index.IA32_PAT: lambda cpu: cpu.msr.get(index.IA32_PAT, index.PAT_RESET),
    index.IA32_XSS: lambda cpu: cpu.xss,
    index.IA32_DEBUGCTL: lambda cpu: cpu.msr.get(index.IA32_DEBUGCTL, 0),
    index.IA32_FEATURE_CONTROL: lambda cpu: cpu.msr.get(index.IA32_FEATURE_CONTROL, 0),
}
_WRITE: Final[dict[int, Callable[[Cpu, int], None]]] = {
    index.IA32_DEBUGCTL: _write_debugctl,
    index.IA32_TIME_STAMP_COUNTER: _write_tsc,
    index.IA32_APIC_BASE: _write_apic_base,
    index.IA32_TSC_ADJUST: _write_tsc_adjust,
    index.IA32_TSC_DEADLINE: _write_deadline,
    index.IA32_EFER: _write_efer,
    index.IA32_FS_BASE: _write_base(FS),
    index.IA32_GS_BASE: _write_base(GS),
    index.IA32_PKRS: _write_pkrs,
    index.IA32_PAT: _write_pat,
    index.IA32_XSS: _write_xss,
    index.IA32_FEATURE_CONTROL: _write_feature_control,
    index.IA32_MCG_STATUS: _ignore,
    index.IA32_BIOS_UPDT_TRIG: lambda _cpu, _value: None,  # a microcode update: there is none to take
}
