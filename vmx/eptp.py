"""The EPT pointer (SDM "Extended-Page-Table Pointer (EPTP)")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.ept import Root, reserved
from ..mmu.word import Bits, Word

if TYPE_CHECKING:
    from .caps import Capabilities
    from .nonroot import NonRoot

_UC, _WB = 0, 6


class Eptp(Word):
    """EPTP."""

    MEMORY_TYPE = Bits(2, 0)
    WALK_LENGTH_LESS_1 = Bits(5, 3)
    ACCESSED_DIRTY = Bits(6)
    ROOT = Bits(51, 12)


_RESERVED: Final = 0xF80


def eptp_refused(value: int, caps: Capabilities) -> bool:
    """Tell whether VM entry and INVEPT refuse an EPTP (SDM "VM-Execution Control Fields", "INVEPT")."""
    eptp, offered = Eptp(value), caps.ept_vpid
    return not (
        eptp.MEMORY_TYPE in ({_UC} if offered.UC else set()) | ({_WB} if offered.WB else set())
        and eptp.WALK_LENGTH_LESS_1 == 3
        and (offered.ACCESSED_DIRTY or not eptp.ACCESSED_DIRTY)
        and not value & _RESERVED
        and not caps.beyond(value)
    )


def ept_of(guest: NonRoot, maxphyaddr: int) -> Root | None:
    """Give the EPT that a guest runs with; None without one."""
    if guest.eptp is None:
        return None
    eptp = Eptp(guest.eptp)
    return Root(
        eptp & Eptp.ROOT.mask,
        reserved(maxphyaddr),
        dirty=bool(eptp.ACCESSED_DIRTY),
        mode_based=bool(guest.secondary.MODE_BASED_EXECUTE),
    )
