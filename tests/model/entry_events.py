"""What the manual says of a guest's first events: which exit comes, and what it saves.  Conditions alone: nothing here is the machine's.

The guest is NOP, then VMCALL; each of its handlers is VMCALL.  SDM "Event Injection", "Special Features of VM Entry", "Other Causes of
VM Exits", "Monitor Trap Flag", "Saving Non-Register State".
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

NOTHING, UD, SOFTWARE, NMI, TRAP = "nothing", "#UD", "INT 13", "NMI", "MTF"
VECTORS: Final = {UD: 6, SOFTWARE: 13, NMI: 2}
BS, B0, ENABLED = 1 << 14, 1, 1 << 12
STI, MOV_SS, BY_NMI = 1, 2, 8
ACTIVE, HLT = 0, 1
INTERRUPT: Final = 0x55  # the vector of the one that waits
EXCEPTION, EXTERNAL, IWINDOW, NWINDOW, VMCALL, MTF, TIMER = 0, 1, 7, 8, 18, 37, 52


class Entry(NamedTuple):
    """One entry.

    Attributes:
        event: what is injected.
        trap_flag: the monitor trap flag.
        pending: the pending debug exceptions.
        blocking: by STI or MOV SS.
        tf, interrupts: RFLAGS.TF, RFLAGS.IF.
        timer: the preemption timer is 0.
        iwindow, nwindow: interrupt-window and NMI-window exiting.
        waits: an external interrupt waits; None, or whether such exit.
        activity: ACTIVE or HLT.
        debug_exits: #DB exits.

    """

    event: str
    trap_flag: bool
    pending: int
    blocking: int
    tf: bool
    interrupts: bool
    timer: bool
    iwindow: bool
    nwindow: bool
    waits: bool | None
    activity: int
    debug_exits: bool


class Exit(NamedTuple):
    """The first exit: its reason and qualification, how many bytes the guest has come, or in which handler it is, and what is saved."""

    reason: int
    qualification: int
    at: int
    handler: int | None
    pending: int
    interruptibility: int
    activity: int


def allowed(e: Entry) -> bool:
    """Tell whether the entry passes the checks, and comes to an end (SDM "Checks on Guest Non-Register State")."""
    if e.blocking == STI and not e.interrupts:
        return False
    if (e.blocking or e.activity == HLT) and bool(e.pending & BS) != e.tf:
        return False
    if e.event == NMI and e.blocking == MOV_SS:
        return False
    if e.activity == HLT:
        if e.blocking or e.event in {UD, SOFTWARE}:
            return False
        window = e.nwindow or (e.iwindow and e.interrupts)
        waits = e.waits is True or (e.waits is False and e.interrupts)
        return bool(e.event != NOTHING or e.pending or e.timer or window or waits)
    return True


def entries() -> Iterator[Entry]:
    """Give every entry that there can be."""
    both = (False, True)
    events = (NOTHING, UD, SOFTWARE, NMI, TRAP)
    pending = (0, BS, ENABLED | B0, BS | ENABLED | B0)
    for values in product(
        events, both, pending, (0, STI, MOV_SS), both, both, both, both, both, (None, False, True), (ACTIVE, HLT), both
    ):
        entry = Entry._make(values)
        if allowed(entry):
            yield entry


class _Guest:
    """A guest on its way to an exit."""

    def __init__(self, e: Entry) -> None:
        self.e = e
        self.at, self.handler = 0, None if e.event in {NOTHING, TRAP} else VECTORS[e.event]
        self.blocking, self.tf, self.interrupts, self.activity = e.blocking, e.tf, e.interrupts, e.activity
        self.nmi = False
        self.pending = e.pending
        self.trap = e.event == TRAP
        if self.handler is not None:
            # Behind a software interrupt after MOV SS, data breakpoints come as they do where no VM entry is; single steps do not.
            held = e.event == SOFTWARE and e.blocking == MOV_SS
            self.pending = e.pending & (ENABLED | B0) if held else 0
            self._delivered(self.handler)
            self.nmi = e.event == NMI

    def _delivered(self, handler: int) -> None:
        """An event has gone through the IDT, by an interrupt gate."""
        self.handler, self.blocking, self.activity = handler, 0, ACTIVE
        self.tf = self.interrupts = False
        self.trap |= self.e.trap_flag

    def leave(self, reason: int, *, qualification: int = 0, debug: bool = False) -> Exit:
        keeps = reason == MTF or (self.blocking == MOV_SS and not debug)
        interruptibility = self.blocking | (BY_NMI if self.nmi else 0)
        saved = self.pending if keeps else 0
        at = self.at if self.handler is None else 0
        return Exit(reason, qualification, at, self.handler, saved, interruptibility, self.activity)

    def before_an_instruction(self) -> Exit | None:
        """Give the exit at this instruction boundary, by priority; None where an instruction runs, or an event was delivered."""
        e = self.e
        free = not self.blocking
        if self.trap:
            return self.leave(MTF)
        if self.pending and self.blocking != MOV_SS:
            bits, self.pending = self.pending & ~ENABLED, 0
            if e.debug_exits:
                return self.leave(EXCEPTION, qualification=bits, debug=True)
            self._delivered(1)
            return self.before_an_instruction()
        if e.timer:
            return self.leave(TIMER)
        if e.nwindow and free and not self.nmi:
            return self.leave(NWINDOW)
        if e.iwindow and free and self.interrupts:
            return self.leave(IWINDOW)
        if e.waits is not None and free:
            if e.waits:
                return self.leave(EXTERNAL)
            if self.interrupts:
                self._delivered(INTERRUPT)
                return self.before_an_instruction()
        return None

    def run_nop(self) -> None:
        held = self.pending if self.blocking == MOV_SS else 0
        self.at, self.blocking, self.trap = 1, 0, self.e.trap_flag
        self.pending = held & (ENABLED | B0) | (BS if self.tf else 0)


def first_exit(e: Entry) -> Exit:
    """Give the first exit behind an entry."""
    guest = _Guest(e)
    exit_ = guest.before_an_instruction()
    if exit_ is not None:
        return exit_
    if guest.handler is None:
        guest.run_nop()
        exit_ = guest.before_an_instruction()
    return exit_ or guest.leave(VMCALL)
