"""Lab 10: batch binding against reactive faults.  You write two classes and three functions."""

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


class Supply:
    """The container kernel's list of pages that are bound and idle."""

    def __init__(self, host: Host, size: int, batch: int, high: int) -> None:
        """Begin with pages 0 to `size` − 1, all unbound."""
        self.host, self.size, self.batch, self.high = host, size, batch, high

    def alloc(self) -> int | None:
        """Give a page that is bound, or None."""
        raise NotImplementedError

    def free(self, page: int) -> None:
        """Take a page back."""
        raise NotImplementedError


class Binder:
    """The host's side, for one container.

    Attributes:
        free: how many pages the host has left.

    """

    def __init__(self, size: int, free: int) -> None:
        """Begin with `size` pages of the container, all unbound."""
        self.size, self.free = size, free

    def request(self, unbind: list[int], bind: list[int]) -> int:
        """Check a request, do it, and give how many pages were bound.  Raises Hostile, and has changed nothing then."""
        raise NotImplementedError


def page_faults(begin: int, pages: int, around: int) -> int:
    """Say how many faults the first writes to a mapping take."""
    raise NotImplementedError


def reactive(faults: int, pages: int, costs: Costs) -> int:
    """Say how many cycles go into faults if pages are bound at the first touch."""
    raise NotImplementedError


def ahead(faults: int, pages: int, batch: int, costs: Costs) -> int:
    """Say how many cycles go into faults and requests if pages are bound ahead."""
    raise NotImplementedError
