"""What a kernel in a virtual machine asks of RunV's host, by scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from ..mmu.address import PAGE
from .script_kernel import Kernel
from .scripts import Step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .chance import Chance

_DIRECT: Final = 0xFFFF_8880_0000_0000  # a native kernel's view of its memory
_HYPERCALLS: Final = (0x70616765, 0x6D656D72)  # pager/pager.h, pager/memory.h
_END: Final = 0xF4  # the port that ends the machine, or here the container
_PORTS: Final = (0x8900, 0x3F8, 0x3FD, 0x20, 0x21, 0x40, 0x43, 0x61, 0x70, 0x71, 0x604, 0xB004, 0xCF9, 0x402)
_MSRS: Final = (
    0x1B, 0x10, 0x6E0, 0x3A, 0x277, 0x1D9, 0xC0000080, 0xC0000081, 0xC0000082, 0xC0000084, 0xC0000100, 0xC0000101, 0xC0000102,
    0xC0000103, 0x802, 0x80F, 0x832, 0x838, 0x830, 0x174, 0xDA0,
)  # fmt: skip
_XSETBV: Final = 9
_VALUES: Final[Mapping[int, Sequence[int]]] = {
    _XSETBV: (0, 1, 3, 5, 7),
    10: (0x80000031, 0x80000033, 0x31, 0x80050033),
    11: (0, 0x1000, 1 << 52),
    12: (0x20, 0x40020, 0x40000, 0x2020, 0x1020),
    13: range(16),
}


class RunvKernel(Kernel):
    """guest/attacks/runv/script.c."""

    image = "runv-hostile.elf"
    memory = 64 << 20  # its image lies at 16 MiB
    line = ("attack=script",)
    ring = 0
    names: ClassVar[Mapping[int, str]] = dict(enumerate((
        "vmcall", "load", "store", "map", "in", "out", "rdmsr", "wrmsr", "cpuid", "xsetbv", "cr0", "cr3", "cr4", "cr8",
            "invlpg", "outs", "wbinvd",
    )))  # fmt: skip

    def some(self, chance: Chance, at: int) -> list[Step]:
        """Read memory, reach for a port or an MSR, set a control register, or make a hypercall: an exception is the end of it."""
        del at
        makers = (
            self._memory,
            self._memory,
            self._port,
            self._msr,
            self._register,
            self._vmcall,
            self._map,
            self._cpuid,
        )
        return chance.pick(makers)(chance)

    def _memory(self, chance: Chance) -> list[Step]:
        gpa = chance.pick((chance.below(1 << 14), chance.below(1 << 16))) * PAGE
        steps = [Step(1, (_DIRECT + gpa + 8 * chance.below(2),))]
        return [*steps, Step(2, (_DIRECT + gpa + 8, self.value(chance)))] if chance.random() < 0.3 else steps

    @staticmethod
    def _port(chance: Chance) -> list[Step]:
        port, size = chance.pick((*_PORTS, chance.below(1 << 16))), chance.below(3)
        if chance.random() < 0.4:
            return [Step(4, (port, size))]
        value = chance.pick((*b"Shutdown", 0x2000, 0x3C00, 6, chance.getrandbits(32)))
        return [] if port == _END else [Step(5, (port, size, value))]

    def _msr(self, chance: Chance) -> list[Step]:
        msr = chance.pick((*_MSRS, chance.getrandbits(32)))
        if chance.random() < 0.3:
            return [Step(6, (msr,))]
        return [Step(7, (msr, chance.pick((0, 1, 0xFEE00000, 0xFEE00800, 0xFEE00C00, 0xD01, self.value(chance)))))]

    def _register(self, chance: Chance) -> list[Step]:
        register = chance.pick(tuple(_VALUES))
        value = chance.pick((*_VALUES[register], self.value(chance)))
        return [Step(register, (0, value) if register == _XSETBV else (value,))]

    def _vmcall(self, chance: Chance) -> list[Step]:
        return [Step(0, (chance.pick((*_HYPERCALLS, chance.below(16))), *(self.value(chance) for _ in range(3))))]

    def _map(self, chance: Chance) -> list[Step]:
        va = chance.pick((0x7000_0000_0000, self.value(chance) & ~0xFFF))
        return [Step(3, (va, self.page(chance), chance.pick((2, 0, 4, 6)))), Step(1, (va,)), Step(14, (va,))]

    @staticmethod
    def _cpuid(chance: Chance) -> list[Step]:
        leaf = chance.pick((0, 1, 7, 0xB, 0xD, 0x40000000, 0x80000008, chance.getrandbits(32)))
        return [Step(8, (leaf, chance.below(4))), Step(16)]
