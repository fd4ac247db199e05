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
from ..mmu.walk import Mode, Paging, reserved_bits
from ..vmx.controls import Secondary
from ..vmx.fields import Field
from .state import domain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..machine import Machine
    from ..vmx.vmcs import Vmcs
    from .threads import Asleep

_SWITCHER: Final = "switcher"  # struct switcher of guest/pvm/switcher.h
_USER, _SMOD, _UMOD = 1, 16, 24  # the bit of its flags; where its two CR3 are


def translate(machine: Machine, address: int, asleep: Asleep | None = None) -> int | None:
    """Give the physical address of a linear one by the tables of who sleeps; None where these do not map it either.

    With `asleep`, they are those of that container, of which the present tables say nothing.
    """
    cpu = machine.inner.cpu
    paging = cpu.translation.paging
    if asleep is not None:  # whatever runs now, our hosts and the kernels on them have this
        features = cpu.features
        bits = reserved_bits(Mode.LEVEL4, nxe=True, maxphyaddr=features.maxphyaddr, page1g="pdpe1gb" in features)
        paging = Paging(Mode.LEVEL4, 0, bits)
    elif paging.mode is not Mode.LEVEL4:
        return None
    for root, second in _tables(machine) if asleep is None else _tables_of(machine, asleep):
        found = physical(machine.memory, paging._replace(root=root & FRAME), address, second)
        if found is not None:
            return found
    return None


def registers(machine: Machine, asleep: Asleep | None = None) -> dict[str, int]:
    """Give what a VM exit has put into the current VMCS, or into that of a container that sleeps.

    It is empty where no virtual machine has been left for its host.
    The general registers are the processor's: whose they are at this moment is for whoever knows the host's code to say.
    """
    if asleep is not None:
        vmcs = _vmcs_of(machine, asleep)
        if vmcs is None or not vmcs.launched:
            return {}
        return {"guest_rip": vmcs[Field.GUEST_RIP], "guest_rsp": vmcs[Field.GUEST_RSP], "rip": asleep.rip}
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
        yield _guest(machine, vmcs)
    at = machine.symbols.address(_SWITCHER)
    at = None if at is None else machine.inner.cpu.translation.physical(at)
    if at is not None:
        yield from _switched(machine, at)


def _tables_of(machine: Machine, asleep: Asleep) -> Iterator[tuple[int, SecondStage | None]]:
    """Give those of a container that sleeps in the host: the host's own, and the guest's."""
    yield asleep.host, None
    if asleep.space:
        yield asleep.space, None
    if asleep.switcher:
        yield from _switched(machine, asleep.switcher)
    vmcs = _vmcs_of(machine, asleep)
    if vmcs is not None:
        yield _guest(machine, vmcs)


def _guest(machine: Machine, vmcs: Vmcs) -> tuple[int, SecondStage | None]:
    second = None
    if vmcs[Field.SECONDARY_CONTROLS] & Secondary.EPT.mask:
        ept = Root(vmcs[Field.EPT_POINTER] & FRAME, reserved(machine.inner.cpu.features.maxphyaddr))
        second = SecondStage(machine.memory, ept, GuestPhysical(), still=True)
    return vmcs[Field.GUEST_CR3], second


def _switched(machine: Machine, switcher: int) -> Iterator[tuple[int, SecondStage | None]]:
    read = machine.memory.read64
    roots = [read(switcher + _SMOD), read(switcher + _UMOD)]
    for root in roots[::-1] if read(switcher) & _USER else roots:
        if root:
            yield root, None


def _vmcs_of(machine: Machine, asleep: Asleep) -> Vmcs | None:
    """Give the VMCS of a container that sleeps: our host leaves it active."""
    vmx = machine.inner.cpu.vmx
    return None if vmx is None or not asleep.vmcs else vmx.active.get(asleep.vmcs)
