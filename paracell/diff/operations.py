"""What a program did, one operation after the other, and what each made cross and cost.

An operation begins when the program leaves the processor to somebody else, by a system call, a fault, an interrupt or a VM exit, and ends
when it goes on.  Everything in between is the operation's, whoever does it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from attrs import Factory, define, frozen

from ..emu.cost import charged
from ..emu.events import Event, Kind, Who
from ..emu.faults import VECTOR_NAMES
from ..emu.sinks.captions import caption
from ..emu.sinks.crossings import CROSSES, Step, steps
from ..emu.sinks.frames import NAMES
from ..guest import syscalls

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from ..emu.cost import Costs
    from .recorded import Recorded

_PAGE: Final = -4096
_PF: Final = 14
_CALLS: Final = {Kind.SYSCALL, Kind.GATE_ENTER}
BEFORE: Final = "before the program"
ITSELF: Final = "the program itself"
PLAIN: Final = "plain code"


@define
class Tally:
    """What something is made of.

    Attributes:
        crossings: how often each change of domain, by its name.
        others: how often each other kind of event.
        cycles: the price of each of these names, and of plain code and sleep.

    """

    crossings: Counter[str] = Factory(Counter)
    others: Counter[str] = Factory(Counter)
    cycles: Counter[str] = Factory(Counter)

    @property
    def price(self) -> int:
        """All cycles."""
        return self.cycles.total()

    def add(self, other: Tally) -> None:
        """Count another one's, too."""
        self.crossings.update(other.crossings)
        self.others.update(other.others)
        self.cycles.update(other.cycles)


@frozen
class Operation:
    """One thing that the program did, or had done to it.

    Attributes:
        key: what tells it from others in both runs.
        name: what people call it.
        line: the trace's line of the event that began it.
        made: what it is made of.

    """

    key: Hashable
    name: str
    line: int
    made: Tally

    @property
    def is_call(self) -> bool:
        """Whether it is a system call."""
        return isinstance(self.key, tuple) and self.key[0] == "call"


@frozen
class Run:
    """A trace, taken apart.

    Attributes:
        recorded: the trace.
        operations: the program's, in order.
        before: everything until the program first runs.
        itself: the program's own events, such as page walks, and its plain code.

    """

    recorded: Recorded
    operations: list[Operation]
    before: Tally
    itself: Tally

    def total(self) -> Tally:
        """Everything."""
        total = Tally()
        for each in (self.before, self.itself, *(operation.made for operation in self.operations)):
            total.add(each)
        return total


def take_apart(recorded: Recorded, costs: Costs, met: Callable[[int], None] = lambda _: None) -> Run:
    """Find the operations of a trace, and price them.

    Args:
        recorded: the trace.
        costs: what each kind of event costs.
        met: is told how many events were looked at, from time to time.

    Raises:
        Problem: the events do not account for all the time that passed.

    """
    plain = recorded.plain()
    operations: list[Operation] = []
    before, itself = Tally(), Tally()
    current, last = before, 0
    for number, step in enumerate(steps(recorded.events, nested=recorded.nested), 1):
        event = step.event
        if step.who is Who.USER:
            current = itself
        if gap := event.at - event.cost - last:
            current.cycles[PLAIN] += plain(gap, costs.block)
        last = event.at
        if step.who is Who.USER and step.to is not Who.USER:
            operations.append(Operation(*_what(step), number, Tally()))
            current = operations[-1].made
        _count(current, step, charged(costs, event.kind, event.data))
        if not number % 4096:
            met(number)
    return Run(recorded, operations, before, itself)


def _count(tally: Tally, step: Step, price: int | None) -> None:
    event = step.event
    if step.to is not step.who:
        name = f"{NAMES[step.who]} → {NAMES[step.to]}: {_label(step)}"
        tally.crossings[name] += 1
    else:
        name = event.kind.name.lower().replace("_", " ")
        tally.others[name] += 1
    cycles = event.cost if price is None else price
    if cycles:
        tally.cycles[name] += cycles


def _label(step: Step) -> str:
    """Name the way of a crossing, without addresses."""
    event = step.event
    if step.gate is not None:
        return "gate" if event.kind is Kind.WRPKRU else "return"
    if event.kind is Kind.EXCEPTION:
        return VECTOR_NAMES.get(event.data[0], f"vector {event.data[0]:#x}")
    if event.kind is Kind.VM_EXIT:
        return caption(event, syscalls.name)
    return event.kind.name.lower().replace("_", " ") if event.kind in CROSSES else "unseen"


def _what(step: Step) -> tuple[Hashable, str]:
    """Tell what operation a step of the program begins, in both runs by the same key."""
    event = step.gate or step.event
    name = caption(event, syscalls.name)
    if event.kind in _CALLS:
        return ("call", event.data[0]), name
    if event.kind is Kind.EXCEPTION:
        page = event.data[2] & _PAGE if event.data[0] == _PF else 0
        return ("fault", event.data[0], page), name
    return _other(event), name


def _other(event: Event) -> Hashable:
    return event.kind.name, event.data[:1] if event.kind is Kind.INTERRUPT else event.data[2:3]
