"""Scripts that a guest does step by step: the layout of guest/attacks/script.h, and what makes and changes them.

An input is a row of records of 56 bytes, one a step: ``what`` (u32), ``names`` (u32), six arguments (u64).  Bit n of ``names`` says that
argument n names an earlier step and stands for its result.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .chance import Chance

STEPS: Final = 32
ARGUMENTS: Final = 6
_STEP: Final = struct.Struct(f"<II{ARGUMENTS}Q")
STEP_SIZE: Final = _STEP.size
SIZE: Final = STEPS * STEP_SIZE
_HEAD: Final = 16  # ready, done
RESULTS: Final = _HEAD + SIZE
U64: Final = (1 << 64) - 1


@frozen
class Step:
    """One step.

    Attributes:
        what: its number.
        arguments: six at most; the rest is 0.
        names: which of them name an earlier step, a bit for each.

    """

    what: int
    arguments: tuple[int, ...] = ()
    names: int = 0

    def pack(self) -> bytes:
        """Give its record."""
        values = [a & U64 for a in self.arguments[:ARGUMENTS]]
        return _STEP.pack(self.what & 0xFFFFFFFF, self.names, *values, *[0] * (ARGUMENTS - len(values)))

    def moved(self, by: int, start: int) -> Step:
        """Give the same step where steps from `start` on have moved by so many."""
        arguments = tuple(
            a + by if self.names >> i & 1 and a >= start and 0 <= a + by < STEPS else a
            for i, a in enumerate(self.arguments)
        )
        return evolve(self, arguments=arguments)

    def __str__(self) -> str:
        """Show what it does."""
        shown = [f"r{a}" if self.names >> i & 1 else f"{a:#x}" for i, a in enumerate(self.arguments)]
        while shown and shown[-1] == "0x0":
            shown.pop()
        return f"{self.what:#x}({', '.join(shown)})"


def pack(steps: Sequence[Step]) -> bytes:
    """Give the input of these steps; those that are too many are left out."""
    return b"".join(step.pack() for step in steps[:STEPS])


def unpack(data: bytes) -> list[Step]:
    """Give the steps of an input; bytes that are no whole step do not count."""
    data = data[: min(len(data), SIZE) // STEP_SIZE * STEP_SIZE]
    return [Step(what, tuple(values), names & 63) for what, names, *values in _STEP.iter_unpack(data)]


def in_memory(data: bytes) -> bytes:
    """Give what a guest finds at `script`: it begins at once."""
    steps = data[: min(len(data), SIZE) // STEP_SIZE * STEP_SIZE]
    return struct.pack("<QQ", max(len(steps) // STEP_SIZE, 1), 0) + steps.ljust(SIZE, b"\0")


def changed(
    data: bytes, other: bytes, some: Callable[[int], list[Step]], value: Callable[[], int], chance: Chance
) -> bytes:
    """Change a script.

    Args:
        data: the script.
        other: another one, to take steps from.
        some: makes steps that go together, for a place in the script.
        value: makes an argument.
        chance: decides.

    """
    steps = unpack(data)
    for _ in range(1 + chance.below(3)):
        kind, at = chance.below(7), chance.below(len(steps) + 1)
        if kind < 2:
            made = some(at)
            steps[at:] = [*made, *(s.moved(len(made), at) for s in steps[at:])]
        elif kind == 2 and at < len(steps):
            steps[at:] = [s.moved(-1, at) for s in steps[at + 1 :]]
        elif kind == 3:
            steps[at:] = unpack(other)[at:]
        elif at < len(steps):
            which = chance.below(ARGUMENTS)
            arguments = [*steps[at].arguments, *[0] * ARGUMENTS][:ARGUMENTS]
            old = arguments[which]
            arguments[which] = chance.pick((old + 1, old - 1, old ^ 1 << chance.below(64), value(), value())) & U64
            names = steps[at].names if kind == 4 else steps[at].names & ~(1 << which)
            steps[at] = evolve(steps[at], arguments=tuple(arguments), names=names)
    return pack(steps)
