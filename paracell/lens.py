"""What events mean in one runtime: who runs, which WRPKRU is a gate, which SYSCALL a hypercall."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .emu.events import Event, Kind, Who
from .emu.registers import R11, RAX, RDI, RSI

if TYPE_CHECKING:
    from collections.abc import Callable

    from .emu.cpu import Cpu
    from .emu.machine import Machine

KERNEL_KEY: Final = 1  # the protection key of the container kernel's pages
_ACCESS_DISABLED: Final = 1 << 2 * KERNEL_KEY
_GATE: Final = ("xgate_entry", "xgate_refused")  # labels of pku/xgate/gate.S around both ways
_SWITCHER: Final = "switcher"  # struct switcher of guest/pvm/switcher.h
_SWITCH_USER: Final = 1  # in its flags, the first word
_RETU_RIP: Final = 40
_SCRATCH: Final = "xgate_scratch"  # where the gate keeps RDX, 8 bytes in


def peek(machine: Machine, symbol: str) -> int | None:
    """Give the physical address of a symbol by the present tables, whatever its page allows; None where it is not mapped."""
    address = machine.symbols.address(symbol)
    return None if address is None else machine.cpu.translation.physical(address)


class Guests:
    """The lens of a container in a virtual machine: the host in VMX root operation, the guest's rings in non-root operation."""

    def __init__(self, machine: Machine) -> None:
        del machine

    def who_is(self, cpu: Cpu) -> Who:
        """Tell who runs."""
        guest = cpu.guest
        if guest is None or guest.of_l0:  # under an outermost hypervisor, the host is a guest itself
            return Who.HOST
        return Who.USER if cpu.cpl == 3 else Who.KERNEL

    def bind(self, emit: Callable[[Event], None]) -> Callable[[Event], None]:
        """Pass events on as they are."""
        return emit


class XGates:
    """The lens of a ParaCell container: adds GATE_ENTER and GATE_EXIT, and calls the container kernel's SYSCALLs HYPERCALLs."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._scratch: int | None = None
        self._gate: range | None = None

    def who_is(self, cpu: Cpu) -> Who:
        """Tell who runs: the host at ring 0, above it the one whose keys PKRU holds."""
        if cpu.cpl == 0:
            return Who.HOST
        return Who.USER if cpu.pkru & _ACCESS_DISABLED else Who.KERNEL

    def bind(self, emit: Callable[[Event], None]) -> Callable[[Event], None]:
        """Give the function that passes each event on to `emit` by its proper name."""
        q = self._machine.cpu.q

        def read(event: Event) -> None:
            kind = event.kind
            if kind is Kind.SYSCALL and event.who is Who.KERNEL:
                event = event._replace(kind=Kind.HYPERCALL)
            emit(event)
            if kind is Kind.WRPKRU and event.rip in (self._gate or self._find_gate()):
                if event.data[1] & _ACCESS_DISABLED:
                    emit(event._replace(kind=Kind.GATE_EXIT, cost=0, data=(q[R11],)))
                else:
                    emit(event._replace(kind=Kind.GATE_ENTER, cost=0, data=(q[R11], q[RDI], q[RSI], self._rdx())))

        return read

    def _find_gate(self) -> range:
        """Look the gate's addresses up when they are first needed: the container kernel's symbols may be added after the lens."""
        begin, end = (self._machine.symbols.address(name) or 0 for name in _GATE)
        self._gate = range(begin, end)
        return self._gate

    def _rdx(self) -> int:
        if self._scratch is None:
            self._scratch = peek(self._machine, _SCRATCH)
        return 0 if self._scratch is None else self._machine.memory.read64(self._scratch + 8)


class Pvm:
    """The lens of a container under PVM.

    It calls the container kernel's SYSCALLs HYPERCALLs, but for its return to user mode, behind which GATE_EXIT comes.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._at: int | None = None

    def who_is(self, cpu: Cpu) -> Who:
        """Tell who runs: the host at ring 0, above it the one whose tables the switcher has loaded."""
        if cpu.cpl == 0:
            return Who.HOST
        return Who.USER if self._read(0) & _SWITCH_USER else Who.KERNEL

    def bind(self, emit: Callable[[Event], None]) -> Callable[[Event], None]:
        """Give the function that passes each event on to `emit` by its proper name."""
        q = self._machine.cpu.q

        def read(event: Event) -> None:
            if event.kind is Kind.SYSCALL and event.who is Who.KERNEL:
                if event.rip + 2 == self._read(_RETU_RIP):
                    emit(event)
                    event = event._replace(kind=Kind.GATE_EXIT, cost=0, data=(q[RAX],))
                else:
                    event = event._replace(kind=Kind.HYPERCALL)
            emit(event)

        return read

    def _read(self, offset: int) -> int:
        """Read a word of the switcher's; its address is looked up when it is first needed."""
        if self._at is None:
            self._at = peek(self._machine, _SWITCHER)
        return 0 if self._at is None else self._machine.memory.read64(self._at + offset)
