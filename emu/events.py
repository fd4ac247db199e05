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
    VM_EXIT = 19
    VM_ENTRY = 20
    EPT_VIOLATION = 21
    REFLECTION = 22
    MERGE = 23
    EPT_FILL = 24
    TABLE_STORE = 25
    END = 26


class Who(IntEnum):
    """Who was running."""

    HOST = 0
    KERNEL = 1
    USER = 2
    OUTER = 3


FIELDS: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.SYSCALL: ("nr", "arg0", "arg1", "arg2"),
    Kind.SYSRET: ("value",),
    Kind.WRPKRU: ("old", "new"),
    Kind.EXCEPTION: ("vector", "error", "address"),
    Kind.INTERRUPT: ("vector",),
    Kind.IRET: ("to",),
    Kind.CR3_LOAD: ("old", "new", "flush"),
    Kind.INVALIDATION: ("scope", "address"),
    Kind.PAGE_WALK: ("gva", "need", "frame", "refused", "reads", "ept_reads"),
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
    Kind.VM_EXIT: ("source", "target", "reason", "qualification", "gpa"),
    Kind.VM_ENTRY: ("source", "target"),
    Kind.EPT_VIOLATION: ("refused", "gpa", "qualification", "gva"),
    Kind.REFLECTION: ("reason",),
    Kind.MERGE: (),
    Kind.EPT_FILL: ("gpa", "page", "level"),
    Kind.TABLE_STORE: ("page",),
    Kind.END: ("blocks", "instructions"),
}


class Event(NamedTuple):
    """One event.

    The numbers in `data` can be read by the names that ``FIELDS[kind]`` gives them: a SYSCALL has ``event.nr``.

    Attributes:
        kind: what.
        at: virtual cycles when it was over: the costs of all events so far, this one's too, and all instructions that counted.
        cost: virtual cycles it took.
        rip: where.
        who: who was running.
        data: numbers named by ``FIELDS[kind]``.

    Example:
        >>> event = Event(Kind.WRPKRU, 1028, 28, 0x401000, Who.USER, (0xC, 0))
        >>> event
        WRPKRU(at=1028, cost=28, rip=0x401000, who=USER, old=0xc, new=0x0)
        >>> event.old
        12
        >>> event.as_dict()["kind"]
        'wrpkru'

    """

    kind: Kind
    at: int
    cost: int
    rip: int
    who: Who
    data: tuple[int, ...]

    def __getattr__(self, name: str) -> int:
        """Give one of the numbers in `data` by its name; ``AttributeError`` where this kind has none of that name."""
        try:
            return self.data[FIELDS[self.kind].index(name)]
        except (ValueError, IndexError):
            known = ", ".join(FIELDS[self.kind]) or "none"
            raise AttributeError(f"{self.kind.name} has no field {name}; its fields: {known}") from None

    @property
    def fields(self) -> dict[str, int]:
        """The numbers in `data` by name."""
        return dict(zip(FIELDS[self.kind], self.data, strict=False))

    def as_dict(self) -> dict[str, int | str]:
        """Give everything by name, as a line of a JSON trace does, but for the symbol: plain values for a table or for JSON."""
        return {
            "at": self.at,
            "cost": self.cost,
            "who": self.who.name.lower(),
            "kind": self.kind.name.lower(),
            "rip": self.rip,
            **self.fields,
        }

    def __repr__(self) -> str:
        """Show the kind and everything by name, addresses and data in hexadecimal."""
        data = "".join(f", {name}={value:#x}" for name, value in self.fields.items())
        return f"{self.kind.name}(at={self.at}, cost={self.cost}, rip={self.rip:#x}, who={self.who.name}{data})"

    def _repr_html_(self) -> str:
        """Show it in a notebook: a table of one row."""
        return events_html([self])


def events_html(events: list[Event]) -> str:
    """Give a table of events as HTML, as notebooks show it."""
    head = "<tr><th>at</th><th>cost</th><th>who</th><th>event</th><th>rip</th><th></th></tr>"
    rows = "".join(
        f"<tr><td>{e.at:,}</td><td>{e.cost:,}</td><td>{e.who.name.lower()}</td><td>{e.kind.name.lower()}</td>"
        f"<td><code>{e.rip:#x}</code></td>"
        f"<td><code>{' '.join(f'{name}={value:#x}' for name, value in e.fields.items())}</code></td></tr>"
        for e in events
    )
    return f"<table>{head}{rows}</table>"
