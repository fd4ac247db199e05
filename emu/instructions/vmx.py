"""VMX instructions in VMX root operation (SDM "VMX Instruction Reference").

Here are the checks of mode and privilege, and the operands; what an instruction does to VMCSs is `paracell.vmx.operation`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...mmu.address import canonical
from ...vmx.errors import InstructionError, VmFail
from ..faults import GP, UD
from ..registers import CC_OP, CC_SRC, RIP, SS, U32
from ..state import MOV_SS_SHADOW
from ..table import instruction

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...vmx.operation import Operation
    from ..cpu import Cpu
    from ..insn import Insn

    Body = Callable[[Cpu, Insn, Operation], None]

_VMXE: Final = 1 << 13
_CAN_VMXON: Final = 5  # IA32_FEATURE_CONTROL: locked, with VMX outside SMX
_FEATURE_CONTROL: Final = 0x3A
_SINGLE, _ALL = 1, 2  # types of INVEPT


def _require_mode(cpu: Cpu) -> None:
    """Raise #UD in compatibility, real and virtual-8086 mode."""
    if cpu.emulates_8086 or (cpu.long_mode and not cpu.code64):
        raise UD


def _root_operation(cpu: Cpu) -> Operation:
    """Give VMX root operation; #UD outside it, #GP(0) unless CPL is 0."""
    operation = cpu.vmx
    if operation is None:
        raise UD
    _require_mode(cpu)
    cpu.require_ring0()
    return operation


def _set_flags(cpu: Cpu, flags: int) -> None:
    """VMsucceed, VMfailInvalid and VMfailValid set all six arithmetic flags (SDM "Conventions")."""
    cpu.q[CC_SRC] = flags
    cpu.d[CC_OP] = 1


def _in_root(*mnemonics: str) -> Callable[[Body], Body]:
    """Enter an instruction of VMX root operation into the table, behind the checks that all have in common."""

    def enter(body: Body) -> Body:
        @instruction(*mnemonics)
        def handler(cpu: Cpu, insn: Insn) -> None:
            operation = _root_operation(cpu)
            try:
                body(cpu, insn, operation)
                flags = 0
            except VmFail as failure:
                flags = operation.fail(failure.error)
            _set_flags(cpu, flags)
            cpu.next(insn)

        return body

    return enter


def _pointer(cpu: Cpu, insn: Insn) -> int:
    """Read the 64-bit physical address that the memory operand holds."""
    (memory,) = insn.operands
    return cpu.read(cpu.operand_address(insn, memory), 8, stack=memory.segment == SS)


@instruction("vmxon")
def vmxon(cpu: Cpu, insn: Insn) -> None:
    """VMXON m64: enter VMX root operation."""
    from ...vmx.operation import Operation, vmxon_region_refused  # noqa: PLC0415  (most guests never come here)

    caps = cpu.features.vmx
    if caps is None or not cpu.cr4 & _VMXE:
        raise UD
    _require_mode(cpu)
    cpu.require_ring0()
    operation = cpu.vmx
    if operation is not None:
        flags = operation.fail(InstructionError.VMXON_IN_ROOT)
    else:
        if not (caps.cr0_supported(cpu.cr0) and caps.cr4_supported(cpu.cr4)):
            raise GP(0)
        if cpu.msr.get(_FEATURE_CONTROL, 0) & _CAN_VMXON != _CAN_VMXON:
            raise GP(0)
        address = _pointer(cpu, insn)
        flags = 1
        if not vmxon_region_refused(cpu.software_memory, caps, address):
            _take_operation(cpu, Operation(caps, address))
            flags = 0
    _set_flags(cpu, flags)
    cpu.next(insn)


@_in_root("vmxoff")
def vmxoff(cpu: Cpu, _insn: Insn, _operation: Operation) -> None:
    """VMXOFF: leave VMX operation; what active VMCSs held is lost, as the manual allows."""
    _take_operation(cpu, None)


def _take_operation(cpu: Cpu, operation: Operation | None) -> None:
    """Enter or leave VMX operation, in which contexts are chosen otherwise (`Contexts.select`)."""
    cpu.vmx = operation
    cpu.translation.select_space()
    cpu.forget_transitions()
    cpu.translation.switch()


@_in_root("vmclear")
def vmclear(cpu: Cpu, insn: Insn, operation: Operation) -> None:
    """VMCLEAR m64."""
    operation.vmclear(cpu.software_memory, _pointer(cpu, insn))


@_in_root("vmptrld")
def vmptrld(cpu: Cpu, insn: Insn, operation: Operation) -> None:
    """VMPTRLD m64."""
    operation.vmptrld(cpu.software_memory, _pointer(cpu, insn))


@_in_root("vmptrst")
def vmptrst(cpu: Cpu, insn: Insn, operation: Operation) -> None:
    """VMPTRST m64."""
    (memory,) = insn.operands
    cpu.write(cpu.store_address(insn, memory), 8, operation.pointer, stack=memory.segment == SS)


@_in_root("vmread")
def vmread(cpu: Cpu, insn: Insn, operation: Operation) -> None:
    """VMREAD r/m, r: 64 bits in 64-bit mode, else 32."""
    target, source = insn.operands
    cpu.put(insn, target, operation.vmread(cpu.get(insn, source)))


@_in_root("vmwrite")
def vmwrite(cpu: Cpu, insn: Insn, operation: Operation) -> None:
    """VMWRITE r, r/m: the field is looked up before the operand is read, as in the manual's "Operation"."""
    target, source = insn.operands
    where = operation.writable(cpu.get(insn, target))
    operation.vmwrite(where, cpu.get(insn, source), wide=source.size == 8)


@_in_root("vmcall")
def vmcall(_cpu: Cpu, _insn: Insn, _operation: Operation) -> None:
    """VMCALL in root operation: there is no dual-monitor treatment of SMIs to call."""
    raise VmFail(InstructionError.VMCALL_IN_ROOT)


@instruction("vmfunc")
def vmfunc(_cpu: Cpu, _insn: Insn) -> None:
    """VMFUNC: #UD outside VMX non-root operation."""
    raise UD


@instruction("vmlaunch", "vmresume")
def enter_guest(cpu: Cpu, insn: Insn) -> None:
    """VMLAUNCH and VMRESUME: what fails before guest state is loaded goes on behind the instruction, as others do."""
    operation = _root_operation(cpu)
    try:
        _enter_guest(cpu, insn, operation)
    except VmFail as failure:
        _set_flags(cpu, operation.fail(failure.error))
        cpu.next(insn)


def _enter_guest(cpu: Cpu, insn: Insn, operation: Operation) -> None:
    """Make the first checks (SDM "Basic VM-Entry Checks"), and enter."""
    from ..vmentry import enter  # noqa: PLC0415  (most guests never come here)

    vmcs = operation.the_current()
    if vmcs.shadow:
        raise VmFail
    if cpu.interrupt_shadow & MOV_SS_SHADOW and cpu.shadow_at == cpu.q[RIP]:
        raise VmFail(InstructionError.ENTRY_MOV_SS)
    if insn.mnemonic == "vmlaunch" and vmcs.launched:
        raise VmFail(InstructionError.VMLAUNCH_NOT_CLEAR)
    if insn.mnemonic == "vmresume" and not vmcs.launched:
        raise VmFail(InstructionError.VMRESUME_NOT_LAUNCHED)
    enter(cpu, operation, vmcs)


def _descriptor(cpu: Cpu, insn: Insn) -> tuple[int, int, int]:
    """Give the type of an invalidation, and the two words of its descriptor."""
    register, memory = insn.operands
    kind = cpu.q[register.number] if cpu.code64 else cpu.q[register.number] & U32
    raw = cpu.read_bytes(cpu.operand_address(insn, memory), 16, stack=memory.segment == SS)
    return kind, int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little")


@_in_root("invvpid")
def invvpid(cpu: Cpu, insn: Insn, _operation: Operation) -> None:
    """INVVPID r, m128: one address, one VPID, all VPIDs but 0, one VPID without its global pages."""
    kind, vpid, address = _descriptor(cpu, insn)
    if kind > 3 or vpid >> 16 or (kind != _ALL and not vpid) or (kind == 0 and not canonical(address)):
        raise VmFail(InstructionError.INVALIDATION_OPERAND)
    if cpu.outer is not None:
        cpu.outer.invvpid(kind, vpid, address)
    else:
        cpu.translation.invvpid(kind, vpid, address)


@_in_root("invept")
def invept(cpu: Cpu, insn: Insn, operation: Operation) -> None:
    """INVEPT r, m128: what was translated through one EPT, or through any."""
    from ...vmx.eptp import Eptp, eptp_refused  # noqa: PLC0415

    kind, eptp, _ = _descriptor(cpu, insn)
    if kind not in {_SINGLE, _ALL} or (kind == _SINGLE and eptp_refused(eptp, operation.caps)):
        raise VmFail(InstructionError.INVALIDATION_OPERAND)
    root = eptp & Eptp.ROOT.mask if kind == _SINGLE else None
    if cpu.outer is not None:
        cpu.outer.invept(root)
    else:
        cpu.translation.invept(root)


@instruction("pause")
def pause(cpu: Cpu, insn: Insn) -> None:
    """PAUSE, which comes here in a guest only, and where it does not exit does nothing."""
    cpu.next(insn)
