"""The one stream of events: everything that crosses a boundary is one small value."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple


class Kind(IntEnum):
    """What happened."""

    SYSCALL = 0
    SYSRET = 1
    WRPKRU = 2
    EXCEPTION = 3
    INTERRUPT = 4
    IRET = 5
    CR3_LOAD = 6
    INVALIDATION = 7
    PAGE_WALK = 8
    PORT = 9
    MSR = 10
    CPUID = 11
    HLT = 12
    SWAPGS = 13
    GATE_ENTER = 14
    GATE_EXIT = 15
    HYPERCALL = 16
    IDLE = 17
    RDTSC = 18


class Who(IntEnum):
    """Who was running."""

    HOST = 0
    KERNEL = 1
    USER = 2


FIELDS: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.SYSCALL: ("nr", "arg0", "arg1", "arg2"),
    Kind.SYSRET: ("value",),
    Kind.WRPKRU: ("old", "new"),
    Kind.EXCEPTION: ("vector", "error", "address"),
    Kind.INTERRUPT: ("vector",),
    Kind.IRET: ("to",),
    Kind.CR3_LOAD: ("old", "new", "flush"),
    Kind.INVALIDATION: ("scope", "address"),
    Kind.PAGE_WALK: ("gva", "need", "frame", "refused"),
    Kind.PORT: ("port", "write", "value"),
    Kind.MSR: ("msr", "write", "value"),
    Kind.CPUID: ("leaf", "subleaf"),
    Kind.HLT: (),
    Kind.SWAPGS: (),
    Kind.GATE_ENTER: ("nr", "arg0", "arg1", "arg2"),
    Kind.GATE_EXIT: ("value",),
    Kind.HYPERCALL: ("nr", "arg0", "arg1", "arg2"),
    Kind.IDLE: (),
    Kind.RDTSC: ("value",),
}


class Event(NamedTuple):
    """One event.

    Attributes:
        kind: what.
        at: virtual cycles when it was over: the costs of all events so far, this one's too, and all instructions that counted.
        cost: virtual cycles it took.
        rip: where.
        who: who was running.
        data: numbers named by ``FIELDS[kind]``.

    """

    kind: Kind
    at: int
    cost: int
    rip: int
    who: Who
    data: tuple[int, ...]
