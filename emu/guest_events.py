"""Events in VMX non-root operation: exceptions, interrupts and NMIs that exit, or go through the guest's IDT.

SDM "Other Causes of VM Exits", "Information for VM Exits That Occur During Event Delivery".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.registers import CR0
from ..vmx.exits import ExitReason, VmExit
from ..vmx.nonroot import event_info
from ..vmx.words import EventType, Interruption
from .exceptions import becomes_double, through_idt
from .faults import DB, NO_EVENT, During, Fault, TripleFault
from .pending_debug import held_by_mov_ss, trap_exit
from .registers import RIP, U32, U64
from .vmexit import leave

if TYPE_CHECKING:
    from ..vmx.nonroot import NonRoot
    from .cpu import Cpu

_DEBUG, _NMI, _BREAKPOINT, _OVERFLOW, _DOUBLE, _PAGE_FAULT = 1, 2, 3, 4, 8, 14
_NMI_UNBLOCKING: Final = Interruption.NMI_UNBLOCKING.mask
_PE: Final = CR0.PE.mask
_PENDING: Final = 0x600F  # the bits of DR6 that the exit qualification of #DB has: BS, BD, B3 to B0


def deliver_in_guest(cpu: Cpu, fault: Fault) -> None:
    """Deliver an exception of the guest's, as `exceptions.deliver` does, unless it exits."""
    guest = cpu.guest
    assert guest is not None
    if isinstance(fault, DB) and fault.trap and guest.traps:
        leave(cpu, trap_exit(fault.dr6))
        return
    if cpu.outer is not None:
        cpu.outer.stages.settle()
    chain = [fault]
    held = held_by_mov_ss(cpu)
    cpu.breakpoints.hits = 0
    while True:
        if not cpu.cr0 & _PE:
            fault.error = None  # real mode has no error codes
        if guest.exception_exits(fault.vector, fault.error):
            exit_ = _exception_exit(fault)
            exit_.pending = 0 if fault.vector == _DEBUG else held
            # An exit of #DF itself tells of no vectoring: it is no event that came while another was delivered.
            exit_.vectoring, exit_.vectoring_error, exit_.length = NO_EVENT if fault.vector == _DOUBLE else fault.during
            leave(cpu, exit_)
            return
        cpu.interrupt_shadow = held = 0
        cpu.halted = False  # not before: an event that exits directly wakes nobody
        event = During(event_info(EventType.HARDWARE_EXCEPTION, fault.vector, fault.error), fault.error or 0)
        try:
            through_idt(cpu, fault)
        except VmExit as exit_:
            exit_.while_delivering(*event)
            leave(cpu, exit_)
            return
        except Fault as second:
            second.while_delivering(*event)
            chain.append(second)
            if fault.vector == _DOUBLE:
                if guest.of_l0:
                    raise TripleFault(chain) from None
                leave(cpu, VmExit(ExitReason.TRIPLE_FAULT))
                return
            if becomes_double(fault.vector, second.vector) and not guest.exception_exits(second.vector, second.error):
                if second.address is not None:
                    cpu.cr2 = second.address
                second = Fault(_DOUBLE, 0)
                chain.append(second)
            fault = second
        else:
            return


def _exception_exit(fault: Fault) -> VmExit:
    """Give the exit that an exception makes: CR2 and DR6 stay as they are, and the qualification tells what they would be."""
    qualification = fault.address or 0 if fault.vector == _PAGE_FAULT else 0
    if isinstance(fault, DB):
        qualification = fault.dr6 & _PENDING
    return VmExit(
        ExitReason.EXCEPTION_OR_NMI,
        qualification,
        event=event_info(EventType.HARDWARE_EXCEPTION, fault.vector, fault.error)
        | (_NMI_UNBLOCKING if fault.nmi_unblocking else 0),
        error=fault.error or 0,
        fault=fault.vector != _DEBUG,
    )


def software_exception(cpu: Cpu, vector: int, length: int) -> None:
    """Raise the exit that INT3 or INTO makes, with RIP back at the instruction; INT n makes none."""
    guest = cpu.guest
    assert guest is not None
    if vector in {_BREAKPOINT, _OVERFLOW} and guest.exception_exits(vector, None):
        cpu.q[RIP] = cpu.q[RIP] - length & (U64 if cpu.code64 else U32)
        event = event_info(EventType.SOFTWARE_EXCEPTION, vector)
        raise VmExit(ExitReason.EXCEPTION_OR_NMI, length=length, event=event)


def nmi_waits(cpu: Cpu, guest: NonRoot) -> bool:
    """Tell whether an NMI is blocked; with virtual NMIs those of the processor are not."""
    return cpu.nmi_blocked and not (guest.pin.NMI_EXITING and guest.pin.VIRTUAL_NMIS)


def timer_exit(cpu: Cpu) -> None:
    """Exit because the preemption timer is 0."""
    leave(cpu, VmExit(ExitReason.PREEMPTION_TIMER))


def window_exit(cpu: Cpu, guest: NonRoot) -> VmExit | None:
    """Give the exit of a window that is open (SDM "Other Causes of VM Exits"): that for NMIs comes first."""
    if cpu.interrupt_shadow:
        return None
    if guest.primary.NMI_WINDOW_EXITING and not cpu.nmi_blocked:
        return VmExit(ExitReason.NMI_WINDOW)
    if guest.primary.INTERRUPT_WINDOW_EXITING and cpu.interrupts_enabled:
        return VmExit(ExitReason.INTERRUPT_WINDOW)
    return None


def nmi_exit(cpu: Cpu) -> None:
    """Exit for an NMI."""
    leave(cpu, VmExit(ExitReason.EXCEPTION_OR_NMI, event=event_info(EventType.NMI, _NMI)))


def interrupt_exit(cpu: Cpu, vector: int | None) -> None:
    """Exit for an external interrupt; `vector` where the exit acknowledges it."""
    event = 0 if vector is None else event_info(EventType.EXTERNAL_INTERRUPT, vector)
    leave(cpu, VmExit(ExitReason.EXTERNAL_INTERRUPT, event=event))
