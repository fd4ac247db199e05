"""Control registers and invalidations (SDM "MOV—Move to/from Control Registers", "Control Registers").

What a write flushes is in SDM "Operations that Invalidate TLBs and Paging-Structure Caches".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...mmu.address import canonical
from ...mmu.registers import CR0, CR4, EFER
from ..events import Kind
from ..faults import GP, UD
from ..registers import CS
from ..system_decode import CONTROL_REGISTERS
from ..table import instruction

if TYPE_CHECKING:
    from ..cpu import Cpu
    from ..insn import Insn

_PE, _WP, _ET, _PG = CR0.PE.mask, CR0.WP.mask, CR0.ET.mask, CR0.PG.mask
_CR0_KNOWN: Final = 0xE005003F
_CR0_FLUSH: Final = _PE | _PG | _WP
_NW, _CD = CR0.NW.mask, CR0.CD.mask
_PAE, _PCIDE, _PGE, _SMEP = CR4.PAE.mask, CR4.PCIDE.mask, CR4.PGE.mask, CR4.SMEP.mask
_LME, _LMA = EFER.LME.mask, EFER.LMA.mask
_NO_FLUSH: Final = 1 << 63
_CR3_LOAD, _INVALIDATION = Kind.CR3_LOAD, Kind.INVALIDATION  # a member read off the class takes 0.1 µs


@instruction("mov_from_cr")
def mov_from_cr(cpu: Cpu, insn: Insn) -> None:
    """MOV r, CRn."""
    target, source = insn.operands
    number = source.number
    if number not in CONTROL_REGISTERS:
        raise UD
    cpu.require_ring0()
    if number == 0:
        value = cpu.cr0
    elif number == 2:
        value = cpu.cr2
    elif number == 3:
        value = cpu.cr3
    elif number == 4:
        value = cpu.cr4
    else:
        value = cpu.cr8
    cpu.q[target.number] = value if cpu.code64 else value & 0xFFFFFFFF
    cpu.next(insn)


@instruction("mov_to_cr")
def mov_to_cr(cpu: Cpu, insn: Insn) -> None:
    """MOV CRn, r."""
    target, source = insn.operands
    number = target.number
    if number not in CONTROL_REGISTERS:
        raise UD
    cpu.require_ring0()
    value = cpu.q[source.number]
    if not cpu.code64:
        value &= 0xFFFFFFFF
    if number == 3:
        load_cr3(cpu, value)
    elif number == 0:
        load_cr0(cpu, value)
    elif number == 4:
        load_cr4(cpu, value)
    elif number == 2:
        cpu.cr2 = value
    else:
        if value >> 4:
            raise GP(0)
        cpu.devices.lapic.tpr = value << 4
        cpu.devices.changed()
    cpu.next(insn)


def load_cr0(cpu: Cpu, value: int) -> None:
    """Check and load CR0, entering or leaving paging and IA-32e mode."""
    old = cpu.cr0
    if value >> 32 or (value & _PG and not value & _PE) or (value & _NW and not value & _CD):
        raise GP(0)
    value = value & _CR0_KNOWN | _ET
    if cpu.vmx is not None and not cpu.vmx.caps.cr0_supported(value, unrestricted=_unrestricted(cpu)):
        raise GP(0)
    if value & _PG and not old & _PG:
        if cpu.efer & _LME:
            if not cpu.cr4 & _PAE or cpu.segments[CS].access & 0x2000:
                raise GP(0)
            cpu.efer |= _LMA
        elif cpu.cr4 & _PAE:
            cpu.translation.load_pdptes(cpu.cr3)
    elif old & _PG and not value & _PG:
        if cpu.cr4 & _PCIDE or cpu.code64:
            raise GP(0)
        cpu.efer &= ~_LMA
    elif value & _PG and cpu.cr4 & _PAE and not cpu.efer & _LMA and (value ^ old) & (_CD | _NW):
        cpu.translation.load_pdptes(cpu.cr3)
    if (value ^ old) & _CR0_FLUSH:
        # WP changes rights, not translations: the rights are looked up anew, so only PG and PE empty the TLB.
        cpu.set_cr0(value)
        if (value ^ old) & (_PE | _PG):
            cpu.translation.flush_all()
    else:
        cpu.set_cr0(value)


def _unrestricted(cpu: Cpu) -> bool:
    guest = cpu.guest  # (L1's VMX operation binds it as without an outermost hypervisor)
    return guest is not None and not guest.of_l0 and bool(guest.secondary.UNRESTRICTED_GUEST)


def load_cr3(cpu: Cpu, value: int) -> None:
    """Check and load CR3, with its flush unless CR4.PCIDE and bit 63 say no."""
    keep = False
    if cpu.cr4 & _PCIDE:
        keep = bool(value & _NO_FLUSH)
        value &= ~_NO_FLUSH
    if value >> cpu.features.maxphyaddr and cpu.long_mode:
        raise GP(0)
    if cpu.cr0 & _PG and cpu.cr4 & _PAE and not cpu.long_mode:
        cpu.translation.load_pdptes(value)
    old = cpu.cr3
    cpu.cr3 = value
    cpu.translation.load_cr3(keep=keep)
    costs = cpu.costs
    cpu.event(_CR3_LOAD, old, value, int(not keep), cost=costs.cr3 if keep else costs.cr3 + costs.cr3_flush)


def load_cr4(cpu: Cpu, value: int) -> None:
    """Check and load CR4."""
    old = cpu.cr4
    changed = value ^ old
    if value & ~cpu.features.cr4 or (cpu.vmx is not None and not cpu.vmx.caps.cr4_supported(value)):
        raise GP(0)
    if changed & _PAE and cpu.long_mode:
        raise GP(0)
    if value & ~old & _PCIDE and (not cpu.long_mode or cpu.cr3 & 0xFFF):
        raise GP(0)
    if cpu.cr0 & _PG and value & _PAE and not cpu.long_mode and changed & (_PGE | _PAE | CR4.PSE.mask | _SMEP):
        cpu.translation.load_pdptes(cpu.cr3)
    cpu.set_cr4(value)
    if changed & (_PGE | _PAE | CR4.PSE.mask) or old & ~value & _PCIDE or value & ~old & _SMEP:
        cpu.translation.flush_all()


@instruction("clts")
def clts(cpu: Cpu, insn: Insn) -> None:
    """CLTS: clear CR0.TS."""
    cpu.require_ring0()
    cpu.set_cr0(cpu.cr0 & ~CR0.TS.mask)
    cpu.next(insn)


@instruction("invlpg")
def invlpg(cpu: Cpu, insn: Insn) -> None:
    """INVLPG m: drop one page, global or not, in the current PCID."""
    (operand,) = insn.operands
    if operand.kind != "mem":
        raise UD
    cpu.require_ring0()
    address = cpu.operand_address(insn, operand)
    cpu.next(insn)
    drop_page(cpu, address)


def drop_page(cpu: Cpu, address: int) -> None:
    """Do what INVLPG does, behind the instruction."""
    cpu.translation.invlpg(address)
    cpu.event(_INVALIDATION, 0, address, cost=cpu.costs.invlpg)


@instruction("invpcid")
def invpcid(cpu: Cpu, insn: Insn) -> None:
    """INVPCID r, m128 (SDM "INVPCID—Invalidate Process-Context Identifier")."""
    register, memory = insn.operands
    if memory.kind != "mem":
        raise UD
    cpu.require_ring0()
    kind = cpu.q[register.number] if cpu.code64 else cpu.q[register.number] & 0xFFFFFFFF
    descriptor = cpu.read_bytes(cpu.operand_address(insn, memory), 16, stack=memory.segment == 2)
    pcid = int.from_bytes(descriptor[:8], "little")
    address = int.from_bytes(descriptor[8:], "little")
    if kind > 3 or (kind in {0, 1} and pcid >> 12) or (kind == 0 and not canonical(address)):
        raise GP(0)
    if kind in {0, 1} and not cpu.cr4 & _PCIDE and pcid & 0xFFF:
        raise GP(0)
    if kind in {2, 3} and pcid >> 12:
        raise GP(0)
    cpu.translation.invpcid(kind, pcid & 0xFFF, address)
    cpu.next(insn)
    cpu.event(_INVALIDATION, 1 + kind, address, cost=cpu.costs.invpcid)


@instruction("wbinvd", "invd", "wbnoinvd")
def wbinvd(cpu: Cpu, insn: Insn) -> None:
    """WBINVD, INVD: there is no cache to write back."""
    cpu.require_ring0()
    cpu.next(insn)


@instruction("hlt")
def hlt(cpu: Cpu, insn: Insn) -> None:
    """HLT: wait for an interrupt; the run loop lets time jump to it."""
    cpu.require_ring0()
    cpu.next(insn)
    cpu.halted = True
    cpu.interrupt_shadow = False
    cpu.event(Kind.HLT, cost=cpu.costs.hlt)
    cpu.engine.stop()
