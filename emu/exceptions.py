"""Which exception is delivered in the end, and the state that goes with it (SDM "Interrupt and Exception Handling").

`gates` does the delivery itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..vmx.exits import VmExit
from ..vmx.nonroot import event_info
from ..vmx.words import EventType
from .events import Kind
from .faults import DB, Fault, TripleFault
from .idt import enter
from .msr_index import IA32_DEBUGCTL
from .realmode import require_iopl
from .registers import RF, RIP, U64

if TYPE_CHECKING:
    from .cpu import Cpu

# SDM "Conditions for Generating a Double Fault"; everything else is benign.
_CONTRIBUTORY: Final = frozenset({0, 10, 11, 12, 13, 21})
_PAGE_FAULTS: Final = frozenset({14, 20})
_EXCEPTION, _INTERRUPT = Kind.EXCEPTION, Kind.INTERRUPT  # a member read off the class takes 0.1 µs
_DOUBLE: Final = 8
_GD: Final = 1 << 13  # in DR7
_BD: Final = 1 << 13  # in DR6
_B0_TO_B3: Final = 15


def deliver(cpu: Cpu, fault: Fault) -> None:
    """Deliver an exception at RIP; a second one on the way becomes #DF by its class, a third is `TripleFault`.

    A guest's may exit instead.
    """
    if cpu.guest is not None:
        from .guest_events import deliver_in_guest  # noqa: PLC0415  (most guests never come here)

        deliver_in_guest(cpu, fault)
        return
    chain = [fault]
    cpu.interrupt_shadow = False
    cpu.halted = False
    cpu.breakpoints.hits = 0  # the instruction did not complete
    while True:
        try:
            through_idt(cpu, fault)
        except Fault as second:
            chain.append(second)
            if fault.vector == _DOUBLE:
                raise TripleFault(chain) from None
            if becomes_double(fault.vector, second.vector):
                if second.address is not None:
                    cpu.cr2 = second.address
                second = Fault(_DOUBLE, 0)
                chain.append(second)
            fault = second
        else:
            return


def through_idt(cpu: Cpu, fault: Fault) -> None:
    """Take an exception through its gate, with the registers that go with it; what goes wrong on the way is raised."""
    rf = RF
    if fault.address is not None:
        cpu.cr2 = fault.address
    if isinstance(fault, DB):
        cpu.dr[6] = cpu.dr[6] & ~_B0_TO_B3 | fault.dr6
        cpu.dr[7] &= ~_GD
        if cpu.msr.pop(IA32_DEBUGCTL, 0):  # BTF is cleared, and there is no other bit
            cpu.switched_msrs = None
        # Of the debug exceptions only general detect is a fault that marks RF (SDM "Instruction-Breakpoint …").
        rf = RF if fault.dr6 & _BD else 0
    cpu.event(_EXCEPTION, fault.vector, fault.error or 0, fault.address or 0, cost=cpu.costs.exception)
    enter(cpu, fault.vector, fault.error, rf=rf, external=1)


def becomes_double(first: int, second: int) -> bool:
    """Tell whether `second`, raised while `first` is delivered, makes a double fault."""
    if first in _CONTRIBUTORY:
        return second in _CONTRIBUTORY
    return first in _PAGE_FAULTS and (second in _CONTRIBUTORY or second in _PAGE_FAULTS)


def interrupt(cpu: Cpu, vector: int) -> None:
    """Deliver an external interrupt; what goes wrong on the way is delivered instead."""
    cpu.halted = False
    rf = RF if cpu.resumes else 0
    cpu.event(_INTERRUPT, vector, cost=cpu.costs.interrupt)
    try:
        enter(cpu, vector, None, rf=rf, external=1)
    except (Fault, VmExit) as fault:
        kind = EventType.NMI if vector == 2 and cpu.nmi_blocked else EventType.EXTERNAL_INTERRUPT
        fault.while_delivering(event_info(kind, vector), 0, 0)
        if isinstance(fault, VmExit):
            from .vmexit import leave  # noqa: PLC0415  (most guests never come here)

            leave(cpu, fault)
        else:
            deliver(cpu, fault)


def nmi(cpu: Cpu) -> None:
    """Deliver an NMI; further ones wait for IRET."""
    cpu.nmi_blocked = True
    interrupt(cpu, 2)


def software_interrupt(cpu: Cpu, vector: int, length: int, *, by_number: bool = True) -> None:
    """INT n (`by_number`), INT3 or INTO, with RIP past its `length` bytes.

    A fault is raised for the caller to deliver, with RIP back at the instruction.
    """
    if cpu.guest is not None:
        from .guest_events import software_exception  # noqa: PLC0415  (most guests never come here)

        software_exception(cpu, vector, length)
    cpu.event(Kind.EXCEPTION, vector, 0, 0, cost=cpu.costs.exception)
    cpu.interrupt_shadow = False
    try:
        if by_number:
            require_iopl(cpu)
        enter(cpu, vector, None, rf=0, external=0, software=True)
    except (Fault, VmExit) as fault:
        cpu.q[RIP] = cpu.q[RIP] - length & (U64 if cpu.code64 else 0xFFFFFFFF)
        exception = vector in {3, 4} and length == 1
        kind = EventType.SOFTWARE_EXCEPTION if exception else EventType.SOFTWARE_INTERRUPT
        fault.while_delivering(event_info(kind, vector), 0, length)
        raise
