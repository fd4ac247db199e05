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

TSD: Final = 1 << 2  # in CR4


def charge_rdtsc(cpu: Cpu) -> int:
    """Let the time of RDTSC pass, and give what it reads."""
    cpu.clock.cycles += cpu.costs.rdtsc
    return cpu.tsc.read()


@instruction("rdtsc", "rdtscp")
def rdtsc(cpu: Cpu, insn: Insn) -> None:
    """RDTSC, RDTSCP: #GP at CPL > 0 with CR4.TSD."""
    if cpu.cpl and cpu.cr4 & TSD:
        raise GP(0)
    now = charge_rdtsc(cpu)
    q = cpu.q
    q[RAX] = now & 0xFFFFFFFF
    q[RDX] = now >> 32
    if insn.mnemonic == "rdtscp":
        q[RCX] = cpu.msr.get(IA32_TSC_AUX, 0) & 0xFFFFFFFF
    cpu.next(insn)
