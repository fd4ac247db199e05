"""Debug exceptions that wait while a guest is entered or left, and the monitor trap flag, which outranks them.

SDM "Delivery of Pending Debug Exceptions after VM Entry", "Saving Non-Register State", "Monitor Trap Flag".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..vmx.exits import ExitReason, VmExit
from ..vmx.words import EventType, PendingDebug
from .faults import DB
from .single_step import held_step
from .state import MOV_SS_SHADOW

if TYPE_CHECKING:
    from ..vmx.words import Interruption
    from .cpu import Cpu

_BS: Final = PendingDebug.BS.mask  # in DR6, too
_ENABLED: Final = PendingDebug.ENABLED_BREAKPOINT.mask
_BREAKPOINTS: Final = 0xF  # B3 to B0, here and in DR6
_SOFTWARE: Final = frozenset({EventType.SOFTWARE_INTERRUPT, EventType.SOFTWARE_EXCEPTION})


def word(dr6: int) -> int:
    """Give the guest-state area's word for what a #DB would set in DR6: the breakpoints among it are enabled ones."""
    hits = dr6 & _BREAKPOINTS
    return dr6 & _BS | hits | (_ENABLED if hits else 0)


def trap_exit(dr6: int = 0) -> VmExit:
    """Give the exit of the monitor trap flag, where a debug trap with these bits of DR6 would come behind it."""
    return VmExit(ExitReason.MONITOR_TRAP_FLAG, pending=word(dr6))


def held_by_mov_ss(cpu: Cpu) -> int:
    """Give what an exit that is no #DB saves: where MOV SS holds debug exceptions off, those; else none."""
    if not cpu.interrupt_shadow & MOV_SS_SHADOW:
        return 0
    return word(cpu.breakpoints.hits | held_step(cpu))


def behind_injection(event: Interruption, pending: PendingDebug, shadow: int) -> int:
    """Give the breakpoints that are delivered behind an injected event: as behind INT n where MOV SS has held them back."""
    if event.TYPE not in _SOFTWARE or not shadow & MOV_SS_SHADOW or not (pending.BS or pending.ENABLED_BREAKPOINT):
        return 0
    return pending.B


def without_injection(cpu: Cpu, pending: PendingDebug) -> DB | None:
    """Give the #DB that an entry delivers; one that MOV SS holds off comes behind the next instruction."""
    if not pending.BS and not pending.ENABLED_BREAKPOINT:
        return None
    if cpu.interrupt_shadow & MOV_SS_SHADOW:
        cpu.breakpoints.hits |= pending.B  # a pending single step comes by RFLAGS.TF
        return None
    return DB(pending & (_BS | _BREAKPOINTS))
