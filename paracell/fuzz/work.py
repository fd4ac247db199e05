"""Tries, by their numbers: what one process does of them.

A try is the run's seed, its number, and the corpus at the beginning of its round; the same three give the same input in any process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from .chance import Chance
from .coverage import Coverage

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from .target import Found, Target

ROUND: Final = 256  # tries between two looks at what all have found
_LATE: Final = 0.5  # of the tries that change something take it from the newest quarter of the corpus


class Result(NamedTuple):
    """A try that showed something; the others are not told of.

    Attributes:
        number: of the try.
        data: its input.
        features: what it showed first in its process.
        found: what it came to.

    """

    number: int
    data: bytes
    features: list[Hashable]
    found: Found | None


class Work:
    """Makes inputs and runs them."""

    def __init__(self, target: Target, seed: int, max_len: int, now: Callable[[int], None] = lambda _: None) -> None:
        self._target, self._seed, self._max_len, self._now = target, seed, max_len, now
        self._coverage = Coverage(target)
        self.corpus: list[bytes] = []

    def input(self, number: int) -> bytes:
        """Make the input of a try."""
        return make_input(self._target, self._seed, number, self._max_len, self.corpus)

    def tries(self, numbers: Iterable[int], stopped: Callable[[], bool] = lambda: False) -> list[Result]:
        """Run these, up to the first that is a finding."""
        return self.inputs(((n, self.input(n)) for n in numbers), stopped)

    def inputs(self, inputs: Iterable[tuple[int, bytes]], stopped: Callable[[], bool] = lambda: False) -> list[Result]:
        """Run these inputs, up to the first that is a finding, or until `stopped` says so."""
        results: list[Result] = []
        for number, data in inputs:
            self._now(number)
            found = self._target.run(data)
            features = self._coverage.take()
            if stopped():  # in the middle of this one
                break
            if features or found:
                results.append(Result(number, data, features, found))
            if found:
                break
        return results

    def close(self) -> None:
        """Take the coverage's hooks away; the target stays."""
        self._coverage.close()


def make_input(target: Target, seed: int, number: int, max_len: int, corpus: list[bytes]) -> bytes:
    """Make the input of a try: one of the target's list at every second number, as long as there are; else by chance."""
    listed = target.listed(number // 2) if number % 2 == 0 else None
    if listed is not None:
        return listed[:max_len]
    chance = Chance(f"{seed}:{number}")
    if not corpus or chance.random() < target.generating:
        return target.generate(chance)[:max_len]
    count = len(corpus)
    recent = count - (count + 3) // 4 if chance.random() < _LATE else 0
    data = corpus[recent + chance.below(count - recent)]
    return target.mutate(data, chance.pick(corpus), chance)[:max_len]
