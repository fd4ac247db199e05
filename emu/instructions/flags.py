"""Instructions on RFLAGS: CLI, STI, POPF, PUSHF, CLAC, STAC (SDM instruction pages of those names)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...mmu.registers import CR4
from ..faults import GP, UD
from ..limits import check_room
from ..realmode import require_iopl
from ..registers import AC, ID, IF, IOPL, NT, RF, RSP, SS, TF, U64, VIF, VIP, VM
from ..state import STI_SHADOW
from ..table import instruction

if TYPE_CHECKING:
    from ..cpu import Cpu
    from ..insn import Insn

_ORDINARY: Final = 0xDD5 & ~IF | TF  # CF PF AF ZF SF TF DF OF


@instruction("cli")
def cli(cpu: Cpu, insn: Insn) -> None:
    """CLI: IOPL decides; CR4.PVI's virtual interrupts are for CPL 3 below it."""
    if cpu.cpl > cpu.iopl:
        if cpu.cpl == 3 and not cpu.v86 and cpu.cr4 & CR4.PVI.mask:
            cpu.set_system_flags(VIF, 0)
            cpu.next(insn)
            return
        raise GP(0)
    cpu.set_system_flags(IF, 0)
    cpu.next(insn)


@instruction("sti")
def sti(cpu: Cpu, insn: Insn) -> None:
    """STI: interrupts are let in only after the next instruction, if IF was 0."""
    if cpu.cpl > cpu.iopl:
        if cpu.cpl == 3 and not cpu.v86 and cpu.cr4 & CR4.PVI.mask and not cpu.system_flags & VIP:
            cpu.set_system_flags(0, VIF)
            cpu.next(insn)
            return
        raise GP(0)
    if not cpu.interrupts_enabled:
        cpu.set_system_flags(0, IF)
        cpu.interrupt_shadow = STI_SHADOW
    cpu.next(insn)


@instruction("clac", "stac")
def clac_stac(cpu: Cpu, insn: Insn) -> None:
    """CLAC and STAC: #UD at CPL > 0 or without CR4.SMAP's feature bit."""
    if cpu.cpl:
        raise UD
    if insn.mnemonic == "stac":
        cpu.set_system_flags(0, AC)
    else:
        cpu.set_system_flags(AC, 0)
    cpu.next(insn)


def stack_pointer_mask(cpu: Cpu) -> int:
    """Give the bits of RSP that the stack uses: 64 in 64-bit mode, else SS.B decides."""
    if cpu.code64:
        return U64
    return cpu.segments[SS].pointer_mask


@instruction("popf")
def popf(cpu: Cpu, insn: Insn) -> None:
    """POPF, POPFD, POPFQ: which bits change depends on CPL and IOPL."""
    require_iopl(cpu)
    size = insn.opsize // 8
    mask = stack_pointer_mask(cpu)
    rsp = cpu.q[RSP]
    check_room(cpu, SS, rsp & mask, size)
    value = cpu.read((rsp & mask) + cpu.segment_base(SS), size, stack=True)
    old = cpu.rflags
    change = _ORDINARY | NT
    if size > 2:
        change |= AC | ID
    if cpu.cpl == 0:
        change |= IOPL
    if cpu.cpl <= cpu.iopl:
        change |= IF
    cpu.q[RSP] = rsp & ~mask | (rsp + size) & mask
    cpu.next(insn)
    new = old & ~change | value & change
    cpu.rflags = new & ~RF if size > 2 else new


@instruction("pushf")
def pushf(cpu: Cpu, insn: Insn) -> None:
    """PUSHF, PUSHFD, PUSHFQ: RF and VM are pushed as zero.  Only hooked where TCG's IOPL is not the guest's."""
    require_iopl(cpu)
    size = insn.opsize // 8
    mask = stack_pointer_mask(cpu)
    rsp = cpu.q[RSP]
    check_room(cpu, SS, rsp - size & mask, size)
    cpu.write((rsp - size & mask) + cpu.segment_base(SS), size, cpu.rflags & ~(RF | VM), stack=True)
    cpu.q[RSP] = rsp & ~mask | (rsp - size) & mask
    cpu.next(insn)
