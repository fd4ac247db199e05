"""What exits from a guest on TCG and what does not: reasons and qualifications, by control and by bitmap (SDM "VMX Non-Root Operation")."""

from __future__ import annotations

from typing import Final

import pytest

from paracell.emu.registers import RAX, RCX, RDI, RSI
from paracell.emu.stop import Reason
from paracell.vmx.fields import Field as F  # noqa: N817  (the tables have it on every line)

from ..vmx.entries import controls
from .vmx_host import (
    BITMAPS,
    ERROR_CODE,
    GP_EXITS,
    HARDWARE,
    HLT,
    PRIMARY,
    RING_3,
    SECONDARY,
    UD_EXITS,
    VALID,
    VMCALL,
    Host,
    host,
    module_host,
)

__all__ = ("host", "module_host")

ALWAYS: Final = [
    # code, reason, qualification, instruction information
    ("0fa2", 10, 0, 0),
    ("0f08", 13, 0, 0),
    (VMCALL, 18, 0, 0),
    ("0f01c2", 20, 0, 0),
    ("0f01c3", 24, 0, 0),
    ("0f01c4", 26, 0, 0),
    ("660fc77010", 19, 0x10, 0x00418100),  # vmclear [rax+16]
    ("0fc734c8", 21, 0, 0x00058103),  # vmptrld [rax+rcx*8]
    ("0fc77b08", 22, 8, 0x01C18100),  # vmptrst [rbx+8]
    ("f30fc730", 27, 0, 0x00418100),  # vmxon [rax]
    ("0f78ca", 23, 0, 0x10000410),  # vmread rdx, rcx
    ("0f7808", 23, 0, 0x10418100),  # vmread [rax], rcx
    ("0f79ca", 25, 0, 0x10000410),  # vmwrite rcx, rdx
    ("660f388008", 50, 0, 0x10418100),  # invept rcx, [rax]
    ("660f388108", 53, 0, 0x10418100),  # invvpid rcx, [rax]
]


@pytest.mark.parametrize(("code", "reason", "qualification", "info"), ALWAYS)
def test_what_always_exits(host: Host, code: str, reason: int, qualification: int, info: int) -> None:
    told = host.guest("90" + code)
    assert (told["reason"], told["qualification"], told["info"]) == (reason, qualification, info)
    assert (told["at"], told["length"], told["event"], told["vectoring"]) == (1, len(code) // 2, 0, 0)


BY_CONTROL: Final = [
    # code, control, reason, qualification; without the control the guest goes on to its VMCALL
    ("0f0138", (PRIMARY, 9), 14, 0),  # invlpg [rax]
    ("0f31", (PRIMARY, 12), 16, 0),
    ("f390", (PRIMARY, 30), 40, 0),
    ("0f09", (SECONDARY, 6), 54, 0),
    ("0f20d9", (PRIMARY, 16), 28, 0x113),  # mov rcx, cr3
    ("440f20c1", (PRIMARY, 20), 28, 0x118),  # mov rcx, cr8
    ("440f22c0", (PRIMARY, 19), 28, 0x8),  # mov cr8, rax
    ("0f21f9", (PRIMARY, 23), 29, 0x117),  # mov rcx, dr7
    ("0f23c1", (PRIMARY, 23), 29, 0x100),  # mov dr0, rcx
    ("e480", (PRIMARY, 24), 30, 0x800048),
    ("66ed", (PRIMARY, 24), 30, 0x9),
    ("e680", (PRIMARY, 24), 30, 0x800040),
    ("ef", (PRIMARY, 24), 30, 0x3),
    ("0f0103", (SECONDARY, 2), 46, 0),  # sgdt [rbx]
    ("0f00c9", (SECONDARY, 2), 47, 0),  # str ecx
]


@pytest.mark.parametrize(("code", "control", "reason", "qualification"), BY_CONTROL)
def test_what_exits_by_a_control(
    host: Host, code: str, control: tuple[F, int], reason: int, qualification: int
) -> None:
    told = host.guest(code, controls(*control))
    assert (told["reason"], told["qualification"], told["at"]) == (reason, qualification, 0)
    told = host.guest(code)
    assert (told["reason"], told["at"]) == (18, len(code) // 2)


def test_hlt(host: Host) -> None:
    assert host.guest(HLT, controls(PRIMARY, 7))["reason"] == 12
    told = host.guest(HLT, controls(PRIMARY, 7), RING_3, GP_EXITS)  # the privilege level outranks the exit
    assert (told["reason"], told["event"], told["error"]) == (0, VALID | HARDWARE | ERROR_CODE | 13, 0)


def test_at_ring_3_cpuid_and_vmx_instructions_exit_and_invd_faults(host: Host) -> None:
    assert host.guest("0fa2", RING_3)["reason"] == 10
    assert host.guest("0f01c4", RING_3)["reason"] == 26
    assert host.guest("0f08", RING_3, GP_EXITS)["event"] == VALID | HARDWARE | ERROR_CODE | 13


@pytest.mark.parametrize(("control", "code"), [((SECONDARY, 3), "0f01f9"), ((SECONDARY, 12), "660f388208")])
def test_instructions_that_a_control_enables(host: Host, control: tuple[F, int], code: str) -> None:
    assert host.guest(code, UD_EXITS)["event"] == VALID | HARDWARE | 6
    assert host.guest(code, UD_EXITS, controls(*control), rax=0x53000, rcx=2)["reason"] == 18


def test_rdtscp_with_rdtsc_exiting(host: Host) -> None:
    assert host.guest("0f01f9", {**controls(PRIMARY, 12, 31), **controls(SECONDARY, 3)})["reason"] == 51


# ---- bitmaps -----------------------------------------------------------------------------------------------------------


def bit(host: Host, at: int, number: int) -> None:
    host.memory.write(at + number // 8, bytes([1 << number % 8]))


@pytest.mark.parametrize(
    ("port", "size", "code"), [(0x80, 1, "ee"), (0x8123, 1, "ee"), (0x80, 4, "ef"), (0x7FFD, 4, "ef")]
)
def test_the_io_bitmaps(host: Host, port: int, size: int, code: str) -> None:
    io = controls(PRIMARY, 25)
    assert host.guest(code, io, rdx=port)["reason"] == 18
    for number in range(size):
        host.memory.write(BITMAPS, bytes(0x2000))
        bit(host, BITMAPS, port + number)
        told = host.guest(code, io, rdx=port)
        assert (told["reason"], told["qualification"]) == (30, port << 16 | size - 1)
    host.memory.write(BITMAPS, bytes(0x2000))
    bit(host, BITMAPS, port - 1)
    bit(host, BITMAPS, port + size)
    assert host.guest(code, io, rdx=port)["reason"] == 18


STRINGS: Final = [
    # code, bytes of an element, IN, REP, instruction information, of which INS leaves the segment open; through a 32-bit address
    ("6c", 1, 1, 0, 2 << 7, False),
    ("666d", 2, 1, 0, 2 << 7, False),
    ("f36d", 4, 1, 1, 2 << 7, False),
    ("67f36c", 1, 1, 1, 1 << 7, True),
    ("6e", 1, 0, 0, 2 << 7 | 3 << 15, False),
    ("666f", 2, 0, 0, 2 << 7 | 3 << 15, False),
    ("f36e", 1, 0, 1, 2 << 7 | 3 << 15, False),
    ("656f", 4, 0, 0, 2 << 7 | 5 << 15, False),
    ("67646f", 4, 0, 0, 1 << 7 | 4 << 15, True),
]


@pytest.mark.parametrize(("code", "size", "into", "rep", "info", "narrow"), STRINGS)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_strings_of_ports(
    host: Host, code: str, size: int, into: int, rep: int, info: int, narrow: bool, count: int
) -> None:
    bases = {F.GUEST_FS_BASE: 0x100000, F.GUEST_GS_BASE: 0xFFFF800000000000}
    base = {4: 0x100000, 5: 0xFFFF800000000000}.get(info >> 15, 0)
    for control in (controls(PRIMARY, 24), controls(PRIMARY, 25)):
        bit(host, BITMAPS, 0x80)
        host.prepare("90" + code, control, bases, rcx=count, rdx=0x10080)
        host.cpu.q[RSI], host.cpu.q[RDI] = 0x100000000 | 0x25000, 0x100000000 | 0x26000
        assert host.machine is not None
        assert host.machine.run().reason is Reason.HALTED
        told = host.told()
        assert (told["reason"], told["at"], told["length"], told["info"]) == (30, 1, len(code) // 2, info)
        assert told["qualification"] == 0x80 << 16 | rep << 5 | 1 << 4 | into << 3 | size - 1
        offset = 0x26000 if into else 0x25000
        assert told["vmcs"][F.GUEST_LINEAR_ADDRESS] == base + offset + (0 if narrow else 1 << 32)
        assert host.cpu.q[RCX] == count


def test_strings_of_ports_that_do_not_exit(host: Host) -> None:
    host.memory.write(0x25000, b"ab")
    host.prepare("f36e", controls(PRIMARY, 25), rcx=2, rdx=0x80)
    host.cpu.q[RSI] = 0x25000
    assert host.machine is not None
    assert host.machine.run().reason is Reason.HALTED
    assert (host.told()["reason"], host.cpu.q[RSI], host.cpu.q[RCX]) == (18, 0x25002, 0)


def test_the_privilege_to_use_a_port_outranks_the_exit(host: Host) -> None:
    for code in ("6c", "f36f", "ec"):
        told = host.guest(code, controls(PRIMARY, 24), RING_3, GP_EXITS, rdx=0x3F8)
        assert (told["reason"], told["event"]) == (0, VALID | HARDWARE | ERROR_CODE | 13)


def test_ports_that_wrap_around_exit(host: Host) -> None:
    assert host.guest("ef", controls(PRIMARY, 25), rdx=0xFFFE)["reason"] == 30


@pytest.mark.parametrize(("msr", "offset"), [(0x174, 0), (0xC0000081, 0x400)])
@pytest.mark.parametrize(("code", "reason", "area"), [("0f32", 31, 0), ("0f30", 32, 0x800)])
def test_the_msr_bitmaps(host: Host, msr: int, offset: int, code: str, reason: int, area: int) -> None:
    bitmaps = controls(PRIMARY, 28)
    assert host.guest(code, rcx=msr)["reason"] == reason  # without bitmaps every access exits
    assert host.guest(code, bitmaps, rcx=msr)["reason"] == 18
    bit(host, BITMAPS + 0x2000 + offset + area, msr & 0x1FFF)
    assert host.guest(code, bitmaps, rcx=msr)["reason"] == reason


def test_msrs_that_no_bitmap_covers_exit(host: Host) -> None:
    for msr in (0x2000, 0xBFFFFFFF, 0xC0002000):
        assert host.guest("0f32", controls(PRIMARY, 28), rcx=msr)["reason"] == 31


# ---- control registers -------------------------------------------------------------------------------------------------


def test_masks_and_shadows_of_cr0(host: Host) -> None:
    owned = {F.CR0_MASK: 1 << 3 | 1 << 18, F.CR0_READ_SHADOW: 1 << 18}
    told = host.guest("0f20c0", owned)  # mov rax, cr0
    assert (told["reason"], host.cpu.q[RAX]) == (18, 0x80000031 | 1 << 18)
    told = host.guest("0f22c0", owned, rax=0x80000033 | 1 << 18)  # as the shadow, and MP is free
    assert (told["reason"], told["vmcs"][F.GUEST_CR0]) == (18, 0x80000033)
    told = host.guest("0f22c0", owned, rax=0x80000031)
    assert (told["reason"], told["qualification"]) == (28, 0)
    told = host.guest("0f06", owned)  # CLTS: the shadow has TS clear
    assert told["reason"] == 18
    told = host.guest("0f06", owned, {F.CR0_READ_SHADOW: 1 << 3})
    assert (told["reason"], told["qualification"]) == (28, 0x20)
    told = host.guest("0f01f0", owned, rax=9)  # lmsw ax: TS differs from the shadow
    assert (told["reason"], told["qualification"]) == (28, 9 << 16 | 0x30)
    told = host.guest("0f01f0", owned, rax=3)
    assert (told["reason"], told["vmcs"][F.GUEST_CR0]) == (18, 0x80000033)
    host.guest("0f01e0", owned, {F.CR0_READ_SHADOW: 1 << 3})  # smsw eax
    assert host.cpu.q[RAX] == 0x80000039


def test_masks_and_shadows_of_cr4(host: Host) -> None:
    owned = {F.CR4_MASK: 1 << 13}
    host.guest("0f20e0", owned)
    assert host.cpu.q[RAX] == 0x20
    told = host.guest("0f22e0", owned, rax=0xA0)
    assert (told["reason"], told["vmcs"][F.GUEST_CR4]) == (18, 0x20A0)
    told = host.guest("0f22e0", owned, rax=0x2020)
    assert (told["reason"], told["qualification"]) == (28, 4)


def test_cr3_targets(host: Host) -> None:
    load = controls(PRIMARY, 15)
    assert host.guest("0f22d8", load, rax=0x1000)["qualification"] == 3
    targets = {F.CR3_TARGET_COUNT: 2, F.CR3_TARGET1: 0x1000, F.CR3_TARGET2: 0x5000}
    assert host.guest("0f22d8", load, targets, rax=0x1000)["reason"] == 18
    assert host.guest("0f22d8", load, targets, rax=0x5000)["reason"] == 28
