"""The lists of MSRs that VM entries and exits load and store, and VMX aborts (SDM "Loading MSRs", "Saving MSRs", "VMX Aborts")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from . import msr
from . import msr_index as index
from .faults import GP, Unimplemented
from .registers import U32

if TYPE_CHECKING:
    from ..vmx.vmcs import Vmcs
    from .cpu import Cpu

ABORT_SAVING, ABORT_PDPTES, ABORT_MSRS = 1, 2, 4
_ABORT_INDICATOR: Final = 4  # bytes into a VMCS region
_X2APIC: Final = 8  # bits 31:8 of an MSR's address
MOST_MSRS: Final = 512  # what IA32_VMX_MISC recommends; behind them ours loads none
_ENTRY: Final = 16  # bytes


def load_msrs(cpu: Cpu, address: int, count: int) -> int:
    """Load a list of MSRs; gives which entry, counted from 1, cannot be loaded, or 0."""
    read = cpu.software_memory.read64
    for number in range(count):
        if number == MOST_MSRS:
            return number + 1
        word, value = read(address + _ENTRY * number), read(address + _ENTRY * number + 8)
        which = word & U32
        if word >> 32 or which in {index.IA32_FS_BASE, index.IA32_GS_BASE} or which >> 8 == _X2APIC:
            return number + 1
        try:
            msr.write(cpu, which, value)
        except GP:
            return number + 1
    return 0


def store_msrs(cpu: Cpu, address: int, count: int) -> int:
    """Store a list of MSRs; gives which entry, counted from 1, cannot be stored, or 0."""
    memory = cpu.software_memory
    for number in range(count):
        word = memory.read64(address + _ENTRY * number)
        if word >> 32 or (word & U32) >> 8 == _X2APIC:
            return number + 1
        try:
            value = msr.read(cpu, word & U32)
        except GP:
            return number + 1
        memory.write64(address + _ENTRY * number + 8, value)
    return 0


def abort(cpu: Cpu, vmcs: Vmcs, indicator: int, why: str) -> NoReturn:
    """Write the VMX-abort indicator, behind which a processor is shut down."""
    word = cpu.software_memory.read64(vmcs.address)
    cpu.software_memory.write64(vmcs.address, word & U32 | indicator << 8 * _ABORT_INDICATOR)
    raise Unimplemented(f"the shutdown that follows VMX abort {indicator}: {why}")
