"""Makes tries: every opcode with every prefix first, then code and registers that are aimed at the gates, by chance."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ..emu.registers import GENERAL
from ..mmu.address import PAGE, U64
from ..pku.scan import scan
from .encodings import OPCODES, PREFIXES
from .tries import Try

if TYPE_CHECKING:
    from .chance import Chance

_RIGHTS: Final = (0, 0, 1, 4, 0xC, 0x55555554, 0x5555555C, 0xFFFFFFFF)  # of PKRU
_LIKE_A_GATE: Final = 0.4  # of all tries
_STRAIGHT: Final = 0.5
FLAGS: Final = 0x240DD5  # of RFLAGS: what a program can set
JUMP_HERE: Final = b"\xeb\xfe"


@frozen
class Targets:
    """Addresses that a try may like."""

    code: int
    data: int
    points: tuple[int, ...]
    text: range = field(repr=False)


class Generator:
    """Makes tries.

    Attributes:
        targets: the addresses that they are aimed at.

    """

    def __init__(self, targets: Targets) -> None:
        self.targets = targets

    def make(self, chance: Chance, encoding: bytes = b"") -> Try:
        """Make a try by chance, or one of this instruction with registers by chance."""
        code = encoding + chance.randbytes(6) + JUMP_HERE if encoding else b""
        while not code or any(scan(0, code)):  # the scanner would refuse it
            first = self._jump(chance) if chance.random() < _STRAIGHT else b""
            count = (not first) + chance.below(5 + bool(first))
            code = first + b"".join(self.move(chance) for _ in range(count)) + JUMP_HERE
        registers = [self.value(chance) & U64 for _ in GENERAL]
        if chance.random() < _LIKE_A_GATE:  # what WRPKRU wants
            registers[:3] = chance.pick(_RIGHTS), 0, 0
        return Try(code, tuple(registers), self.flags(chance))

    @staticmethod
    def flags(chance: Chance) -> int:
        """Give what of RFLAGS a program can set."""
        return chance.pick((0, 0, 0x400, 0x100, 0x40000, chance.getrandbits(32))) & FLAGS

    def value(self, chance: Chance) -> int:
        """Give a number that a register may like."""
        t, kind = self.targets, chance.below(12)
        if kind < 3:
            return chance.pick(t.points) + chance.pick((0, 0, 0, 2, 3, 8, -8, 2048))
        if kind < 5:
            return t.data + chance.below(16 * PAGE)
        if kind == 5:
            return t.code + chance.below(64)
        if kind == 6:
            return t.text[chance.below(len(t.text))]
        if kind == 7:
            return chance.pick(_RIGHTS)
        if kind == 8:
            return chance.pick((1 << 47, (1 << 47) - 1, 1 << 63, U64, 0xFFFF_8880_0000_0000, 0xFFFF_9000_0000_0000))
        if kind == 9:
            return chance.below(512)
        return chance.getrandbits(64)

    def _jump(self, chance: Chance) -> bytes:
        """Go to one of the points, or close by: JMP, CALL or RET."""
        point = chance.pick(self.targets.points) + chance.pick((*[0] * 12, 1, 2, 3, 5, 6, 8, 9))
        way = chance.pick((b"\x41\xff\xe3", b"\x41\xff\xe3", b"\x41\xff\xd3", b"\x41\x53\xc3"))
        return b"\x49\xbb" + struct.pack("<Q", point) + way

    def move(self, chance: Chance) -> bytes:
        """Give the code of one step: most lead to the gates."""
        kind, register = chance.below(21), chance.below(8)
        load = bytes((0x48, 0xB8 + register)) + struct.pack("<Q", self.value(chance) & U64)
        if kind < 5:  # jump there, or call
            return self._jump(chance)
        if kind < 8:
            return load if register else b"\x31\xc9\x31\xd2\xb8" + struct.pack("<I", chance.pick(_RIGHTS))
        if kind < 10:  # a raw system call, of either kernel's
            return b"\xb8" + struct.pack("<I", chance.pick((chance.below(12), chance.below(460)))) + b"\x0f\x05"
        if kind == 10:  # memory, read or written, or a stack
            return load + chance.pick(
                (bytes((0x48, 0x8B, register)), bytes((0x48, 0x89, register)), bytes((0x50 + register,)))
            )
        if kind == 11:  # flags: TF, DF, AC, NT, IOPL
            return b"\x68" + struct.pack("<I", chance.getrandbits(22)) + b"\x9d"
        if kind == 12:  # bases: WRFSBASE, WRGSBASE
            return load + b"\xf3\x48\x0f\xae" + bytes((chance.pick((0xD0, 0xD8)) + register,))
        if kind == 13:
            return chance.pick(
                (
                    b"\xcd\x80",
                    b"\xcc",
                    b"\x0f\x0b",
                    b"\xf4",
                    b"\xfa",
                    b"\xfb",
                    b"\x0f\x01\xee",
                    b"\x48\xcf",
                    b"\x48\xcb",
                )
            )
        if kind == 14:
            return chance.pick(
                (b"\x48\x0f\x07", b"\x0f\x34", b"\x0f\x35", b"\x0f\x30", b"\x0f\x32", b"\x0f\x01\xf8", b"\xec", b"\xee")
            )
        if kind == 15:  # the stack, elsewhere
            return b"\x48\xbc" + struct.pack("<Q", self.value(chance) & U64)
        if kind == 16:
            return chance.pick(
                (b"\x48\x0f\xae\x27", b"\x48\x0f\xae\x07", b"\x48\x0f\xae\x0f", b"\xf3\x48\xa4", b"\xf3\x48\xab")
            )
        if kind == 17:  # any opcode behind any prefixes
            prefixes = b"".join(chance.pick(PREFIXES) for _ in range(1 + chance.below(14)))
            return prefixes + chance.pick(OPCODES)
        return chance.randbytes(1 + chance.below(15))
