"""What the events of a ParaCell container mean: who runs, which WRPKRU is a gate, which SYSCALL a hypercall."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .emu.events import Event, Kind, Who
from .emu.registers import R11, RDI, RSI
from .mmu.rights import READ

if TYPE_CHECKING:
    from collections.abc import Callable

    from .emu.cpu import Cpu
    from .emu.machine import Machine

KERNEL_KEY: Final = 1  # the protection key of the container kernel's pages
_ACCESS_DISABLED: Final = 1 << 2 * KERNEL_KEY
_GATE: Final = ("xgate_entry", "xgate_refused")  # labels of pku/xgate/gate.S around both ways
_SCRATCH: Final = "xgate_scratch"  # where the gate keeps RDX, 8 bytes in
_FRAME: Final = 0xFFFFFFFFFF000


def who_is(cpu: Cpu) -> Who:
    """Tell who runs: the host at ring 0, above it the one whose keys PKRU holds."""
    if cpu.cpl == 0:
        return Who.HOST
    return Who.USER if cpu.pkru & _ACCESS_DISABLED else Who.KERNEL


def peek(machine: Machine, symbol: str) -> int | None:
    """Give the physical address of a symbol by the present tables, whatever its page allows; None where it is not mapped."""
    address = machine.symbols.address(symbol)
    if address is None:
        return None
    walk = machine.cpu.translation.explain(address, READ, user=False)
    leaf = int(walk.steps[-1].entry) if walk.steps else 0
    return leaf & _FRAME | address & 0xFFF if leaf & 1 else None


class Gates:
    """Stands before the sinks: adds GATE_ENTER and GATE_EXIT, and calls the container kernel's SYSCALLs what they are."""

    def __init__(self, machine: Machine, emit: Callable[[Event], None]) -> None:
        self._machine, self._emit = machine, emit
        self._scratch: int | None = None
        begin, end = (machine.symbols.address(name) or 0 for name in _GATE)
        self._gate = range(begin, end)

    def emit(self, event: Event) -> None:
        """Pass one event on, by its proper name."""
        kind = event.kind
        if kind is Kind.SYSCALL and event.who is Who.KERNEL:
            event = event._replace(kind=Kind.HYPERCALL)
        self._emit(event)
        if kind is Kind.WRPKRU and event.rip in self._gate:
            q = self._machine.cpu.q
            if event.data[1] & _ACCESS_DISABLED:
                self._emit(event._replace(kind=Kind.GATE_EXIT, cost=0, data=(q[R11],)))
            else:
                self._emit(event._replace(kind=Kind.GATE_ENTER, cost=0, data=(q[R11], q[RDI], q[RSI], self._rdx())))

    def _rdx(self) -> int:
        if self._scratch is None:
            self._scratch = peek(self._machine, _SCRATCH)
        return 0 if self._scratch is None else self._machine.memory.read64(self._scratch + 8)
