"""VM exits: their reasons, and what one tells (SDM "VMX Basic Exit Reasons", "Recording VM-Exit Information …")."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from ..mmu.ept import Qualification
from .fields import Field
from .words import EventType, Interruption

_DEBUG: Final = 1
_NMI_UNBLOCKING: Final = Qualification.NMI_UNBLOCKING.mask
ENTRY_FAILED: Final = 1 << 31  # in the exit reason


class ExitReason(IntEnum):
    """Basic exit reasons, those that can happen here."""

    EXCEPTION_OR_NMI = 0
    EXTERNAL_INTERRUPT = 1
    TRIPLE_FAULT = 2
    INTERRUPT_WINDOW = 7
    NMI_WINDOW = 8
    CPUID = 10
    HLT = 12
    INVD = 13
    INVLPG = 14
    RDPMC = 15
    RDTSC = 16
    VMCALL = 18
    VMCLEAR = 19
    VMLAUNCH = 20
    VMPTRLD = 21
    VMPTRST = 22
    VMREAD = 23
    VMRESUME = 24
    VMWRITE = 25
    VMXOFF = 26
    VMXON = 27
    CR_ACCESS = 28
    MOV_DR = 29
    IO = 30
    RDMSR = 31
    WRMSR = 32
    INVALID_GUEST_STATE = 33
    MSR_LOADING = 34
    MONITOR_TRAP_FLAG = 37
    PAUSE = 40
    TPR_BELOW_THRESHOLD = 43
    GDTR_IDTR = 46
    LDTR_TR = 47
    EPT_VIOLATION = 48
    EPT_MISCONFIGURATION = 49
    INVEPT = 50
    RDTSCP = 51
    PREEMPTION_TIMER = 52
    INVVPID = 53
    WBINVD = 54
    XSETBV = 55
    INVPCID = 58
    PML_FULL = 62
    XSAVES = 63
    XRSTORS = 64


_TELL_OF_NMIS: Final = frozenset({ExitReason.EPT_VIOLATION, ExitReason.PML_FULL})


class VmExit(Exception):
    """Control leaves the guest, before the instruction at RIP or the event has done anything, or behind the instruction.

    Attributes:
        reason: the basic exit reason.
        qualification: the exit qualification.
        length, info: the instruction's length, and what it says of its operands.
        event, error: the event that exits, as interruption information (0 where none does), and its error code.
        vectoring, vectoring_error: the event on whose delivery this happened, and its error code.
        fields: what is written to the VMCS, where that was worked out beforehand.
        fault: RFLAGS.RF is 1 in what is saved, as it would be on the stack of a fault.
        linear, gpa: the guest-linear and the guest-physical address; None where the exit tells of none.
        nmi_unblocking: an IRET that has ended the blocking of NMIs made the access that exits.
        behind: the instruction has been done, and RIP is behind it.
        pending: the debug exceptions that wait, as the guest-state area tells of them; None for those that MOV SS holds off.

    """

    def __init__(
        self,
        reason: ExitReason,
        qualification: int = 0,
        *,
        length: int = 0,
        info: int = 0,
        event: int = 0,
        error: int = 0,
        fault: bool = False,
        linear: int | None = None,
        gpa: int | None = None,
        behind: bool = False,
        pending: int | None = None,
    ) -> None:
        super().__init__(reason.name)
        self.reason, self.qualification = reason, qualification
        self.length, self.info = length, info
        self.event, self.error, self.fault = event, error, fault
        self.linear, self.gpa = linear, gpa
        self.nmi_unblocking = False
        self.behind, self.pending = behind, pending
        self.vectoring = self.vectoring_error = 0
        self.fields: dict[int, int] | None = None

    def while_delivering(self, info: int, error: int, length: int) -> None:
        """Note the event on whose delivery this happened, unless that of a later one is noted.

        What RFLAGS.RF is in what is saved then follows from that event (SDM "Saving RIP, RSP, RFLAGS, and SSP").
        """
        if not self.vectoring:
            self.vectoring, self.vectoring_error, self.length = info, error, length
            event = Interruption(info)
            self.fault = event.TYPE == EventType.HARDWARE_EXCEPTION and event.VECTOR != _DEBUG

    def as_fields(self) -> dict[int, int]:
        """Give the read-only fields that tell of it (SDM "Recording VM-Exit Information …")."""
        found: dict[int, int] = {
            Field.EXIT_REASON: int(self.reason),
            Field.EXIT_QUALIFICATION: self.qualification,
            Field.EXIT_INTERRUPTION_INFO: self.event,
            Field.EXIT_ERROR_CODE: self.error,
            Field.IDT_VECTORING_INFO: self.vectoring,
            Field.IDT_VECTORING_ERROR_CODE: self.vectoring_error,
            Field.EXIT_INSTRUCTION_LENGTH: self.length,
            Field.EXIT_INSTRUCTION_INFO: self.info,
        }
        if self.linear is not None:
            found[Field.GUEST_LINEAR_ADDRESS] = self.linear
        if self.gpa is not None:
            found[Field.GUEST_PHYSICAL_ADDRESS] = self.gpa
        if self.nmi_unblocking and self.reason in _TELL_OF_NMIS:
            found[Field.EXIT_QUALIFICATION] |= _NMI_UNBLOCKING
        return found
