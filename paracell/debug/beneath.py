"""Whom the software that runs has left asleep: its registers and its memory, for a debugger that looks through an edge.

A host that handles an exit maps nothing of its guest's at the guest's addresses, nor does one of the two shadow tables of a PVM guest
map all that the other does.  Where the present tables map nothing, a debugger is shown what these do::

    RunV host      the guest's own tables, by the current VMCS: CR3, through the EPT if there is one
    under PVM      the tables of the guest's user and kernel, by the switcher's two CR3
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.entry import FRAME
from ..vmx.controls import Secondary
from ..vmx.fields import Field
from .state import domain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..machine import Machine
    from ..vmx.vmcs import Vmcs

_P, _PS, _RWX = 1, 1 << 7, 7
_GENERAL: Final = ("rax", "rcx", "rdx", "rbx", "rbp", "rsi", "rdi", *(f"r{i}" for i in range(8, 16)))
_SWITCHER: Final = "switcher"  # struct switcher of guest/pvm/switcher.h
_USER, _SMOD, _UMOD = 1, 16, 24  # the bit of its flags; where its two CR3 are


def translate(machine: Machine, address: int) -> int | None:
    """Give the physical address of a linear one by the tables of who sleeps; None where these do not map it either."""
    if not machine.cpu.cr0 >> 31:
        return None
    for root, second in _tables(machine):
        found = _walk(machine, root, address, second)
        if found is not None:
            return found
    return None


def registers(machine: Machine) -> dict[str, int]:
    """Give what a VM exit has put into the current VMCS; nothing where the host of a virtual machine does not run.

    The general registers are the processor's: whose they are at this moment is for whoever knows the host's code to say.
    """
    vmcs = _left(machine)
    if vmcs is None:
        return {}
    cpu = machine.cpu
    found = {"guest_rip": vmcs[Field.GUEST_RIP], "guest_rsp": vmcs[Field.GUEST_RSP], "rip": cpu.rip, "rsp": cpu.rsp}
    return found | {name: getattr(cpu, name) for name in _GENERAL}


def _left(machine: Machine) -> Vmcs | None:
    """Give the VMCS of a virtual machine that has been left for its host, which runs."""
    vmx = machine.inner.cpu.vmx
    if vmx is None or vmx.guest is not None or vmx.current is None or domain(machine) != "host":
        return None
    return vmx.current if vmx.current.launched else None


def _tables(machine: Machine) -> Iterator[tuple[int, int | None]]:
    """Give the root of each set of tables, and the root of the EPT behind it or None."""
    vmcs = _left(machine)
    if vmcs is not None:
        ept = vmcs[Field.SECONDARY_CONTROLS] & Secondary.EPT.mask
        yield vmcs[Field.GUEST_CR3], vmcs[Field.EPT_POINTER] if ept else None
    at = machine.symbols.address(_SWITCHER)
    at = None if at is None else machine.inner.cpu.translation.physical(at)
    if at is not None:
        read = machine.memory.read64
        roots = [read(at + _SMOD), read(at + _UMOD)]
        for root in roots[::-1] if read(at) & _USER else roots:
            if root:
                yield root, None


def _walk(machine: Machine, root: int, address: int, ept: int | None) -> int | None:
    """Walk 4-level tables, by reading alone, whatever they allow."""
    memory = machine.memory

    def read(at: int) -> int:  # a guest may have written anything into its tables
        return memory.read64(at) if memory.is_ram(at) else 0

    if ept is None:
        return _descend(read, root, address, _P)

    def of_guest(gpa: int) -> int | None:
        return _descend(read, ept, gpa, _RWX)

    def read_guest(gpa: int) -> int:
        at = of_guest(gpa)
        return 0 if at is None else read(at)

    gpa = _descend(read_guest, root, address, _P)
    return None if gpa is None else of_guest(gpa)


def _descend(read: Callable[[int], int], root: int, address: int, present: int) -> int | None:
    """Go down one set of tables; an EPT's entries have their frame and size where all others have them."""
    table = root & FRAME
    for shift in (39, 30, 21, 12):
        entry = read(table + 8 * (address >> shift & 511))
        if not entry & present:
            return None
        if shift == 12 or (shift < 39 and entry & _PS):
            return entry & FRAME & -(1 << shift) | address & (1 << shift) - 1
        table = entry & FRAME
    return None
