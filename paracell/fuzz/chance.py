"""Repeatable chance: the same seed gives the same numbers, on any machine."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

_T = TypeVar("_T")


class Chance(random.Random):
    """Chance that is quick rather than exactly uniform: a try asks a hundred times."""

    def below(self, count: int) -> int:
        """Give a number from 0 to `count` - 1."""
        return int(self.random() * count)

    def pick(self, among: Sequence[_T]) -> _T:
        """Give one of these."""
        return among[int(self.random() * len(among))]
