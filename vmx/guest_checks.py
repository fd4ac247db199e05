"""The checks of VM entry on the guest-state area: what is broken ends the entry as a VM exit with reason 33.

SDM "Checks on the Guest State Area"; the segment registers are in `segment_checks`.  The manual leaves the order open.
"""

from __future__ import annotations

from typing import Final

from ..mmu.address import U32
from ..mmu.entry import reserved_pdpte
from ..mmu.registers import CR0, CR4, EFER, RFLAGS
from .caps import REVISION
from .controls import Secondary
from .fields import Field
from .operation import NO_VMCS
from .rule import PAGE_OFFSET, Entered, Rule, bad_pat, not_canonical
from .segment_checks import SEGMENTS
from .vmcs import SHADOW
from .words import AccessRights, Activity, EventType, Interruptibility, PendingDebug

PDPTE_FAILED, LINK_POINTER_FAILED = 2, 4  # exit qualifications
_REGISTERS: Final = "Checks on Guest Control Registers, Debug Registers, and MSRs"
_TABLES: Final = "Checks on Guest Descriptor-Table Registers"
_RIP: Final = "Checks on Guest RIP, RFLAGS, and SSP"
_OTHER: Final = "Checks on Guest Non-Register State"
_PDPTES: Final = "Checks on Guest Page-Directory-Pointer-Table Entries"
_LIMIT_16: Final = 0xFFFF
_PG, _PE, _PAE = CR0.PG.mask, CR0.PE.mask, CR4.PAE.mask
_LMA, _LME = EFER.LMA.mask, EFER.LME.mask
_RFLAGS_ALWAYS: Final = 2
_RFLAGS_RESERVED: Final = ~(RFLAGS.mask() | _RFLAGS_ALWAYS)
_TF, _IF, _VM = RFLAGS.TF.mask, RFLAGS.IF.mask, RFLAGS.VM.mask
_STI, _MOV_SS = Interruptibility.STI.mask, Interruptibility.MOV_SS.mask
_BTF: Final = 2  # in IA32_DEBUGCTL
_SIGNS: Final = frozenset({0, 0xFFFF})  # of bits 63:48
# Events that an activity state lets through: type → vectors, or None for any.
_WAKES: Final[dict[int, dict[int, set[int] | None]]] = {
    Activity.HLT: {
        EventType.EXTERNAL_INTERRUPT: None,
        EventType.NMI: None,
        EventType.HARDWARE_EXCEPTION: {1, 18},
        EventType.OTHER: {0},
    },
    Activity.SHUTDOWN: {EventType.NMI: None, EventType.HARDWARE_EXCEPTION: {18}},
    Activity.WAIT_FOR_SIPI: {},
}


# ---- registers ---------------------------------------------------------------------------------------------------------


def _efer_wrong(e: Entered) -> bool:
    efer = e[Field.GUEST_EFER]
    lma = bool(efer & _LMA)
    return bool(e.entry.LOAD_EFER) and (
        bool(efer & ~e.caps.efer_known)
        or lma != bool(e.entry.IA32E_MODE_GUEST)
        or (bool(e[Field.GUEST_CR0] & _PG) and lma != bool(efer & _LME))
    )


REGISTERS: Final = (
    Rule(
        _REGISTERS,
        "VMX operation supports CR0",
        lambda e: not e.caps.cr0_supported(e[Field.GUEST_CR0], unrestricted=bool(e.secondary.UNRESTRICTED_GUEST)),
    ),
    Rule(_REGISTERS, "paging needs protected mode", lambda e: e[Field.GUEST_CR0] & (_PG | _PE) == _PG),
    Rule(_REGISTERS, "VMX operation supports CR4", lambda e: not e.caps.cr4_supported(e[Field.GUEST_CR4])),
    Rule(
        _REGISTERS,
        "the reserved bits of the IA32_DEBUGCTL that is loaded are 0",
        lambda e: bool(e.entry.LOAD_DEBUG_CONTROLS) and bool(e[Field.GUEST_DEBUGCTL] & ~e.caps.debugctl_known),
    ),
    Rule(
        _REGISTERS,
        "an IA-32e mode guest has paging and CR4.PAE",
        lambda e: bool(e.entry.IA32E_MODE_GUEST) and not (e[Field.GUEST_CR0] & _PG and e[Field.GUEST_CR4] & _PAE),
    ),
    Rule(
        _REGISTERS,
        "PCIDs need an IA-32e mode guest",
        lambda e: not e.entry.IA32E_MODE_GUEST and bool(e[Field.GUEST_CR4] & CR4.PCIDE.mask),
    ),
    Rule(_REGISTERS, "CR3 is within the physical-address width", lambda e: e.caps.beyond(e[Field.GUEST_CR3])),
    Rule(
        _REGISTERS,
        "bits 63:32 of the DR7 that is loaded are 0",
        lambda e: bool(e.entry.LOAD_DEBUG_CONTROLS) and e[Field.GUEST_DR7] > U32,
    ),
    Rule(
        _REGISTERS,
        "IA32_SYSENTER_ESP and IA32_SYSENTER_EIP are canonical",
        not_canonical(Field.GUEST_SYSENTER_ESP, Field.GUEST_SYSENTER_EIP),
    ),
    Rule(
        _REGISTERS,
        "WRMSR would take the IA32_PAT that is loaded",
        lambda e: bool(e.entry.LOAD_PAT) and bad_pat(e[Field.GUEST_PAT]),
    ),
    Rule(_REGISTERS, "the IA32_EFER that is loaded goes with IA-32e mode and paging", _efer_wrong),
    Rule(
        _REGISTERS,
        "bits 63:32 of the IA32_PKRS that is loaded are 0",
        lambda e: bool(e.entry.LOAD_PKRS) and e[Field.GUEST_PKRS] > U32,
    ),
)
TABLES: Final = (
    Rule(
        _TABLES,
        "the bases of GDTR and IDTR are canonical",
        not_canonical(Field.GUEST_GDTR_BASE, Field.GUEST_IDTR_BASE),
    ),
    Rule(
        _TABLES,
        "bits 31:16 of the limits of GDTR and IDTR are 0",
        lambda e: max(e[Field.GUEST_GDTR_LIMIT], e[Field.GUEST_IDTR_LIMIT]) > _LIMIT_16,
    ),
)


# ---- RIP and RFLAGS ----------------------------------------------------------------------------------------------------


def _rip_wrong(e: Entered) -> bool:
    rip = e[Field.GUEST_RIP]
    if e.entry.IA32E_MODE_GUEST and AccessRights(e[Field.GUEST_CS_ACCESS]).L:
        return rip >> 48 not in _SIGNS
    return rip > U32


RIP: Final = (
    Rule(_RIP, "RIP has 32 bits, or in 64-bit mode bits 63:48 all alike", _rip_wrong),
    Rule(
        _RIP,
        "the reserved bits of RFLAGS are as they must be",
        lambda e: bool(e[Field.GUEST_RFLAGS] & _RFLAGS_RESERVED) or not e[Field.GUEST_RFLAGS] & _RFLAGS_ALWAYS,
    ),
    Rule(
        _RIP,
        "virtual-8086 mode is in protected mode and not in IA-32e mode",
        lambda e: (
            bool(e[Field.GUEST_RFLAGS] & _VM) and (bool(e.entry.IA32E_MODE_GUEST) or not e[Field.GUEST_CR0] & _PE)
        ),
    ),
    Rule(
        _RIP,
        "an external interrupt is injected with RFLAGS.IF",
        lambda e: e.injects(EventType.EXTERNAL_INTERRUPT) and not e[Field.GUEST_RFLAGS] & _IF,
    ),
)


# ---- what is in no register --------------------------------------------------------------------------------------------


def _activity_not_offered(e: Entered) -> bool:
    misc = e.caps.misc
    offered = {0: 1, 1: misc.ACTIVITY_HLT, 2: misc.ACTIVITY_SHUTDOWN, 3: misc.ACTIVITY_WAIT_FOR_SIPI}
    return not offered.get(e[Field.GUEST_ACTIVITY])


def _event_blocked(e: Entered) -> bool:
    wakes = _WAKES.get(e[Field.GUEST_ACTIVITY])
    if wakes is None or not e.event.VALID:
        return False
    if e.event.TYPE not in wakes:
        return True
    vectors = wakes[e.event.TYPE]
    return vectors is not None and e.event.VECTOR not in vectors


def _held(e: Entered, bits: int) -> bool:
    return bool(e[Field.GUEST_INTERRUPTIBILITY] & bits)


def _single_step_wrong(e: Entered) -> bool:
    """BS must be what TF and BTF say, where the instruction before has left a shadow, or the processor halts."""
    if not _held(e, _STI | _MOV_SS) and e[Field.GUEST_ACTIVITY] != Activity.HLT:
        return False
    stepping = bool(e[Field.GUEST_RFLAGS] & _TF) and not e[Field.GUEST_DEBUGCTL] & _BTF
    return bool(PendingDebug(e[Field.GUEST_PENDING_DEBUG]).BS) != stepping


def _link_pointer_wrong(e: Entered) -> bool:
    pointer = e[Field.VMCS_LINK_POINTER]
    if pointer == NO_VMCS:
        return False
    if pointer & PAGE_OFFSET or e.caps.beyond(pointer) or pointer == e.vmcs.address:
        return True
    header = e.memory.read64(pointer) & U32
    return header != REVISION | (SHADOW if e.secondary.VMCS_SHADOWING else 0)


OTHER: Final = (
    Rule(_OTHER, "the activity state is one that IA32_VMX_MISC offers", _activity_not_offered),
    Rule(
        _OTHER,
        "the processor halts at CPL 0 only",
        lambda e: e[Field.GUEST_ACTIVITY] == Activity.HLT and AccessRights(e[Field.GUEST_SS_ACCESS]).DPL != 0,
    ),
    Rule(
        _OTHER,
        "behind STI or MOV SS the processor is active",
        lambda e: e[Field.GUEST_ACTIVITY] != Activity.ACTIVE and _held(e, _STI | _MOV_SS),
    ),
    Rule(_OTHER, "the injected event is one that the activity state lets through", _event_blocked),
    Rule(
        _OTHER,
        "the reserved bits of the interruptibility state are 0",
        lambda e: bool(e[Field.GUEST_INTERRUPTIBILITY] & ~Interruptibility.mask()),
    ),
    Rule(
        _OTHER,
        "STI and MOV SS do not both hold events off",
        lambda e: e[Field.GUEST_INTERRUPTIBILITY] & (_STI | _MOV_SS) == _STI | _MOV_SS,
    ),
    Rule(
        _OTHER,
        "STI holds events off with RFLAGS.IF only",
        lambda e: _held(e, _STI) and not e[Field.GUEST_RFLAGS] & _IF,
    ),
    Rule(
        _OTHER,
        "an external interrupt is injected where neither STI nor MOV SS holds it off",
        lambda e: e.injects(EventType.EXTERNAL_INTERRUPT) and _held(e, _STI | _MOV_SS),
    ),
    Rule(
        _OTHER,
        "an NMI is injected where MOV SS does not hold it off",
        lambda e: e.injects(EventType.NMI) and _held(e, _MOV_SS),
    ),
    Rule(_OTHER, "SMIs are not blocked outside system-management mode", lambda e: _held(e, Interruptibility.SMI.mask)),
    Rule(
        _OTHER,
        "an NMI is injected where no virtual NMI is blocked",
        lambda e: bool(e.pin.VIRTUAL_NMIS) and e.injects(EventType.NMI) and _held(e, Interruptibility.NMI.mask),
    ),
    Rule(
        _OTHER,
        "the reserved bits of the pending debug exceptions are 0",
        lambda e: bool(e[Field.GUEST_PENDING_DEBUG] & ~PendingDebug.mask()),
    ),
    Rule(_OTHER, "a pending single step is as RFLAGS.TF and IA32_DEBUGCTL.BTF say", _single_step_wrong),
    Rule(
        _OTHER,
        "the VMCS link pointer is all ones, or another VMCS of the right revision and kind",
        _link_pointer_wrong,
        LINK_POINTER_FAILED,
    ),
)


def guest_pdptes(e: Entered) -> tuple[int, int, int, int] | None:
    """Give the PDPTEs that the entry loads; None where the guest will not use PAE paging."""
    if not (e[Field.GUEST_CR0] & _PG and e[Field.GUEST_CR4] & _PAE) or e.entry.IA32E_MODE_GUEST:
        return None
    if e.secondary & Secondary.EPT.mask:
        return e[Field.GUEST_PDPTE0], e[Field.GUEST_PDPTE1], e[Field.GUEST_PDPTE2], e[Field.GUEST_PDPTE3]
    table, read = e[Field.GUEST_CR3] & 0xFFFFFFE0, e.memory.read64
    return read(table), read(table + 8), read(table + 16), read(table + 24)


def _pdptes_wrong(e: Entered) -> bool:
    reserved = reserved_pdpte(e.caps.maxphyaddr)
    return any(entry & 1 and entry & reserved for entry in guest_pdptes(e) or ())


PDPTES: Final = (Rule(_PDPTES, "the reserved bits of the PDPTEs are 0", _pdptes_wrong, PDPTE_FAILED),)
GUEST: Final = (*REGISTERS, *SEGMENTS, *TABLES, *RIP, *OTHER, *PDPTES)
AT_EACH_ENTRY: Final = (*RIP, *OTHER)  # what of it asks for the fields in `vmcs.EACH_ENTRY`
