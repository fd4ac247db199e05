"""The TPR shadow: MOV to and from CR8 in a guest reach the virtual-APIC page (SDM "Virtualizing CR8-Based TPR Accesses")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..vmx.control_checks import VTPR
from ..vmx.exits import ExitReason, VmExit
from ..vmx.fields import Field
from .faults import GP

if TYPE_CHECKING:
    from ..vmx.nonroot import NonRoot
    from .cpu import Cpu

_UPPER_HALF: Final = 0xFFFFFFFF00000000  # VTPR has 32 bits
_CR8: Final = 0xF


def read(cpu: Cpu, guest: NonRoot) -> int:
    """Give what MOV from CR8 reads: bits 7:4 of VTPR."""
    return cpu.software_memory.read64(guest.vmcs[Field.VIRTUAL_APIC_ADDRESS] + VTPR) >> 4 & _CR8


def write(cpu: Cpu, guest: NonRoot, value: int) -> VmExit | None:
    """Do what MOV to CR8 does to VTPR; gives the exit that follows the instruction where that falls below the threshold."""
    if value & ~_CR8:
        raise GP(0)
    at = guest.vmcs[Field.VIRTUAL_APIC_ADDRESS] + VTPR
    cpu.software_memory.write64(at, cpu.software_memory.read64(at) & _UPPER_HALF | value << 4)
    if guest.vmcs[Field.TPR_THRESHOLD] & _CR8 > value:
        return VmExit(ExitReason.TPR_BELOW_THRESHOLD, behind=True)
    return None
