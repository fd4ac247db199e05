"""What QEMU's stub does not tell: who runs, in which virtual machine, and why the last one was left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..emu.events import Who
from ..vmx.exits import ENTRY_FAILED
from ..vmx.fields import Field

if TYPE_CHECKING:
    from ..machine import Machine
    from ..vmx.vmcs import Vmcs

DOMAINS: Final = ("program", "kernel", "host", "L0")
VMX: Final = ("off", "root", "nonroot", "nested")  # nested: in a virtual machine of a virtual machine
NO_EXIT: Final = 0xFFFF  # no basic exit reason has this number
_DOMAIN: Final = {Who.USER: "program", Who.KERNEL: "kernel", Who.HOST: "host", Who.OUTER: "L0"}


def ring(machine: Machine) -> int:
    """Give the current privilege level."""
    return machine.cpu.cpl


def domain(machine: Machine) -> str:
    """Tell who runs, one of `DOMAINS`: the runtime's lens knows; L0 where it has put its guest to sleep."""
    cpu = machine.inner.cpu
    return "L0" if cpu.outer is not None and cpu.outer.sleeps else _DOMAIN[machine.who]


def vmx(machine: Machine) -> str:
    """Tell where in VMX operation the processor is, one of `VMX`."""
    cpu = machine.inner.cpu
    if cpu.guest is not None:
        return "nested" if cpu.guest.level > 1 else "nonroot"
    return "off" if cpu.vmx is None else "root"


def _vmcs(machine: Machine) -> Vmcs | None:
    """Give the VMCS that the last exit was recorded in: the software's current one, or L0's."""
    cpu = machine.inner.cpu
    if cpu.vmx is not None and cpu.vmx.current is not None:
        return cpu.vmx.current
    return None if cpu.outer is None else cpu.outer.vmcs01


def last_exit(machine: Machine) -> tuple[int, int]:
    """Give the basic reason and the qualification of the last VM exit of the current VMCS; `NO_EXIT` where there is none."""
    vmcs = _vmcs(machine)
    if vmcs is None or not (vmcs.launched or vmcs[Field.EXIT_REASON]):
        return NO_EXIT, 0
    return vmcs[Field.EXIT_REASON] & ~ENTRY_FAILED & 0xFFFF, vmcs[Field.EXIT_QUALIFICATION]


def tag(machine: Machine) -> tuple[int, int]:
    """Give what translations are tagged with now: the VPID, and the physical address of the EPT's root or 0."""
    translation = machine.inner.cpu.translation
    return translation.vpid, max(translation.eptp, 0)
