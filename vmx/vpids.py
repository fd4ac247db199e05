"""VPIDs of the outermost hypervisor's: one for L1, and one for each that L1 uses for its guests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

L1_VPID: Final = 1
_MOST: Final = 64


class Vpids:
    """Which VPID of L0's stands for one of L1's; 0 for an L2 without, which is then emptied at each entry.

    Attributes:
        changes: counts the VPIDs that were given out.

    """

    def __init__(self, drop: Callable[[int], None]) -> None:
        self._drop = drop
        self.changes = 0
        self._known: dict[int, int] = {}  # used longest ago first

    def of(self, vpid12: int) -> int:
        """Give the VPID that stands for `vpid12`; the one used longest ago loses its own where there are many."""
        found = self._known.pop(vpid12, None)
        if found is None:
            many = len(self._known) >= _MOST
            found = self._known.pop(next(iter(self._known))) if many else L1_VPID + 1 + len(self._known)
            self._drop(found)
            self.changes += 1
        self._known[vpid12] = found
        return found

    def known(self, vpid12: int) -> int | None:
        """Give the VPID that stands for `vpid12`, if one does."""
        return self._known.get(vpid12)

    def save(self) -> tuple[tuple[int, int], ...]:
        """Give which stands for which, used longest ago first."""
        return tuple(self._known.items())

    def load(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Take what `save` gave."""
        self._known = dict(pairs)

    def all_tagged(self) -> Iterable[int]:
        """Give those that stand for any VPID of L1's but 0."""
        return [vpid for vpid12, vpid in self._known.items() if vpid12]
