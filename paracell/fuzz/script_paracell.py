"""What a kernel asks of ParaCell's host, by scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..mmu.address import PAGE
from .script_kernel import LOWER_END, USER, Kernel
from .scripts import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .chance import Chance

_DATA, _CODE = 0x8000000000000007, 5  # page-table entries: P W U NX, P U


class ParaCellKernel(Kernel):
    """guest/attacks/host/script.c."""

    image = "hostile.elf"
    names: ClassVar[Mapping[int, str]] = {
        **dict(enumerate((
            "as_create", "as_destroy", "as_switch", "pte_set", "return", "timer", "wait", "console_write", "console_read", "exit", "hz",
            "unbind", "pager", "memory",
        ))), 0x100: "load", 0x101: "store", 0x102: "enter",
    }  # fmt: skip

    def know(self, symbols: Mapping[str, int], secret: int) -> None:
        """Find room for entries in the script itself: the arguments of a step are a list of them."""
        super().know(symbols, secret)
        self._here = symbols["script"] + 16

    def some(self, chance: Chance, at: int) -> list[Step]:
        """Map a page and use it, return to the program with a frame of one's own, or make any hypercall."""
        makers: tuple[Callable[[Chance, int], list[Step]], ...] = (
            self._map,
            self._map,
            self._enter,
            self._enter,
            self._any,
            self._any,
        )
        return chance.pick(makers)(chance, at)

    def _map(self, chance: Chance, at: int) -> list[Step]:
        """Set an entry, which stands in a step that does nothing else; use the page, take it away, and use it again."""
        va = chance.pick(
            (USER, 0x500000, 0x600000, self.secret & ~0xFFF, self.value(chance) & ~0xFFF, LOWER_END - PAGE)
        )
        entry = self.page(chance) | chance.pick((_DATA, _DATA, _CODE, chance.getrandbits(64) & 0xFFF))
        space = chance.pick((1, 1, 1, 1, 2, chance.below(80)))
        steps = [
            Step(10, (entry,)),  # hz: its argument is the entry
            Step(3, (space, va, self._here + 56 * at + 8, chance.pick((1, 1, 1, 0, 2, 513)))),
            Step(0x100, (va + 8 * chance.below(2),)),
        ]
        if chance.random() < 0.5:
            steps += [Step(3, (space, va, self._here + 56 * at + 16, 1)), Step(0x100, (va,))]
        if chance.random() < 0.3:
            steps[2:2] = [Step(11, (entry & ~0xFFF & (1 << 52) - 1,))]
        return steps

    def _enter(self, chance: Chance, at: int) -> list[Step]:
        del at
        selectors = chance.pick((0x33 | 0x2B << 16, 0x33 | 0x2B << 16, 0x08 | 0x10 << 16, chance.getrandbits(32)))
        rip = chance.pick((USER, USER, 1 << 63, LOWER_END, LOWER_END - 2, self.value(chance)))
        flags = chance.pick((2, 0x202, 0x3002, 0x102, 0x4002, 0x20002, chance.getrandbits(22)))
        vector = chance.pick((0, 128, 256, 14, chance.below(300)))
        return [
            Step(
                0x102,
                (
                    rip,
                    selectors,
                    flags,
                    vector,
                    chance.pick((USER + 4096, self.value(chance))),
                    chance.pick((0xC, 0xC, 0, 0x5555555C)),
                ),
            )
        ]

    def _any(self, chance: Chance, at: int) -> list[Step]:
        what = chance.pick((*range(14), 7, 7, 0x100, 0x101, 14, 0x10000, chance.getrandbits(32)))
        arguments = [self.value(chance) for _ in range(5)]
        if what in {7, 8}:
            arguments[0], arguments[2] = chance.below(3), chance.pick((1, 8, 4096, arguments[2]))
        if what == 9:
            return []
        names = 1 << chance.below(5) if at and chance.random() < 0.3 else 0
        return [Step(what, tuple(chance.below(at) if names >> i & 1 else a for i, a in enumerate(arguments)), names)]
