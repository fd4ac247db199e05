"""The sink that counts what a bill needs, so that a long run keeps no list of its events."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..emu.cost import charges
from ..emu.events import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..emu.declared import Service
    from ..emu.events import Event

_IDLE, _END = Kind.IDLE, Kind.END  # a member read off the class takes 0.1 µs


class Tally:
    """Counts how often each cost and each service is charged.

    Attributes:
        times: how often each cost, by name.
        services: how often each service, by name.
        slept: cycles asleep.

    Example:
        >>> import paracell
        >>> from paracell.compare.price import Bill
        >>> from paracell.compare.tally import Tally
        >>> tally = Tally()
        >>> with paracell.Container("null", "10", costs={"wrpkru": 60}) as c:
        ...     c.inner.add_sink(tally)
        ...     end = c.run()
        ...     Bill(*tally.total()).price(c.costs) == c.cycles
        True

    """

    def __init__(self, services: Sequence[Service] = (), *, after: Event | None = None) -> None:
        """Begin.

        Args:
            services: those to count (`services.of`).
            after: the event before the first one that comes, if that is not the machine's first.

        """
        self.times: Counter[str] = Counter()
        self.services: Counter[str] = Counter()
        self.slept = 0
        self._meets = [(service.meets, service.name) for service in services]
        self._whole = after is None
        self._spent = self._now = after.at if after else 0
        self._end: Event | None = None

    def emit(self, event: Event) -> None:
        """Take one event."""
        kind, self._now, cost, _, _, data = event
        self._spent += cost
        if kind is _IDLE:
            self.slept += cost
        elif kind is _END:
            self._end = event
        else:
            for name, number in charges(kind, data):
                self.times[name] += number
        for meets, name in self._meets:
            if meets(event):
                self.services[name] += 1

    def close(self) -> None:
        """Nothing is left to do."""

    def total(self, block: int | None = None) -> tuple[dict[str, int], int, int, dict[str, int]]:
        """Give what a `Bill` is made of; `block` as for `Bill.of`."""
        plain = self._now - self._spent
        if self._end is not None and self._whole:
            blocks, instructions = self._end.data
            _check(plain - instructions, blocks)
        else:
            blocks, instructions = _split(plain, block)
        times = self.times + Counter(block=blocks)
        return dict(times), instructions, self.slept, dict(self.services)


def _check(cycles: int, blocks: int) -> None:
    if cycles < 0 or (cycles % blocks if blocks else cycles):
        raise ValueError(
            f"the events are not all those of a run: {cycles} cycles are not theirs, with {blocks} blocks of code"
        )


def _split(plain: int, block: int | None) -> tuple[int, int]:
    if plain < 0:
        raise ValueError(f"the events are no part of a run: they take {-plain} cycles more than passed")
    if not plain or block == 0:
        return 0, plain
    if block is None:
        raise ValueError(f"{plain} cycles of plain code, and no END among the events: say what a block costs, or 0")
    if plain % block:
        raise ValueError(f"{plain} cycles of plain code are no blocks of {block}")
    return plain // block, 0
