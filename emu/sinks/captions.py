"""What a crossing is called: ``write``, ``#PF 0x7fff1000``, ``EPT_VIOLATION``, ``hypercall 4``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...vmx.exits import ExitReason
from ..events import Event, Kind, Who
from ..faults import VECTOR_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable

_PF: Final = 14
_BASIC: Final = 0xFFFF  # the basic exit reason, "Basic VM-Exit Information"
_EXITS: Final = {int(reason): reason.name for reason in ExitReason}


def caption(event: Event, call: Callable[[int], str]) -> str:
    """Name what `event` begins.

    Args:
        event: a crossing.
        call: gives the name of a system call by its number.

    """
    kind, data = event.kind, event.data
    if kind is Kind.HYPERCALL or (kind is Kind.SYSCALL and event.who is not Who.USER):
        return f"hypercall {data[0]:#x}"
    if kind in {Kind.SYSCALL, Kind.GATE_ENTER}:
        return call(data[0])
    if kind is Kind.EXCEPTION:
        name = VECTOR_NAMES.get(data[0], f"vector {data[0]:#x}")
        return f"{name} {data[2]:#x}" if data[0] == _PF else name
    if kind is Kind.INTERRUPT:
        return f"interrupt {data[0]:#x}"
    if kind is Kind.VM_EXIT:
        reason = data[2] & _BASIC
        return _EXITS.get(reason, f"exit {reason}")
    return "return" if kind is Kind.GATE_EXIT else kind.name.lower()
