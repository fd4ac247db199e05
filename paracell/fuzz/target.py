"""What is fuzzed: anything that takes bytes and says what was wrong.

An input is bytes, so that a corpus is a folder of files.  A target makes inputs, changes them, and runs them; the engine
(`paracell.fuzz.engine`) chooses which, and keeps those that showed something new::

    engine ── generate, mutate ──▶ bytes ── run ──▶ Found or None
       ▲                                     │
       └── translated code, events ◀── machine, features

"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

from .mutate import mutate_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from ..emu.machine import Machine
    from ..runtimes import Runtime
    from .chance import Chance

    Tell = Callable[[str], None]


class BadTarget(ValueError):
    """A target that is not there, or that cannot be made so."""


@frozen
class Options:
    """How a target is made; what a target does not know it refuses with `BadTarget`.

    Attributes:
        off: the defences that are switched off, and the mistakes that are planted.
        runtime: for targets that run a program or a kernel: a name of `paracell.RUNTIMES`; None for the target's usual one.
        nested: the same in a virtual machine of the outermost hypervisor.
        differential: two runtimes, under which an input must come to the same; or none.
        oracle: more rules, each a ``FILE.py:RULE``; for targets with a machine.
        argument: what stands behind the target's name: a file, a function.

    """

    off: tuple[str, ...] = ()
    runtime: str | None = None
    nested: bool = False
    differential: tuple[str, ...] = ()
    oracle: tuple[str, ...] = ()
    argument: str = ""

    @property
    def boots(self) -> Runtime:
        """The runtime of the machine that is looked into: of two the first."""
        from ..runtimes import DEFAULT, RUNTIMES

        return RUNTIMES.get(self.runtime or next(iter(self.differential), DEFAULT.name), DEFAULT)


@frozen
class Found:
    """What a run of an input came to.

    Attributes:
        what: in words.
        rip: where, a linear address; 0 where that means nothing.

    """

    what: str
    rip: int = 0

    def __str__(self) -> str:
        """Give the line that a user sees."""
        return f"{self.what}, at {self.rip:#x}" if self.rip else self.what


class Target(ABC):
    """Something to fuzz.

    The same input must give the same answer, whatever has run before: a target with a machine goes back to a checkpoint.

    Attributes:
        name: as the command line has it.
        switches: what `Options.off` takes: the name of a defence, or of a mistake that can be planted, and what it is.
        runtimes: what `Options.runtime` may be; empty where there is no choice, None where the class itself looks.
        takes_rules: whether `Options.oracle` has events to look at.
        max_len: bytes of the longest input that makes sense.
        dictionary: words that inputs of this kind have in them.
        options: how it was made.
        machine: whose translated code and events are coverage; None for a target without one.
        generating: the share of inputs that are made out of nothing once there is a corpus.
        own_code: linear addresses whose code comes with an input, and is no coverage.

    """

    name: ClassVar[str] = ""
    switches: ClassVar[Mapping[str, str]] = {}
    runtimes: ClassVar[tuple[str, ...] | None] = None
    takes_rules: ClassVar[bool] = False
    max_len: int = 4096
    dictionary: tuple[bytes, ...] = ()
    machine: Machine | None = None
    own_code: range = range(0)
    generating: float = 0.1

    def __init__(self, options: Options) -> None:
        self.options = options
        if self.runtimes == () and (options.runtime or options.nested):
            raise BadTarget(f"{self.name}: it has no choice of a runtime")
        if options.runtime and self.runtimes and options.runtime not in self.runtimes:
            raise BadTarget(f"{self.name}: no such runtime: {options.runtime}; there are {', '.join(self.runtimes)}")
        if options.oracle and not self.takes_rules:
            raise BadTarget(f"{self.name}: it has no events for the rules of -oracle")
        for name in options.off:
            if name not in self.switches:
                known = f"there are {', '.join(sorted(self.switches))}" if self.switches else "it has none"
                raise BadTarget(f"{self.name}: no such defence: {name}; {known}")

    @abstractmethod
    def run(self, data: bytes, tell: Tell | None = None) -> Found | None:
        """Run one input; what it came to, or None where all is well.  `tell` gets a line for each thing that happens."""

    def generate(self, chance: Chance) -> bytes:
        """Make an input out of nothing."""
        return chance.randbytes(chance.below(min(self.max_len, 64) + 1))

    def listed(self, number: int) -> bytes | None:
        """Give one of the inputs that are always tried, in their order; None behind the last."""
        del number
        return None

    def mutate(self, data: bytes, other: bytes, chance: Chance) -> bytes:
        """Change an input; `other` is one more of the corpus, to take parts from."""
        return mutate_bytes(data, other, self.dictionary, self.max_len, chance)

    def features(self) -> Iterable[Hashable]:
        """Give what the last run showed beyond its machine's code and events; equal things are equal in every process."""
        return ()

    def request_stop(self) -> None:
        """Stop a run in the middle, as far as it is a machine's; may be called from another thread."""
        if self.machine is not None:
            self.machine.request_stop()

    def prepare(self, data: bytes) -> Machine:
        """Give the machine at the first instruction of this input's run, with nobody else listening: for a debugger."""
        del data
        raise BadTarget(f"{self.name} has no machine to look into")

    def describe(self, data: bytes) -> str:
        """Say in words what an input is; lines for people."""
        return f"{len(data)} bytes: {data[:64].hex(' ')}{' …' if len(data) > 64 else ''}"

    def digest(self) -> str:
        """Name what a finding depends on besides its input: images, a user's file."""
        return ""

    def outcome(self) -> Hashable:
        """Give what the last run came to as its program sees it: the differential oracle compares that of two runtimes."""
        raise BadTarget(f"{self.name}: there is nothing in it that two runtimes must do alike")

    def close(self) -> None:
        """Free what it holds."""
        return
