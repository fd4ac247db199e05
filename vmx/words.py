"""Words of a VMCS that are no controls, by the manual's names."""

from __future__ import annotations

from enum import IntEnum

from ..mmu.word import Bits, Word


class Interruptibility(Word):
    """What holds events off (SDM "Guest Non-Register State")."""

    STI = Bits(0)
    MOV_SS = Bits(1)
    SMI = Bits(2)
    NMI = Bits(3)


class Activity(IntEnum):
    """What the processor does (SDM "Guest Non-Register State")."""

    ACTIVE = 0
    HLT = 1
    SHUTDOWN = 2
    WAIT_FOR_SIPI = 3


class Interruption(Word):
    """Interruption information (SDM "VM-Entry Controls for Event Injection", "Information for VM Exits Due to Vectored Events")."""

    VECTOR = Bits(7, 0)
    TYPE = Bits(10, 8)
    DELIVER_ERROR_CODE = Bits(11)
    NMI_UNBLOCKING = Bits(12)  # of exits alone: an IRET met the fault
    VALID = Bits(31)


class EventType(IntEnum):
    """Interruption types."""

    EXTERNAL_INTERRUPT = 0
    NMI = 2
    HARDWARE_EXCEPTION = 3
    SOFTWARE_INTERRUPT = 4
    PRIVILEGED_SOFTWARE_EXCEPTION = 5
    SOFTWARE_EXCEPTION = 6
    OTHER = 7


class AccessRights(Word):
    """A segment's access rights (SDM "Guest Register State")."""

    TYPE = Bits(3, 0)
    S = Bits(4)
    DPL = Bits(6, 5)
    P = Bits(7)
    AVL = Bits(12)
    L = Bits(13)
    DB = Bits(14)
    G = Bits(15)
    UNUSABLE = Bits(16)


class PendingDebug(Word):
    """Pending debug exceptions (SDM "Guest Non-Register State"); RTM is not offered."""

    B = Bits(3, 0)
    ENABLED_BREAKPOINT = Bits(12)
    BS = Bits(14)
