"""What a guest is given of its own: the task-priority register (SDM "Virtualizing CR8-Based TPR Accesses")."""

from __future__ import annotations

import struct
from typing import Final

import pytest

from paracell.emu.registers import RCX
from paracell.vmx.fields import Field as F  # noqa: N817  (the tables have it on every line)

from ..vmx.entries import controls
from .test_vmx_guest import GP_EXITS, HARDWARE, Host, host, module_host

__all__ = ("host", "module_host")

VAPIC: Final = 0x56000
TPR: Final = {**controls(F.PRIMARY_CONTROLS, 21), F.VIRTUAL_APIC_ADDRESS: VAPIC}
FROM_CR8, TO_CR8 = "440f20c1", "440f22c0"  # mov rcx, cr8; mov cr8, rax
TF: Final = 1 << 8


def vtpr(host: Host, value: int | None = None) -> int:
    """Set 64 bits there, or read them."""
    if value is not None:
        host.memory.write(VAPIC + 0x80, struct.pack("<Q", value))
    return host.memory.read64(VAPIC + 0x80)


def test_cr8_is_in_the_virtual_apic_page(host: Host) -> None:
    before = host.cpu.cr8
    vtpr(host, 0x5555555500000057)
    assert host.guest(FROM_CR8, TPR)["reason"] == 18
    assert host.cpu.q[RCX] == 5
    assert host.guest(TO_CR8, TPR, rax=0xA)["reason"] == 18
    assert vtpr(host) == 0x55555555000000A0
    assert host.cpu.cr8 == before
    told = host.guest(TO_CR8, TPR, GP_EXITS, rax=0x10)
    assert (told["event"] & 0xFFF, vtpr(host)) == (HARDWARE | 1 << 11 | 13, 0x55555555000000A0)


@pytest.mark.parametrize("value", range(8))
def test_a_store_below_the_threshold_exits_behind_the_instruction(host: Host, value: int) -> None:
    vtpr(host, 0x70)
    told = host.guest(TO_CR8 + "90", TPR, {F.TPR_THRESHOLD: 4}, rax=value)
    assert vtpr(host) == value << 4
    assert (told["reason"], told["at"]) == ((43, 4) if value < 4 else (18, 5))


def test_that_exit_outranks_the_single_step_and_the_monitor_trap_flag(host: Host) -> None:
    vtpr(host, 0x70)
    change = {**TPR, **controls(F.PRIMARY_CONTROLS, 21, 27), F.TPR_THRESHOLD: 4, F.EXCEPTION_BITMAP: 2}
    told = host.guest(TO_CR8, change, {F.GUEST_RFLAGS: 2 | TF}, rax=0)
    vmcs = told["vmcs"]
    assert (told["reason"], vmcs[F.GUEST_PENDING_DEBUG], vmcs[F.GUEST_RFLAGS]) == (43, 1 << 14, 2 | TF)
    vtpr(host, 0x70)
    told = host.guest(TO_CR8, change, rax=0)
    assert (told["reason"], told["vmcs"][F.GUEST_PENDING_DEBUG], told["vmcs"][F.GUEST_RFLAGS]) == (43, 0, 2)


def test_the_shadow_of_sti_ends_with_it(host: Host) -> None:
    vtpr(host, 0x70)
    told = host.guest("fb" + TO_CR8, TPR, {F.TPR_THRESHOLD: 4}, rax=0)
    assert (told["reason"], told["at"], told["vmcs"][F.GUEST_INTERRUPTIBILITY]) == (43, 5, 0)


def test_the_exits_of_cr8_come_first(host: Host) -> None:
    for code, bit, qualification in ((TO_CR8, 19, 0x8), (FROM_CR8, 20, 0x118)):
        vtpr(host, 0x70)
        told = host.guest(code, TPR, controls(F.PRIMARY_CONTROLS, 21, bit), {F.TPR_THRESHOLD: 4}, rax=0x10)
        assert (told["reason"], told["qualification"], vtpr(host)) == (28, qualification, 0x70)


def test_the_threshold_is_checked_by_each_entry(host: Host) -> None:
    """VTPR is in memory, and may have changed although no field has."""
    vtpr(host, 0x50)
    change = {**TPR, F.TPR_THRESHOLD: 5}
    assert host.guest("", change)["reason"] == 18
    vtpr(host, 0x40)
    assert host.run("vmresume") == 0x40
    assert host.failed() == 7
