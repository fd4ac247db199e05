"""Who ran an event's instruction, and who ran next: what turns a stream of events into crossings from one domain to another.

An event's `who` is known when it is made.  Behind a WRPKRU that is a gate the other side runs already, so the gate's event, which
follows, tells that the instruction was the program's (GATE_ENTER) or the container kernel's (GATE_EXIT).  Who runs behind an event is
who runs at the next one.  So a step comes one event late, two where a WRPKRU waits for its gate.  In a nested machine every VM exit goes
to the outermost hypervisor, and what it does for its guest until its VM entry (a port's access, a walk to find the instruction) is told
as the guest's: such a step is L0's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..events import Event, Kind, Who

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

LEVELS: Final = {Who.USER: 0, Who.KERNEL: 1, Who.HOST: 2, Who.OUTER: 3}  # who serves whom
_GATES: Final = {Kind.GATE_ENTER: Who.USER, Kind.GATE_EXIT: Who.KERNEL}  # whose the gate's WRPKRU was
CROSSES: Final = frozenset(  # an event of these kinds is what leads from one domain to another
    {
        *(Kind.SYSCALL, Kind.SYSRET, Kind.WRPKRU, Kind.EXCEPTION, Kind.INTERRUPT, Kind.IRET, Kind.GATE_ENTER),
        *(Kind.GATE_EXIT, Kind.HYPERCALL, Kind.VM_EXIT, Kind.VM_ENTRY),
    }
)


class Step(NamedTuple):
    """One event between two moments.

    Attributes:
        event: the event.
        who: who ran its instruction.
        to: who runs behind it; `who` behind the last one.
        gate: the event that says which gate this WRPKRU, or this SYSCALL of the container kernel's, is; or None.
        tag: what the caller gave with the event.
        next_tag: what it gave with the next one.

    """

    event: Event
    who: Who
    to: Who
    gate: Event | None
    tag: Any
    next_tag: Any


class _Waiting(NamedTuple):
    event: Event
    who: Who
    gate: Event | None
    tag: Any


class Steps:
    """Takes events in order and passes on a `Step` for each, in the same order."""

    def __init__(self, take: Callable[[Step], None], *, nested: bool = False) -> None:
        """Begin; `take` is called with each step, and `nested` says that the machine has an outermost hypervisor."""
        self._take, self._nested = take, nested
        self._in_l0 = False
        self._first: _Waiting | None = None
        self._behind: list[_Waiting] = []  # what is part of `_first`: walks that deliver it, or its gate
        self._second: _Waiting | None = None  # a WRPKRU that may be a gate's

    def emit(self, event: Event, tag: Any = None) -> None:
        """Take one event, and whatever belongs to it."""
        second = self._second
        if second is not None:
            if (whose := _GATES.get(event.kind)) is not None:
                second = second._replace(who=whose, gate=event)
            self._second = None
            self._advance(second)
        new = _Waiting(event, Who.OUTER if self._in_l0 else event.who, None, tag)
        if self._nested:
            if event.kind is _VM_EXIT:
                self._in_l0 = True
            elif event.kind is _VM_ENTRY:
                self._in_l0 = False
        if event.kind is _WRPKRU:
            self._second = new
        else:
            self._advance(new)

    def _advance(self, new: _Waiting) -> None:
        first = self._first
        if first is not None:
            if _is_delivery(first, new):
                self._behind.append(new)
                return
            if new.event.kind is _GATE_EXIT and first.event.kind is _SYSCALL:  # PVM's return to the program
                self._first = first._replace(gate=new.event)
                self._behind.append(new)
                return
            self._pass(first, new.who, new.tag)
        self._first = new

    def _pass(self, first: _Waiting, to: Who, tag: Any) -> None:
        """Pass on the step from `first` to whoever runs next, and what belongs to it behind it."""
        behind = [each._replace(who=to) for each in self._behind]
        self._behind.clear()
        tags = [*(each.tag for each in behind), tag]
        for each, then in zip((first, *behind), tags, strict=True):
            self._take(Step(each.event, each.who, to, each.gate, each.tag, then))

    def close(self) -> None:
        """Pass on what waits."""
        if self._second is not None:
            self._advance(self._second)
            self._second = None
        if self._first is not None:
            last, self._first = self._first, None
            self._pass(last, last.who, last.tag)


def _is_delivery(first: _Waiting, new: _Waiting) -> bool:
    """Tell whether `new` is a walk that the processor makes to deliver `first`: for the gate, the TSS or the handler's stack."""
    event, walk = first.event, new.event
    return walk.kind is _PAGE_WALK and event.kind in _DELIVERED and walk.rip == event.rip and first.who is new.who


def steps(events: Iterable[Event], *, nested: bool = False) -> Iterator[Step]:
    """Give the steps of events that are there already; `nested` as for `Steps`.

    Example:
        >>> call = Event(Kind.SYSCALL, 82, 82, 0x401000, Who.USER, (39, 0, 0, 0))
        >>> back = Event(Kind.SYSRET, 157, 75, 0x8000, Who.KERNEL, (1,))
        >>> [(step.who.name, step.to.name) for step in steps([call, back])]
        [('USER', 'KERNEL'), ('KERNEL', 'KERNEL')]

    """
    made: list[Step] = []
    reader = Steps(made.append, nested=nested)
    for event in events:
        reader.emit(event)
        yield from made
        made.clear()
    reader.close()
    yield from made


_DELIVERED: Final = frozenset({Kind.EXCEPTION, Kind.INTERRUPT})
_GATE_EXIT: Final = Kind.GATE_EXIT
_SYSCALL: Final = Kind.SYSCALL
_PAGE_WALK: Final = Kind.PAGE_WALK
_WRPKRU: Final = Kind.WRPKRU
_VM_EXIT: Final = Kind.VM_EXIT
_VM_ENTRY: Final = Kind.VM_ENTRY
