"""How a VMX instruction fails: VMfailInvalid, or VMfailValid with a number (SDM "Conventions", "VM Instruction Error Numbers")."""

from __future__ import annotations

from enum import IntEnum


class InstructionError(IntEnum):
    """VM-instruction error numbers, those that this processor can give."""

    VMCALL_IN_ROOT = 1
    VMCLEAR_ADDRESS = 2
    VMCLEAR_VMXON_POINTER = 3
    VMLAUNCH_NOT_CLEAR = 4
    VMRESUME_NOT_LAUNCHED = 5
    ENTRY_CONTROLS = 7
    ENTRY_HOST_STATE = 8
    VMPTRLD_ADDRESS = 9
    VMPTRLD_VMXON_POINTER = 10
    VMPTRLD_REVISION = 11
    UNSUPPORTED_FIELD = 12
    READ_ONLY_FIELD = 13
    VMXON_IN_ROOT = 15
    ENTRY_MOV_SS = 26
    INVALIDATION_OPERAND = 28


class VmFail(Exception):
    """A VMX instruction failed.

    Attributes:
        error: the number of VMfail, which needs a current VMCS to be told; None for VMfailInvalid.

    """

    def __init__(self, error: InstructionError | None = None) -> None:
        super().__init__("VMfailInvalid" if error is None else f"VMfail({error.value}), {error.name}")
        self.error = error
