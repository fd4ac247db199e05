"""Which of an instruction's accesses are through SS: there, an address that is not canonical is #SS, elsewhere #GP.

SDM "Stack Fault Exception (#SS)".  TCG does not look; what it refused is found out afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.rights import EXEC, WRITE
from .decode import decode
from .registers import RIP, SS

if TYPE_CHECKING:
    from .cpu import Cpu

# What instructions that TCG begins by itself do to the stack besides the access to an operand in memory.
_WRITE_THE_STACK: Final = frozenset({"push", "push_sreg", "pushf", "call", "enter"})
_READ_THE_STACK: Final = frozenset({"pop", "pop_sreg", "popf", "ret", "retf", "iret", "iretq", "leave", "enter"})


def through_stack(cpu: Cpu, need: int) -> bool:
    """Tell whether an access of the instruction at RIP, to read or to WRITE, is through SS."""
    if need == EXEC:
        return False
    insn = decode(cpu.code_at(cpu.q[RIP]), cpu.translation.code_size)
    if insn.mnemonic in (_WRITE_THE_STACK if need == WRITE else _READ_THE_STACK):
        return True
    return any(operand.kind == "mem" and operand.segment == SS for operand in insn.operands)
