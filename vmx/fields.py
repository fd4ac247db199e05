"""Every VMCS field: its encoding, its name and what it holds (SDM "Field Encoding in VMCS").

::

    14 13 12 11 10 9                        1 0
    ┌─────┬──┬─────┬─────────────────────────┬─┐   width 0: 16 bits, 1: 64, 2: 32, 3: natural
    │width│ 0│type │ index                   │A│   type  0: control, 1: read-only data, 2: guest state, 3: host state
    └─────┴──┴─────┴─────────────────────────┴─┘   A: the upper half of a 64-bit field
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, Self

from .controls import Entry, Exit, Pin, Primary, Secondary

if TYPE_CHECKING:
    from ..mmu.word import Bits

HIGH: Final = 1  # the access type, in an encoding
_WIDTHS: Final = (16, 64, 32, 64)
CONTROL, READ_ONLY, GUEST, HOST = range(4)


class Field(IntEnum):
    """A field; its value is its encoding, for the access of the full field.

    Attributes:
        doc: what it holds.
        needs: the control without which a processor has no such field, if there is one.

    """

    doc: str
    needs: tuple[Bits, ...]

    def __new__(cls, encoding: int, doc: str, *needs: Bits) -> Self:
        """Make a member."""
        member = int.__new__(cls, encoding)
        member._value_ = encoding
        member.doc = doc
        member.needs = needs
        return member

    @property
    def bits(self) -> int:
        """Its width: 16, 32 or 64; natural width is 64."""
        return _WIDTHS[self >> 13]

    @property
    def natural(self) -> bool:
        """Its width is that of the processor."""
        return self >> 13 == 3

    @property
    def type(self) -> int:
        """CONTROL, READ_ONLY, GUEST or HOST."""
        return self >> 10 & 3

    @property
    def index(self) -> int:
        """Its index among those of its width and type."""
        return self >> 1 & 0x1FF

    # 16-bit control fields
    VPID = 0x0000, "virtual-processor identifier", Secondary.VPID
    # 16-bit guest-state fields
    GUEST_ES_SELECTOR = 0x0800, "ES selector"
    GUEST_CS_SELECTOR = 0x0802, "CS selector"
    GUEST_SS_SELECTOR = 0x0804, "SS selector"
    GUEST_DS_SELECTOR = 0x0806, "DS selector"
    GUEST_FS_SELECTOR = 0x0808, "FS selector"
    GUEST_GS_SELECTOR = 0x080A, "GS selector"
    GUEST_LDTR_SELECTOR = 0x080C, "LDTR selector"
    GUEST_TR_SELECTOR = 0x080E, "TR selector"
    GUEST_PML_INDEX = 0x0812, "next entry of the page-modification log", Secondary.PML
    # 16-bit host-state fields
    HOST_ES_SELECTOR = 0x0C00, "ES selector"
    HOST_CS_SELECTOR = 0x0C02, "CS selector"
    HOST_SS_SELECTOR = 0x0C04, "SS selector"
    HOST_DS_SELECTOR = 0x0C06, "DS selector"
    HOST_FS_SELECTOR = 0x0C08, "FS selector"
    HOST_GS_SELECTOR = 0x0C0A, "GS selector"
    HOST_TR_SELECTOR = 0x0C0C, "TR selector"
    # 64-bit control fields
    IO_BITMAP_A = 0x2000, "ports 0 to 7FFFH", Primary.IO_BITMAPS
    IO_BITMAP_B = 0x2002, "ports 8000H to FFFFH", Primary.IO_BITMAPS
    MSR_BITMAP = 0x2004, "which RDMSRs and WRMSRs exit", Primary.MSR_BITMAPS
    EXIT_MSR_STORE_ADDRESS = 0x2006, "MSRs that an exit stores"
    EXIT_MSR_LOAD_ADDRESS = 0x2008, "MSRs that an exit loads"
    ENTRY_MSR_LOAD_ADDRESS = 0x200A, "MSRs that an entry loads"
    EXECUTIVE_VMCS_POINTER = 0x200C, "for the dual-monitor treatment of SMIs"
    PML_ADDRESS = 0x200E, "page-modification log", Secondary.PML
    TSC_OFFSET = 0x2010, "what RDTSC adds", Primary.TSC_OFFSETTING
    VIRTUAL_APIC_ADDRESS = 0x2012, "virtual-APIC page", Primary.TPR_SHADOW
    EPT_POINTER = 0x201A, "EPTP", Secondary.EPT
    VMREAD_BITMAP = 0x2026, "fields whose VMREAD exits", Secondary.VMCS_SHADOWING
    VMWRITE_BITMAP = 0x2028, "fields whose VMWRITE exits", Secondary.VMCS_SHADOWING
    XSS_EXITING_BITMAP = 0x202C, "components whose XSAVES and XRSTORS exit", Secondary.XSAVES
    # 64-bit read-only data field
    GUEST_PHYSICAL_ADDRESS = 0x2400, "of an EPT violation or misconfiguration", Secondary.EPT
    # 64-bit guest-state fields
    VMCS_LINK_POINTER = 0x2800, "shadow VMCS, or all ones"
    GUEST_DEBUGCTL = 0x2802, "IA32_DEBUGCTL"
    GUEST_PAT = 0x2804, "IA32_PAT", Entry.LOAD_PAT
    GUEST_EFER = 0x2806, "IA32_EFER", Entry.LOAD_EFER
    GUEST_PDPTE0 = 0x280A, "PDPTE0 of PAE paging", Secondary.EPT
    GUEST_PDPTE1 = 0x280C, "PDPTE1 of PAE paging", Secondary.EPT
    GUEST_PDPTE2 = 0x280E, "PDPTE2 of PAE paging", Secondary.EPT
    GUEST_PDPTE3 = 0x2810, "PDPTE3 of PAE paging", Secondary.EPT
    GUEST_PKRS = 0x2818, "IA32_PKRS", Entry.LOAD_PKRS
    # 64-bit host-state fields
    HOST_PAT = 0x2C00, "IA32_PAT", Exit.LOAD_PAT
    HOST_EFER = 0x2C02, "IA32_EFER", Exit.LOAD_EFER
    HOST_PKRS = 0x2C06, "IA32_PKRS", Exit.LOAD_PKRS
    # 32-bit control fields
    PIN_CONTROLS = 0x4000, "pin-based VM-execution controls"
    PRIMARY_CONTROLS = 0x4002, "primary processor-based VM-execution controls"
    EXCEPTION_BITMAP = 0x4004, "vectors that exit"
    PFEC_MASK = 0x4006, "page-fault error-code mask"
    PFEC_MATCH = 0x4008, "page-fault error-code match"
    CR3_TARGET_COUNT = 0x400A, "how many CR3-target values count"
    EXIT_CONTROLS = 0x400C, "VM-exit controls"
    EXIT_MSR_STORE_COUNT = 0x400E, "MSRs that an exit stores"
    EXIT_MSR_LOAD_COUNT = 0x4010, "MSRs that an exit loads"
    ENTRY_CONTROLS = 0x4012, "VM-entry controls"
    ENTRY_MSR_LOAD_COUNT = 0x4014, "MSRs that an entry loads"
    ENTRY_INTERRUPTION_INFO = 0x4016, "event to inject"
    ENTRY_ERROR_CODE = 0x4018, "error code of the event to inject"
    ENTRY_INSTRUCTION_LENGTH = 0x401A, "length of the INT n to inject"
    TPR_THRESHOLD = 0x401C, "virtual task priority below which a store exits", Primary.TPR_SHADOW
    SECONDARY_CONTROLS = 0x401E, "secondary processor-based VM-execution controls", Primary.SECONDARY_CONTROLS
    # 32-bit read-only data fields
    INSTRUCTION_ERROR = 0x4400, "VM-instruction error"
    EXIT_REASON = 0x4402, "exit reason"
    EXIT_INTERRUPTION_INFO = 0x4404, "event that exited"
    EXIT_ERROR_CODE = 0x4406, "error code of the event that exited"
    IDT_VECTORING_INFO = 0x4408, "event that was being delivered"
    IDT_VECTORING_ERROR_CODE = 0x440A, "error code of the event that was being delivered"
    EXIT_INSTRUCTION_LENGTH = 0x440C, "length of the instruction that exited"
    EXIT_INSTRUCTION_INFO = 0x440E, "operands of the instruction that exited"
    # 32-bit guest-state fields
    GUEST_ES_LIMIT = 0x4800, "ES limit"
    GUEST_CS_LIMIT = 0x4802, "CS limit"
    GUEST_SS_LIMIT = 0x4804, "SS limit"
    GUEST_DS_LIMIT = 0x4806, "DS limit"
    GUEST_FS_LIMIT = 0x4808, "FS limit"
    GUEST_GS_LIMIT = 0x480A, "GS limit"
    GUEST_LDTR_LIMIT = 0x480C, "LDTR limit"
    GUEST_TR_LIMIT = 0x480E, "TR limit"
    GUEST_GDTR_LIMIT = 0x4810, "GDTR limit"
    GUEST_IDTR_LIMIT = 0x4812, "IDTR limit"
    GUEST_ES_ACCESS = 0x4814, "ES access rights"
    GUEST_CS_ACCESS = 0x4816, "CS access rights"
    GUEST_SS_ACCESS = 0x4818, "SS access rights"
    GUEST_DS_ACCESS = 0x481A, "DS access rights"
    GUEST_FS_ACCESS = 0x481C, "FS access rights"
    GUEST_GS_ACCESS = 0x481E, "GS access rights"
    GUEST_LDTR_ACCESS = 0x4820, "LDTR access rights"
    GUEST_TR_ACCESS = 0x4822, "TR access rights"
    GUEST_INTERRUPTIBILITY = 0x4824, "interruptibility state"
    GUEST_ACTIVITY = 0x4826, "activity state"
    GUEST_SMBASE = 0x4828, "SMBASE"
    GUEST_SYSENTER_CS = 0x482A, "IA32_SYSENTER_CS"
    PREEMPTION_TIMER_VALUE = 0x482E, "VMX-preemption timer", Pin.PREEMPTION_TIMER
    # 32-bit host-state field
    HOST_SYSENTER_CS = 0x4C00, "IA32_SYSENTER_CS"
    # natural-width control fields
    CR0_MASK = 0x6000, "bits of CR0 that the host owns"
    CR4_MASK = 0x6002, "bits of CR4 that the host owns"
    CR0_READ_SHADOW = 0x6004, "what the guest reads of those in CR0"
    CR4_READ_SHADOW = 0x6006, "what the guest reads of those in CR4"
    CR3_TARGET0 = 0x6008, "a CR3 whose load does not exit"
    CR3_TARGET1 = 0x600A, "a CR3 whose load does not exit"
    CR3_TARGET2 = 0x600C, "a CR3 whose load does not exit"
    CR3_TARGET3 = 0x600E, "a CR3 whose load does not exit"
    # natural-width read-only data fields
    EXIT_QUALIFICATION = 0x6400, "exit qualification"
    IO_RCX = 0x6402, "RCX at an SMI behind an I/O instruction"
    IO_RSI = 0x6404, "RSI at such an SMI"
    IO_RDI = 0x6406, "RDI at such an SMI"
    IO_RIP = 0x6408, "RIP at such an SMI"
    GUEST_LINEAR_ADDRESS = 0x640A, "guest-linear address"
    # natural-width guest-state fields
    GUEST_CR0 = 0x6800, "CR0"
    GUEST_CR3 = 0x6802, "CR3"
    GUEST_CR4 = 0x6804, "CR4"
    GUEST_ES_BASE = 0x6806, "ES base"
    GUEST_CS_BASE = 0x6808, "CS base"
    GUEST_SS_BASE = 0x680A, "SS base"
    GUEST_DS_BASE = 0x680C, "DS base"
    GUEST_FS_BASE = 0x680E, "FS base"
    GUEST_GS_BASE = 0x6810, "GS base"
    GUEST_LDTR_BASE = 0x6812, "LDTR base"
    GUEST_TR_BASE = 0x6814, "TR base"
    GUEST_GDTR_BASE = 0x6816, "GDTR base"
    GUEST_IDTR_BASE = 0x6818, "IDTR base"
    GUEST_DR7 = 0x681A, "DR7"
    GUEST_RSP = 0x681C, "RSP"
    GUEST_RIP = 0x681E, "RIP"
    GUEST_RFLAGS = 0x6820, "RFLAGS"
    GUEST_PENDING_DEBUG = 0x6822, "pending debug exceptions"
    GUEST_SYSENTER_ESP = 0x6824, "IA32_SYSENTER_ESP"
    GUEST_SYSENTER_EIP = 0x6826, "IA32_SYSENTER_EIP"
    # natural-width host-state fields
    HOST_CR0 = 0x6C00, "CR0"
    HOST_CR3 = 0x6C02, "CR3"
    HOST_CR4 = 0x6C04, "CR4"
    HOST_FS_BASE = 0x6C06, "FS base"
    HOST_GS_BASE = 0x6C08, "GS base"
    HOST_TR_BASE = 0x6C0A, "TR base"
    HOST_GDTR_BASE = 0x6C0C, "GDTR base"
    HOST_IDTR_BASE = 0x6C0E, "IDTR base"
    HOST_SYSENTER_ESP = 0x6C10, "IA32_SYSENTER_ESP"
    HOST_SYSENTER_EIP = 0x6C12, "IA32_SYSENTER_EIP"
    HOST_RSP = 0x6C14, "RSP"
    HOST_RIP = 0x6C16, "RIP"
