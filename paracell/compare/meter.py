"""How much of a container's memory its host has bound, and how much of that the container uses, over virtual time.

::

    guest-physical pages   ████████░░░░████░░██░░░░░░░░░░░░······························
                           used     inner        lag             not bound

    waste = (bound - used) / bound = (inner + lag + lists) / bound

A page is *bound* while host memory stands behind it: its host's array `bound` says so (`guest/host/core/binding.c`).  The pages of
modules, the files and settings of a container, are lent to it and no part of that: no policy could give them to anybody else.  It
is *used* unless the container kernel's allocator has it free.  What is bound and not used is *lists*, pages on the processor's list,
ready to be used; *inner*, free pages of a 2 MiB frame of which the allocator has given out a part; and *lag*, pages of frames all
of which is free.  The host's page tables of a container are counted apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import frozen

from ..emu.clock import TSC_HZ
from ..emu.events import Kind
from .guest_memory import Host, Pages, free_pages

if TYPE_CHECKING:
    from ..container import Container
    from ..emu.events import Event
    from ..end import End

FRAME: Final = 512  # pages of 4 KiB in a frame of 2 MiB
PERIOD: Final = TSC_HZ // 10
_IDLE, _END = Kind.IDLE, Kind.END  # a member read off the class takes 0.1 µs
_NO_HOST: Final = "native has no host: no memory is bound, and there is nothing to measure"


@frozen
class Sample:
    """One moment of a container's memory, in pages of 4 KiB; ``bound == used + inner + lag + lists``.

    Attributes:
        at: virtual cycles since reset.
        bound: host memory stands behind them.
        used: of those, the container kernel has not got them free.
        inner: of those, free, in frames of 2 MiB of which a part is given out.
        lag: of those, free, in frames that are wholly free.
        lists: of those, on the processor's list.
        tables: the host's page tables of this container, which are no part of `bound`.

    """

    at: int
    bound: int
    used: int
    inner: int
    lag: int
    lists: int
    tables: int

    @property
    def waste(self) -> float:
        """The share of what is bound that the container does not use; 0 where nothing is bound."""
        return 1 - self.used / self.bound if self.bound else 0.0


@frozen
class Curve:
    """Samples in order of time.  Each holds until the next one, the last until `end`, a cycle.

    Example:
        >>> half, all_ = Sample(0, 100, 50, 50, 0, 0, 2), Sample(30, 10, 10, 0, 0, 0, 2)
        >>> curve = Curve((half, all_), 40)
        >>> curve.waste, curve.bound_time
        (0.375, 3100)
        >>> round(curve.waste_of_means, 3)
        0.484

    """

    samples: tuple[Sample, ...]
    end: int

    def _steps(self) -> list[tuple[int, Sample]]:
        """Give each sample with how long it holds."""
        ends = [*(sample.at for sample in self.samples[1:]), self.end]
        return [(end - sample.at, sample) for end, sample in zip(ends, self.samples, strict=True)]

    @property
    def time(self) -> int:
        """Cycles from the first sample to the end."""
        return self.end - self.samples[0].at if self.samples else 0

    @property
    def bound_time(self) -> int:
        """What is bound, over time: page·cycles."""
        return sum(cycles * sample.bound for cycles, sample in self._steps())

    @property
    def used_time(self) -> int:
        """What is used, over time: page·cycles."""
        return sum(cycles * sample.used for cycles, sample in self._steps())

    @property
    def waste(self) -> float:
        """The mean over time of the share that is wasted: each moment counts alike, however much is bound then."""
        return sum(cycles * sample.waste for cycles, sample in self._steps()) / self.time if self.time else 0.0

    @property
    def waste_of_means(self) -> float:
        """The share that is wasted of all that is bound over time: each page counts alike."""
        bound = self.bound_time
        return 1 - self.used_time / bound if bound else 0.0

    def mean(self, name: str) -> float:
        """Give the mean over time of one of a sample's numbers, by its name."""
        return sum(cycles * getattr(sample, name) for cycles, sample in self._steps()) / self.time if self.time else 0.0


@frozen
class Saved:
    """What one policy saves beside another one, by both readings of a published "saves so many per cent".

    Attributes:
        waste: by how much the share that is wasted is smaller.
        bound: which share of the memory that is bound over time is not needed.

    """

    waste: float
    bound: float


def saved(ours: Curve, other: Curve) -> Saved:
    """Compare two runs of the same workload.

    Example:
        >>> one, two = (Curve((Sample(0, bound, 50, bound - 50, 0, 0, 0),), 10) for bound in (50, 100))
        >>> saved(one, two)
        Saved(waste=0.5, bound=0.5)

    """
    bound = other.bound_time
    return Saved(other.waste - ours.waste, 1 - ours.bound_time / bound if bound else 0.0)


class Meter:
    """Samples a container's memory while it runs.  It only reads: the run is the same without it.

    A sample is taken at the first event that is a period or more behind the last one.  Where that event is a sleep, the sample is of
    the sleep's beginning: nothing changes until its end.

    Attributes:
        container: the one that is looked at.
        period: virtual cycles between two samples.
        end: how the run ended, once it has.

    Example:
        >>> import paracell
        >>> from paracell.compare.meter import Meter
        >>> with paracell.Container("touch", "8", memory="64M") as c:
        ...     curve = Meter(c, period=10_000).run()
        >>> max(sample.used for sample in curve.samples) > 2048
        True

    """

    def __init__(self, container: Container, period: int = PERIOD) -> None:
        """Begin with the container's next event.

        Args:
            container: one that has a host.
            period: virtual cycles between two samples.

        Raises:
            ValueError: it runs without a host, or the period is none.

        """
        if container.runtime.kernel is None:
            raise ValueError(_NO_HOST)
        if period <= 0:
            raise ValueError(f"a period is a positive number of cycles, not {period}")
        self.container, self.period = container, period
        self.end: End | None = None
        self._host = Host(container)
        self._samples: list[Sample] = []
        self._next = 0

    def run(self) -> Curve:
        """Run the container to its end, and give what was seen."""
        inner = self.container.inner
        inner.add_sink(self)
        try:
            self.end = self.container.run()
        finally:
            inner.remove_sink(self)
        return Curve(tuple(self._samples), self.container.cycles)

    def emit(self, event: Event) -> None:
        """Take one event of the run."""
        if event.at < self._next or event.kind is _END:
            return
        asleep = event.cost if event.kind is _IDLE else 0
        pages = self._host.pages()
        if pages is None:
            return  # before its beginning, or behind its end
        last = self._samples[-1].at if self._samples else 0
        self._samples.append(sample(max(event.at - asleep, last), pages))
        self._next = event.at + self.period

    def close(self) -> None:
        """Nothing is left to do."""


def sample(at: int, pages: Pages) -> Sample:
    """Count the pages of each kind."""
    free, lists = free_pages(pages)
    bound = pages.bound
    idle = bound & free
    kept = bound & lists
    inner = lag = 0
    idle_map, free_map = pages.as_bytes(idle), pages.as_bytes(free)
    for first in range(0, pages.count, FRAME):
        last = min(first + FRAME, pages.count)
        here = idle_map.count(1, first, last)
        if not here:
            continue
        if free_map.count(1, first, last) == last - first:
            lag += here
        else:
            inner += here
    total, on_lists = bound.bit_count(), kept.bit_count()
    return Sample(at, total, total - inner - lag - on_lists, inner, lag, on_lists, pages.held - total)
