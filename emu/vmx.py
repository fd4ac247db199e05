"""VM entry and VM exit: the processor's state from and to the VMCS (SDM "VM Entries", "VM Exits")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve

from ..mmu.entry import reserved_pdpte
from ..mmu.registers import CR0, CR4, EFER
from ..vmx.control_checks import CONTROLS
from ..vmx.controls import Exit, Primary, Secondary
from ..vmx.errors import InstructionError, VmFail
from ..vmx.fields import Field
from ..vmx.guest_checks import GUEST
from ..vmx.host_checks import HOST
from ..vmx.rule import Entered, first_broken
from ..vmx.words import Activity, Interruptibility
from . import msr
from . import msr_index as index
from .descriptors import UNUSABLE, Segment, Table, intern, null_stack
from .faults import GP, Unimplemented
from .registers import RSP

if TYPE_CHECKING:
    from ..vmx.operation import Operation
    from ..vmx.vmcs import Vmcs
    from .cpu import Cpu
    from .state import State

INVALID_GUEST_STATE: Final = 33  # basic exit reasons (SDM "VMX Basic Exit Reasons")
ENTRY_FAILED: Final = 1 << 31  # in the exit reason
# VMX aborts (SDM "VMX Aborts").
ABORT_PDPTES, ABORT_MSRS = 2, 4
_ABORT_INDICATOR: Final = 4  # bytes into a VMCS region
# The bits of CR0 that a VM exit loads (SDM "Loading Host Control Registers, Debug Registers, MSRs").
_CR0_LOADED: Final = sum(CR0.fields[name].mask for name in ("PE", "MP", "EM", "TS", "NE", "WP", "AM", "PG"))
_LMA_LME: Final = EFER.LMA.mask | EFER.LME.mask
_CODE64, _CODE32, _DATA, _TSS = 0xA09B, 0xC09B, 0xC093, 0x8B  # access rights
_LIMIT, _TSS_LIMIT, _TABLE_LIMIT = 0xFFFFFFFF, 0x67, 0xFFFF
_VPID, _SECONDARY = Secondary.VPID.mask, Primary.SECONDARY_CONTROLS.mask
_DR7: Final = 0x400
_U32: Final = 0xFFFFFFFF
_X2APIC: Final = 8  # bits 31:8 of an MSR's address


def enter(cpu: Cpu, operation: Operation, vmcs: Vmcs) -> None:
    """Check a VM entry: `VmFail` for controls and host state, a failed entry for guest state, and `Unimplemented` where it succeeds."""
    entered = Entered(vmcs, operation.caps, cpu.memory, long_mode=cpu.long_mode)
    for rules, error in ((CONTROLS, InstructionError.ENTRY_CONTROLS), (HOST, InstructionError.ENTRY_HOST_STATE)):
        operation.refused = first_broken(rules, entered)
        if operation.refused is not None:
            raise VmFail(error)
    operation.refused = first_broken(GUEST, entered)
    if operation.refused is None:
        raise Unimplemented("VM entry is not built yet; this one passes all its checks")
    fail_entry(cpu, vmcs, INVALID_GUEST_STATE, operation.refused.qualification)


def fail_entry(cpu: Cpu, vmcs: Vmcs, reason: int, qualification: int) -> None:
    """End an entry as a VM exit that saves no guest state (SDM "VM-Entry Failures During or After Loading Guest State")."""
    vmcs[Field.EXIT_REASON] = reason | ENTRY_FAILED
    vmcs[Field.EXIT_QUALIFICATION] = qualification
    load_host(cpu, vmcs)


# ---- host state --------------------------------------------------------------------------------------------------------


def load_host(cpu: Cpu, vmcs: Vmcs) -> None:
    """Load the host state, and the MSRs of the VM-exit MSR-load list (SDM "Loading Host State", "Loading MSRs")."""
    cpu.load(host_state(cpu, vmcs))
    if not (vmcs[Field.PRIMARY_CONTROLS] & _SECONDARY and vmcs[Field.SECONDARY_CONTROLS] & _VPID):
        cpu.translation.flush_all()
    failed = load_msrs(cpu, vmcs[Field.EXIT_MSR_LOAD_ADDRESS], vmcs[Field.EXIT_MSR_LOAD_COUNT])
    if failed:
        abort(cpu, vmcs, ABORT_MSRS, f"entry {failed} of the VM-exit MSR-load list cannot be loaded")


def host_state(cpu: Cpu, vmcs: Vmcs) -> State:
    """Give the state that a VM exit leaves."""
    state, controls = cpu.state(), Exit(vmcs[Field.EXIT_CONTROLS])
    long = bool(controls.HOST_ADDRESS_SPACE_SIZE)
    cr0 = state.cr0 & ~_CR0_LOADED | vmcs[Field.HOST_CR0] & _CR0_LOADED
    cr4 = vmcs[Field.HOST_CR4] | CR4.PAE.mask if long else vmcs[Field.HOST_CR4] & ~CR4.PCIDE.mask
    efer = vmcs[Field.HOST_EFER] if controls.LOAD_EFER else state.efer
    msrs = state.msrs | {
        index.IA32_DEBUGCTL: 0,
        index.IA32_SYSENTER_CS: vmcs[Field.HOST_SYSENTER_CS],
        index.IA32_SYSENTER_ESP: vmcs[Field.HOST_SYSENTER_ESP],
        index.IA32_SYSENTER_EIP: vmcs[Field.HOST_SYSENTER_EIP],
    }
    if controls.LOAD_PAT:
        msrs[index.IA32_PAT] = vmcs[Field.HOST_PAT]
    registers = list(state.registers)
    registers[RSP] = vmcs[Field.HOST_RSP]
    return evolve(
        state,
        registers=registers,
        rip=vmcs[Field.HOST_RIP],
        rflags=2,
        cpl=0,
        cr0=cr0,
        cr3=vmcs[Field.HOST_CR3],
        cr4=cr4,
        efer=efer & ~_LMA_LME | (_LMA_LME if long else 0),
        pdptes=_host_pdptes(cpu, vmcs, cr0, cr4, state.pdptes, long=long),
        pkrs=vmcs[Field.HOST_PKRS] if controls.LOAD_PKRS else state.pkrs,
        dr=(*state.dr[:7], _DR7),
        msrs=msrs,
        segments=_host_segments(vmcs, long=long),
        ldtr=Segment(0, 0, 0, UNUSABLE),
        tr=Segment(vmcs[Field.HOST_TR_SELECTOR], vmcs[Field.HOST_TR_BASE], _TSS_LIMIT, _TSS),
        gdtr=Table(vmcs[Field.HOST_GDTR_BASE], _TABLE_LIMIT),
        idtr=Table(vmcs[Field.HOST_IDTR_BASE], _TABLE_LIMIT),
        interruptibility=Interruptibility(state.interruptibility & Interruptibility.NMI.mask),
        activity=Activity.ACTIVE,
    )


def _host_segments(vmcs: Vmcs, *, long: bool) -> tuple[Segment, ...]:
    """Give ES, CS, SS, DS, FS and GS (SDM "Loading Host Segment and Descriptor-Table Registers")."""
    code = intern(Segment(vmcs[Field.HOST_CS_SELECTOR], 0, _LIMIT, _CODE64 if long else _CODE32))

    def data(selector: int, base: int = 0) -> Segment:
        return intern(Segment(selector, base, _LIMIT, _DATA) if selector else Segment(0, base, 0, UNUSABLE))

    stack = vmcs[Field.HOST_SS_SELECTOR]
    return (
        data(vmcs[Field.HOST_ES_SELECTOR]),
        code,
        data(stack) if stack else null_stack(0),
        data(vmcs[Field.HOST_DS_SELECTOR]),
        data(vmcs[Field.HOST_FS_SELECTOR], vmcs[Field.HOST_FS_BASE]),
        data(vmcs[Field.HOST_GS_SELECTOR], vmcs[Field.HOST_GS_BASE]),
    )


def _host_pdptes(
    cpu: Cpu, vmcs: Vmcs, cr0: int, cr4: int, before: tuple[int, int, int, int], *, long: bool
) -> tuple[int, int, int, int]:
    """Give the PDPTEs of a host with PAE paging (SDM "Checking and Loading Host Page-Directory-Pointer-Table Entries")."""
    if long or not (cr0 & CR0.PG.mask and cr4 & CR4.PAE.mask):
        return before
    table, read = vmcs[Field.HOST_CR3] & 0xFFFFFFE0, cpu.memory.read64
    found = read(table), read(table + 8), read(table + 16), read(table + 24)
    if any(entry & 1 and entry & reserved_pdpte(cpu.features.maxphyaddr) for entry in found):
        abort(cpu, vmcs, ABORT_PDPTES, "a reserved bit of the host's PDPTEs is set")
    return found


def load_msrs(cpu: Cpu, address: int, count: int) -> int:
    """Load a list of MSRs; gives which entry, counted from 1, cannot be loaded, or 0 (SDM "Loading MSRs")."""
    read = cpu.memory.read64
    for number in range(count):
        word, value = read(address + 16 * number), read(address + 16 * number + 8)
        which = word & _U32
        if word >> 32 or which in {index.IA32_FS_BASE, index.IA32_GS_BASE} or which >> 8 == _X2APIC:
            return number + 1
        try:
            msr.write(cpu, which, value)
        except GP:
            return number + 1
    return 0


def abort(cpu: Cpu, vmcs: Vmcs, indicator: int, why: str) -> None:
    """Write the VMX-abort indicator, behind which a processor is shut down (SDM "VMX Aborts")."""
    word = cpu.memory.read64(vmcs.address)
    cpu.memory.write64(vmcs.address, word & _U32 | indicator << 8 * _ABORT_INDICATOR)
    raise Unimplemented(f"the shutdown that follows VMX abort {indicator}: {why}")
