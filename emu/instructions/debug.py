"""MOV to and from debug registers (SDM "MOV—Move to/from Debug Registers", "Debug Registers")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...mmu.registers import CR4, DR6
from ..faults import DB, GP, UD
from ..table import instruction

if TYPE_CHECKING:
    from ..cpu import Cpu
    from ..insn import Insn

_GD: Final = 1 << 13
_DR6_FIXED, _DR6_KNOWN = 0xFFFF0FF0, 0xE00F
_DR7_FIXED, _DR7_KNOWN = 0x400, 0xFFFF23FF


def _number(cpu: Cpu, number: int) -> int:
    """Resolve DR4 and DR5, which are DR6 and DR7 unless CR4.DE; raise what any access may raise."""
    if number in {4, 5}:
        if cpu.cr4 & CR4.DE.mask:
            raise UD
        number += 2
    if number > 7:
        raise UD
    cpu.require_ring0()
    if cpu.dr[7] & _GD:
        raise DB(DR6.BD.mask)
    return number


@instruction("mov_from_dr")
def mov_from_dr(cpu: Cpu, insn: Insn) -> None:
    """MOV r, DRn."""
    target, source = insn.operands
    value = cpu.dr[_number(cpu, source.number)]
    cpu.q[target.number] = value if cpu.code64 else value & 0xFFFFFFFF
    cpu.next(insn)


@instruction("mov_to_dr")
def mov_to_dr(cpu: Cpu, insn: Insn) -> None:
    """MOV DRn, r."""
    target, source = insn.operands
    number = _number(cpu, target.number)
    value = cpu.q[source.number]
    if not cpu.code64:
        value &= 0xFFFFFFFF
    if number >= 6 and value >> 32:
        raise GP(0)
    if number == 6:
        value = value & _DR6_KNOWN | _DR6_FIXED
    elif number == 7:
        value = value & _DR7_KNOWN | _DR7_FIXED
    cpu.dr[number] = value
    cpu.breakpoints.update()
    cpu.next(insn)
