"""A container kernel's LLFree, read from physical memory by symbol (`pager/hyperalloc.h`)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from attrs import frozen

if TYPE_CHECKING:
    from paracell.compare.guest_memory import Pages

DIRECT: Final = 0xFFFF_8880_0000_0000  # DIRECT_MAP of each container kernel: all guest-physical memory
LLFREE: Final = struct.Struct("<6Q QI4x QI4x QI4x")  # the beginning of struct llfree, pager/kernel/llfree.h
TREE_CHILDREN: Final = 8
NO_TREE: Final = 2**64 - 1
FIELD_WORDS: Final = 8


@frozen
class SharedFrames:
    """An LLFree allocator at one moment.

    Attributes:
        first: its first frame, by page number.
        end: the frame behind its last.
        children: a word for each 512 frames.
        trees: a word for each 8 children.
        fields: 8 words of 64 bits for each child: a bit is set for a frame in use.
        reserved: how many free frames the processor counts itself, by tree.

    """

    first: int
    end: int
    children: tuple[int, ...]
    trees: tuple[int, ...]
    fields: tuple[int, ...]
    reserved: dict[int, int]


def shared_frames(pages: Pages) -> SharedFrames | None:
    """Read the allocator; None where the container kernel works without it, or has not begun."""
    first, end, count, children, trees, fields, *reserved = LLFREE.unpack(
        pages.read(pages.place["llfree"], LLFREE.size)
    )
    if not count:
        return None
    number = TREE_CHILDREN * count
    words = pages.read(fields - DIRECT, 8 * FIELD_WORDS * number)
    return SharedFrames(
        first,
        end,
        struct.unpack(f"<{number}H", pages.read(children - DIRECT, 2 * number)),
        struct.unpack(f"<{count}H", pages.read(trees - DIRECT, 2 * count)),
        struct.unpack(f"<{len(words) // 8}Q", words),
        {tree: free for tree, free in zip(reserved[::2], reserved[1::2], strict=True) if tree != NO_TREE},
    )
