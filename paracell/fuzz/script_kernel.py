"""A kernel that does scripts, beside a container that must live: what those of all hosts have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Final

from ..emu.registers import RIP
from ..mmu.address import PAGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..emu.machine import Machine
    from .chance import Chance
    from .scripts import Step

USER: Final = 0x400000
LOWER_END: Final = 1 << 47
_EDGES: Final = (
    0, 1, 7, 8, 0xFFF, 0x1000, 0x10000, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, LOWER_END - 0x1000, LOWER_END, 1 << 63, (1 << 64) - 1,
    0xFFFF_8880_0000_0000, 0xFFFF_8A00_0000_0000, 0xFFFF_9000_0000_0000, 0xFFFF_FFFF_8000_0000, 0xFFFF_FFFF_C000_0000,
    0xFFFF_FFFF_FFFF_F000,
)  # fmt: skip


class Kernel(ABC):
    """A kernel that does scripts.

    Attributes:
        image: its image.
        memory: of the machine.
        line: what the host's command line needs for it.
        names: of steps, by number.

    """

    image: ClassVar[str]
    memory: ClassVar[int] = 32 << 20
    line: ClassVar[tuple[str, ...]] = ()
    names: ClassVar[Mapping[int, str]]
    ring: ClassVar[int] = 3

    def know(self, symbols: Mapping[str, int], secret: int) -> None:
        """Take the kernel's own symbols, and the host's secret."""
        self.symbols, self.secret = symbols, secret

    def waits(self, loop: range, machine: Machine) -> bool:
        """Tell whether it waits for its script."""
        return machine.cpu.q[RIP] in loop and machine.cpu.cpl == self.ring

    def value(self, chance: Chance) -> int:
        """Give a number that a host must look at."""
        kind = chance.below(6)
        if kind == 0:
            return self.secret
        if kind == 1:
            return chance.pick(_EDGES) + chance.pick((0, 0, 1, -1, 8, -8))
        if kind == 2:
            return self.page(chance)
        if kind == 3:
            return self.symbols["script"] + 16 + chance.below(4096)
        return chance.below(64) if kind == 4 else chance.getrandbits(64)

    def page(self, chance: Chance) -> int:
        """Give a guest-physical page: one of its own for the most part, or one of somebody else's."""
        pages = 5000 if chance.random() < 0.8 else 20_000
        return chance.below(pages) * PAGE

    def named(self, step: Step) -> str:
        """Give a step with its name."""
        name = self.names.get(step.what)
        return f"{name}{str(step)[len(hex(step.what)) :]}" if name else str(step)

    @abstractmethod
    def some(self, chance: Chance, at: int) -> list[Step]:
        """Make a few steps that go together, to stand at this place of a script."""
