"""RDPKRU and WRPKRU (SDM "WRPKRU—Write Data to User Page Key Register")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..events import Kind
from ..faults import GP, UD
from ..registers import RAX, RCX, RDX, RIP, U32
from ..table import instruction

if TYPE_CHECKING:
    from ..cpu import Cpu
    from ..insn import Insn

_WRPKRU: Final = Kind.WRPKRU  # a member read off the class takes 0.1 µs
_PKE: Final = 1 << 22


@instruction("wrpkru")
def wrpkru(cpu: Cpu, insn: Insn) -> None:
    """WRPKRU: PKRU := EAX; ECX and EDX must be zero.  The hottest of all handlers: a gate runs two."""
    if not cpu.cr4 & _PKE:
        raise UD
    q = cpu.q
    if (q[RCX] | q[RDX]) & U32:
        raise GP(0)
    old = cpu.pkru
    cpu.pkru = new = q[RAX] & U32
    if cpu.emit is None:
        cpu.clock.cycles += cpu.costs.wrpkru
    else:
        cpu.event(_WRPKRU, old, new, cost=cpu.costs.wrpkru)
    cpu.translation.switch_keys(new)
    q[RIP] += insn.length


@instruction("rdpkru")
def rdpkru(cpu: Cpu, insn: Insn) -> None:
    """RDPKRU: EAX := PKRU, EDX := 0; ECX must be zero."""
    if not cpu.cr4 & _PKE:
        raise UD
    q = cpu.q
    if q[RCX] & U32:
        raise GP(0)
    q[RAX] = cpu.pkru
    q[RDX] = 0
    cpu.next(insn)
