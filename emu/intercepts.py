"""Instructions that exit from VMX non-root operation (SDM "Instructions That Cause VM Exits").

One function for each, which runs before the instruction's handler: it raises `VmExit`, or the fault that comes first, or lets the handler
run.  Where it gives True, it has done the instruction's work itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.registers import CR0, CR4
from ..vmx.exits import ExitReason, VmExit
from ..vmx.fields import Field
from . import tpr_shadow
from .faults import GP, UD
from .operand_info import (
    descriptor_info,
    displacement,
    invalidation_info,
    pointer_info,
    selector_info,
    string_info,
    vmcs_field_info,
)
from .realmode import require_protected
from .registers import RAX, RCX, RDI, RDX, RSI, U32, U64
from .system_decode import CONTROL_REGISTERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..vmx.nonroot import NonRoot
    from .cpu import Cpu
    from .insn import Insn
    from .table import Handler

    Intercept = Callable[[Cpu, Insn, NonRoot], bool | None]

INTERCEPTS: Final[dict[str, Intercept]] = {}
_TS: Final = CR0.TS.mask
_LOW_4: Final = 0xF
_OSXSAVE, _TSD, _DE = CR4.OSXSAVE.mask, CR4.TSD.mask, CR4.DE.mask


def intercepted(mnemonic: str, handler: Handler) -> Handler:
    """Give the handler of an instruction in non-root operation."""
    intercept = INTERCEPTS.get(mnemonic)
    if intercept is None:
        return handler

    def in_guest(cpu: Cpu, insn: Insn) -> None:
        guest = cpu.guest
        if guest is None or not intercept(cpu, insn, guest):
            handler(cpu, insn)

    return in_guest


def _on(*mnemonics: str) -> Callable[[Intercept], Intercept]:
    def enter(intercept: Intercept) -> Intercept:
        for mnemonic in mnemonics:
            INTERCEPTS[mnemonic] = intercept
        return intercept

    return enter


def _leave(insn: Insn, reason: ExitReason, qualification: int = 0, info: int = 0) -> None:
    raise VmExit(reason, qualification, length=insn.length, info=info)


# ---- always ------------------------------------------------------------------------------------------------------------


@_on("cpuid")
def _cpuid(_cpu: Cpu, insn: Insn, _guest: NonRoot) -> None:
    _leave(insn, ExitReason.CPUID)


@_on("invd")
def _invd(cpu: Cpu, insn: Insn, _guest: NonRoot) -> None:
    cpu.require_ring0()
    _leave(insn, ExitReason.INVD)


@_on("xsetbv")
def _xsetbv(cpu: Cpu, insn: Insn, _guest: NonRoot) -> None:
    if not cpu.cr4 & _OSXSAVE:
        raise UD
    cpu.require_ring0()
    _leave(insn, ExitReason.XSETBV)


_VMX: Final = {
    "vmcall": ExitReason.VMCALL, "vmlaunch": ExitReason.VMLAUNCH, "vmresume": ExitReason.VMRESUME, "vmxoff": ExitReason.VMXOFF,
    "vmclear": ExitReason.VMCLEAR, "vmptrld": ExitReason.VMPTRLD, "vmptrst": ExitReason.VMPTRST, "vmxon": ExitReason.VMXON,
    "vmread": ExitReason.VMREAD, "vmwrite": ExitReason.VMWRITE, "invept": ExitReason.INVEPT, "invvpid": ExitReason.INVVPID,
}  # fmt: skip


_ACCESSES: Final = frozenset({"vmread", "vmwrite"})


def _encoding(cpu: Cpu, insn: Insn) -> int:
    """Give the field that VMREAD or VMWRITE means."""
    return cpu.get(insn, insn.operands[insn.mnemonic == "vmread"])


@_on(*_VMX)
def _vmx(cpu: Cpu, insn: Insn, guest: NonRoot) -> None:
    name = insn.mnemonic
    if name != "vmcall" and (cpu.emulates_8086 or (cpu.long_mode and not cpu.code64)):
        raise UD
    if name in _ACCESSES and not guest.vmcs_access_exits(cpu.memory, _encoding(cpu, insn), write=name == "vmwrite"):
        return
    if not insn.operands:
        info = 0
    elif len(insn.operands) == 1:
        info = pointer_info(insn)
    else:
        info = vmcs_field_info(insn) if name in _ACCESSES else invalidation_info(insn)
    _leave(insn, _VMX[name], displacement(cpu, insn), info)


# ---- by a control ------------------------------------------------------------------------------------------------------


@_on("hlt")
def _hlt(cpu: Cpu, insn: Insn, guest: NonRoot) -> None:
    cpu.require_ring0()
    if guest.primary.HLT_EXITING:
        _leave(insn, ExitReason.HLT)


@_on("pause")
def _pause(_cpu: Cpu, insn: Insn, guest: NonRoot) -> None:
    if guest.primary.PAUSE_EXITING:
        _leave(insn, ExitReason.PAUSE)


@_on("wbinvd", "wbnoinvd")
def _wbinvd(cpu: Cpu, insn: Insn, guest: NonRoot) -> None:
    cpu.require_ring0()
    if guest.secondary.WBINVD_EXITING:
        _leave(insn, ExitReason.WBINVD)


@_on("rdpmc")
def _rdpmc(cpu: Cpu, insn: Insn, guest: NonRoot) -> None:
    if cpu.cpl and not cpu.cr4 & CR4.PCE.mask:
        raise GP(0)
    if guest.primary.RDPMC_EXITING:
        _leave(insn, ExitReason.RDPMC)


@_on("rdtsc", "rdtscp")
def _rdtsc(cpu: Cpu, insn: Insn, guest: NonRoot) -> None:
    if insn.mnemonic == "rdtscp" and not guest.secondary.RDTSCP:
        raise UD
    if cpu.cpl and cpu.cr4 & _TSD:
        raise GP(0)
    if guest.primary.RDTSC_EXITING:
        _leave(insn, ExitReason.RDTSC if insn.mnemonic == "rdtsc" else ExitReason.RDTSCP)


@_on("invlpg")
def _invlpg(cpu: Cpu, insn: Insn, guest: NonRoot) -> None:
    (memory,) = insn.operands
    if memory.kind != "mem":
        raise UD
    cpu.require_ring0()
    if guest.primary.INVLPG_EXITING:
        _leave(insn, ExitReason.INVLPG, cpu.operand_address(insn, memory))


@_on("invpcid")
def _invpcid(cpu: Cpu, insn: Insn, guest: NonRoot) -> None:
    if not guest.secondary.INVPCID:
        raise UD
    cpu.require_ring0()
    if guest.primary.INVLPG_EXITING:
        _leave(insn, ExitReason.INVPCID, displacement(cpu, insn), invalidation_info(insn))


@_on("xsaves", "xrstors")
def _xsaves(cpu: Cpu, insn: Insn, guest: NonRoot) -> None:
    if not guest.secondary.XSAVES or not cpu.cr4 & _OSXSAVE or insn.operands[0].kind != "mem":
        raise UD
    cpu.require_ring0()
    wanted = (cpu.q[RDX] & U32) << 32 | cpu.q[RAX] & U32
    if wanted & cpu.xss & guest.vmcs[Field.XSS_EXITING_BITMAP]:
        reason = ExitReason.XSAVES if insn.mnemonic == "xsaves" else ExitReason.XRSTORS
        _leave(insn, reason, displacement(cpu, insn), pointer_info(insn))


@_on("vmfunc")
def _vmfunc(_cpu: Cpu, _insn: Insn, _guest: NonRoot) -> None:
    raise UD


@_on("lgdt", "lidt", "sgdt", "sidt")
def _descriptor_table(cpu: Cpu, insn: Insn, guest: NonRoot) -> None:
    if guest.secondary.DESCRIPTOR_TABLE_EXITING:
        _require_descriptor_access(cpu, insn)
        _leave(insn, ExitReason.GDTR_IDTR, displacement(cpu, insn), descriptor_info(cpu, insn))


@_on("lldt", "ltr", "sldt", "str")
def _selector(cpu: Cpu, insn: Insn, guest: NonRoot) -> None:
    if guest.secondary.DESCRIPTOR_TABLE_EXITING:
        require_protected(cpu)
        _require_descriptor_access(cpu, insn)
        _leave(insn, ExitReason.LDTR_TR, displacement(cpu, insn), selector_info(insn))


def _require_descriptor_access(cpu: Cpu, insn: Insn) -> None:
    if insn.mnemonic[0] == "l":
        cpu.require_ring0()
    elif cpu.cpl and cpu.cr4 & CR4.UMIP.mask:
        raise GP(0)


# ---- MSRs and ports ----------------------------------------------------------------------------------------------------


@_on("rdmsr", "wrmsr")
def _msr(cpu: Cpu, insn: Insn, guest: NonRoot) -> None:
    cpu.require_ring0()
    write = insn.mnemonic == "wrmsr"
    if guest.msr_exits(cpu.memory, cpu.q[RCX] & U32, write=write):
        _leave(insn, ExitReason.WRMSR if write else ExitReason.RDMSR)


@_on("in", "out")
def _port(cpu: Cpu, insn: Insn, guest: NonRoot) -> None:
    from .instructions.ports import check_port  # noqa: PLC0415  (it registers handlers, which this table serves)

    which, data = insn.operands if insn.mnemonic == "out" else insn.operands[::-1]
    immediate = which.kind == "imm"
    port = which.value if immediate else cpu.q[RDX] & 0xFFFF
    check_port(cpu, port, data.size)
    if guest.io_exits(cpu.memory, port, data.size):
        direction = 0 if insn.mnemonic == "out" else 1 << 3
        _leave(insn, ExitReason.IO, data.size - 1 | direction | immediate << 6 | port << 16)


@_on("ins", "outs")
def _string_port(cpu: Cpu, insn: Insn, guest: NonRoot) -> None:
    """REP INS and OUTS exit before the first element, or before the next, whatever RCX is."""
    from .instructions.ports import check_port, string_segment, width  # noqa: PLC0415  (it registers handlers, which this table serves)

    port, size, segment = cpu.q[RDX] & 0xFFFF, width(insn), string_segment(insn)
    check_port(cpu, port, size)
    if not guest.io_exits(cpu.memory, port, size):
        return
    out = insn.mnemonic == "outs"
    offset = cpu.q[RSI if out else RDI] & (1 << 8 * insn.address_size) - 1
    raise VmExit(
        ExitReason.IO,
        size - 1 | (0 if out else 1 << 3) | 1 << 4 | insn.rep << 5 | port << 16,
        length=insn.length,
        info=string_info(insn, segment),
        linear=cpu.segment_base(segment) + offset & (U64 if cpu.code64 else U32),
    )


# ---- control and debug registers ---------------------------------------------------------------------------------------


def _cr_access(insn: Insn, number: int, kind: int, register: int = 0, source: int = 0, *, memory: bool = False) -> None:
    """Exit for a control register; `kind` is 0 for MOV to, 1 for MOV from, 2 for CLTS, 3 for LMSW, whose data is `source`."""
    _leave(insn, ExitReason.CR_ACCESS, number | kind << 4 | memory << 6 | register << 8 | source << 16)


@_on("mov_to_cr")
def _mov_to_cr(cpu: Cpu, insn: Insn, guest: NonRoot) -> bool | None:
    from .instructions.control import load_cr0, load_cr4  # noqa: PLC0415  (it registers handlers, which this table serves)

    target, source = insn.operands
    number, value = target.number, cpu.q[source.number]
    if number not in CONTROL_REGISTERS:
        return False  # #UD, before CPL counts
    cpu.require_ring0()
    if not cpu.code64:
        value &= U32
    if number == 0:
        if (value ^ guest.cr0_shadow) & guest.cr0_mask:
            _cr_access(insn, 0, 0, source.number)
        load_cr0(cpu, cpu.cr0 & guest.cr0_mask | value & ~guest.cr0_mask)
    elif number == 4:
        if (value ^ guest.cr4_shadow) & guest.cr4_mask:
            _cr_access(insn, 4, 0, source.number)
        load_cr4(cpu, cpu.cr4 & guest.cr4_mask | value & ~guest.cr4_mask)
    else:
        if (number == 3 and guest.cr3_load_exits(value)) or (number == 8 and guest.primary.CR8_LOAD_EXITING):
            _cr_access(insn, number, 0, source.number)
        if number != 8 or not guest.primary.TPR_SHADOW:
            return False
        exit_ = tpr_shadow.write(cpu, guest, value)
        if exit_ is not None:
            cpu.next(insn)
            raise exit_
    cpu.next(insn)
    return True


@_on("mov_from_cr")
def _mov_from_cr(cpu: Cpu, insn: Insn, guest: NonRoot) -> bool:
    target, source = insn.operands
    number = source.number
    if number not in CONTROL_REGISTERS:
        return False
    cpu.require_ring0()
    if number == 0:
        value = _shadowed(cpu.cr0, guest.cr0_mask, guest.cr0_shadow)
    elif number == 4:
        value = _shadowed(cpu.cr4, guest.cr4_mask, guest.cr4_shadow)
    else:
        if (number == 3 and guest.primary.CR3_STORE_EXITING) or (number == 8 and guest.primary.CR8_STORE_EXITING):
            _cr_access(insn, number, 1, target.number)
        if number != 8 or not guest.primary.TPR_SHADOW:
            return False
        value = tpr_shadow.read(cpu, guest)
    cpu.q[target.number] = value if cpu.code64 else value & U32
    cpu.next(insn)
    return True


def _shadowed(value: int, mask: int, shadow: int) -> int:
    return value & ~mask | shadow & mask


@_on("clts")
def _clts(cpu: Cpu, insn: Insn, guest: NonRoot) -> bool:
    cpu.require_ring0()
    if guest.cr0_mask & guest.cr0_shadow & _TS:
        _cr_access(insn, 0, 2)
    if not guest.cr0_mask & _TS:
        return False
    cpu.next(insn)  # the host owns TS, and the guest believes it clear
    return True


@_on("lmsw")
def _lmsw(cpu: Cpu, insn: Insn, guest: NonRoot) -> bool:
    from .instructions.control import load_cr0  # noqa: PLC0415  (it registers handlers, which this table serves)

    cpu.require_ring0()
    (operand,) = insn.operands
    value = cpu.get(insn, operand) & 0xFFFF
    owned = guest.cr0_mask & _LOW_4
    differs = (value ^ guest.cr0_shadow) & owned & ~1 or value & owned & ~guest.cr0_shadow & 1
    if differs:
        _cr_access(insn, 0, 3, source=value, memory=operand.kind == "mem")
    free = _LOW_4 & ~owned
    load_cr0(cpu, cpu.cr0 & ~(free & ~1) | value & free)
    cpu.next(insn)
    return True


@_on("smsw")
def _smsw(cpu: Cpu, insn: Insn, guest: NonRoot) -> bool:
    if cpu.cpl and cpu.cr4 & CR4.UMIP.mask:
        raise GP(0)
    cpu.put(insn, insn.operands[0], _shadowed(cpu.cr0, guest.cr0_mask, guest.cr0_shadow))
    cpu.next(insn)
    return True


@_on("mov_to_dr", "mov_from_dr")
def _mov_dr(cpu: Cpu, insn: Insn, guest: NonRoot) -> None:
    if not guest.primary.MOV_DR_EXITING:
        return
    to = insn.mnemonic == "mov_to_dr"
    register, general = insn.operands if to else insn.operands[::-1]
    number = register.number
    if number in {4, 5} and cpu.cr4 & _DE:
        raise UD
    cpu.require_ring0()
    _leave(insn, ExitReason.MOV_DR, number | (0 if to else 1 << 4) | general.number << 8)
