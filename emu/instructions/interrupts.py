"""INT n, INT3, INTO and INT1 (SDM "INT n/INTO/INT3/INT1—Call to Interrupt Procedure"), and what no instruction may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...mmu.registers import RFLAGS
from ...vmx.exits import VmExit
from ...vmx.nonroot import event_info
from ...vmx.words import EventType
from ..events import Kind
from ..exceptions import software_interrupt
from ..faults import GP, UD, Fault
from ..idt import enter
from ..registers import RIP
from ..table import instruction

if TYPE_CHECKING:
    from ..cpu import Cpu
    from ..insn import Insn


@instruction("int", "int3", "into")
def int_n(cpu: Cpu, insn: Insn) -> None:
    """INT n, INT3 and INTO with a prefix; without one TCG finds them by itself (`Traps`)."""
    if insn.mnemonic == "into":
        if cpu.code64:
            raise UD
        if not cpu.rflags & RFLAGS.OF.mask:
            cpu.next(insn)
            return
    vector = insn.operands[0].value & 0xFF if insn.mnemonic == "int" else 3 if insn.mnemonic == "int3" else 4
    cpu.next(insn)
    software_interrupt(cpu, vector, insn.length, by_number=insn.mnemonic == "int")


@instruction("int1")
def int1(cpu: Cpu, insn: Insn) -> None:
    """INT1: a #DB of its own that asks no gate for its DPL; in DR6 it shows only what a load of SS before it held back."""
    before = cpu.q[RIP]
    hits = cpu.breakpoints.take()
    if hits:
        cpu.dr[6] = cpu.dr[6] & ~0xF | hits
    cpu.interrupt_shadow = False
    cpu.next(insn)
    cpu.event(Kind.EXCEPTION, 1, 0, 0, cost=cpu.costs.exception)
    try:
        enter(cpu, 1, None, rf=0, external=1)
    except (Fault, VmExit) as fault:
        cpu.q[RIP] = before
        fault.while_delivering(event_info(EventType.PRIVILEGED_SOFTWARE_EXCEPTION, 1), 0, insn.length)
        raise


@instruction("too_long")
def too_long(_cpu: Cpu, _insn: Insn) -> None:
    """More than 15 bytes: #GP(0)."""
    raise GP(0)


@instruction("store_through_cs")
def store_through_cs(_cpu: Cpu, _insn: Insn) -> None:
    """A store through CS outside 64-bit code, where code segments are never writable (SDM "Type Checking"): TCG would do it."""
    raise GP(0)
