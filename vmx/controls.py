"""The VMX controls that are offered: one declaration gives the capability MSRs, the reserved bits, the fields and the docs.

SDM "Pin-Based VM-Execution Controls", "Processor-Based VM-Execution Controls", "VM-Exit Controls", "VM-Entry Controls".  A control that
no class names is not offered; `NEEDS` names those that a processor offers only with a feature of CPUID.
"""

from __future__ import annotations

from typing import Final

from ..mmu.word import Bits, Word


class Pin(Word):
    """Pin-based VM-execution controls."""

    EXTERNAL_INTERRUPT_EXITING = Bits(0)
    NMI_EXITING = Bits(3)
    VIRTUAL_NMIS = Bits(5)
    PREEMPTION_TIMER = Bits(6)


class Primary(Word):
    """Primary processor-based VM-execution controls."""

    INTERRUPT_WINDOW_EXITING = Bits(2)
    TSC_OFFSETTING = Bits(3)
    HLT_EXITING = Bits(7)
    INVLPG_EXITING = Bits(9)
    MWAIT_EXITING = Bits(10)
    RDPMC_EXITING = Bits(11)
    RDTSC_EXITING = Bits(12)
    CR3_LOAD_EXITING = Bits(15)
    CR3_STORE_EXITING = Bits(16)
    CR8_LOAD_EXITING = Bits(19)
    CR8_STORE_EXITING = Bits(20)
    TPR_SHADOW = Bits(21)
    NMI_WINDOW_EXITING = Bits(22)
    MOV_DR_EXITING = Bits(23)
    UNCONDITIONAL_IO_EXITING = Bits(24)
    IO_BITMAPS = Bits(25)
    MONITOR_TRAP_FLAG = Bits(27)
    MSR_BITMAPS = Bits(28)
    MONITOR_EXITING = Bits(29)
    PAUSE_EXITING = Bits(30)
    SECONDARY_CONTROLS = Bits(31)


class Secondary(Word):
    """Secondary processor-based VM-execution controls."""

    EPT = Bits(1)
    DESCRIPTOR_TABLE_EXITING = Bits(2)
    RDTSCP = Bits(3)
    VPID = Bits(5)
    WBINVD_EXITING = Bits(6)
    UNRESTRICTED_GUEST = Bits(7)
    INVPCID = Bits(12)
    VMCS_SHADOWING = Bits(14)
    PML = Bits(17)
    XSAVES = Bits(20)
    MODE_BASED_EXECUTE = Bits(22)


class Exit(Word):
    """VM-exit controls."""

    SAVE_DEBUG_CONTROLS = Bits(2)
    HOST_ADDRESS_SPACE_SIZE = Bits(9)
    ACKNOWLEDGE_INTERRUPT = Bits(15)
    SAVE_PAT = Bits(18)
    LOAD_PAT = Bits(19)
    SAVE_EFER = Bits(20)
    LOAD_EFER = Bits(21)
    SAVE_PREEMPTION_TIMER = Bits(22)
    LOAD_PKRS = Bits(29)


class Entry(Word):
    """VM-entry controls."""

    LOAD_DEBUG_CONTROLS = Bits(2)
    IA32E_MODE_GUEST = Bits(9)
    LOAD_PAT = Bits(14)
    LOAD_EFER = Bits(15)
    LOAD_PKRS = Bits(22)


# Bits that are 1 where software knows nothing of them (SDM "VMX Controls: Default Settings"), and those of them that the TRUE
# capability MSRs let software clear.
DEFAULT1: Final[dict[type[Word], int]] = {Pin: 0x16, Primary: 0x0401E172, Secondary: 0, Exit: 0x36DFF, Entry: 0x11FF}
MAY_BE_0: Final[dict[type[Word], int]] = {
    Pin: 0,
    Primary: Primary.CR3_LOAD_EXITING.mask | Primary.CR3_STORE_EXITING.mask,
    Secondary: 0,
    Exit: Exit.SAVE_DEBUG_CONTROLS.mask,
    Entry: Entry.LOAD_DEBUG_CONTROLS.mask,
}
NEEDS: Final[dict[Bits, str]] = {
    Secondary.RDTSCP: "rdtscp",
    Secondary.INVPCID: "invpcid",
    Secondary.XSAVES: "xsaves",
    Exit.LOAD_PKRS: "pks",
    Entry.LOAD_PKRS: "pks",
    Exit.LOAD_PAT: "pat",
    Exit.SAVE_PAT: "pat",
    Entry.LOAD_PAT: "pat",
}
