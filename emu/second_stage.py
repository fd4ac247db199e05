"""A guest's second stage of translation: made from its controls, and the VM exits that it makes (SDM "EPT-Induced VM Exits")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.ept import Qualification
from ..mmu.second import SecondStage
from ..mmu.walk import LOG_FULL, MISCONFIGURATION, VIOLATION
from ..vmx.eptp import ept_of
from ..vmx.exits import ExitReason, VmExit
from ..vmx.pml import page_log
from .events import Kind
from .registers import U32

if TYPE_CHECKING:
    from ..mmu.walk import Refusal
    from ..vmx.nonroot import NonRoot
    from .cpu import Cpu

REASONS: Final = {
    VIOLATION: ExitReason.EPT_VIOLATION,
    MISCONFIGURATION: ExitReason.EPT_MISCONFIGURATION,
    LOG_FULL: ExitReason.PML_FULL,
}
_LINEAR: Final = Qualification.LINEAR_VALID.mask


def second_stage_of(cpu: Cpu, guest: NonRoot) -> SecondStage | None:
    """Make the second stage of a guest's translation; None where it has no EPT."""
    root = ept_of(guest, cpu.features.maxphyaddr)
    if root is None:
        return None
    mappings = cpu.translation.tlb.guest_physical(root.address)
    log = _discard if guest.discards_log else page_log(guest, cpu.memory)
    return SecondStage(cpu.memory, root, mappings, log)


def _discard(_gpa: int | None) -> bool:
    return True


def second_stage_exit(cpu: Cpu, refusal: Refusal) -> VmExit:
    """Give the exit of an access that the second stage has refused, and tell of it."""
    result, gva, _, gpa, qualification = refusal
    cpu.event(Kind.EPT_VIOLATION, -result, gpa, qualification, gva)
    valid = qualification & _LINEAR
    return VmExit(
        REASONS[result],
        qualification,
        fault=True,
        linear=(gva if cpu.code64 else gva & U32) if valid else None,
        gpa=None if result == LOG_FULL else gpa,
    )
