"""A guest's first events, in every combination that VM entry allows, against the independent model."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING, Final

import pytest

from paracell.emu.stop import Reason
from paracell.vmx.fields import Field as F  # noqa: N817  (the tables have it on every line)

from ..model.entry_events import NMI, NOTHING, SOFTWARE, TRAP, UD, Entry, Exit, entries, first_exit
from ..vmx.entries import controls
from .vmx_host import GUEST, GUEST_IDT, HANDLER, VALID, VMCALL, Host, host, module_host

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("host", "module_host")

INTERRUPT, INTERRUPT_HANDLER = 0x55, 0x18000
INFO: Final = {
    NOTHING: 0,
    UD: VALID | 3 << 8 | 6,
    SOFTWARE: VALID | 4 << 8 | 13,
    NMI: VALID | 2 << 8 | 2,
    TRAP: VALID | 7 << 8,
}
TF, IF = 1 << 8, 1 << 9


def fields(e: Entry) -> dict[F, int]:
    pin = controls(F.PIN_CONTROLS, *[3, 5] * e.nwindow, *[6] * e.timer, *[0] * bool(e.waits))
    return {
        **pin,
        **controls(F.PRIMARY_CONTROLS, *[2] * e.iwindow, *[22] * e.nwindow, *[27] * e.trap_flag),
        F.ENTRY_INTERRUPTION_INFO: INFO[e.event],
        F.ENTRY_INSTRUCTION_LENGTH: 2 * (e.event == SOFTWARE),
        F.GUEST_PENDING_DEBUG: e.pending,
        F.GUEST_INTERRUPTIBILITY: e.blocking,
        F.GUEST_ACTIVITY: e.activity,
        F.GUEST_RFLAGS: 2 | TF * e.tf | IF * e.interrupts,
        F.EXCEPTION_BITMAP: 2 * e.debug_exits,
    }


def run(host: Host, e: Entry) -> Exit:
    """Enter, and say which exit came."""
    assert host.machine is not None
    devices = host.machine.devices
    host.prepare("90", fields(e))
    if e.waits is not None:
        host.interrupt(INTERRUPT)
    stop = host.machine.run()
    assert stop.reason is Reason.HALTED, stop.report[:1]
    if e.waits is not None:
        devices.pending()  # takes the interrupt, if it still waits
        devices.lapic.msr_write(0x80B, 0)
        devices.changed()
    told = host.told()
    rip, vmcs = told["vmcs"][F.GUEST_RIP], told["vmcs"]
    handler = INTERRUPT if rip == INTERRUPT_HANDLER else (rip - HANDLER) // 16 if rip >= HANDLER else None
    return Exit(
        told["reason"],
        told["qualification"],
        rip - GUEST if handler is None else 0,
        handler,
        vmcs[F.GUEST_PENDING_DEBUG],
        vmcs[F.GUEST_INTERRUPTIBILITY],
        vmcs[F.GUEST_ACTIVITY],
    )


def compare(host: Host, cases: Iterable[Entry]) -> None:
    host.memory.write(INTERRUPT_HANDLER, bytes.fromhex(VMCALL))
    gate = INTERRUPT_HANDLER & 0xFFFF | 8 << 16 | 0x8E << 40 | INTERRUPT_HANDLER >> 16 << 48
    host.memory.write(GUEST_IDT + 16 * INTERRUPT, struct.pack("<2Q", gate, 0))
    ran = [(e, run(host, e), first_exit(e)) for e in cases]
    host.cpu.dr[6] = 0xFFFF0FF0
    wrong = [(e, got, wanted) for e, got, wanted in ran if got != wanted]
    assert not wrong, f"{len(wrong)}: {wrong[:3]}"


def test_a_sample(host: Host) -> None:
    compare(host, random.Random(1).sample(list(entries()), 600))


def test_an_exit_that_is_nobodys_is_no_instruction_boundary(host: Host) -> None:
    """The outermost hypervisor still has a window open for an interrupt that is gone, and goes on behind that at once."""
    blank = Entry(NOTHING, True, 0, 0, False, True, False, False, False, None, 0, False)
    first = blank._replace(interrupts=False, timer=True, iwindow=True, nwindow=True, waits=True)
    compare(host, [first, blank, blank._replace(tf=True)])


@pytest.mark.sweep
def test_every_entry(host: Host) -> None:
    compare(host, entries())
