"""Page-modification logging (SDM "Page-Modification Logging")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .fields import Field

if TYPE_CHECKING:
    from ..mmu.ept import Log
    from ..mmu.walk import Memory
    from .nonroot import NonRoot

_ENTRIES: Final = 512
_U16: Final = 0xFFFF


def page_log(guest: NonRoot, memory: Memory) -> Log | None:
    """Make what logs a page whose dirty flag is about to be set, and says whether there was room; None where nothing is logged.

    The index counts for a page that is only accessed, too, but that logs nothing.
    """
    if not guest.logs:
        return None
    vmcs, put = guest.vmcs, dict.__setitem__

    def log(gpa: int | None) -> bool:
        index = vmcs[Field.GUEST_PML_INDEX]
        if index >= _ENTRIES:
            return False
        if gpa is None:
            return True
        memory.write64(vmcs[Field.PML_ADDRESS] + 8 * index, gpa)
        put(vmcs, Field.GUEST_PML_INDEX, index - 1 & _U16)
        return True

    return log
