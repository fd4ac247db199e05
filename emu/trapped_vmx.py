"""The same for virtual machines: VMX instructions of a host, and what a guest runs without an exit, or always exits for.

What a maker has asked of a guest's controls holds as long as its `Known` does: that goes when software writes one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..vmx.errors import VmFail
from ..vmx.exits import ExitReason, VmExit
from ..vmx.vmcs import PLAIN_AT_ENTRY
from .registers import CC_OP, CC_SRC, RCX, RIP, U32
from .state import MOV_SS_SHADOW
from .trapped import MAKERS
from .vmentry import enter
from .vmexit import leave

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..vmx.nonroot import NonRoot
    from .cpu import Cpu
    from .insn import Insn
    from .trapped import Closure

    Maker = Callable[[Cpu, Insn, int], Closure | None]

_EIP: Final = 2 * RIP
_put: Final = dict.__setitem__


# ---- the host's --------------------------------------------------------------------------------------------------------


def _vmread(cpu: Cpu, insn: Insn, after: int) -> Closure | None:
    target, source = insn.operands
    if target.kind != "reg" or cpu.vmx is None:
        return None
    q, d, number, encoding, fields = cpu.q, cpu.d, target.number, source.number, cpu.vmx.caps.fields

    def run() -> bool:
        operation, found = cpu.vmx, fields.get(q[encoding])
        if cpu.cpl or found is None or operation is None or operation.current is None:
            return False
        which, high = found
        value = operation.current[which]
        q[number] = value >> 32 if high else value
        q[CC_SRC], d[CC_OP] = 0, 1
        d[_EIP] = after
        return True

    return run


def _vmwrite(cpu: Cpu, insn: Insn, after: int) -> Closure | None:
    target, source = insn.operands
    if source.kind != "reg" or cpu.vmx is None:
        return None
    q, d, encoding, number = cpu.q, cpu.d, target.number, source.number
    writable = cpu.vmx.caps.writable

    def run() -> bool:
        operation, found = cpu.vmx, writable.get(q[encoding])
        if cpu.cpl or found is None or operation is None or operation.current is None:
            return False
        which, mask = found
        if which in PLAIN_AT_ENTRY:
            _put(operation.current, which, q[number] & mask)
        else:
            operation.current.store(which, q[number] & mask)
        q[CC_SRC], d[CC_OP] = 0, 1
        d[_EIP] = after
        return True

    return run


def _vmresume(cpu: Cpu, _insn: Insn, _after: int) -> Closure:
    def run() -> bool:
        operation = cpu.vmx
        if operation is None or cpu.cpl or cpu.interrupt_shadow & MOV_SS_SHADOW:
            return False
        vmcs = operation.current
        if vmcs is None or vmcs.shadow or not vmcs.launched:
            return False
        quick = cpu.quick_vmx
        if quick is not None and cpu.outer is None and quick[0](operation, vmcs):
            return True
        try:
            enter(cpu, operation, vmcs)
        except VmFail:
            return False
        return True

    return run


def _vmresume_of_l1(cpu: Cpu, insn: Insn, after: int) -> Closure:
    """VMRESUME of the outermost hypervisor's guest: an exit to it, and an entry by VMCS02."""
    enter_l2 = _vmresume(cpu, insn, after)

    def run() -> bool:
        outer, operation = cpu.outer, cpu.vmx
        if outer is None or operation is None or operation.current is None or cpu.cpl:
            return False
        outer.left(ExitReason.VMRESUME, 0, 0)
        if not enter_l2():
            return False  # L0 is still out, and looks again
        outer.resume()  # where the entry has failed, L1
        return True

    return run


HOST_MAKERS: Final[dict[str, Maker]] = MAKERS | {"vmread": _vmread, "vmwrite": _vmwrite, "vmresume": _vmresume}


# ---- the guest's -------------------------------------------------------------------------------------------------------


def _exits(reason: ExitReason, *, any_cpl: bool = False) -> Maker:
    """Make the maker of an instruction that exits, if privilege allows it."""

    def make(cpu: Cpu, insn: Insn, _after: int) -> Closure:
        exit_ = VmExit(reason, length=insn.length)
        exit_.fields = exit_.as_fields()

        def run() -> bool:
            if cpu.cpl and not any_cpl:
                return False
            leave(cpu, exit_)
            return True

        return run

    return make


def _msr_access(cpu: Cpu, insn: Insn, _after: int) -> Closure:
    """RDMSR and WRMSR of an MSR that exits."""
    write = insn.mnemonic == "wrmsr"
    exit_ = VmExit(ExitReason.WRMSR if write else ExitReason.RDMSR, length=insn.length)
    exit_.fields = exit_.as_fields()

    def run() -> bool:
        guest = cpu.guest
        if cpu.cpl or guest is None or not guest.msr_exits(cpu.memory, cpu.q[RCX] & U32, write=write):
            return False
        leave(cpu, exit_)
        return True

    return run


_CPUID, _VMCALL, _HLT = (
    _exits(ExitReason.CPUID, any_cpl=True),
    _exits(ExitReason.VMCALL, any_cpl=True),
    _exits(ExitReason.HLT),
)
_UNCONDITIONAL: Final = frozenset({"wrpkru", "rdpkru", "sysretq", "cli"})


def guest_maker(guest: NonRoot, insn: Insn) -> Maker | None:
    """Give the maker of an instruction in a guest; None where the full implementation must look each time."""
    name, primary = insn.mnemonic, guest.primary
    if name in _UNCONDITIONAL or (name == "iretq" and guest.iret_unblocks):
        return MAKERS[name]
    if name in {"rdtsc", "rdtscp"}:
        passes = not primary.RDTSC_EXITING and (name == "rdtsc" or guest.secondary.RDTSCP)
        return MAKERS[name] if passes else None
    if name == "invlpg":
        return None if primary.INVLPG_EXITING else MAKERS[name]
    if name == "mov_from_cr":
        exits = {0: guest.cr0_mask, 2: 0, 3: primary.CR3_STORE_EXITING, 4: guest.cr4_mask}
        return None if exits.get(insn.operands[1].number, 1) else MAKERS[name]
    if name == "mov_to_cr":
        return None if primary.CR3_LOAD_EXITING else MAKERS[name]
    if name in {"rdmsr", "wrmsr"}:
        return _msr_access
    if name in {"vmread", "vmwrite"}:
        return HOST_MAKERS[name] if guest.shows_vmcs else None
    if name == "vmresume":
        return _vmresume_of_l1 if guest.of_l0 else None
    if name == "hlt":
        return _HLT if primary.HLT_EXITING else None
    return {"cpuid": _CPUID, "vmcall": _VMCALL}.get(name)


def maker(cpu: Cpu, insn: Insn) -> Maker | None:
    """Give what makes a closure of a trapped instruction of the side that runs, if anything does."""
    return HOST_MAKERS.get(insn.mnemonic) if cpu.guest is None else guest_maker(cpu.guest, insn)
