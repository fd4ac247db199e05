"""Which exits of L2 are L1's: those that VMCS12 asks for.  The others happened for L0's sake, and L1 never hears of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .exits import ExitReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..mmu.walk import Memory
    from .exits import VmExit
    from .nonroot import NonRoot

    Asked = Callable[[NonRoot, int, Memory, int], bool]

_CR8: Final = 8


def _io(inner: NonRoot, qualification: int, memory: Memory, _msr: int) -> bool:
    return inner.io_exits(memory, qualification >> 16, (qualification & 7) + 1)


def _cr(inner: NonRoot, qualification: int, _memory: Memory, _msr: int) -> bool:
    if qualification & 0xF != _CR8:
        return True
    return bool(inner.primary.CR8_STORE_EXITING if qualification >> 4 & 3 else inner.primary.CR8_LOAD_EXITING)


# An exit whose reason is not here is made by VMCS12 alone, or always.
_ASKED: Final[dict[ExitReason, Asked]] = {
    ExitReason.EXTERNAL_INTERRUPT: lambda inner, *_: bool(inner.pin.EXTERNAL_INTERRUPT_EXITING),
    ExitReason.INTERRUPT_WINDOW: lambda inner, *_: bool(inner.primary.INTERRUPT_WINDOW_EXITING),
    ExitReason.HLT: lambda inner, *_: bool(inner.primary.HLT_EXITING),
    ExitReason.CR_ACCESS: _cr,
    ExitReason.IO: _io,
    ExitReason.RDMSR: lambda inner, _q, memory, msr: inner.msr_exits(memory, msr, write=False),
    ExitReason.WRMSR: lambda inner, _q, memory, msr: inner.msr_exits(memory, msr, write=True),
}


def is_for_l1(inner: NonRoot, exit_: VmExit, memory: Memory, msr: int) -> bool:
    """Tell whether L1 gets an exit of L2.

    Args:
        inner: VMCS12's controls.
        exit_: what L0 was told.
        memory: memory as L1 sees it, where VMCS12's bitmaps are.
        msr: L2's ECX, which names the MSR of RDMSR and WRMSR.

    """
    asked = _ASKED.get(exit_.reason)
    return asked is None or asked(inner, exit_.qualification, memory, msr)
