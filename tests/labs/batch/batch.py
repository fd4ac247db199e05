"""Lab 10: batch binding against reactive faults.  A solution."""

from __future__ import annotations

from typing import Protocol


class Host(Protocol):
    """What the container kernel can ask of its host."""

    def request(self, unbind: list[int], bind: list[int]) -> int:
        """Unbind pages, then bind as many of the others as there is memory for; gives how many of those, from the first on, are bound."""


class Costs(Protocol):
    """Cycles of each event."""

    exception: int
    iret: int
    wrpkru: int
    syscall: int
    sysret: int


class Hostile(Exception):
    """A request that no honest kernel makes; the text says what is wrong with it."""


MOST = 512


class Supply:
    """The container kernel's list of pages that are bound and idle."""

    def __init__(self, host: Host, size: int, batch: int, high: int) -> None:
        """Begin with everything unbound."""
        self.host, self.batch, self.high = host, batch, high
        self.unbound = list(range(size))
        self.idle: list[int] = []
        self.waiting: list[int] = []

    def alloc(self) -> int | None:
        """Give the newest idle page; ask for a batch if there is none."""
        if not self.idle:
            asked, rest = self.unbound[: self.batch], self.unbound[self.batch :]
            bound = self.host.request(self.waiting, asked)
            self.idle += reversed(asked[:bound])
            self.unbound = asked[bound:] + rest + self.waiting
            self.waiting = []
        return self.idle.pop() if self.idle else None

    def free(self, page: int) -> None:
        """Keep a page; let the oldest wait if there are too many."""
        self.idle.append(page)
        if len(self.idle) > self.high:
            self.waiting += self.idle[: self.batch]
            del self.idle[: self.batch]


class Binder:
    """The host's side, for one container."""

    def __init__(self, size: int, free: int) -> None:
        """Begin with everything unbound."""
        self.size, self.free = size, free
        self.bound: set[int] = set()

    def request(self, unbind: list[int], bind: list[int]) -> int:
        """Check everything, then do it."""
        words = unbind + bind
        if len(words) > MOST:
            raise Hostile(f"{len(words)} pages in one request")
        if not all(type(page) is int and 0 <= page < self.size for page in words):
            raise Hostile("a page that is not the container's")
        if len(set(words)) != len(words):
            raise Hostile("a page is named twice")
        if not set(unbind) <= self.bound:
            raise Hostile("a page that is not bound is unbound")
        if set(bind) & self.bound:
            raise Hostile("a page that is bound is bound again")
        self.bound -= set(unbind)
        self.free += len(unbind)
        count = min(self.free, len(bind))
        self.bound |= set(bind[:count])
        self.free -= count
        return count


def page_faults(begin: int, pages: int, around: int) -> int:
    """Count aligned blocks."""
    return (begin + pages - 1) // around - begin // around + 1


def reactive(faults: int, pages: int, costs: Costs) -> int:
    """Add a fault of the kernel's for each page."""
    return served(faults, costs) + pages * (costs.exception + costs.iret)


def ahead(faults: int, pages: int, batch: int, costs: Costs) -> int:
    """Add a request for each batch."""
    return served(faults, costs) + (pages + batch - 1) // batch * (costs.syscall + costs.sysret)


def served(faults: int, costs: Costs) -> int:
    """Give what the program's own faults cost, whoever binds."""
    return faults * (costs.exception + costs.iret + 2 * costs.wrpkru + costs.syscall + costs.sysret)
