"""The processor's state from and to a VMCS: guest state in and out, host state in (SDM "VM Entries", "VM Exits")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve

from ..mmu.entry import reserved_pdpte
from ..mmu.registers import CR0, CR4, EFER, RFLAGS
from ..vmx.controls import Entry, Exit, Primary
from ..vmx.fields import Field
from ..vmx.guest_checks import guest_pdptes
from ..vmx.words import Activity, Interruptibility
from . import msr_index as index
from .descriptors import UNUSABLE, Segment, Table, intern, null_stack
from .registers import RSP
from .state import capture
from .vmlists import ABORT_PDPTES, abort

if TYPE_CHECKING:
    from ..vmx.rule import Entered
    from ..vmx.vmcs import Vmcs
    from .cpu import Cpu
    from .state import State

# The bits of CR0 that entries and exits load (SDM "Loading Guest Control Registers …", "Loading Host Control Registers …").
_CR0_LOADED: Final = sum(CR0.fields[name].mask for name in ("PE", "MP", "EM", "TS", "NE", "WP", "AM", "PG"))
_LMA_LME: Final = EFER.LMA.mask | EFER.LME.mask
_CODE64, _CODE32, _DATA, _TSS = 0xA09B, 0xC09B, 0xC093, 0x8B  # access rights
_LIMIT, _TSS_LIMIT, _TABLE_LIMIT = 0xFFFFFFFF, 0x67, 0xFFFF
_DR7, _DR7_CLEAR = 0x400, 0xD000
_RF: Final = RFLAGS.RF.mask
_ACCESS: Final = 0x1F0FF  # of access rights that are kept
_NAMES: Final = ("ES", "CS", "SS", "DS", "FS", "GS")
_GUEST: Final = {
    name: tuple(Field[f"GUEST_{name}_{part}"] for part in ("SELECTOR", "BASE", "LIMIT", "ACCESS"))
    for name in (*_NAMES, "LDTR", "TR")
}
_SYSENTER: Final = (index.IA32_SYSENTER_CS, index.IA32_SYSENTER_ESP, index.IA32_SYSENTER_EIP)
_GUEST_SYSENTER: Final = (Field.GUEST_SYSENTER_CS, Field.GUEST_SYSENTER_ESP, Field.GUEST_SYSENTER_EIP)
_HOST_SYSENTER: Final = (Field.HOST_SYSENTER_CS, Field.HOST_SYSENTER_ESP, Field.HOST_SYSENTER_EIP)


# ---- the guest ---------------------------------------------------------------------------------------------------------


def _guest_segment(vmcs: Vmcs, name: str) -> Segment:
    selector, base, limit, access = (vmcs[field] for field in _GUEST[name])
    return intern(Segment(selector, base, limit, access))


def guest_state(cpu: Cpu, entered: Entered, *, halts: bool) -> State:
    """Give the state that VM entry leaves (SDM "Loading Guest State"); `halts` where no event is injected."""
    state, vmcs, entry = capture(cpu, in_vmx=True), entered.vmcs, entered.entry
    long = bool(entry.IA32E_MODE_GUEST)
    cr0 = state.cr0 & ~_CR0_LOADED | vmcs[Field.GUEST_CR0] & _CR0_LOADED
    efer = vmcs[Field.GUEST_EFER] if entry.LOAD_EFER else state.efer
    if cr0 & CR0.PG.mask:
        efer = efer & ~_LMA_LME | (_LMA_LME if long else 0)
    msrs = state.msrs | {which: vmcs[field] for which, field in zip(_SYSENTER, _GUEST_SYSENTER, strict=True)}
    if entry.LOAD_DEBUG_CONTROLS:
        msrs[index.IA32_DEBUGCTL] = vmcs[Field.GUEST_DEBUGCTL]
    if entry.LOAD_PAT:
        msrs[index.IA32_PAT] = vmcs[Field.GUEST_PAT]
    registers = list(state.registers)
    registers[RSP] = vmcs[Field.GUEST_RSP]
    segments = [_guest_segment(vmcs, name) for name in _NAMES]
    pdptes = guest_pdptes(entered)
    offsets = entered.primary & Primary.TSC_OFFSETTING.mask
    halted = halts and vmcs[Field.GUEST_ACTIVITY] == Activity.HLT
    return evolve(
        state,
        registers=registers,
        rip=vmcs[Field.GUEST_RIP],
        rflags=vmcs[Field.GUEST_RFLAGS],
        cpl=segments[2].dpl,
        cr0=cr0,
        cr3=vmcs[Field.GUEST_CR3],
        cr4=vmcs[Field.GUEST_CR4],
        efer=efer,
        pdptes=state.pdptes if pdptes is None else pdptes,
        pkrs=vmcs[Field.GUEST_PKRS] if entry.LOAD_PKRS else state.pkrs,
        dr=(*state.dr[:7], vmcs[Field.GUEST_DR7] & ~_DR7_CLEAR | _DR7 if entry.LOAD_DEBUG_CONTROLS else state.dr[7]),
        msrs=msrs,
        segments=segments,
        ldtr=_guest_segment(vmcs, "LDTR"),
        tr=_guest_segment(vmcs, "TR"),
        gdtr=Table(vmcs[Field.GUEST_GDTR_BASE], vmcs[Field.GUEST_GDTR_LIMIT]),
        idtr=Table(vmcs[Field.GUEST_IDTR_BASE], vmcs[Field.GUEST_IDTR_LIMIT]),
        tsc_offset=vmcs[Field.TSC_OFFSET] if offsets else 0,
        interruptibility=Interruptibility(vmcs[Field.GUEST_INTERRUPTIBILITY]),
        activity=Activity.HLT if halted else Activity.ACTIVE,
    )


def save_guest(cpu: Cpu, vmcs: Vmcs, *, fault: bool) -> None:
    """Write the guest's state to the VMCS (SDM "Saving Guest State"); `fault` as in `VmExit`."""
    state, controls = capture(cpu, in_vmx=True), Exit(vmcs[Field.EXIT_CONTROLS])
    vmcs[Field.ENTRY_CONTROLS] = Entry(vmcs[Field.ENTRY_CONTROLS]).replace(
        IA32E_MODE_GUEST=state.efer >> EFER.LMA.shift & 1
    )
    vmcs[Field.GUEST_CR0], vmcs[Field.GUEST_CR3], vmcs[Field.GUEST_CR4] = state.cr0, state.cr3, state.cr4
    for which, field in zip(_SYSENTER, _GUEST_SYSENTER, strict=True):
        vmcs[field] = state.msrs.get(which, 0)
    if controls.SAVE_DEBUG_CONTROLS:
        vmcs[Field.GUEST_DR7] = state.dr[7]
        vmcs[Field.GUEST_DEBUGCTL] = state.msrs.get(index.IA32_DEBUGCTL, 0)
    if controls.SAVE_PAT:
        vmcs[Field.GUEST_PAT] = state.msrs.get(index.IA32_PAT, index.PAT_RESET)
    if controls.SAVE_EFER:
        vmcs[Field.GUEST_EFER] = state.efer
    vmcs[Field.GUEST_PKRS] = state.pkrs
    registers = dict(zip(_NAMES, state.segments, strict=True)) | {"LDTR": state.ldtr, "TR": state.tr}
    for name, segment in registers.items():
        values = segment.selector, segment.base, segment.limit, segment.access & _ACCESS
        for field, value in zip(_GUEST[name], values, strict=True):
            vmcs[field] = value
    vmcs[Field.GUEST_GDTR_BASE], vmcs[Field.GUEST_GDTR_LIMIT] = state.gdtr
    vmcs[Field.GUEST_IDTR_BASE], vmcs[Field.GUEST_IDTR_LIMIT] = state.idtr
    vmcs[Field.GUEST_RIP], vmcs[Field.GUEST_RSP] = state.rip, state.registers[RSP]
    vmcs[Field.GUEST_RFLAGS] = state.rflags | (_RF if fault else 0)
    vmcs[Field.GUEST_INTERRUPTIBILITY] = int(state.interruptibility)
    vmcs[Field.GUEST_ACTIVITY] = int(state.activity)
    vmcs[Field.GUEST_PENDING_DEBUG] = 0


# ---- the host ----------------------------------------------------------------------------------------------------------


def host_state(cpu: Cpu, vmcs: Vmcs) -> State:
    """Give the state that a VM exit leaves."""
    state, controls = capture(cpu, in_vmx=True), Exit(vmcs[Field.EXIT_CONTROLS])
    long = bool(controls.HOST_ADDRESS_SPACE_SIZE)
    cr0 = state.cr0 & ~_CR0_LOADED | vmcs[Field.HOST_CR0] & _CR0_LOADED
    cr4 = vmcs[Field.HOST_CR4] | CR4.PAE.mask if long else vmcs[Field.HOST_CR4] & ~CR4.PCIDE.mask
    efer = vmcs[Field.HOST_EFER] if controls.LOAD_EFER else state.efer
    msrs = state.msrs | {
        index.IA32_DEBUGCTL: 0,
        **{which: vmcs[field] for which, field in zip(_SYSENTER, _HOST_SYSENTER, strict=True)},
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
        tsc_offset=0,
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
