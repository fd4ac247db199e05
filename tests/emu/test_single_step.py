"""Single-stepping on branches (SDM "Single-Stepping on Branches"), and IA32_DEBUGCTL in guests."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import pytest

from paracell.emu.features import DEFAULT
from paracell.emu.registers import RAX, RBX, RSP
from paracell.vmx.fields import Field as F  # noqa: N817  (the tables have it on every line)

from ..vmx.entries import controls
from .guest import GP, Guest
from .vmx_host import HARDWARE, VALID, Host, host, module_host
from .world import CODE, HANDLER, STACK0

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("host", "module_host")

DEBUGCTL, BTF, BS, TF = 0x1D9, 2, 1 << 14, 1 << 8
DEBUG: Final = HANDLER + 0x20


@pytest.fixture(scope="module")
def module_guest() -> Iterator[Guest]:
    guest = Guest(DEFAULT)
    guest.gate(1, target=DEBUG)
    guest.memory.write(DEBUG, b"\xf4")
    yield guest
    guest.close()


@pytest.fixture
def guest(module_guest: Guest) -> Guest:
    module_guest.cpu.dr[6] = 0xFFFF0FF0
    module_guest.cpu.dr[7] = 0x400
    module_guest.cpu.breakpoints.update()
    module_guest.cpu.msr.pop(DEBUGCTL, None)
    return module_guest


def test_the_bits_of_debugctl(guest: Guest) -> None:
    for value, kept in ((3, 2), (1, 0), (2, 2), (0, 0)):
        assert guest.wrmsr(DEBUGCTL, value) is None
        assert guest.rdmsr(DEBUGCTL) is None
        assert guest.cpu.q[RAX] == kept
    assert guest.wrmsr(DEBUGCTL, 4) == GP


def traps_at(guest: Guest, code: str, *, btf: bool = True, **registers: int) -> tuple[int, int] | None:
    """Run code with TF, which begins behind POPF; how far it came before #DB, and the bits of DR6; None if it came to its end."""
    start = "0f30" + "9c810c2400010000" + "9d"  # wrmsr; pushfq; or dword [rsp], TF; popfq
    guest.vector(start + code, rax=BTF if btf else 0, rcx=DEBUGCTL, **registers)
    cpu = guest.cpu
    if cpu.q[RSP] == STACK0:
        return None
    rip, _, flags = guest.words(cpu.q[RSP], 3)
    assert flags & TF
    assert cpu.msr.get(DEBUGCTL, 0) == 0  # #DB clears it
    return rip - CODE - len(start) // 2, cpu.dr[6] & 0xF00F


@pytest.mark.parametrize(
    ("code", "at"),
    [
        ("90909090eb00", 6),
        ("9090eb0190", 5),
        ("31c0750090ebfe", 5),  # jne, not taken; then jmp to itself
        ("31c0740190", 5),  # je, taken
        ("e800000000", 5),
        ("48c7c102000000e2fe", 7),  # loop to itself
        ("48c7c101000000e2fe90eb00", 12),
        ("488d0502000000ffe0", 9),  # lea rax, [rip+2]; jmp rax
        ("fb0f31fa9090eb00", 8),  # Python runs STI, RDTSC and CLI
    ],
)
def test_only_branches_trap(guest: Guest, code: str, at: int) -> None:
    for _ in range(2):
        assert traps_at(guest, code) == (at, BS)
    assert traps_at(guest, code, btf=False) == (
        (1 if code[0] in "9f" else 2 if code[0] == "3" else 5 if code[0] == "e" else 7),
        BS,
    )


def test_a_far_return_is_a_branch(guest: Guest) -> None:
    """Python runs it: push 8; lea rax, [rip+3]; push rax; retfq."""
    assert traps_at(guest, "6a08" + "488d0503000000" + "50" + "48cb" + "90") == (12, BS)


def test_a_string_is_no_branch(guest: Guest) -> None:
    guest.cpu.q[7] = guest.cpu.q[6] = 0x25000
    assert traps_at(guest, "b903000000" + "f3a4" + "eb00") == (9, BS)


def test_a_breakpoint_traps_all_the_same(guest: Guest) -> None:
    guest.cpu.dr[0], guest.cpu.dr[7] = 0x25000, 0x10401
    guest.cpu.breakpoints.update()
    assert traps_at(guest, "90890390", rbx=0x25000) == (3, 1)
    assert guest.cpu.q[RBX] == 0x25000


# ---- in guests ---------------------------------------------------------------------------------------------------------

DEBUG_CONTROLS: Final = {**controls(F.ENTRY_CONTROLS, 2), **controls(F.EXIT_CONTROLS, 2), F.GUEST_DEBUGCTL: BTF}
STEPPING: Final = {F.GUEST_RFLAGS: 2 | TF, F.EXCEPTION_BITMAP: 2}


def test_debugctl_is_switched(host: Host) -> None:
    host.cpu.msr[DEBUGCTL] = BTF
    told = host.guest("0f32", DEBUG_CONTROLS, controls(F.PRIMARY_CONTROLS, 28), {F.GUEST_DEBUGCTL: 1}, rcx=DEBUGCTL)
    assert (told["reason"], host.cpu.q[RAX], told["vmcs"][F.GUEST_DEBUGCTL]) == (18, 0, 0)
    assert host.cpu.msr.get(DEBUGCTL, 0) == 0
    told = host.guest("0f30", DEBUG_CONTROLS, controls(F.PRIMARY_CONTROLS, 28), rcx=DEBUGCTL, rax=3)
    assert (told["reason"], told["vmcs"][F.GUEST_DEBUGCTL]) == (18, BTF)


def test_a_guest_steps_by_branches(host: Host) -> None:
    told = host.guest("9090eb0090", DEBUG_CONTROLS, STEPPING)
    assert (told["reason"], told["qualification"], told["event"], told["at"]) == (0, BS, VALID | HARDWARE | 1, 4)
    assert told["vmcs"][F.GUEST_DEBUGCTL] == BTF  # a #DB that exits clears nothing
    told = host.guest("9090eb0090", DEBUG_CONTROLS, {F.GUEST_RFLAGS: 2 | TF})
    assert (told["reason"], told["vmcs"][F.GUEST_DEBUGCTL]) == (18, 0)
    host.cpu.dr[6] = 0xFFFF0FF0


@pytest.mark.parametrize(("code", "pending"), [("90", 0), ("eb00", BS), ("fa", 0)])
def test_the_monitor_trap_flag_tells_of_a_branch(host: Host, code: str, pending: int) -> None:
    told = host.guest(code + "90", DEBUG_CONTROLS, STEPPING, controls(F.PRIMARY_CONTROLS, 27))
    assert (told["reason"], told["at"], told["vmcs"][F.GUEST_PENDING_DEBUG]) == (37, len(code) // 2, pending)


def test_mov_ss_holds_no_step_of_branches(host: Host) -> None:
    host.memory.write(0x25000, struct.pack("<Q", 0))
    told = host.guest("8ed00fa2", DEBUG_CONTROLS, STEPPING, rax=16)
    assert (told["reason"], told["vmcs"][F.GUEST_PENDING_DEBUG], told["vmcs"][F.GUEST_INTERRUPTIBILITY]) == (10, 0, 2)
    change = {F.GUEST_INTERRUPTIBILITY: 2, F.GUEST_RFLAGS: 2 | TF}
    assert host.guest("90", DEBUG_CONTROLS, change, {F.GUEST_PENDING_DEBUG: BS})["reason"] == 1 << 31 | 33
    assert host.guest("90", DEBUG_CONTROLS, change)["reason"] == 18
