"""What a kernel asks of PVM's host, by scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from .script_kernel import LOWER_END, USER, Kernel
from .scripts import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .chance import Chance

_WAITS: Final = (0x17088201, 0x17088202)  # guest/pvm/abi.h
_ELSEWHERE: Final = 0xFFFF_8A00_0000_0000  # in the upper half of a guest: nothing is there


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
        makers: tuple[Callable[[Chance, int], list[Step]], ...] = (
            self._map,
            self._map,
            self._enter,
            self._any,
            self._any,
        )
        return chance.pick(makers)(chance, at)

    def _map(self, chance: Chance, at: int) -> list[Step]:
        """Set an entry of its tables by a store; use the page, take it away, and use it again."""
        del at
        va = chance.pick(
            (
                _ELSEWHERE,
                _ELSEWHERE + 0x200000,
                USER,
                self.secret & ~0xFFF,
                0xFFFF_9600_0000_0000,
                self.value(chance) & ~0xFFF,
            )
        )
        rights = chance.pick((0x63, 0x63, 0x67, 0x25, 0x8000000000000063, 0xE3, chance.getrandbits(64)))
        level = chance.pick((1, 1, 1, 2, 3, 4))
        steps = [
            Step(0x103, (va, self.page(chance), rights, level)),
            Step(0x17088205, (va,)),
            Step(0x100, (va + 8 * chance.below(2),)),
        ]
        if chance.random() < 0.4:
            steps.append(Step(0x101, (va, self.value(chance))))
        if chance.random() < 0.5:
            steps += [
                Step(0x103, (va, 0, 0, level)),
                Step(chance.pick((0x17088203, 0x17088204, 0x17088205)), (va,)),
                Step(0x100, (va,)),
            ]
        return steps

    def _enter(self, chance: Chance, at: int) -> list[Step]:
        del at
        selectors = chance.pick(
            (0x33 | 0x2B << 16, 0x33 | 0x2B << 16, 0x08 | 0x10 << 16, 0x23 | 0x2B << 16, chance.getrandbits(32))
        )
        rip = chance.pick((USER, USER, 1 << 63, LOWER_END, LOWER_END - 2, self.value(chance)))
        flags = chance.pick((2, 0x202, 0x3002, 0x102, 0x4002, 0x20002, chance.getrandbits(32)))
        rcx, r11 = (chance.pick((rip, flags)), chance.pick((flags, rip))) if chance.random() < 0.5 else (0, 0)
        return [Step(0x102, (rip, selectors, flags, rcx, r11, chance.pick((0, 0x55555554, chance.getrandbits(32)))))]

    def _any(self, chance: Chance, at: int) -> list[Step]:
        what = chance.pick(
            (
                *range(0x17088200, 0x1708820A),
                0x17088208,
                0x17088208,
                0x100,
                0x101,
                0x104,
                0x105,
                0x1708820A,
                chance.getrandbits(32),
            )
        )
        arguments = [self.value(chance) for _ in range(4)]
        if what in _WAITS:
            return []  # it may wait for ever, which is its right
        if what in {0x17088207, 0x17088208}:
            arguments[0] = chance.pick(
                (
                    *range(0x4B564DF0, 0x4B564DF6),
                    0xC0000081,
                    0xC0000082,
                    0xC0000084,
                    0xC0000100,
                    0xC0000101,
                    0xC0000102,
                    0xC0000080,
                    0x1B,
                    arguments[0],
                )
            )
        if what == 0x17088200:
            arguments[0] = chance.below(4)
        if what in {0x104, 0x105}:
            arguments[0], arguments[2] = (
                chance.pick((0x3F8, 0xF4, 0x80, 0x40, arguments[0])),
                chance.pick((1, 8, 4096, 5000)),
            )
            if arguments[0] == 0xF4:
                return []  # its own end
        names = 1 << chance.below(4) if at and chance.random() < 0.2 else 0
        return [Step(what, tuple(chance.below(at) if names >> i & 1 else a for i, a in enumerate(arguments)), names)]
