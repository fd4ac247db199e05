"""RDTSC and RDTSCP: virtual time (SDM "Time-Stamp Counter")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..events import Kind
from ..faults import GP
from ..msr_index import IA32_TSC_AUX
from ..registers import RAX, RCX, RDX, U64
from ..table import instruction

if TYPE_CHECKING:
    from ..cpu import Cpu
    from ..insn import Insn

TSD: Final = 1 << 2  # in CR4
_RDTSC: Final = Kind.RDTSC  # a member read off the class takes 0.1 µs


def read_tsc(cpu: Cpu) -> int:
    """Give what RDTSC reads: the counter when the instruction is over."""
    return cpu.tsc.read() + cpu.costs.rdtsc & U64


def tell_rdtsc(cpu: Cpu, now: int) -> None:
    """Charge RDTSC, behind the instruction."""
    cpu.event(_RDTSC, now, cost=cpu.costs.rdtsc)


@instruction("rdtsc", "rdtscp")
def rdtsc(cpu: Cpu, insn: Insn) -> None:
    """RDTSC, RDTSCP: #GP at CPL > 0 with CR4.TSD."""
    if cpu.cpl and cpu.cr4 & TSD:
        raise GP(0)
    now = read_tsc(cpu)
    q = cpu.q
    q[RAX] = now & 0xFFFFFFFF
    q[RDX] = now >> 32
    if insn.mnemonic == "rdtscp":
        q[RCX] = cpu.msr.get(IA32_TSC_AUX, 0) & 0xFFFFFFFF
    cpu.next(insn)
    tell_rdtsc(cpu, now)
