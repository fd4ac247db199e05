"""Guests that are entered a second time: what the processor has kept of a side must still hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from paracell.emu import msr
from paracell.emu.exceptions import through_idt
from paracell.emu.faults import DB, GP
from paracell.emu.msr_index import BTF, IA32_DEBUGCTL, IA32_PAT
from paracell.emu.registers import RAX, RCX, RDX
from paracell.emu.stop import Reason
from paracell.emu.world import switched_msrs
from paracell.vmx.fields import Field as F  # noqa: N817  (the tables have it on every line)

from ..vmx.entries import controls
from .vmx_host import GUEST, VMCALL, Host, host, module_host
from .world import CODE

if TYPE_CHECKING:
    from paracell.vmx.vmcs import Vmcs

__all__ = ("host", "module_host")

NULL_DS: Final = "31c08ed8"
WRMSR: Final = "0f30"
# As hypervisors have it: the guest's MSRs pass through, and entries and exits load what differs.
DEBUG: Final = {
    **controls(F.ENTRY_CONTROLS, 2, 14), **controls(F.EXIT_CONTROLS, 2, 18, 19), **controls(F.PRIMARY_CONTROLS, 28)
}  # fmt: skip


def again(host: Host, code: str) -> Vmcs:
    """VMRESUME the guest with other code, and give the VMCS behind its exit."""
    cpu, machine = host.cpu, host.machine
    assert machine is not None
    assert cpu.vmx is not None
    vmcs = cpu.vmx.the_current()
    host.memory.write(GUEST, bytes.fromhex(code + VMCALL))
    host.memory.write(CODE, bytes.fromhex("0f01c3"))
    host.memory.drop_stale_code()
    vmcs[F.GUEST_RIP] = GUEST
    cpu.halted = False
    if cpu.outer is not None:
        cpu.outer.wake()
    host.at_ring(0)
    stop = machine.run()
    assert stop.reason is Reason.HALTED, stop.report[:1]
    assert vmcs[F.EXIT_REASON] == 18, vmcs[F.EXIT_REASON]
    return vmcs


@pytest.mark.parametrize("changed", [False, True])
def test_state_that_an_exit_left_for_later(host: Host, changed: bool) -> None:
    """The host's PKRS, which neither side loads, becomes the guest's: what the processor has kept of the guest is worth nothing."""
    told = host.guest("")
    assert told["vmcs"][F.GUEST_DS_SELECTOR] == 0x10
    if changed:
        host.cpu.pkrs ^= 4
    assert again(host, NULL_DS)[F.GUEST_DS_SELECTOR] == 0
    assert again(host, "")[F.GUEST_DS_SELECTOR] == 0


def test_a_vmwrite_between_does_not_bring_back_what_was(host: Host) -> None:
    host.guest("")
    host.cpu.pkrs ^= 4
    vmcs = again(host, NULL_DS)
    vmcs[F.GUEST_FS_BASE] = 0x1234000
    assert (vmcs[F.GUEST_DS_SELECTOR], vmcs[F.GUEST_FS_BASE]) == (0, 0x1234000)
    vmcs = again(host, "")
    assert (vmcs[F.GUEST_DS_SELECTOR], vmcs[F.GUEST_FS_BASE]) == (0, 0x1234000)


def test_debugctl_stays_with_the_side_that_wrote_it(host: Host) -> None:
    """By WRMSR, of which the processor's remembered tuple of MSRs must hear."""
    cpu = host.cpu
    host.guest("", DEBUG)
    again(host, "")
    for value in (BTF, 0, BTF):
        cpu.q[RCX], cpu.q[RAX], cpu.q[RDX] = IA32_DEBUGCTL, value, 0
        vmcs = again(host, WRMSR)
        assert vmcs[F.GUEST_DEBUGCTL] == value
        assert msr.read(cpu, IA32_DEBUGCTL) == 0  # exits clear it
    msr.write(cpu, IA32_DEBUGCTL, BTF)
    cpu.q[RCX], cpu.q[RAX], cpu.q[RDX] = IA32_DEBUGCTL, 0, 0
    assert again(host, WRMSR)[F.GUEST_DEBUGCTL] == 0
    assert msr.read(cpu, IA32_DEBUGCTL) == 0


@pytest.mark.parametrize(("which", "value"), [(IA32_DEBUGCTL, BTF), (IA32_PAT, 0x0606060606060606), (0x174, 0x4321)])
def test_a_write_is_in_what_is_remembered(host: Host, which: int, value: int) -> None:
    cpu = host.cpu
    before = msr.read(cpu, which)
    assert value not in switched_msrs(cpu)
    msr.write(cpu, which, value)
    assert value in (cpu.switched_msrs or switched_msrs(cpu))
    msr.write(cpu, which, before)


def test_a_debug_exception_clears_btf_for_good(host: Host) -> None:
    cpu = host.cpu
    msr.write(cpu, IA32_DEBUGCTL, BTF)
    assert BTF in switched_msrs(cpu)
    host.at_ring(0)
    with pytest.raises(GP):  # the host has no gate for it
        through_idt(cpu, DB(0))
    assert BTF not in (cpu.switched_msrs or switched_msrs(cpu))
