"""What a guest is given of its own (SDM "Virtualizing CR8-Based TPR Accesses", "VMCS Shadowing Bitmap Addresses")."""

from __future__ import annotations

import io
import struct
from typing import Any, Final

import pytest

from paracell.emu.machine import Machine
from paracell.emu.registers import RBX, RCX, RDX
from paracell.emu.stop import Reason
from paracell.vmx.caps import REVISION
from paracell.vmx.fields import Field as F  # noqa: N817  (the tables have it on every line)
from paracell.vmx.vmcs import Vmcs

from ..vmx.entries import controls
from .vmx_host import GP_EXITS, HARDWARE, RING_3, UD_EXITS, VALID, Host, host, module_host

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


# ---- VMCS shadowing ----------------------------------------------------------------------------------------------------

SHADOW, READ_MAP, WRITE_MAP = 0x57000, 0x58000, 0x59000
SHADOWING: Final = {
    **controls(F.SECONDARY_CONTROLS, 14), F.VMCS_LINK_POINTER: SHADOW, F.VMREAD_BITMAP: READ_MAP, F.VMWRITE_BITMAP: WRITE_MAP,
}  # fmt: skip
VMREAD, VMWRITE = "0f78c2", "0f79c2"  # vmread rdx, rax; vmwrite rax, rdx
FLAGS: Final = 0x8D5


@pytest.fixture
def shadowed(host: Host) -> Host:
    """The shadow VMCS is clear, and neither bitmap has a bit."""
    for page in (READ_MAP, WRITE_MAP):
        host.memory.write(page, bytes(4096))
    vmcs = Vmcs(SHADOW)
    vmcs[F.GUEST_RIP], vmcs[F.EXIT_REASON] = 0x1234567890, 0x12
    vmcs.write(host.memory)
    host.memory.write(SHADOW, struct.pack("<I", REVISION | 1 << 31))
    return host


def flags(told: dict[str, Any]) -> int:
    return int(told["vmcs"][F.GUEST_RFLAGS]) & FLAGS


def test_vmread_reaches_the_shadow(shadowed: Host) -> None:
    told = shadowed.guest(VMREAD, SHADOWING, {F.GUEST_RFLAGS: 2 | FLAGS}, rax=int(F.GUEST_RIP))
    assert (told["reason"], shadowed.cpu.q[RDX], flags(told)) == (18, 0x1234567890, 0)


def test_vmwrite_reaches_the_shadow_and_the_host_finds_it_there(shadowed: Host) -> None:
    told = shadowed.guest(VMWRITE, SHADOWING, rax=int(F.EXIT_REASON), rdx=0x55)
    assert (told["reason"], flags(told), told["vmcs"][F.EXIT_REASON]) == (18, 0, 18)
    vmx = shadowed.cpu.vmx
    assert vmx is not None
    assert vmx.active[SHADOW][F.EXIT_REASON] == 0x55
    assert vmx.active[SHADOW].shadow
    vmx.vmclear(shadowed.memory, SHADOW)
    assert Vmcs.read(shadowed.memory, SHADOW)[F.EXIT_REASON] == 0x55


def test_a_field_that_is_not_there(shadowed: Host) -> None:
    for code in (VMREAD, VMWRITE):
        told = shadowed.guest(code, SHADOWING, rax=0x7FFE)
        assert (told["reason"], flags(told), told["vmcs"][F.INSTRUCTION_ERROR]) == (18, 0x40, 12)


def test_without_a_link_pointer_they_fail(shadowed: Host) -> None:
    for code in (VMREAD, VMWRITE):
        told = shadowed.guest(code, SHADOWING, {F.VMCS_LINK_POINTER: (1 << 64) - 1}, rax=int(F.GUEST_RIP))
        assert (told["reason"], flags(told)) == (18, 1)


@pytest.mark.parametrize("field", [int(F.GUEST_RIP), int(F.VPID), int(F.HOST_EFER) | 1, 0x7FFF, 0])
def test_the_bitmaps_of_fields(shadowed: Host, field: int) -> None:
    for code, page, reason in ((VMREAD, READ_MAP, 23), (VMWRITE, WRITE_MAP, 25)):
        other = WRITE_MAP if page == READ_MAP else READ_MAP
        shadowed.memory.write(page, bytes(4096))
        shadowed.memory.write(other, b"\xff" * 4096)
        assert shadowed.guest(code, SHADOWING, rax=field)["reason"] == 18
        shadowed.memory.write(page + field // 8, bytes([1 << field % 8]))
        assert shadowed.guest(code, SHADOWING, rax=field)["reason"] == reason
        assert shadowed.guest(code, SHADOWING, rax=field ^ 1)["reason"] == 18


def test_what_the_bitmaps_do_not_cover_exits(shadowed: Host) -> None:
    for field in (1 << 15, 1 << 32 | int(F.GUEST_RIP), 1 << 63):
        assert shadowed.guest(VMREAD, SHADOWING, rax=field)["reason"] == 23
        assert shadowed.guest(VMWRITE, SHADOWING, rax=field)["reason"] == 25


def test_at_ring_3_the_exit_outranks_the_fault(shadowed: Host) -> None:
    """As in the operation section of their pages: the bitmap decides first, then the privilege level."""
    for code, reason in ((VMREAD, 23), (VMWRITE, 25)):
        told = shadowed.guest(code, SHADOWING, RING_3, GP_EXITS, rax=int(F.GUEST_RIP))
        assert told["event"] & 0xFF == 13
        assert shadowed.guest(code, SHADOWING, RING_3, GP_EXITS, rax=1 << 15)["reason"] == reason


def test_a_snapshot_keeps_the_shadow(shadowed: Host) -> None:
    shadowed.prepare("90" + VMREAD, SHADOWING, rax=int(F.GUEST_RIP))
    assert shadowed.machine is not None
    assert shadowed.machine.run(2).reason is Reason.LIMIT
    file = io.BytesIO()
    shadowed.machine.save(file)
    file.seek(0)
    other = Machine.restore(file)
    for machine in (other, shadowed.machine):
        assert machine.run().reason is Reason.HALTED
        assert machine.cpu.q[RDX] == 0x1234567890
    other.close()


# ---- XSAVES and XRSTORS ------------------------------------------------------------------------------------------------

XSAVES, XRSTORS = "0fc76b40", "0fc75b40"  # [rbx+64]
OSXSAVE: Final = {F.GUEST_CR4: 0x42020}
AREA: Final = 0x5A000


def xsaves(host: Host, code: str, *changes: dict[F, int]) -> dict[str, Any]:
    host.prepare(code, {**controls(F.SECONDARY_CONTROLS, 20), **OSXSAVE}, *changes, rax=3, rdx=0)
    host.cpu.q[RBX] = AREA
    host.memory.write(AREA, bytes(1024))
    host.memory.write(AREA + 64 + 520, struct.pack("<Q", 1 << 63))
    assert host.machine is not None
    assert host.machine.run().reason is Reason.HALTED
    return host.told()


@pytest.mark.parametrize(("code", "reason"), [(XSAVES, 63), (XRSTORS, 64)])
def test_xsaves_and_xrstors(host: Host, code: str, reason: int) -> None:
    without = {F.SECONDARY_CONTROLS: 0}
    assert xsaves(host, code, without, UD_EXITS)["event"] == VALID | HARDWARE | 6
    assert xsaves(host, code, {F.GUEST_CR4: 0x2020}, UD_EXITS)["event"] == VALID | HARDWARE | 6
    assert xsaves(host, code, RING_3, GP_EXITS)["event"] & 0xFF == 13
    assert xsaves(host, code, {F.XSS_EXITING_BITMAP: (1 << 64) - 1})["reason"] == 18  # IA32_XSS is 0
    if code == XSAVES:
        assert host.memory.read64(AREA + 64 + 520) == 1 << 63 | 1
    for xss, wanted in ((2, reason), (4, 18)):  # a component that no processor here has
        host.cpu.xss = xss
        told = xsaves(host, code, {F.XSS_EXITING_BITMAP: 2}, {F.GUEST_CR0: 0x80000039})
        host.cpu.xss = 0
        assert told["reason"] == wanted
        if wanted == reason:
            assert (told["qualification"], told["info"], told["length"]) == (64, 0x01C18100, 4)
