"""The kernels that do scripts under each host: what their steps are, and how likely ones are made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Final

from ..emu.registers import RIP
from ..mmu.address import PAGE
from .scripts import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..emu.machine import Machine
    from .chance import Chance

_DATA, _CODE = 0x8000000000000007, 5  # page-table entries: P W U NX, P U
_USER: Final = 0x400000
_LOWER_END: Final = 1 << 47
_ELSEWHERE: Final = 0xFFFF_8A00_0000_0000  # in the upper half of a guest under PVM: nothing is there
_EDGES: Final = (
    0, 1, 7, 8, 0xFFF, 0x1000, 0x10000, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, _LOWER_END - 0x1000, _LOWER_END, 1 << 63, (1 << 64) - 1,
    0xFFFF_8880_0000_0000, 0xFFFF_8A00_0000_0000, 0xFFFF_9000_0000_0000, 0xFFFF_FFFF_8000_0000, 0xFFFF_FFFF_C000_0000,
    0xFFFF_FFFF_FFFF_F000,
)  # fmt: skip


class Kernel(ABC):
    """A kernel that does scripts.

    Attributes:
        image: its image.
        line: what the host's command line needs for it.
        names: of steps, by number.

    """

    image: ClassVar[str]
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
            (_USER, 0x500000, 0x600000, self.secret & ~0xFFF, self.value(chance) & ~0xFFF, _LOWER_END - PAGE)
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
        rip = chance.pick((_USER, _USER, 1 << 63, _LOWER_END, _LOWER_END - 2, self.value(chance)))
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
                    chance.pick((_USER + 4096, self.value(chance))),
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


class PvmKernel(Kernel):
    """guest/attacks/pvm/script.c."""

    image = "pvm-hostile.elf"
    line = ("attack=script",)
    names: ClassVar[Mapping[int, str]] = {
        **{0x17088200 + n: name for n, name in enumerate((
            "load_pgtbl", "irq_win", "irq_hlt", "tlb_flush", "tlb_flush_current", "tlb_invlpg", "load_gs", "rdmsr", "wrmsr", "load_tls",
        ))}, 0x100: "load", 0x101: "store", 0x102: "enter", 0x103: "map", 0x104: "outs", 0x105: "in",
    }  # fmt: skip

    def some(self, chance: Chance, at: int) -> list[Step]:
        """Map a page and use it, return to the program with a forged PVCS, or make any hypercall."""
        makers: tuple[Callable[[Chance, int], list[Step]], ...] = (self._map, self._map, self._enter, self._any, self._any)
        return chance.pick(makers)(chance, at)

    def _map(self, chance: Chance, at: int) -> list[Step]:
        """Set an entry of its tables by a store; use the page, take it away, and use it again."""
        del at
        va = chance.pick((_ELSEWHERE, _ELSEWHERE + 0x200000, _USER, self.secret & ~0xFFF, 0xFFFF_9600_0000_0000, self.value(chance) & ~0xFFF))
        rights = chance.pick((0x63, 0x63, 0x67, 0x25, 0x8000000000000063, 0xE3, chance.getrandbits(64)))
        level = chance.pick((1, 1, 1, 2, 3, 4))
        steps = [Step(0x103, (va, self.page(chance), rights, level)), Step(0x17088205, (va,)), Step(0x100, (va + 8 * chance.below(2),))]
        if chance.random() < 0.4:
            steps.append(Step(0x101, (va, self.value(chance))))
        if chance.random() < 0.5:
            steps += [Step(0x103, (va, 0, 0, level)), Step(chance.pick((0x17088203, 0x17088204, 0x17088205)), (va,)), Step(0x100, (va,))]
        return steps

    def _enter(self, chance: Chance, at: int) -> list[Step]:
        del at
        selectors = chance.pick((0x33 | 0x2B << 16, 0x33 | 0x2B << 16, 0x08 | 0x10 << 16, 0x23 | 0x2B << 16, chance.getrandbits(32)))
        rip = chance.pick((_USER, _USER, 1 << 63, _LOWER_END, _LOWER_END - 2, self.value(chance)))
        flags = chance.pick((2, 0x202, 0x3002, 0x102, 0x4002, 0x20002, chance.getrandbits(32)))
        rcx, r11 = (chance.pick((rip, flags)), chance.pick((flags, rip))) if chance.random() < 0.5 else (0, 0)
        return [Step(0x102, (rip, selectors, flags, rcx, r11, chance.pick((0, 0x55555554, chance.getrandbits(32)))))]

    def _any(self, chance: Chance, at: int) -> list[Step]:
        what = chance.pick((*range(0x17088200, 0x1708820A), 0x17088208, 0x17088208, 0x100, 0x101, 0x104, 0x105, 0x1708820A, chance.getrandbits(32)))
        arguments = [self.value(chance) for _ in range(4)]
        if what == 0x17088201 or what == 0x17088202:
            return []  # it may wait for ever, which is its right
        if what in {0x17088207, 0x17088208}:
            arguments[0] = chance.pick((*range(0x4B564DF0, 0x4B564DF6), 0xC0000081, 0xC0000082, 0xC0000084, 0xC0000100, 0xC0000101, 0xC0000102, 0xC0000080, 0x1B, arguments[0]))
        if what == 0x17088200:
            arguments[0] = chance.below(4)
        if what in {0x104, 0x105}:
            arguments[0], arguments[2] = chance.pick((0x3F8, 0xF4, 0x80, 0x40, arguments[0])), chance.pick((1, 8, 4096, 5000))
            if arguments[0] == 0xF4:
                return []  # its own end
        names = 1 << chance.below(4) if at and chance.random() < 0.2 else 0
        return [Step(what, tuple(chance.below(at) if names >> i & 1 else a for i, a in enumerate(arguments)), names)]


KERNELS: Final[Mapping[str, type[Kernel]]] = {"paracell": ParaCellKernel, "pvm": PvmKernel}
