"""What the processor looked like, in lines for a reader: the end of a run that went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.registers import CR0, CR4, EFER, RFLAGS
from .decode import decode
from .registers import CS, RIP, RSP

if TYPE_CHECKING:
    from .machine import Machine

_NAMES: Final = [
    "RAX",
    "RCX",
    "RDX",
    "RBX",
    "RSP",
    "RBP",
    "RSI",
    "RDI",
    "R8",
    "R9",
    "R10",
    "R11",
    "R12",
    "R13",
    "R14",
    "R15",
]
_SHOWN: Final = 8


def describe(machine: Machine) -> list[str]:
    """Give registers, control state, and the instruction at RIP with its bytes and symbol."""
    cpu = machine.cpu
    q = cpu.q
    lines = ["  ".join(f"{_NAMES[i]:>3} {q[i]:016x}" for i in range(row, row + 4)) for row in range(0, 16, 4)]
    lines.append(f"RIP {q[RIP]:016x}  CPL {cpu.cpl}  CS {cpu.segments[CS].selector:04x}  {RFLAGS(cpu.rflags)!r}")
    lines.append(f"{CR0(cpu.cr0)!r} CR2 {cpu.cr2:x} CR3 {cpu.cr3:x} {CR4(cpu.cr4)!r} {EFER(cpu.efer)!r}")
    lines.append(f"PKRU {cpu.pkru:08x}  PKRS {cpu.pkrs:08x}  cycle {machine.clock.now}")
    code = machine.cpu.code_at(q[RIP])
    name = machine.symbols.name(q[RIP])
    if code:
        insn = decode(code, cpu.translation.code_size)
        lines.append(f"at {name}: {insn.bytes.hex(' ')}  {insn.mnemonic}")
    else:
        lines.append(f"at {name}: no code can be fetched there")
    return lines


__all__ = ["RSP", "describe"]
