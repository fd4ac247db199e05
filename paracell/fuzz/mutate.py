"""Changes to bytes that know nothing of their meaning: libFuzzer's list (its FuzzerMutate.h names the same operations)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .chance import Chance

_INTERESTING: Final = tuple(
    n for bit in (0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 16, 31, 32, 47, 63, 64) for n in ((1 << bit) - 1, 1 << bit)
)
_SIZES: Final = ((1, "<B"), (2, "<H"), (4, "<I"), (8, "<Q"))
_MOST: Final = 5  # changes of one mutation


def _erase(data: bytearray, chance: Chance) -> None:
    if data:
        at = chance.below(len(data))
        del data[at : at + 1 + chance.below(min(len(data) - at, 16))]


def _insert(data: bytearray, chance: Chance) -> None:
    at = chance.below(len(data) + 1)
    data[at:at] = chance.randbytes(1 + chance.below(8)) if chance.random() < 0.5 else bytes(1 + chance.below(16))


def _change(data: bytearray, chance: Chance) -> None:
    if data:
        data[chance.below(len(data))] = chance.below(256)


def _flip(data: bytearray, chance: Chance) -> None:
    if data:
        data[chance.below(len(data))] ^= 1 << chance.below(8)


def _number(data: bytearray, chance: Chance) -> None:
    """Add a little to a number, or put one there that often is a border."""
    size, form = chance.pick(_SIZES)
    if len(data) < size:
        return
    at = chance.below(len(data) - size + 1)
    mask = (1 << 8 * size) - 1
    order = form if chance.random() < 0.8 else form.replace("<", ">")
    if chance.random() < 0.5:
        value = struct.unpack_from(order, data, at)[0] + chance.below(21) - 10
    else:
        value = chance.pick(_INTERESTING) + chance.pick((0, 0, 0, -1, 1))
    struct.pack_into(order, data, at, value & mask)


def _copy(data: bytearray, chance: Chance) -> None:
    if data:
        at, length = chance.below(len(data)), 1 + chance.below(min(len(data), 32))
        part = data[at : at + length]
        to = chance.below(len(data) + 1)
        data[to : to + (len(part) if chance.random() < 0.5 else 0)] = part


def _shuffle(data: bytearray, chance: Chance) -> None:
    if data:
        at = chance.below(len(data))
        part = list(data[at : at + 8])
        chance.shuffle(part)
        data[at : at + 8] = bytes(part)


_CHANGES: Final[tuple[Callable[[bytearray, Chance], None], ...]] = (
    _erase, _insert, _change, _change, _flip, _number, _number, _copy, _shuffle,
)  # fmt: skip


def mutate_bytes(data: bytes, other: bytes, words: Sequence[bytes], most: int, chance: Chance) -> bytes:
    """Change `data` once or a few times; at most `most` bytes come out.

    `other` is another input, to splice with; `words` are a dictionary.
    """
    made = bytearray(data)
    for _ in range(1 + chance.below(_MOST)):
        kind = chance.random()
        if kind < 0.1 and other:
            made = splice(made, other, chance)
        elif kind < 0.25 and words:
            word, at = chance.pick(words), chance.below(len(made) + 1)
            made[at : at + (len(word) if chance.random() < 0.5 else 0)] = word
        else:
            chance.pick(_CHANGES)(made, chance)
    return bytes(made[:most])


def splice(data: bytearray, other: bytes, chance: Chance) -> bytearray:
    """Put a part of `other` into `data`, or the end of one behind the beginning of the other."""
    at, start = chance.below(len(data) + 1), chance.below(len(other))
    if chance.random() < 0.5:
        return data[:at] + other[start:]
    data[at:at] = other[start : start + 1 + chance.below(32)]
    return data
