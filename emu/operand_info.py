"""What a VM exit tells of an instruction's operands (SDM "Format of the VM-Exit Instruction-Information Field …")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .registers import RIP, U64

if TYPE_CHECKING:
    from .cpu import Cpu
    from .insn import Insn, Operand

_REGISTER: Final = 1 << 10
_SCALES: Final = {1: 0, 2: 1, 4: 2, 8: 3}
_ADDRESS_SIZES: Final = {2: 0, 4: 1, 8: 2}
_TABLES: Final = ("sgdt", "sidt", "lgdt", "lidt")
_SELECTORS: Final = ("sldt", "str", "lldt", "ltr")


def _memory_of(insn: Insn) -> Operand | None:
    return next((operand for operand in insn.operands if operand.kind == "mem"), None)


def displacement(cpu: Cpu, insn: Insn) -> int:
    """Give the exit qualification of an instruction with a memory operand: its displacement; with RIP added where that is the base."""
    memory = _memory_of(insn)
    if memory is None:
        return 0
    base = cpu.q[RIP] + insn.length if memory.rip_relative else 0
    mask = U64 if memory.rip_relative or cpu.code64 else (1 << 8 * memory.address_size) - 1
    return base + memory.disp & mask


def _memory(insn: Insn) -> int:
    memory = _memory_of(insn)
    if memory is None:
        return _REGISTER
    index = 1 << 22 if memory.index is None else memory.index << 18
    base = 1 << 27 if memory.base is None else memory.base << 23
    size = _ADDRESS_SIZES[memory.address_size]
    return _SCALES[memory.scale if memory.index is not None else 1] | size << 7 | memory.segment << 15 | index | base


def pointer_info(insn: Insn) -> int:
    """VMCLEAR, VMPTRLD, VMPTRST, VMXON, XSAVES, XRSTORS."""
    return _memory(insn)


def invalidation_info(insn: Insn) -> int:
    """INVEPT, INVPCID, INVVPID."""
    return _memory(insn) | insn.operands[0].number << 28


def vmcs_field_info(insn: Insn) -> int:
    """VMREAD, VMWRITE: the data is the first register, the encoding the second."""
    data, encoding = insn.operands if insn.mnemonic == "vmread" else insn.operands[::-1]
    return _memory(insn) | (data.number << 3 if data.kind == "reg" else 0) | encoding.number << 28


def string_info(insn: Insn, segment: int) -> int:
    """INS, OUTS: the address size, and for OUTS the segment."""
    return _ADDRESS_SIZES[insn.address_size] << 7 | (segment << 15 if insn.mnemonic == "outs" else 0)


def descriptor_info(cpu: Cpu, insn: Insn) -> int:
    """LGDT, LIDT, SGDT, SIDT."""
    wide = 0 if not cpu.code64 and insn.opsize == 16 else 1 << 11
    return _memory(insn) | wide | _TABLES.index(insn.mnemonic) << 28


def selector_info(insn: Insn) -> int:
    """LLDT, LTR, SLDT, STR."""
    (operand,) = insn.operands
    register = operand.number << 3 if operand.kind == "reg" else 0
    return _memory(insn) | register | _SELECTORS.index(insn.mnemonic) << 28
