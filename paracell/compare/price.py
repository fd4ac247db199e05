"""What a run costs: how often each cost was charged, and the clock at any costs.

`Bill.of` counts the events of a run, `Tally` while it runs; `Bill.price` gives the clock that the run would have had at other costs,
without running anything.
It equals the clock of such a run to the cycle where the guest does the same at all costs, that is, where it does not look at the time:

- No timer rings.  At other costs it would ring at another place, and more or fewer times in a run.
- Nothing sleeps.  A sleep ends at a point in time: what happens before it begins shortens it, and a bill keeps it as it was.
- What the guest does with the time-stamp counter takes as many events and as much code.  It may read and keep it, and our kernels
  seed random numbers with it; a program that prints it writes one digit more, which is code where code counts.

Then `Costs.block` can change like any other cost, but not from or to 0: at 0 nothing counts the blocks.  A timer that is armed and does
not ring, as that of ``lat``, makes no difference.  docs/costs.md says how far the price is off where one rings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from attrs import Factory, frozen

from ..emu.cost import DEFAULT, Costs
from .tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..emu.declared import Service
    from ..emu.events import Event

_NO_SERVICES: Final[Mapping[str, int]] = {}


@frozen
class Bill:
    """What a run, or a part of one, is charged for.

    Attributes:
        times: how often each cost was charged, by name; `block` among them.
        instructions: how many counted by themselves, a cycle each.
        slept: cycles asleep.
        services: how often each service would be charged, by name.

    Example:
        >>> import paracell
        >>> from paracell.compare.price import Bill
        >>> with paracell.Container("null", "10") as c:
        ...     with c.record() as events:
        ...         end = c.run()
        ...     bill = Bill.of(events)
        >>> bill.price(c.costs) == c.cycles
        True

    """

    times: Mapping[str, int]
    instructions: int = 0
    slept: int = 0
    services: Mapping[str, int] = Factory(dict)

    @classmethod
    def of(
        cls,
        events: Iterable[Event],
        services: Sequence[Service] = (),
        *,
        after: Event | None = None,
        block: int | None = None,
    ) -> Self:
        """Count events: all those of a run from reset to its END, or a part of one.

        Args:
            events: in order, none left out.
            services: those to count (`services.of`).
            after: the event before the first one, if that is not the machine's first.
            block: of a part, what a block of plain code cost; 0 where instructions counted.

        Raises:
            ValueError: the events do not account for all the time that passed between them.

        """
        tally = Tally(services, after=after)
        for event in events:
            tally.emit(event)
        return cls(*tally.total(block))

    def price(self, costs: Costs = DEFAULT, services: Mapping[str, int] = _NO_SERVICES) -> int:
        """Give the cycles at these costs, with the services that a mapping names charged what it says."""
        cycles = self.instructions + self.slept
        cycles += sum(number * int(getattr(costs, name)) for name, number in self.times.items())
        return cycles + sum(self.services.get(name, 0) * each for name, each in services.items())
