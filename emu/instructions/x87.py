"""FISTTP, and FIST and FISTP with 16 bits, for which TCG forgets the invalid-operation flag or stores a wrong number.

SDM instruction pages of those names; "Indefinites": what is out of range, infinite or no number stores the integer indefinite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...mmu.registers import CR0
from .. import layout
from ..faults import NM, Fault
from ..table import instruction

if TYPE_CHECKING:
    from ..cpu import Cpu
    from ..insn import Insn

_IE, _PE, _SF, _ES, _C1 = 1, 0x20, 0x40, 0x80, 0x200  # in the status word
_NEAREST, _DOWN, _UP, _TRUNCATE = range(4)  # the control word's RC
_MATH_FAULT: Final = 16
_BIAS: Final = 16383 + 63
_BIGGEST: Final = 0x7FFF


def _value(cpu: Cpu) -> tuple[int, int] | None:
    """Give ST(0) as (numerator, bits of a denominator that is a power of 2).

    None for what is no finite number, or no number at all (SDM "Unsupported Double Extended-Precision …").
    """
    at = layout.FPREGS + 16 * (cpu.d[layout.FPSTT >> 2] & 7)
    raw = cpu.engine.raw
    significand, word = int.from_bytes(raw[at : at + 8], "little"), int.from_bytes(raw[at + 8 : at + 10], "little")
    exponent = word & _BIGGEST
    if exponent == _BIGGEST or (exponent and not significand >> 63):
        return None
    power = max(exponent, 1) - _BIAS
    numerator = (-significand if word >> 15 else significand) << max(power, 0)
    return numerator, max(-power, 0)


def _rounded(numerator: int, bits: int, mode: int) -> int:
    down, rest = numerator >> bits, numerator & (1 << bits) - 1
    if mode == _NEAREST:
        half = 1 << bits >> 1
        return down + (rest > half or (rest == half and down & 1)) if rest else down
    if mode == _DOWN or not rest:
        return down
    return down + 1 if mode == _UP or numerator < 0 else down


@instruction("fisttp", "fist", "fistp")
def store_integer(cpu: Cpu, insn: Insn) -> None:
    """FISTTP truncates; FIST and FISTP round as the control word says."""
    if cpu.cr0 & (CR0.EM.mask | CR0.TS.mask):
        raise NM
    raw, (operand,) = cpu.engine.raw, insn.operands
    status = int.from_bytes(raw[layout.FPUS : layout.FPUS + 2], "little")
    if status & _ES:
        raise Fault(_MATH_FAULT)
    control = int.from_bytes(raw[layout.FPUC : layout.FPUC + 2], "little")
    top = cpu.d[layout.FPSTT >> 2] & 7
    empty = raw[layout.FPTAGS + top]
    value = None if empty else _value(cpu)
    limit = 1 << 8 * operand.size - 1
    status &= ~_C1
    result = limit
    if value is not None:
        numerator, bits = value
        result = _rounded(numerator, bits, _TRUNCATE if insn.mnemonic == "fisttp" else control >> 10 & 3)
    if value is None or not -limit <= result < limit:
        result = -limit
        status |= _IE | (_SF if empty else 0)
    elif result << bits != numerator:
        status |= _PE | (_C1 if abs(result) << bits > abs(numerator) else 0)
    cpu.put(insn, operand, result)
    raw[layout.FPUS : layout.FPUS + 2] = status.to_bytes(2, "little")
    if insn.mnemonic != "fist":
        raw[layout.FPTAGS + top] = 1
        cpu.d[layout.FPSTT >> 2] = top + 1 & 7
    cpu.next(insn)
