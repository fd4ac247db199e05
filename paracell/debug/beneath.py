"""Whom the software that runs has left asleep: its registers and its memory, for a debugger that looks through an edge.

A host that handles an exit maps nothing of its guest's at the guest's addresses, nor does one of the two shadow tables of a PVM guest
map all that the other does.  Where the present tables map nothing, a debugger is shown what these do::

    RunV host      the guest's own tables, by the current VMCS: CR3, through the EPT if there is one
    under PVM      the tables of the guest's user and kernel, by the switcher's two CR3
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..emu.registers import GENERAL
from ..mmu.entry import FRAME
from ..mmu.ept import Root, reserved
from ..mmu.explain import physical
from ..mmu.second import SecondStage
from ..mmu.tlb import GuestPhysical
from ..mmu.walk import Mode
from ..vmx.controls import Secondary
from ..vmx.fields import Field
from .state import domain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..machine import Machine
    from ..vmx.vmcs import Vmcs

_SWITCHER: Final = "switcher"  # struct switcher of guest/pvm/switcher.h
_USER, _SMOD, _UMOD = 1, 16, 24  # the bit of its flags; where its two CR3 are


def translate(machine: Machine, address: int) -> int | None:
    """Give the physical address of a linear one by the tables of who sleeps; None where these do not map it either."""
    paging = machine.inner.cpu.translation.paging
    if paging.mode is not Mode.LEVEL4:  # our hosts and their guests have that alone
        return None
    for root, second in _tables(machine):
        found = physical(machine.memory, paging._replace(root=root & FRAME), address, second)
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
    found = {"guest_rip": vmcs[Field.GUEST_RIP], "guest_rsp": vmcs[Field.GUEST_RSP], "rip": cpu.rip}
    return found | {name: getattr(cpu, name) for name in GENERAL}


def _left(machine: Machine) -> Vmcs | None:
    """Give the VMCS of a virtual machine that has been left for its host, which runs."""
    vmx = machine.inner.cpu.vmx
    if vmx is None or vmx.guest is not None or vmx.current is None or domain(machine) != "host":
        return None
    return vmx.current if vmx.current.launched else None


def _tables(machine: Machine) -> Iterator[tuple[int, SecondStage | None]]:
    """Give the root of each set of tables, and the EPT behind it or None."""
    vmcs = _left(machine)
    if vmcs is not None:
        second = None
        if vmcs[Field.SECONDARY_CONTROLS] & Secondary.EPT.mask:
            ept = Root(vmcs[Field.EPT_POINTER] & FRAME, reserved(machine.inner.cpu.features.maxphyaddr))
            second = SecondStage(machine.memory, ept, GuestPhysical(), still=True)
        yield vmcs[Field.GUEST_CR3], second
    at = machine.symbols.address(_SWITCHER)
    at = None if at is None else machine.inner.cpu.translation.physical(at)
    if at is not None:
        read = machine.memory.read64
        roots = [read(at + _SMOD), read(at + _UMOD)]
        for root in roots[::-1] if read(at) & _USER else roots:
            if root:
                yield root, None
