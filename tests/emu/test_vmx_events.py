"""Events of guests on TCG: exceptions, windows, the preemption timer, pending debug exceptions, injection."""

from __future__ import annotations

import struct
from typing import Final

import pytest

from paracell.emu.events import Kind
from paracell.vmx.fields import Field as F  # noqa: N817  (the tables have it on every line)

from ..vmx.entries import controls
from .vmx_host import (
    ERROR_CODE,
    GP_EXITS,
    GUEST,
    GUEST_STACK,
    HANDLER,
    HARDWARE,
    HLT,
    PRIMARY,
    UD_EXITS,
    VALID,
    Host,
    Log,
    host,
    module_host,
)
from .world import UNMAPPED

__all__ = ("host", "module_host")

# ---- exceptions --------------------------------------------------------------------------------------------------------


def test_a_page_fault_that_exits_leaves_cr2(host: Host) -> None:
    told = host.guest("a3" + struct.pack("<Q", UNMAPPED + 5).hex(), {F.EXCEPTION_BITMAP: 1 << 14})
    assert (told["reason"], told["qualification"], told["event"], told["error"]) == (
        0, UNMAPPED + 5, VALID | HARDWARE | ERROR_CODE | 14, 2,
    )  # fmt: skip
    assert host.cpu.cr2 == 0
    assert told["vmcs"][F.GUEST_RFLAGS] == 0x10002  # RF, as a fault would push it


@pytest.mark.parametrize(
    ("bitmap", "mask", "match", "exits"),
    [
        (1, 0, 0, True),
        (1, 2, 2, True),
        (1, 2, 0, False),
        (0, 2, 0, True),
        (0, 0, 0, False),
        (1, 0, 1, False),
        (0, 0, 1, True),
    ],
)
def test_page_faults_by_error_code(host: Host, bitmap: int, mask: int, match: int, exits: bool) -> None:
    change = {F.EXCEPTION_BITMAP: bitmap << 14, F.PFEC_MASK: mask, F.PFEC_MATCH: match}
    told = host.guest("a3" + struct.pack("<Q", UNMAPPED).hex(), change)
    assert told["reason"] == (0 if exits else 18)
    if not exits:
        assert told["vmcs"][F.GUEST_RIP] == HANDLER + 14 * 16
        assert host.cpu.cr2 == UNMAPPED


def test_breakpoints_are_software_exceptions(host: Host) -> None:
    told = host.guest("90cc", {F.EXCEPTION_BITMAP: 1 << 3})
    assert (told["reason"], told["at"], told["length"], told["event"]) == (0, 1, 1, VALID | 6 << 8 | 3)
    assert host.guest("cd03", {F.EXCEPTION_BITMAP: 1 << 3})["vmcs"][F.EXIT_INSTRUCTION_LENGTH] == 2
    assert host.guest("cd06", UD_EXITS)["vmcs"][F.GUEST_RIP] == HANDLER + 6 * 16  # INT n is no exception


def test_faults_on_the_way(host: Host) -> None:
    """#UD through an IDT that ends before it: #GP, which exits with #UD as vectoring; else #DF; else a triple fault."""
    short = {F.GUEST_IDTR_LIMIT: 0}
    told = host.guest("0f0b", short, GP_EXITS)
    assert (told["event"], told["error"], told["vectoring"]) == (
        VALID | HARDWARE | ERROR_CODE | 13,
        6 * 8 + 3,
        VALID | HARDWARE | 6,
    )
    told = host.guest("0f0b", short, {F.EXCEPTION_BITMAP: 1 << 8})
    assert (told["event"], told["vectoring"]) == (VALID | HARDWARE | ERROR_CODE | 8, 0)
    assert host.guest("0f0b", short)["reason"] == 2


def test_int_n_that_cannot_be_delivered_is_vectoring(host: Host) -> None:
    for code, event in (("cd80", 4 << 8 | 0x80), ("cc", 6 << 8 | 3), ("f1", 5 << 8 | 1)):
        told = host.guest("90" + code, {F.GUEST_IDTR_LIMIT: 0}, GP_EXITS)
        assert (told["event"], told["vectoring"]) == (VALID | HARDWARE | ERROR_CODE | 13, VALID | event), code
        assert (told["at"], told["length"]) == (1, len(code) // 2)


@pytest.mark.parametrize(("bits", "left"), [((), 0), ((3,), 8), ((3, 5), 0)])
def test_iret_and_blocking_by_nmi(host: Host, bits: tuple[int, ...], left: int) -> None:
    """IRET to the next instruction: it unblocks NMIs, or virtual ones, but where NMIs exit and there are no virtual ones."""
    frame = struct.pack("<5Q", GUEST + 2, 8, 2, GUEST_STACK, 16)
    host.memory.write(GUEST_STACK, frame)
    told = host.guest("48cf", controls(F.PIN_CONTROLS, *bits), {F.GUEST_INTERRUPTIBILITY: 8})
    assert (told["reason"], told["at"], told["vmcs"][F.GUEST_INTERRUPTIBILITY]) == (18, 2, left)


IF: Final = 1 << 9


@pytest.mark.parametrize(
    ("code", "flags", "at"),
    [
        ("90", 2 | IF, 0),  # open at the entry
        ("90fb9090", 2, 3),  # behind STI, one instruction later
        ("90fbfa90", 2, None),  # STI, CLI: never
        ("68020200009d90", 2, 6),  # push 0x202; popf
        ("8ed09090", 2 | IF, 0),
    ],
)
def test_the_interrupt_window(host: Host, code: str, flags: int, at: int | None) -> None:
    told = host.guest(code, controls(PRIMARY, 2), {F.GUEST_RFLAGS: flags}, rax=16)
    assert (told["reason"], told["at"]) == ((7, at) if at is not None else (18, len(code) // 2))


def test_mov_ss_and_sti_hold_the_windows_off(host: Host) -> None:
    for held in (1, 2):
        change = {F.GUEST_RFLAGS: 2 | IF, F.GUEST_INTERRUPTIBILITY: held}
        told = host.guest("9090", controls(PRIMARY, 2), change)
        assert (told["reason"], told["at"], told["vmcs"][F.GUEST_INTERRUPTIBILITY]) == (7, 1, 0)


def test_the_nmi_window(host: Host) -> None:
    virtual = {**controls(PRIMARY, 22), **controls(F.PIN_CONTROLS, 3, 5)}
    assert host.guest("90", virtual)["reason"] == 8
    host.memory.write(GUEST_STACK, struct.pack("<5Q", GUEST + 3, 8, 2, GUEST_STACK, 16))
    told = host.guest("9048cf90", virtual, {F.GUEST_INTERRUPTIBILITY: 8})  # IRET unblocks virtual NMIs
    assert (told["reason"], told["at"]) == (8, 3)
    assert host.guest("90", virtual, {F.GUEST_INTERRUPTIBILITY: 8})["reason"] == 18


# ---- the preemption timer ----------------------------------------------------------------------------------------------

TIMER: Final = {**controls(F.PIN_CONTROLS, 6), **controls(F.EXIT_CONTROLS, 22)}


def test_a_timer_of_0_exits_before_the_first_instruction(host: Host) -> None:
    told = host.guest("90", TIMER)
    assert (told["reason"], told["at"], told["vmcs"][F.PREEMPTION_TIMER_VALUE]) == (52, 0, 0)


@pytest.mark.parametrize("flags", [2, 2 | IF])
def test_a_timer_ends_a_loop(host: Host, flags: int) -> None:
    log = Log()
    assert host.machine is not None
    host.machine.add_sink(log)
    told = host.guest("ebfe", TIMER, {F.PREEMPTION_TIMER_VALUE: 5000, F.GUEST_RFLAGS: flags})
    assert (told["reason"], told["at"], told["vmcs"][F.PREEMPTION_TIMER_VALUE]) == (52, 0, 0)
    guest = host.depth + 1
    (entry,) = (e for e in log.events if e.kind is Kind.VM_ENTRY and e.target == guest)
    (exit_,) = (e for e in log.events if e.kind is Kind.VM_EXIT and e.source == guest)
    assert 5000 <= exit_.at - exit_.cost - entry.at < 5000 + 8  # a block has four cycles


def test_a_timer_wakes_a_halted_guest(host: Host) -> None:
    told = host.guest(HLT, TIMER, {F.PREEMPTION_TIMER_VALUE: 1 << 20})
    assert (told["reason"], told["at"], told["vmcs"][F.GUEST_ACTIVITY]) == (52, 1, 1)


def test_what_is_left_of_a_timer_is_saved(host: Host) -> None:
    told = host.guest("0f31", TIMER, {F.PREEMPTION_TIMER_VALUE: 5000})
    gone = 5000 - told["vmcs"][F.PREEMPTION_TIMER_VALUE]
    assert told["reason"] == 18
    assert host.cpu.costs.rdtsc <= gone <= host.cpu.costs.rdtsc + 3 * host.cpu.costs.block
    told = host.guest("0f31", controls(F.PIN_CONTROLS, 6), {F.PREEMPTION_TIMER_VALUE: 5000})
    assert told["vmcs"][F.PREEMPTION_TIMER_VALUE] == 5000


# ---- pending debug exceptions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pending", "dr6"), [(0x4000, 0x4000), (0x1002, 2), (0x5003, 0x4003)])
def test_pending_debug_exceptions(host: Host, pending: int, dr6: int) -> None:
    told = host.guest("90", {F.GUEST_PENDING_DEBUG: pending, F.EXCEPTION_BITMAP: 2})
    assert (told["reason"], told["qualification"], told["event"], told["at"]) == (0, dr6, VALID | HARDWARE | 1, 0)
    told = host.guest("90", {F.GUEST_PENDING_DEBUG: pending})
    assert (told["reason"], told["vmcs"][F.GUEST_RIP]) == (18, HANDLER + 16)
    assert host.cpu.dr[6] & 0xF00F == dr6
    host.cpu.dr[6] = 0xFFFF0FF0


def test_breakpoints_that_are_not_enabled_are_not_pending(host: Host) -> None:
    assert host.guest("90", {F.GUEST_PENDING_DEBUG: 3, F.EXCEPTION_BITMAP: 2})["reason"] == 18


def test_mov_ss_holds_a_pending_breakpoint_for_an_instruction(host: Host) -> None:
    change = {F.GUEST_PENDING_DEBUG: 0x1001, F.GUEST_INTERRUPTIBILITY: 2, F.EXCEPTION_BITMAP: 2}
    told = host.guest("9090", change)
    assert (told["reason"], told["qualification"], told["at"]) == (0, 1, 1)
    change |= {F.GUEST_PENDING_DEBUG: 0x5001, F.GUEST_RFLAGS: 0x102}
    told = host.guest("9090", change)
    assert (told["qualification"], told["at"], told["vmcs"][F.GUEST_INTERRUPTIBILITY]) == (0x4001, 1, 0)


# ---- injection ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "error", "length", "pushed"),
    [
        (HARDWARE | ERROR_CODE | 13, 0x1234, 0, (0x1234, GUEST, 8, 0x10002, GUEST_STACK, 16)),
        (HARDWARE | 6, 0, 0, (GUEST, 8, 0x10002, GUEST_STACK, 16)),
        (4 << 8 | 5, 0, 2, (GUEST + 2, 8, 2, GUEST_STACK, 16)),
        (6 << 8 | 3, 0, 1, (GUEST + 1, 8, 2, GUEST_STACK, 16)),
        (2 << 8 | 2, 0, 0, (GUEST, 8, 2, GUEST_STACK, 16)),
    ],
)
def test_an_injected_event(host: Host, event: int, error: int, length: int, pushed: tuple[int, ...]) -> None:
    change = {F.ENTRY_INTERRUPTION_INFO: VALID | event, F.ENTRY_ERROR_CODE: error, F.ENTRY_INSTRUCTION_LENGTH: length}
    told = host.guest("", change, {F.EXCEPTION_BITMAP: 0xFFFFFFFF})
    vmcs = told["vmcs"]
    assert (told["reason"], vmcs[F.GUEST_RIP]) == (18, HANDLER + 16 * (event & 0xFF))
    assert host.words(vmcs[F.GUEST_RSP], len(pushed)) == pushed
    assert vmcs[F.GUEST_RSP] == GUEST_STACK - 8 * len(pushed)
    assert vmcs[F.ENTRY_INTERRUPTION_INFO] == event  # no longer valid
    assert vmcs[F.GUEST_INTERRUPTIBILITY] == (8 if event & 0xFF == 2 else 0)


def test_an_injected_event_that_cannot_be_delivered_is_vectoring(host: Host) -> None:
    event = VALID | 4 << 8 | 0x80
    told = host.guest(
        "", {F.ENTRY_INTERRUPTION_INFO: event, F.ENTRY_INSTRUCTION_LENGTH: 2, F.GUEST_IDTR_LIMIT: 0xFF}, GP_EXITS
    )
    assert (told["event"], told["vectoring"], told["at"]) == (VALID | HARDWARE | ERROR_CODE | 13, event, 0)
