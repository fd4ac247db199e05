"""Trapped instructions at known addresses: one closure for each, with its operands bound.

A handler takes its operands apart each time.  For the instructions that kernels run most often, what is left then is a few reads
and writes; the closure of `MAKERS` does them, and says that it did.  In any case but the usual one it does nothing and says so, and
the handler has the case, or the fault.  `Translation.sites` keeps closures by RIP, with the bytes they stand for: those are
compared at each trap, so code that was written anew is met anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .events import Kind
from .instructions.control import drop_page, load_cr3
from .instructions.time import TSD
from .registers import FS, GS, RAX, RCX, RDX, RIP, U32, U64

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cpu import Cpu
    from .decode import Insn

    Closure = Callable[[], bool]

_PKE: Final = 1 << 22
_RDTSC: Final = Kind.RDTSC  # a member read off the class takes 0.1 µs
_CONTROL: Final = {0: "cr0", 2: "cr2", 3: "cr3", 4: "cr4"}


def _rdtsc(cpu: Cpu, insn: Insn) -> Closure:
    q, length, read, clock = cpu.q, insn.length, cpu.tsc.read, cpu.clock

    def run() -> bool:
        if cpu.cpl and cpu.cr4 & TSD:
            return False
        cost = cpu.costs.rdtsc
        now = read() + cost & U64
        q[RAX], q[RDX] = now & U32, now >> 32
        q[RIP] += length
        clock.cycles += cost
        if cpu.emit is not None:
            cpu.emit_event(_RDTSC, cost, (now,))
        return True

    return run


def _rdpkru(cpu: Cpu, insn: Insn) -> Closure:
    q, length = cpu.q, insn.length

    def run() -> bool:
        if not cpu.cr4 & _PKE or q[RCX] & U32:
            return False
        q[RAX], q[RDX] = cpu.pkru, 0
        q[RIP] += length
        return True

    return run


def _mov_from_cr(cpu: Cpu, insn: Insn) -> Closure | None:
    target, source = insn.operands
    name = _CONTROL.get(source.number)
    if name is None:
        return None
    q, number, length = cpu.q, target.number, insn.length

    def run() -> bool:
        if cpu.cpl:
            return False
        q[number] = getattr(cpu, name)
        q[RIP] += length
        return True

    return run


def _mov_to_cr(cpu: Cpu, insn: Insn) -> Closure | None:
    target, source = insn.operands
    if target.number != 3:
        return None
    q, number, length = cpu.q, source.number, insn.length

    def run() -> bool:
        value = q[number]
        if cpu.cpl or value >> cpu.features.maxphyaddr:
            return False
        load_cr3(cpu, value)
        q[RIP] += length
        return True

    return run


def _invlpg(cpu: Cpu, insn: Insn) -> Closure | None:
    (memory,) = insn.operands
    if memory.kind != "mem" or memory.rip_relative or memory.index is not None or memory.base is None:
        return None
    if memory.segment in {FS, GS} or memory.address_size != 8:
        return None
    q, base, disp, length = cpu.q, memory.base, memory.disp, insn.length

    def run() -> bool:
        if cpu.cpl:
            return False
        address = q[base] + disp & U64
        q[RIP] += length
        drop_page(cpu, address)
        return True

    return run


def bind_take_site(cpu: Cpu) -> Callable[[int], bool]:
    """Make what runs the closure for the instruction at RIP, and says whether there was one and it did."""
    sites, ram = cpu.translation.sites, cpu.memory.ram

    def take_site(rip: int) -> bool:
        site = sites.get(rip)
        if site is None:
            return False
        first, end, code, run = site
        return ram[first:end] == code and run()

    return take_site


MAKERS: Final[dict[str, Callable[[Cpu, Insn], Closure | None]]] = {
    "rdtsc": _rdtsc,
    "rdpkru": _rdpkru,
    "mov_from_cr": _mov_from_cr,
    "mov_to_cr": _mov_to_cr,
    "invlpg": _invlpg,
}
