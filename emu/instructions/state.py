"""CPUID, RDMSR and WRMSR, XGETBV and XSETBV, and the XSAVE family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import msr, xsave
from ..cpuid import cpuid
from ..events import Kind
from ..faults import GP, NM, UD
from ..registers import RAX, RBX, RCX, RDX, SS, U32
from ..table import instruction

if TYPE_CHECKING:
    from ..cpu import Cpu
    from ..insn import Insn

_OSXSAVE, _TS = 1 << 18, 1 << 3


def _wide(cpu: Cpu) -> int:
    return (cpu.q[RDX] & U32) << 32 | cpu.q[RAX] & U32


def _put_wide(cpu: Cpu, value: int) -> None:
    cpu.q[RAX], cpu.q[RDX] = value & U32, value >> 32


@instruction("cpuid")
def cpuid_instruction(cpu: Cpu, insn: Insn) -> None:
    """CPUID."""
    q = cpu.q
    leaf, subleaf = q[RAX] & U32, q[RCX] & U32
    cpu.event(Kind.CPUID, leaf, subleaf, cost=cpu.costs.cpuid)
    q[RAX], q[RBX], q[RCX], q[RDX] = cpuid(cpu, leaf, subleaf)
    cpu.next(insn)


@instruction("rdmsr")
def rdmsr(cpu: Cpu, insn: Insn) -> None:
    """RDMSR."""
    cpu.require_ring0()
    number = cpu.q[RCX] & U32
    value = msr.read(cpu, number)
    _put_wide(cpu, value)
    cpu.next(insn)
    cpu.event(Kind.MSR, number, 0, value, cost=cpu.costs.msr)


@instruction("wrmsr")
def wrmsr(cpu: Cpu, insn: Insn) -> None:
    """WRMSR."""
    cpu.require_ring0()
    number, value = cpu.q[RCX] & U32, _wide(cpu)
    msr.write(cpu, number, value)
    cpu.next(insn)
    cpu.event(Kind.MSR, number, 1, value, cost=cpu.costs.msr)


@instruction("rdpmc")
def rdpmc(_cpu: Cpu, _insn: Insn) -> None:
    """RDPMC: #GP(0) for a counter that is not there, and CPUID offers none."""
    raise GP(0)


def _require_xsave(cpu: Cpu) -> None:
    if not cpu.cr4 & _OSXSAVE:
        raise UD


@instruction("xgetbv")
def xgetbv(cpu: Cpu, insn: Insn) -> None:
    """XGETBV: XCR0, or with ECX = 1 what of it is in use."""
    _require_xsave(cpu)
    which = cpu.q[RCX] & U32
    if which > ("xgetbv1" in cpu.features):
        raise GP(0)
    _put_wide(cpu, cpu.xcr0 & xsave.in_use(cpu) if which else cpu.xcr0)
    cpu.next(insn)


@instruction("xsetbv")
def xsetbv(cpu: Cpu, insn: Insn) -> None:
    """XSETBV: XCR0 must keep x87, and name nothing that is not there."""
    _require_xsave(cpu)
    value = _wide(cpu)
    if cpu.cpl or cpu.q[RCX] & U32 or not value & xsave.X87 or value & ~cpu.features.xcr0:
        raise GP(0)
    cpu.xcr0 = value
    cpu.next(insn)


def _area(cpu: Cpu, insn: Insn) -> tuple[int, bool]:
    """Check what all of the family check, and give the area's linear address, and whether that is through SS."""
    _require_xsave(cpu)
    if cpu.cr0 & _TS:
        raise NM
    (memory,) = insn.operands
    if memory.kind != "mem":
        raise UD
    if insn.mnemonic in {"xsaves", "xrstors"}:
        cpu.require_ring0()
    stores = insn.mnemonic.startswith("xsave")
    address = cpu.store_address(insn, memory) if stores else cpu.operand_address(insn, memory)
    if address & 63:
        raise GP(0)
    return address, memory.segment == SS


@instruction("xsave", "xsaveopt", "xsavec", "xsaves")
def xsave_family(cpu: Cpu, insn: Insn) -> None:
    """XSAVE, XSAVEOPT, XSAVEC, XSAVES."""
    address, stack = _area(cpu, insn)
    name = insn.mnemonic
    allowed = cpu.xcr0 | (cpu.xss if name == "xsaves" else 0)
    compact = name in {"xsavec", "xsaves"}
    xsave.save(cpu, address, _wide(cpu) & allowed, compact=compact, optimise=name == "xsaveopt", stack=stack)
    cpu.next(insn)


@instruction("xrstor", "xrstors")
def xrstor_family(cpu: Cpu, insn: Insn) -> None:
    """XRSTOR, XRSTORS: PKRU is component 9, so this too is a way to write it."""
    address, stack = _area(cpu, insn)
    supervisor = insn.mnemonic == "xrstors"
    allowed = cpu.xcr0 | (cpu.xss if supervisor else 0)
    old, wanted = cpu.pkru, _wide(cpu) & allowed
    xsave.restore(cpu, address, wanted, supervisor=supervisor, stack=stack)
    cpu.next(insn)
    if wanted & xsave.PKRU:
        cpu.event(Kind.WRPKRU, old, cpu.pkru, cost=cpu.costs.wrpkru)
