"""Rules beside a machine."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..emu.machine import Machine as Inner
from ..emu.registers import RIP
from ..emu.sinks import Listener

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..emu.events import Event
    from ..emu.stop import Stop
    from ..machine import Machine
    from .rules import Rule


class Watch:
    """Asks rules about every event of a machine.

    It listens behind the sinks that the machine has already; attach it last.

    Attributes:
        found: the first thing that was wrong, and the linear address where; None where all is well.

    """

    def __init__(self, machine: Inner, rules: Sequence[Rule]) -> None:
        self._machine = machine
        self._rules = tuple(rules)
        self._ask = tuple(r.event for r in rules)
        self._sink = Listener(self._listen)
        self.found: tuple[str, int] | None = None
        for each in rules:
            each.begin(machine)

    def attach(self) -> None:
        """Listen."""
        self._machine.add_sink(self._sink)

    def detach(self) -> None:
        """Listen no more."""
        self._machine.remove_sink(self._sink)

    def again(self) -> None:
        """Begin anew: the machine is where it was when this was made."""
        self.found = None
        for each in self._rules:
            each.again()

    def end(self, stop: Stop) -> None:
        """Ask about a run that has stopped."""
        for each in self._rules:
            self._note(each.end(self._machine, stop), self._machine.cpu.q[RIP])

    def _listen(self, event: Event) -> None:
        machine = self._machine
        for ask in self._ask:
            wrong = ask(machine, event)
            if wrong is not None:
                self._note(wrong, event.rip)

    def _note(self, wrong: str | None, rip: int) -> None:
        if wrong is not None and self.found is None:
            self.found = wrong, rip


@contextmanager
def watch(machine: Machine | Inner, *rules: Rule) -> Iterator[Watch]:
    """Have rules look at a machine while the block runs; `Watch.found` tells what they have seen.

    Example:
        >>> import paracell
        >>> from paracell import oracle
        >>> @oracle.rule
        ... def no_cpuid(machine, event):
        ...     return "somebody asked CPUID" if event.kind is paracell.Kind.CPUID else None
        >>> with paracell.Container("null") as c, oracle.watch(c, no_cpuid) as seen:
        ...     end = c.run()
        >>> seen.found[0]
        'somebody asked CPUID'

    """
    inner = machine if isinstance(machine, Inner) else machine.inner
    made = Watch(inner, rules)
    made.attach()
    try:
        yield made
    finally:
        made.detach()
