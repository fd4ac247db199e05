"""Where the processor's registers lie: their numbers, the words of TCG's live state, and the masks of RFLAGS.

`Engine.q` and `Engine.d` show the same bytes as 64-bit and as 32-bit words; a name here is an index into one of them.
"""

from __future__ import annotations

from typing import Final

from ..mmu.address import U32, U64
from ..mmu.registers import RFLAGS
from . import layout

# Numbers of the general registers, and RIP behind them: indices into `Engine.q`.
RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI = range(8)
R8, R9, R10, R11, R12, R13, R14, R15 = range(8, 16)
RIP: Final = 16
GENERAL: Final = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))  # by number

# Numbers of the segment registers, as instructions encode them.
ES, CS, SS, DS, FS, GS = range(6)
SEGMENT_NAMES: Final = ("ES", "CS", "SS", "DS", "FS", "GS")

# Other words of `Engine.q`.  TCG keeps the arithmetic flags lazily, as an operation (CC_OP) and its operands.
EFLAGS: Final = layout.EFLAGS >> 3
CC_SRC: Final = layout.CC_SRC >> 3

# Words of `Engine.d`.  DF_WORD is 1 or -1, the step of string instructions.
CC_OP: Final = layout.CC_OP >> 2
DF_WORD: Final = layout.DF >> 2
HFLAGS: Final = layout.HFLAGS >> 2
CS_WORD: Final = layout.SEGMENTS + 24 * CS >> 2
SS_WORD: Final = layout.SEGMENTS + 24 * SS >> 2
OLD_EXCEPTION: Final = layout.OLD_EXCEPTION >> 2
IS_INT: Final = layout.EXCEPTION_IS_INT >> 2
ERROR_CODE: Final = layout.ERROR_CODE >> 2

# RFLAGS.
TF: Final = RFLAGS.TF.mask
IF: Final = RFLAGS.IF.mask
DF: Final = RFLAGS.DF.mask
IOPL: Final = RFLAGS.IOPL.mask
NT: Final = RFLAGS.NT.mask
RF: Final = RFLAGS.RF.mask
VM: Final = RFLAGS.VM.mask
AC: Final = RFLAGS.AC.mask
VIF: Final = RFLAGS.VIF.mask
VIP: Final = RFLAGS.VIP.mask
ID: Final = RFLAGS.ID.mask
ARITHMETIC: Final = sum(flag.mask for flag in (RFLAGS.CF, RFLAGS.PF, RFLAGS.AF, RFLAGS.ZF, RFLAGS.SF, RFLAGS.OF))
FIXED: Final = 2  # bit 1 is always set

__all__ = [
    "AC", "ARITHMETIC", "CC_OP", "CC_SRC", "CS", "CS_WORD", "DF", "DF_WORD", "DS", "EFLAGS", "ERROR_CODE", "ES", "FIXED", "FS",
    "GS", "HFLAGS", "ID", "IF", "IOPL", "IS_INT", "NT", "OLD_EXCEPTION", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15",
    "RAX", "RBP", "RBX", "RCX", "RDI", "RDX", "RF", "RIP", "RSI", "RSP", "SS", "SS_WORD", "TF", "U32", "U64", "VIF", "VIP", "VM",
]  # fmt: skip
