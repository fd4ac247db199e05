"""Virtual machines whose guest is in virtual-8086 or real mode (SDM "VMX Non-Root Operation", "Unrestricted Guests")."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import pytest

from paracell.vmx.fields import Field as F  # noqa: N817  (the tables have it on every line)

from ..vmx.entries import GUEST_32, V86, controls
from .test_vmx_guest import ERROR_CODE, GP_EXITS, GUEST, HARDWARE, UD_EXITS, VALID, Host

if TYPE_CHECKING:
    from collections.abc import Iterator

PDPT: Final = 0x6000
SELECTOR, STACK = GUEST >> 4, 0x8000
NAMES: Final = ("CS", "SS", "DS", "ES", "FS", "GS")
IN_V86: Final = {
    **V86, F.GUEST_CR3: PDPT, F.GUEST_RIP: 0, F.GUEST_RSP: STACK,
    **{F[f"GUEST_{name}_SELECTOR"]: SELECTOR for name in NAMES}, **{F[f"GUEST_{name}_BASE"]: GUEST for name in NAMES},
}  # fmt: skip


@pytest.fixture(scope="module")
def module_host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


@pytest.fixture
def host(module_host: Host) -> Host:
    module_host.memory.write(PDPT, struct.pack("<4Q", 0x3001, 0, 0, 0))
    module_host.memory.write(GUEST, bytes(0x100))
    return module_host


def v86(host: Host, code: str, *changes: dict[F, int]) -> dict[str, Any]:
    return host.guest(code, GUEST_32, IN_V86, *changes)


@pytest.mark.parametrize(("code", "reason"), [("0fa2", 10), ("0f01c1", 18), ("e480", 30), ("0f31", 16), ("f390", 40)])
def test_v86_exits(host: Host, code: str, reason: int) -> None:
    told = v86(host, "90" + code, controls(F.PRIMARY_CONTROLS, 12, 24, 30))
    assert (told["reason"], told["vmcs"][F.GUEST_RIP]) == (reason, 1)
    assert told["vmcs"][F.GUEST_RFLAGS] & 0x20000


@pytest.mark.parametrize("code", ["f4", "fa", "9c", "cd21", "0f22c0", "0f30"])
def test_in_v86_privilege_comes_before_exits(host: Host, code: str) -> None:
    told = v86(host, "90" + code, controls(F.PRIMARY_CONTROLS, 7), GP_EXITS)
    assert (told["reason"], told["event"], told["error"]) == (0, VALID | HARDWARE | ERROR_CODE | 13, 0)
    assert (told["vmcs"][F.GUEST_RIP], told["vmcs"][F.GUEST_CS_ACCESS]) == (1, 0xF3)


@pytest.mark.parametrize("code", ["0f01c4", "0f00c0", "0f78ca"])
def test_in_v86_some_are_not_recognised(host: Host, code: str) -> None:
    told = v86(host, code, controls(F.SECONDARY_CONTROLS, 2), UD_EXITS)
    assert (told["reason"], told["event"]) == (0, VALID | HARDWARE | 6)


def test_v86_again_and_again(host: Host) -> None:
    """A guest that is gone back to as it was left is in virtual-8086 mode still."""
    cpu = host.cpu
    told = v86(host, "0fa2 9090 0fa2 50 1f 0fa2", {F.GUEST_RFLAGS: 0x23002})
    vmcs = told["vmcs"]
    for rip in (4, 10):
        vmcs[F.GUEST_RIP] += 2
        host.memory.write(0x10000, bytes.fromhex("0f01c3"))  # vmresume
        host.memory.drop_stale_code()
        cpu.halted = False
        host.at_ring(0)
        assert host.machine is not None
        cpu.q[0] = 0x1234
        host.machine.run()
        assert (vmcs[F.EXIT_REASON], vmcs[F.GUEST_RIP]) == (10, rip - (rip > 4) * 2)
        assert not cpu.v86
        assert not cpu.emulates_8086
    assert (vmcs[F.GUEST_DS_SELECTOR], vmcs[F.GUEST_DS_BASE], vmcs[F.GUEST_RSP]) == (0x1234, 0x12340, STACK)
