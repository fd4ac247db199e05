"""The checks of VM entry on VMX controls: what is broken is VMfailValid(7).  SDM "Checks on VMX Controls".

The manual leaves the order open; this is the manual's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.registers import CR0
from .controls import Entry, Exit, Pin, Primary, Secondary
from .eptp import eptp_refused
from .fields import Field
from .rule import Entered, Rule
from .words import EventType

if TYPE_CHECKING:
    from collections.abc import Callable

_EXECUTION, _EXIT, _ENTRY = "VM-Execution Control Fields", "VM-Exit Control Fields", "VM-Entry Control Fields"
VTPR: Final = 0x80  # in the virtual-APIC page
_MSR_ENTRY: Final = 16  # bytes
_WITH_ERROR_CODE: Final = frozenset({8, 10, 11, 12, 13, 14, 17})
_WITH_LENGTH: Final = (
    EventType.SOFTWARE_INTERRUPT,
    EventType.PRIVILEGED_SOFTWARE_EXCEPTION,
    EventType.SOFTWARE_EXCEPTION,
)
_LONGEST: Final = 15
_RESERVED: Final = 0x7FFFF000  # in the interruption information


def _msr_list(count: Field, address: Field) -> Callable[[Entered], bool]:
    def broken(e: Entered) -> bool:
        first, entries = e[address], e[count]
        return bool(entries) and (
            e.misplaced(address, _MSR_ENTRY - 1) or e.caps.beyond(first + _MSR_ENTRY * entries - 1)
        )

    return broken


def _threshold_above_vtpr(e: Entered) -> bool:
    if not e.primary.TPR_SHADOW:
        return False
    vtpr = e.memory.read64(e[Field.VIRTUAL_APIC_ADDRESS] + VTPR)
    return e[Field.TPR_THRESHOLD] & 0xF > vtpr >> 4 & 0xF


def _vector_inconsistent(e: Entered) -> bool:
    kind, vector = e.event.TYPE, e.event.VECTOR
    return bool(e.event.VALID) and (
        (kind == EventType.NMI and vector != 2)
        or (kind == EventType.HARDWARE_EXCEPTION and vector > 31)
        or (kind == EventType.OTHER and vector != 0)
    )


def _error_code_inconsistent(e: Entered) -> bool:
    protected = not e.secondary.UNRESTRICTED_GUEST or e[Field.GUEST_CR0] & CR0.PE.mask
    has = protected and e.event.TYPE == EventType.HARDWARE_EXCEPTION and e.event.VECTOR in _WITH_ERROR_CODE
    return bool(e.event.VALID) and bool(e.event.DELIVER_ERROR_CODE) != bool(has)


def _length_wrong(e: Entered) -> bool:
    length = e[Field.ENTRY_INSTRUCTION_LENGTH]
    return e.injects(*_WITH_LENGTH) and (length > _LONGEST or not (length or e.caps.misc.INJECT_LENGTH_0))


EXECUTION: Final = (
    Rule(
        _EXECUTION,
        "the reserved bits of the pin-based controls are as the capability MSRs say",
        lambda e: e.caps.reserved_wrong(Pin, e.pin),
    ),
    Rule(
        _EXECUTION,
        "the reserved bits of the primary controls are as the capability MSRs say",
        lambda e: e.caps.reserved_wrong(Primary, e.primary),
    ),
    Rule(
        _EXECUTION,
        "the reserved bits of the secondary controls are 0",
        lambda e: e.caps.reserved_wrong(Secondary, e.secondary),
    ),
    Rule(
        _EXECUTION,
        "the CR3-target count is at most what IA32_VMX_MISC says",
        lambda e: e[Field.CR3_TARGET_COUNT] > e.caps.misc.CR3_TARGETS,
    ),
    Rule(
        _EXECUTION,
        "the I/O-bitmap addresses are page-aligned physical addresses",
        lambda e: bool(e.primary.IO_BITMAPS) and (e.misplaced(Field.IO_BITMAP_A) or e.misplaced(Field.IO_BITMAP_B)),
    ),
    Rule(
        _EXECUTION,
        "the MSR-bitmap address is a page-aligned physical address",
        lambda e: bool(e.primary.MSR_BITMAPS) and e.misplaced(Field.MSR_BITMAP),
    ),
    Rule(
        _EXECUTION,
        "the virtual-APIC address is a page-aligned physical address",
        lambda e: bool(e.primary.TPR_SHADOW) and e.misplaced(Field.VIRTUAL_APIC_ADDRESS),
    ),
    Rule(
        _EXECUTION,
        "bits 31:4 of the TPR threshold are 0",
        lambda e: bool(e.primary.TPR_SHADOW) and bool(e[Field.TPR_THRESHOLD] >> 4),
    ),
    Rule(_EXECUTION, "the TPR threshold is not above bits 7:4 of VTPR", _threshold_above_vtpr),
    Rule(
        _EXECUTION,
        "virtual NMIs need NMI exiting",
        lambda e: bool(e.pin.VIRTUAL_NMIS) and not e.pin.NMI_EXITING,
    ),
    Rule(
        _EXECUTION,
        "NMI-window exiting needs virtual NMIs",
        lambda e: bool(e.primary.NMI_WINDOW_EXITING) and not e.pin.VIRTUAL_NMIS,
    ),
    Rule(_EXECUTION, "the VPID is not 0", lambda e: bool(e.secondary.VPID) and not e[Field.VPID]),
    Rule(
        _EXECUTION,
        "the EPTP is one that IA32_VMX_EPT_VPID_CAP offers",
        lambda e: bool(e.secondary.EPT) and eptp_refused(e[Field.EPT_POINTER], e.caps),
    ),
    Rule(_EXECUTION, "PML needs EPT", lambda e: bool(e.secondary.PML) and not e.secondary.EPT),
    Rule(
        _EXECUTION,
        "the PML address is a page-aligned physical address",
        lambda e: bool(e.secondary.PML) and e.misplaced(Field.PML_ADDRESS),
    ),
    Rule(
        _EXECUTION,
        "unrestricted guest needs EPT",
        lambda e: bool(e.secondary.UNRESTRICTED_GUEST) and not e.secondary.EPT,
    ),
    Rule(
        _EXECUTION,
        "mode-based execute control needs EPT",
        lambda e: bool(e.secondary.MODE_BASED_EXECUTE) and not e.secondary.EPT,
    ),
    Rule(
        _EXECUTION,
        "the VMREAD-bitmap and VMWRITE-bitmap addresses are page-aligned physical addresses",
        lambda e: (
            bool(e.secondary.VMCS_SHADOWING) and (e.misplaced(Field.VMREAD_BITMAP) or e.misplaced(Field.VMWRITE_BITMAP))
        ),
    ),
)
EXIT: Final = (
    Rule(
        _EXIT,
        "the reserved bits of the VM-exit controls are as the capability MSRs say",
        lambda e: e.caps.reserved_wrong(Exit, e.exit),
    ),
    Rule(
        _EXIT,
        "saving the preemption timer needs the timer",
        lambda e: bool(e.exit.SAVE_PREEMPTION_TIMER) and not e.pin.PREEMPTION_TIMER,
    ),
    Rule(
        _EXIT,
        "the VM-exit MSR-store area is aligned and within the physical-address width",
        _msr_list(Field.EXIT_MSR_STORE_COUNT, Field.EXIT_MSR_STORE_ADDRESS),
    ),
    Rule(
        _EXIT,
        "the VM-exit MSR-load area is aligned and within the physical-address width",
        _msr_list(Field.EXIT_MSR_LOAD_COUNT, Field.EXIT_MSR_LOAD_ADDRESS),
    ),
)
EVENT: Final = (
    Rule(_ENTRY, "the type of the injected event is not reserved", lambda e: e.injects(1)),
    Rule(_ENTRY, "the vector of the injected event is one of its type", _vector_inconsistent),
    Rule(_ENTRY, "an error code is delivered exactly with an exception that has one", _error_code_inconsistent),
    Rule(
        _ENTRY,
        "the reserved bits of the interruption information are 0",
        lambda e: bool(e.event.VALID) and bool(e.event & _RESERVED),
    ),
    Rule(
        _ENTRY,
        "bits 31:16 of the error code are 0",
        lambda e: bool(e.event.VALID and e.event.DELIVER_ERROR_CODE) and bool(e[Field.ENTRY_ERROR_CODE] >> 16),
    ),
    Rule(_ENTRY, "the instruction length of the injected event is one of an instruction", _length_wrong),
)
ENTRY: Final = (
    Rule(
        _ENTRY,
        "the reserved bits of the VM-entry controls are as the capability MSRs say",
        lambda e: e.caps.reserved_wrong(Entry, e.entry),
    ),
    *EVENT,
    Rule(
        _ENTRY,
        "the VM-entry MSR-load area is aligned and within the physical-address width",
        _msr_list(Field.ENTRY_MSR_LOAD_COUNT, Field.ENTRY_MSR_LOAD_ADDRESS),
    ),
)
CONTROLS: Final = (*EXECUTION, *EXIT, *ENTRY)
