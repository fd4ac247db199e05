"""The differential oracle: an input must come to the same under two runtimes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from .. import runtimes
from .target import BadTarget, Found, Options, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from ..emu.machine import Machine
    from .chance import Chance
    from .target import Tell


class DifferentialTarget(Target):
    """Two of a kind.  What one of them finds by itself is a finding, too; the first one's machine is the coverage."""

    name = "differential"
    takes_rules = True  # if its two do

    def __init__(self, options: Options, make: Callable[[Options], Target]) -> None:
        names = options.differential
        if len(names) != 2 or names[0] == names[1]:
            raise BadTarget("-differential takes two runtimes: native,paracell")
        if options.runtime:
            raise BadTarget("-differential says the runtimes: leave -runtime out")
        for name in names:
            if name not in runtimes.RUNTIMES:
                raise BadTarget(f"-differential: no such runtime: {name}; there are {', '.join(runtimes.RUNTIMES)}")
        self.names = names
        both = [make(evolve(options, runtime=name, differential=())) for name in names]
        self.first, self.second = both
        self.switches = self.first.switches  # type: ignore[misc]
        super().__init__(options)
        self.max_len = min(each.max_len for each in both)
        self.dictionary, self.machine = self.first.dictionary, self.first.machine
        self.own_code, self.generating = self.first.own_code, self.first.generating

    def run(self, data: bytes, tell: Tell | None = None) -> Found | None:
        """Run the input twice, and compare."""
        came: list[tuple[Found | None, Hashable]] = []
        for name, each in zip(self.names, (self.first, self.second), strict=True):
            if tell:
                tell(f"---- {name} ----")
            found = each.run(data, tell)
            came.append((found, each.outcome()))
        (one, first), (other, second) = came
        if first != second:
            return Found(f"{self.names[0]}: {_said(one, first)}; {self.names[1]}: {_said(other, second)}")
        return one or other

    def generate(self, chance: Chance) -> bytes:
        """Make an input as the first one does."""
        return self.first.generate(chance)

    def listed(self, number: int) -> bytes | None:
        """Give the inputs that the first one always tries."""
        return self.first.listed(number)

    def mutate(self, data: bytes, other: bytes, chance: Chance) -> bytes:
        """Change an input as the first one does."""
        return self.first.mutate(data, other, chance)

    def features(self) -> Iterable[Hashable]:
        """Give what both have shown."""
        yield from self.first.features()
        for feature in self.second.features():
            yield "second", feature

    def prepare(self, data: bytes) -> Machine:
        """Give the first one's machine."""
        return self.first.prepare(data)

    def describe(self, data: bytes) -> str:
        """Describe an input as the first one does."""
        return self.first.describe(data)

    def digest(self) -> str:
        """Name both."""
        return f"{self.first.digest()} {self.second.digest()}"

    def close(self) -> None:
        """Free both."""
        self.first.close()
        self.second.close()


def _said(found: Found | None, outcome: Hashable) -> str:
    return str(found) if found else str(outcome)
