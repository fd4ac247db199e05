"""The exception flags of x87 and SSE, which TCG gathers apart from the status word and from MXCSR.

TCG computes as its library of floating point does, and leaves the exceptions in that library's own word, one for x87 and one for SSE; no
instruction looks there.  So before one that reads or writes the status word or MXCSR, `fold` moves them.  FCOMI and its kin leave OF, SF
and AF as they were, where they should be 0 (SDM "FCOMI/FCOMIP/FUCOMI/FUCOMIP"): those flags are cleared before.  No exception is unmasked
here: the flags tell, and nothing is raised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import layout
from .registers import CC_OP, CC_SRC

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cpu import Cpu

# IE, ZE, OE, UE and PE have the same bits in both; the library tells of denormal operands only where they count as 0.
_SAME: Final = 0x3D
_C1: Final = 2  # in the upper byte of the status word
_X87, _SSE = layout.FP_STATUS + 2, layout.SSE_STATUS + 2
_FPUS, _MXCSR = layout.FPUS, layout.MXCSR


def bind_fold(cpu: Cpu) -> Callable[[], None]:
    """Make what has the status word and MXCSR hold everything that has been raised."""
    raw = cpu.engine.raw

    def fold() -> None:
        x87, sse = raw[_X87], raw[_SSE]
        if x87:
            raw[_FPUS] |= x87 & _SAME
            raw[_X87] = 0
        if sse:
            raw[_MXCSR] |= sse & _SAME
            raw[_SSE] = 0

    return fold


def _bind_compare(cpu: Cpu) -> Callable[[], None]:
    q, d, raw = cpu.q, cpu.d, cpu.engine.raw

    def before_compare() -> None:
        q[CC_SRC], d[CC_OP] = 0, 1
        raw[_FPUS + 1] &= ~_C1

    return before_compare


_COMPARES: Final = ("fcomi", "fcompi", "fucomi", "fucompi")  # as Capstone calls them
_ASK: Final = (
    "fnstsw", "fnstenv", "fnsave", "fnclex", "fninit", "fldenv", "frstor", "fxsave", "fxsave64", "fxrstor", "fxrstor64",
    "ldmxcsr", "stmxcsr",
)  # fmt: skip
# Makers of what is done before TCG runs an instruction.
BEFORE: Final[dict[str, Callable[[Cpu], Callable[[], None]]]] = {
    **dict.fromkeys(_ASK, bind_fold),
    **dict.fromkeys(_COMPARES, _bind_compare),
}
# Their bytes behind prefixes, and those of FISTTP and of FIST and FISTP with 16 bits, which Python runs (`instructions.x87`).
PATTERN: Final = (
    rb"[\xdb\xdf][\xe8-\xf7]|\xdb[\xe2\xe3]|\xdf\xe0|\x0f\xae[\x00-\x1f\x40-\x5f\x80-\x9f]|\xd9[\x20-\x27\x30-\x37\x60-\x67\x70-\x77\xa0-\xa7\xb0-\xb7]"
    rb"|\xdd[\x08-\x0f\x20-\x27\x30-\x3f\x48-\x4f\x60-\x67\x70-\x7f\x88-\x8f\xa0-\xa7\xb0-\xbf]|\xdb[\x08-\x0f\x48-\x4f\x88-\x8f]"
    rb"|\xdf[\x08-\x1f\x48-\x5f\x88-\x9f]"
)
