"""RDTSC and RDTSCP: virtual time (SDM "Time-Stamp Counter")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..faults import GP
from ..msr_index import IA32_TSC_AUX
from ..registers import RAX, RCX, RDX
from ..table import instruction

if TYPE_CHECKING:
    from ..cpu import Cpu
    from ..decode import Insn

_TSD: Final = 1 << 2


@instruction("rdtsc", "rdtscp")
def rdtsc(cpu: Cpu, insn: Insn) -> None:
    """RDTSC, RDTSCP: #GP at CPL > 0 with CR4.TSD."""
    if cpu.cpl and cpu.cr4 & _TSD:
        raise GP(0)
    cpu.clock.cycles += cpu.costs.rdtsc
    now = cpu.tsc.read()
    q = cpu.q
    q[RAX] = now & 0xFFFFFFFF
    q[RDX] = now >> 32
    if insn.mnemonic == "rdtscp":
        q[RCX] = cpu.msr.get(IA32_TSC_AUX, 0) & 0xFFFFFFFF
    cpu.next(insn)
