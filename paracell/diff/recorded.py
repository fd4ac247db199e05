"""A trace as a run of one program: its events, whose they are, and what can be said of the run as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import frozen

from ..compare.price import Bill
from ..compare.trace import read_named
from ..emu.events import Event, Kind, Who
from ..problem import Problem
from ..runtimes import RUNTIMES

if TYPE_CHECKING:
    from collections.abc import Callable

# By the image that the machine boots; one that is another runtime's container kernel, too, comes last.
_HOSTS: Final = {r.boots: r.name for r in sorted(RUNTIMES.values(), key=lambda r: r.kernel is None)}
_OURS: Final = frozenset({*_HOSTS, *(r.kernel for r in RUNTIMES.values())})


@frozen
class Recorded:
    """One trace.

    Attributes:
        path: where it was read.
        events: in order.
        runtime: as the images that its addresses lie in tell it, ``boot`` where they tell nothing; with ``, nested`` where an outermost
            hypervisor was there.
        nested: whether one was.
        programs: the images that the program's addresses lie in, in the order of their first event.
        whole: whether the run's END is its last event.

    """

    path: str
    events: list[Event]
    runtime: str
    nested: bool
    programs: tuple[str, ...]
    whole: bool

    @property
    def cycles(self) -> int:
        """Virtual cycles of the run, as it was charged."""
        return self.events[-1].at

    def plain(self) -> Callable[[int, int], int]:
        """Give the function that prices plain code: from the cycles it was charged, and the new cost of a block, to cycles.

        Without the END of the run nobody knows what a block cost, and plain code counts as it was charged.

        Raises:
            Problem: there is an END, and the events do not account for all the time before it.

        """
        if not self.whole:
            return lambda cycles, _: cycles
        try:
            bill = Bill.of(self.events)
        except ValueError as error:
            raise Problem(f"{self.path}: {error}") from error
        blocks = bill.times.get("block", 0)
        if not blocks:
            return lambda cycles, _: cycles
        total = self.cycles - sum(event.cost for event in self.events)
        each = (total - bill.instructions) // blocks
        return lambda cycles, block: cycles // each * block


def recorded(path: str, met: Callable[[int], None] = lambda _: None) -> Recorded:
    """Read a trace in JSON Lines.

    Args:
        path: of the file.
        met: is told how many events were read, from time to time.

    Raises:
        Problem: no events, a line that is none, or one that goes back in time; it says where.
        OSError: it cannot be read.

    """
    events: list[Event] = []
    images: dict[str, None] = {}
    programs: dict[str, None] = {}
    outer = False
    last = 0
    try:
        for event, symbol in read_named(path):
            if event.at < last:
                raise Problem(f"{path}:{len(events) + 1}: it goes back in time, from {last} to {event.at}")
            last = event.at
            events.append(event)
            if not len(events) % 4096:
                met(len(events))
            image, named, _ = symbol.partition("!")
            if named:
                images[image] = None
                if event.who is Who.USER and event.kind is not Kind.GATE_EXIT and image not in _OURS:
                    programs[image] = None
            outer = outer or event.who is Who.OUTER
    except ValueError as error:
        raise Problem(str(error)) from error
    if not events:
        raise Problem(f"{path}: no events")
    runtime = next((name for image, name in _HOSTS.items() if image in images), "boot")
    if outer:
        runtime += ", nested"
    return Recorded(path, events, runtime, outer, tuple(programs), events[-1].kind is Kind.END)
