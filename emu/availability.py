"""Which exception an x87, MMX or SSE instruction raises under CR0.EM, CR0.TS and CR4.OSFXSR.

SDM "Device-Not-Available Exception (#NM)", and the tables of actions in "Emulation of the MMX Instruction Set" and "Emulation of the
SSE/SSE2/SSE3/SSSE3/SSE4 Extensions".  TCG looks at TS before anything else, for each instruction whose opcode begins as those of MMX
and SSE do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.registers import CR0, CR4
from .decode import disassemble
from .faults import NM, UD, Fault
from .prefixes import prefixes
from .registers import RIP
from .table import HANDLERS

if TYPE_CHECKING:
    from .cpu import Cpu

_X87: Final = frozenset(range(0xD8, 0xE0)) | {0x9B}
_VEX: Final = frozenset({0xC4, 0xC5})
_EM, _OSFXSR = CR0.EM.mask, CR4.OSFXSR.mask


def not_available(cpu: Cpu) -> Fault | None:
    """Give what the instruction at RIP raises, for which TCG has raised #NM; None where it is one of ours that raises nothing."""
    mode = cpu.translation.code_size
    code = cpu.code_at(cpu.q[RIP])
    _, _, mnemonic, text = next(disassemble(code, 0, mode))
    opcode = code[prefixes(code, mode) :]
    if mnemonic == "invalid" or opcode[0] in _VEX:
        return UD()
    if mnemonic in HANDLERS:
        return None
    if opcode[0] in _X87 or (opcode[:2] == b"\x0f\xae" and opcode[2] >> 3 & 7 < 2):  # FXSAVE and FXRSTOR
        return NM()
    if cpu.cr0 & _EM or ("xmm" in text and not cpu.cr4 & _OSFXSR):
        return UD()
    return NM()
