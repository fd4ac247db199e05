"""The monitor trap flag, and debug exceptions that wait at an exit or an entry (SDM "Monitor Trap Flag", "Saving Non-Register State")."""

from __future__ import annotations

import io
import struct
from typing import Final

import pytest

from paracell.emu.machine import Machine
from paracell.emu.registers import RCX, RDI, RSI
from paracell.emu.stop import Reason
from paracell.vmx.fields import Field as F  # noqa: N817  (the tables have it on every line)

from ..vmx.entries import controls
from .test_vmx import FIRST
from .vmx_host import GUEST, GUEST_STACK, HANDLER, HARDWARE, HLT, VALID, Host, host, module_host
from .world import UNMAPPED

__all__ = ("host", "module_host")

MTF: Final = controls(F.PRIMARY_CONTROLS, 27)
TRAP, TF, IF = 37, 1 << 8, 1 << 9
BS, ENABLED = 1 << 14, 1 << 12
STORE: Final = "a3" + struct.pack("<Q", 0x25000).hex()  # mov [0x25000], eax


def watch_store(host: Host) -> None:
    """DR0 watches what `STORE` writes."""
    host.cpu.dr[0], host.cpu.dr[7] = 0x25000, 0x10401
    host.cpu.breakpoints.update()


BOUNDARIES: Final = [
    # code, where the first boundary is, interruptibility, activity
    ("9090", GUEST + 1, 0, 0),
    ("eb0090", GUEST + 2, 0, 0),
    ("0f3190", GUEST + 2, 0, 0),  # Python runs RDTSC
    ("0fae30", HANDLER + 6 * 16, 0, 0),  # XSAVEOPT without OSXSAVE: #UD
    ("fb90", GUEST + 1, 1, 0),  # STI
    ("8ed090", GUEST + 2, 2, 0),  # MOV SS
    ("e68090", GUEST + 2, 0, 0),
    ("9c90", GUEST + 1, 0, 0),
    (HLT, GUEST + 1, 0, 1),
    ("cc90", HANDLER + 3 * 16, 0, 0),
    ("cd0690", HANDLER + 6 * 16, 0, 0),
    ("0f0b90", HANDLER + 6 * 16, 0, 0),
    ("f190", HANDLER + 1 * 16, 0, 0),
    ("a3" + struct.pack("<Q", UNMAPPED).hex(), HANDLER + 14 * 16, 0, 0),
    ("31d2f7f2", GUEST + 2, 0, 0),
]


@pytest.mark.parametrize(("code", "at", "shadow", "activity"), BOUNDARIES)
def test_the_monitor_trap_flag_exits_at_the_first_boundary(
    host: Host, code: str, at: int, shadow: int, activity: int
) -> None:
    for _ in range(2):  # code that TCG has translated and that it has not
        told = host.guest(code, MTF, rax=16)
        vmcs = told["vmcs"]
        assert (told["reason"], vmcs[F.GUEST_RIP]) == (TRAP, at)
        assert (vmcs[F.GUEST_INTERRUPTIBILITY], vmcs[F.GUEST_ACTIVITY]) == (shadow, activity)
        assert (vmcs[F.GUEST_PENDING_DEBUG], vmcs[F.GUEST_RFLAGS] & TF, told["event"]) == (0, 0, 0)
        assert host.cpu.dr[6] == 0xFFFF0FF0


def test_our_step_is_on_no_stack(host: Host) -> None:
    host.guest("cc90", MTF)
    assert host.words(GUEST_STACK - 24, 1)[0] & TF == 0
    host.guest("9c90", MTF)
    assert host.words(GUEST_STACK - 8, 1)[0] & TF == 0


def test_a_divide_error_is_a_boundary(host: Host) -> None:
    told = host.guest("f7f2", MTF)
    assert (told["reason"], told["vmcs"][F.GUEST_RIP]) == (TRAP, HANDLER)


def test_a_string_stops_after_one_turn(host: Host) -> None:
    host.prepare("f3a4", MTF, rcx=3)
    host.cpu.q[RSI], host.cpu.q[RDI] = 0x25000, 0x26000
    assert host.machine is not None
    assert host.machine.run().reason is Reason.HALTED
    assert (host.told()["reason"], host.told()["at"], host.cpu.q[RCX]) == (TRAP, 0, 2)


def test_another_exit_comes_first(host: Host) -> None:
    assert host.guest("", MTF)["reason"] == 18
    assert host.guest("0f0b", MTF, {F.EXCEPTION_BITMAP: 1 << 6})["reason"] == 0
    assert host.guest("0f0b", MTF, {F.GUEST_IDTR_LIMIT: 0})["reason"] == 2


@pytest.mark.parametrize("code", ["90", "0f31", "fa"])
def test_the_flag_outranks_a_single_step(host: Host, code: str) -> None:
    told = host.guest(code, MTF, {F.GUEST_RFLAGS: 2 | TF, F.EXCEPTION_BITMAP: 2})
    assert (told["reason"], told["at"], told["vmcs"][F.GUEST_PENDING_DEBUG]) == (TRAP, len(code) // 2, BS)
    assert told["vmcs"][F.GUEST_RFLAGS] == 2 | TF


def test_the_flag_outranks_a_data_breakpoint(host: Host) -> None:
    for flags, pending in ((2, 1 | ENABLED), (2 | TF, 1 | ENABLED | BS)):
        watch_store(host)
        told = host.guest(STORE, MTF, {F.GUEST_RFLAGS: flags, F.EXCEPTION_BITMAP: 2})
        assert (told["reason"], told["at"], told["vmcs"][F.GUEST_PENDING_DEBUG]) == (TRAP, 9, pending)
        watch_store(host)
        told = host.guest(STORE, {F.GUEST_RFLAGS: flags, F.EXCEPTION_BITMAP: 2})
        assert (told["reason"], told["qualification"]) == (0, pending & ~ENABLED)
        assert told["vmcs"][F.GUEST_PENDING_DEBUG] == 0


def test_sti_with_a_single_step(host: Host) -> None:
    told = host.guest("fb90", MTF, {F.GUEST_RFLAGS: 2 | TF})
    assert (told["at"], told["vmcs"][F.GUEST_INTERRUPTIBILITY], told["vmcs"][F.GUEST_PENDING_DEBUG]) == (1, 1, BS)


INJECTED: Final = [
    (HARDWARE | 6, 0, HANDLER + 6 * 16),
    (4 << 8 | 0x0D, 2, HANDLER + 13 * 16),
    (2 << 8 | 2, 0, HANDLER + 2 * 16),
]


@pytest.mark.parametrize(("event", "length", "at"), INJECTED)
def test_an_injected_event_is_a_boundary(host: Host, event: int, length: int, at: int) -> None:
    change = {F.ENTRY_INTERRUPTION_INFO: VALID | event, F.ENTRY_INSTRUCTION_LENGTH: length}
    told = host.guest("90", MTF, change)
    assert (told["reason"], told["vmcs"][F.GUEST_RIP]) == (TRAP, at)
    told = host.guest("90", MTF, change, {F.GUEST_IDTR_LIMIT: 0, F.EXCEPTION_BITMAP: 1 << 13})
    assert told["reason"] == 0


@pytest.mark.parametrize("activity", [0, 1])
def test_a_pending_trap_by_injection(host: Host, activity: int) -> None:
    """Whatever the control says; what is pending besides stays so."""
    change = {
        F.ENTRY_INTERRUPTION_INFO: VALID | 7 << 8, F.GUEST_ACTIVITY: activity, F.GUEST_PENDING_DEBUG: BS | ENABLED | 2,
        F.GUEST_RFLAGS: 2 | TF,
    }  # fmt: skip
    for control in (MTF, controls(F.PRIMARY_CONTROLS)):
        told = host.guest("90", control, change)
        vmcs = told["vmcs"]
        assert (told["reason"], told["at"], vmcs[F.GUEST_ACTIVITY]) == (TRAP, 0, activity)
        assert vmcs[F.GUEST_PENDING_DEBUG] == BS | ENABLED | 2
        assert vmcs[F.ENTRY_INTERRUPTION_INFO] == 7 << 8


def test_a_pending_debug_exception_is_an_event_of_its_own(host: Host) -> None:
    told = host.guest("90", MTF, {F.GUEST_PENDING_DEBUG: BS, F.GUEST_RFLAGS: 2 | TF})
    assert (told["reason"], told["vmcs"][F.GUEST_RIP]) == (TRAP, HANDLER + 16)
    assert host.cpu.dr[6] & BS
    host.cpu.dr[6] = 0xFFFF0FF0


@pytest.mark.parametrize("activity", [0, 1])
def test_an_interrupt_is_delivered_and_then_the_flag_exits(host: Host, activity: int) -> None:
    assert host.machine is not None
    host.prepare("90", MTF, {F.GUEST_RFLAGS: 2 | IF, F.GUEST_ACTIVITY: activity})
    gate = HANDLER & 0xFFFF | 8 << 16 | 0x8E << 40 | HANDLER >> 16 << 48
    host.memory.write(0x16000 + 16 * 0x55, struct.pack("<2Q", gate, 0))
    host.interrupt(0x55)
    assert host.machine.run().reason is Reason.HALTED
    told = host.told()
    assert (told["reason"], told["vmcs"][F.GUEST_RIP], told["vmcs"][F.GUEST_ACTIVITY]) == (TRAP, HANDLER, 0)
    assert host.words(GUEST_STACK - 40, 3) == (GUEST, 8, 2 | IF)
    host.machine.devices.lapic.msr_write(0x80B, 0)


def test_a_timer_of_0_outranks_the_first_instruction(host: Host) -> None:
    assert host.guest("90", {**MTF, **controls(F.PIN_CONTROLS, 6)})["reason"] == 52


def test_a_snapshot_keeps_the_flag(host: Host) -> None:
    host.prepare("9090", MTF)
    assert host.machine is not None
    assert host.machine.run(1).reason is Reason.LIMIT
    assert host.cpu.guest is not None
    file = io.BytesIO()
    host.machine.save(file)
    file.seek(0)
    other = Machine.restore(file)
    for machine in (other, host.machine):
        assert machine.run().reason is Reason.HALTED
        assert machine.cpu.vmx is not None
        vmcs = machine.cpu.vmx.active[FIRST]
        assert (vmcs[F.EXIT_REASON], vmcs[F.GUEST_RIP], vmcs[F.GUEST_RFLAGS]) == (TRAP, GUEST + 1, 2)
    other.close()


# ---- what an exit says of debug exceptions that MOV SS holds off -------------------------------------------------------


@pytest.mark.parametrize("code", ["0fa2", "0f0b", "f4"])
def test_an_exit_behind_mov_ss_saves_the_single_step(host: Host, code: str) -> None:
    change = {F.GUEST_RFLAGS: 2 | TF, F.EXCEPTION_BITMAP: 1 << 6, **controls(F.PRIMARY_CONTROLS, 7)}
    told = host.guest("8ed0" + code, change, rax=16)
    vmcs = told["vmcs"]
    assert (told["at"], vmcs[F.GUEST_INTERRUPTIBILITY], vmcs[F.GUEST_PENDING_DEBUG]) == (2, 2, BS)
    told = host.guest("8ed0" + code, change, {F.GUEST_RFLAGS: 2}, rax=16)
    assert (told["at"], told["vmcs"][F.GUEST_PENDING_DEBUG]) == (2, 0)


def test_an_exit_behind_mov_ss_saves_the_breakpoint(host: Host) -> None:
    host.memory.write(0x25000, struct.pack("<Q", 16))
    host.cpu.dr[0], host.cpu.dr[7] = 0x25000, 0x30401
    host.cpu.breakpoints.update()
    told = host.guest("8e142500500200" + "0fa2")  # mov ss, [0x25000]
    assert (told["at"], told["vmcs"][F.GUEST_PENDING_DEBUG]) == (7, 1 | ENABLED)
    assert host.cpu.breakpoints.hits == 0


def test_what_an_exit_saved_an_entry_brings_back(host: Host) -> None:
    change = {F.GUEST_INTERRUPTIBILITY: 2, F.GUEST_PENDING_DEBUG: 1 | ENABLED}
    told = host.guest("0fa2", change)
    assert (told["at"], told["vmcs"][F.GUEST_PENDING_DEBUG]) == (0, 1 | ENABLED)


# ---- pending debug exceptions together with an injected event ---------------------------------------------------------


def software(vector: int, kind: int, length: int) -> dict[F, int]:
    return {F.ENTRY_INTERRUPTION_INFO: VALID | kind << 8 | vector, F.ENTRY_INSTRUCTION_LENGTH: length}


@pytest.mark.parametrize(
    ("change", "comes"),
    [
        (software(13, 4, 2), True),
        (software(3, 6, 1), True),
        ({**software(13, 4, 2), F.GUEST_INTERRUPTIBILITY: 0}, False),
        (software(6, 3, 0), False),
        (software(1, 5, 1), False),
        ({**software(13, 4, 2), F.GUEST_PENDING_DEBUG: 1}, False),
    ],
)
def test_a_breakpoint_that_mov_ss_held_comes_behind_a_software_interrupt(
    host: Host, change: dict[F, int], comes: bool
) -> None:
    base = {F.GUEST_INTERRUPTIBILITY: 2, F.GUEST_PENDING_DEBUG: 1 | ENABLED, F.EXCEPTION_BITMAP: 2}
    told = host.guest("90", base, change)
    vector = change[F.ENTRY_INTERRUPTION_INFO] & 0xFF
    assert told["vmcs"][F.GUEST_RIP] == HANDLER + 16 * vector
    assert (told["reason"], told["qualification"]) == ((0, 1) if comes else (18, 0))
