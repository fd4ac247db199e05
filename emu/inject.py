"""What VM entry brings the guest before its first instruction (SDM "Event Injection", "Special Features of VM Entry")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..vmx.exits import ExitReason, VmExit
from ..vmx.fields import Field
from ..vmx.words import EventType, Interruption, PendingDebug
from .exceptions import deliver
from .faults import During, Fault
from .idt import enter
from .pending_debug import behind_injection, trap_exit, without_injection
from .registers import RF, RIP, U64
from .vmexit import leave

if TYPE_CHECKING:
    from ..vmx.vmcs import Vmcs
    from .cpu import Cpu

_WITH_LENGTH: Final = frozenset(
    {EventType.SOFTWARE_INTERRUPT, EventType.PRIVILEGED_SOFTWARE_EXCEPTION, EventType.SOFTWARE_EXCEPTION}
)
_DEBUG: Final = 1


def begin(cpu: Cpu, vmcs: Vmcs, event: Interruption) -> None:
    """Do what comes before the guest's first instruction: an event, pending debug exceptions, the monitor trap flag."""
    guest, pending = cpu.guest, PendingDebug(vmcs[Field.GUEST_PENDING_DEBUG])
    assert guest is not None
    if event.VALID and event.TYPE == EventType.OTHER:
        leave(cpu, VmExit(ExitReason.MONITOR_TRAP_FLAG, pending=pending))
        return
    if event.VALID:
        hits = behind_injection(event, pending, cpu.interrupt_shadow)
        _inject(cpu, vmcs, event)
        if hits and cpu.guest is guest:
            cpu.breakpoints.hits |= hits
            cpu.breakpoints.on_hit()
    else:
        fault = without_injection(cpu, pending)
        if fault is None:
            return
        deliver(cpu, fault)
    if guest.traps and cpu.guest is guest:
        leave(cpu, trap_exit(cpu.breakpoints.hits))


def _inject(cpu: Cpu, vmcs: Vmcs, event: Interruption) -> None:
    """Deliver the event that the controls tell of."""
    error = vmcs[Field.ENTRY_ERROR_CODE] if event.DELIVER_ERROR_CODE else 0
    length = vmcs[Field.ENTRY_INSTRUCTION_LENGTH] if event.TYPE in _WITH_LENGTH else 0
    inject(cpu, During(int(event), error, length))


def inject(cpu: Cpu, injected: During) -> None:
    """Deliver an event through the guest's IDT; what goes wrong on the way is delivered, or exits, with the event as vectoring."""
    event = Interruption(injected.info)
    kind, vector = event.TYPE, event.VECTOR
    software = kind in _WITH_LENGTH
    before = cpu.q[RIP]
    if software:
        cpu.q[RIP] = before + injected.length & U64
    if kind == EventType.NMI:
        cpu.nmi_blocked = True
    cpu.interrupt_shadow = 0
    fault_like = kind == EventType.HARDWARE_EXCEPTION and vector != _DEBUG
    try:
        enter(
            cpu,
            vector,
            injected.error if event.DELIVER_ERROR_CODE else None,
            rf=RF if fault_like else 0,
            external=int(not software),
            software=kind in {EventType.SOFTWARE_INTERRUPT, EventType.SOFTWARE_EXCEPTION},
        )
    except (Fault, VmExit) as fault:
        cpu.q[RIP] = before
        fault.while_delivering(*injected)
        if isinstance(fault, VmExit):
            leave(cpu, fault)
        else:
            deliver(cpu, fault)
