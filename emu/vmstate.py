"""A virtual machine's guest and host from and to a VMCS (SDM "Loading Guest State", "Saving Guest State", "Loading Host State")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.entry import reserved_pdpte
from ..mmu.registers import CR0, CR4, EFER
from ..vmx.controls import Exit
from ..vmx.fields import Field
from ..vmx.guest_checks import guest_pdptes
from .descriptors import UNUSABLE, Segment, Table, intern, null_stack
from .known import Known
from .msr_index import BTF
from .registers import SEGMENT_NAMES
from .second_stage import second_stage_of
from .vmlists import ABORT_PDPTES, abort
from .world import LMA_LME, Registers, World

if TYPE_CHECKING:
    from ..vmx.nonroot import NonRoot
    from ..vmx.rule import Entered
    from ..vmx.vmcs import Vmcs
    from .cpu import Cpu

_CODE64, _CODE32, _DATA, _TSS = 0xA09B, 0xC09B, 0xC093, 0x8B  # access rights
_LIMIT, _TSS_LIMIT, _TABLE_LIMIT = 0xFFFFFFFF, 0x67, 0xFFFF
_DR7, _DR7_CLEAR = 0x400, 0xD000
_GUEST: Final = {
    name: tuple(Field[f"GUEST_{name}_{part}"] for part in ("SELECTOR", "BASE", "LIMIT", "ACCESS"))
    for name in (*SEGMENT_NAMES, "LDTR", "TR")
}
# In the order of `SWITCHED_MSRS`.
_GUEST_MSRS: Final = (
    Field.GUEST_SYSENTER_CS, Field.GUEST_SYSENTER_ESP, Field.GUEST_SYSENTER_EIP, Field.GUEST_PAT, Field.GUEST_DEBUGCTL
)  # fmt: skip
_PDPTES: Final = (Field.GUEST_PDPTE0, Field.GUEST_PDPTE1, Field.GUEST_PDPTE2, Field.GUEST_PDPTE3)
_HOST_SYSENTER: Final = (Field.HOST_SYSENTER_CS, Field.HOST_SYSENTER_ESP, Field.HOST_SYSENTER_EIP)
_PAT, _DEBUGCTL = 3, 4  # in `SWITCHED_MSRS`
# A member read off the class takes 0.1 µs, and each exit asks.
_SAVE_DEBUG, _SAVE_PAT, _SAVE_EFER = Exit.SAVE_DEBUG_CONTROLS.mask, Exit.SAVE_PAT.mask, Exit.SAVE_EFER.mask
_GUEST_DR7, _GUEST_DEBUGCTL, _GUEST_PAT, _GUEST_EFER = (
    Field.GUEST_DR7, Field.GUEST_DEBUGCTL, Field.GUEST_PAT, Field.GUEST_EFER
)  # fmt: skip


# ---- the guest ---------------------------------------------------------------------------------------------------------


def _guest_segment(vmcs: Vmcs, name: str) -> Segment:
    selector, base, limit, access = (vmcs[field] for field in _GUEST[name])
    return intern(Segment(selector, base, limit, access))


def guest_world(cpu: Cpu, entered: Entered, controls: NonRoot) -> World:
    """Make the guest's side of its fields (SDM "Loading Guest State")."""
    vmcs, entry = entered.vmcs, controls.entry
    world = World(Known(), guest=True, vpid=controls.vpid, second=second_stage_of(cpu, controls))
    cr0, efer = vmcs[Field.GUEST_CR0], vmcs[Field.GUEST_EFER] if entry.LOAD_EFER else cpu.efer
    bits = _loaded_of_efer(cr0)
    efer = efer & ~bits | (bits if controls.long else 0)
    world.segments = tuple(_guest_segment(vmcs, name) for name in SEGMENT_NAMES)
    world.registers = Registers(
        cr0,
        vmcs[Field.GUEST_CR3],
        vmcs[Field.GUEST_CR4],
        efer,
        guest_pdptes(entered) or cpu.pdptes,
        vmcs[Field.GUEST_PKRS] if entry.LOAD_PKRS else cpu.pkrs,
        world.segments[2].dpl,
        Table(vmcs[Field.GUEST_GDTR_BASE], vmcs[Field.GUEST_GDTR_LIMIT]),
        Table(vmcs[Field.GUEST_IDTR_BASE], vmcs[Field.GUEST_IDTR_LIMIT]),
        _guest_segment(vmcs, "LDTR"),
        _guest_segment(vmcs, "TR"),
    )
    world.dr7 = vmcs[Field.GUEST_DR7] & ~_DR7_CLEAR | _DR7
    world.msrs = (*(vmcs[field] for field in _GUEST_MSRS[:_DEBUGCTL]), vmcs[Field.GUEST_DEBUGCTL] & BTF)
    world.loads = guest_loads(controls)
    return world


def guest_loads(controls: NonRoot) -> tuple[bool, ...]:
    """Tell which MSRs an entry loads, in the order of `SWITCHED_MSRS`."""
    return True, True, True, bool(controls.entry.LOAD_PAT), bool(controls.entry.LOAD_DEBUG_CONTROLS)


def _loaded_of_efer(cr0: int) -> int:
    """Give the bits of EFER that an entry sets as the control IA32E_MODE_GUEST says; LME only where it loads CR0.PG."""
    return LMA_LME if cr0 & CR0.PG.mask else EFER.LMA.mask


def still_holds(cpu: Cpu, world: World, controls: NonRoot) -> bool:
    """Tell whether what an entry does not load is in the processor as it was when the guest exited."""
    entry = controls.entry
    kept = ~_loaded_of_efer(world.registers.cr0)
    return bool(entry.LOAD_EFER or not (cpu.efer ^ world.registers.efer) & kept) and bool(
        entry.LOAD_PKRS or cpu.pkrs == world.registers.pkrs
    )


def save_pdptes(vmcs: Vmcs, world: World) -> None:
    """Write the PDPTEs of a guest with PAE paging and an EPT to a VMCS."""
    for field, value in zip(_PDPTES, world.registers.pdptes, strict=True):
        dict.__setitem__(vmcs, field, value)


def save_by_control(vmcs: Vmcs, world: World, controls: NonRoot) -> None:
    """Write to a VMCS what an exit saves only where a control says so."""
    put, saves = dict.__setitem__, controls.exit
    if saves & _SAVE_DEBUG:
        put(vmcs, _GUEST_DR7, world.dr7)
        put(vmcs, _GUEST_DEBUGCTL, world.msrs[_DEBUGCTL])
    if saves & _SAVE_PAT:
        put(vmcs, _GUEST_PAT, world.msrs[_PAT])
    if saves & _SAVE_EFER:
        put(vmcs, _GUEST_EFER, world.registers.efer)


# ---- the host ----------------------------------------------------------------------------------------------------------


def host_world(cpu: Cpu, vmcs: Vmcs, controls: NonRoot) -> World:
    """Make the host's side of its fields (SDM "Loading Host State")."""
    exit_ = controls.exit
    long = bool(exit_.HOST_ADDRESS_SPACE_SIZE)
    cr0, cr3 = vmcs[Field.HOST_CR0], vmcs[Field.HOST_CR3]
    cr4 = vmcs[Field.HOST_CR4] | CR4.PAE.mask if long else vmcs[Field.HOST_CR4] & ~CR4.PCIDE.mask
    efer = vmcs[Field.HOST_EFER] if exit_.LOAD_EFER else cpu.efer
    pae = not long and cr0 & CR0.PG.mask and cr4 & CR4.PAE.mask
    outer = controls.outer
    if outer is None:
        world = World(Known(), guest=False)
    else:
        world = World(Known(), guest=True, vpid=outer.vpid, second=second_stage_of(cpu, outer))
    world.registers = Registers(
        cr0,
        cr3,
        cr4,
        efer & ~LMA_LME | (LMA_LME if long else 0),
        _host_pdptes(cpu, vmcs, cr3) if pae else cpu.pdptes,
        vmcs[Field.HOST_PKRS] if exit_.LOAD_PKRS else cpu.pkrs,
        0,
        Table(vmcs[Field.HOST_GDTR_BASE], _TABLE_LIMIT),
        Table(vmcs[Field.HOST_IDTR_BASE], _TABLE_LIMIT),
        Segment(0, 0, 0, UNUSABLE),
        Segment(vmcs[Field.HOST_TR_SELECTOR], vmcs[Field.HOST_TR_BASE], _TSS_LIMIT, _TSS),
    )
    world.dr7 = _DR7
    world.msrs = (*(vmcs[field] for field in _HOST_SYSENTER), vmcs[Field.HOST_PAT], 0)
    world.loads = True, True, True, bool(exit_.LOAD_PAT), True
    world.segments = _host_segments(vmcs, long=long)
    return world


def host_still_holds(cpu: Cpu, world: World, controls: NonRoot) -> bool:
    """Tell whether the host that was made of a VMCS's fields is what an exit would make of them now."""
    exit_ = controls.exit
    return bool(exit_.LOAD_EFER or not (cpu.efer ^ world.registers.efer) & ~LMA_LME) and bool(
        exit_.LOAD_PKRS or cpu.pkrs == world.registers.pkrs
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


def _host_pdptes(cpu: Cpu, vmcs: Vmcs, cr3: int) -> tuple[int, int, int, int]:
    """Give the PDPTEs of a host with PAE paging (SDM "Checking and Loading Host Page-Directory-Pointer-Table Entries")."""
    table, read = cr3 & 0xFFFFFFE0, cpu.software_memory.read64
    found = read(table), read(table + 8), read(table + 16), read(table + 24)
    if any(entry & 1 and entry & reserved_pdpte(cpu.features.maxphyaddr) for entry in found):
        abort(cpu, vmcs, ABORT_PDPTES, "a reserved bit of the host's PDPTEs is set")
    return found
