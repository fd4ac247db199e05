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
