"""Event injection: the event that VM entry delivers to the guest (SDM "Event Injection")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..vmx.fields import Field
from ..vmx.words import EventType
from .exceptions import deliver
from .faults import DB, During, Fault, Unimplemented
from .idt import enter
from .registers import RF, RIP, U64
from .state import MOV_SS_SHADOW

if TYPE_CHECKING:
    from ..vmx.vmcs import Vmcs
    from ..vmx.words import Interruption, PendingDebug
    from .cpu import Cpu

_WITH_LENGTH: Final = frozenset(
    {EventType.SOFTWARE_INTERRUPT, EventType.PRIVILEGED_SOFTWARE_EXCEPTION, EventType.SOFTWARE_EXCEPTION}
)
_DEBUG: Final = 1
_DEBUG_BITS: Final = 0x400F  # BS and B3 to B0, in DR6, too


def inject(cpu: Cpu, vmcs: Vmcs, event: Interruption) -> None:
    """Deliver an event through the guest's IDT; what goes wrong on the way is delivered, or exits, with the event as vectoring."""
    kind, vector = event.TYPE, event.VECTOR
    if kind == EventType.OTHER:
        raise Unimplemented("VM entry that injects a pending MTF VM exit")
    error = vmcs[Field.ENTRY_ERROR_CODE] if event.DELIVER_ERROR_CODE else None
    software = kind in _WITH_LENGTH
    before = cpu.q[RIP]
    if software:
        cpu.q[RIP] = before + vmcs[Field.ENTRY_INSTRUCTION_LENGTH] & U64
    if kind == EventType.NMI:
        cpu.nmi_blocked = True
    cpu.interrupt_shadow = 0
    fault_like = kind == EventType.HARDWARE_EXCEPTION and vector != _DEBUG
    try:
        enter(
            cpu,
            vector,
            error,
            rf=RF if fault_like else 0,
            external=int(not software),
            software=kind in {EventType.SOFTWARE_INTERRUPT, EventType.SOFTWARE_EXCEPTION},
        )
    except Fault as fault:
        cpu.q[RIP] = before
        fault.during = During(int(event), error or 0, vmcs[Field.ENTRY_INSTRUCTION_LENGTH] if software else 0)
        deliver(cpu, fault)


def deliver_pending_debug(cpu: Cpu, pending: PendingDebug) -> None:
    """Deliver what the guest-state area holds of debug exceptions (SDM "Delivery of Pending Debug Exceptions after VM Entry")."""
    if not pending.BS and not pending.ENABLED_BREAKPOINT:
        return
    if cpu.interrupt_shadow & MOV_SS_SHADOW:
        cpu.breakpoints.hits |= pending.B  # a pending single step comes behind the next instruction by RFLAGS.TF
    else:
        deliver(cpu, DB(pending & _DEBUG_BITS))
