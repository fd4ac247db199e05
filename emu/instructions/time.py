"""RDTSC and RDTSCP: virtual time (SDM "Time-Stamp Counter")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..faults import GP
from ..registers import RAX, RCX, RDX
from ..table import instruction

if TYPE_CHECKING:
    from ..cpu import Cpu
    from ..decode import Insn

_TSD: Final = 1 << 2
TSC_ADJUST: Final = 0x3B
TSC_AUX: Final = 0xC0000103


def tsc(cpu: Cpu) -> int:
    """Give the time-stamp counter: virtual cycles, plus what the guest wrote to it."""
    cpu.sync_clock()
    return cpu.clock.cycles + cpu.tsc_offset & (1 << 64) - 1


@instruction("rdtsc", "rdtscp")
def rdtsc(cpu: Cpu, insn: Insn) -> None:
    """RDTSC, RDTSCP: #GP at CPL > 0 with CR4.TSD."""
    if cpu.cpl and cpu.cr4 & _TSD:
        raise GP(0)
    cpu.clock.cycles += cpu.costs.rdtsc
    now = tsc(cpu)
    q = cpu.q
    q[RAX] = now & 0xFFFFFFFF
    q[RDX] = now >> 32
    if insn.mnemonic == "rdtscp":
        q[RCX] = cpu.msr.get(TSC_AUX, 0) & 0xFFFFFFFF
    cpu.next(insn)
