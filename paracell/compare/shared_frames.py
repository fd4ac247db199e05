"""What a container kernel's LLFree says of its frames, read from physical memory by symbol (`pager/hyperalloc.h`)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from attrs import frozen

if TYPE_CHECKING:
    from .guest_memory import Pages

_DIRECT: Final = 0xFFFF_8880_0000_0000  # DIRECT_MAP of each container kernel: all guest-physical memory
_LLFREE: Final = struct.Struct("<6Q QI4x QI4x QI4x")  # the beginning of struct llfree, pager/kernel/llfree.h
_TREE_CHILDREN: Final = 8
_ALLOCATED: Final = 0x4000
_NO_TREE: Final = 2**64 - 1
_FIELD: Final = 64  # bytes
_FREE_OF: Final = [bytes(~byte >> bit & 1 for bit in range(8)) for byte in range(256)]  # of 8 frames: a byte for each


@frozen
class SharedFrames:
    """An LLFree allocator at one moment.

    Attributes:
        first: its first frame, by page number.
        end: the frame behind its last.
        children: a word for each 512 frames.
        trees: a word for each 8 children.
        fields: 64 bytes for each child: a bit is set for a frame in use.
        reserved: how many free frames the processor counts itself, by tree.

    """

    first: int
    end: int
    children: tuple[int, ...]
    trees: tuple[int, ...]
    fields: bytes
    reserved: dict[int, int]

    def free(self) -> bytes:
        """Give a byte for each frame up to the end of the last tree: 1 if it is free."""
        taken = bytes(8 * _FIELD)
        parts = []
        for number, child in enumerate(self.children):
            field = self.fields[_FIELD * number : _FIELD * (number + 1)]
            parts.append(taken if child & _ALLOCATED else b"".join([_FREE_OF[byte] for byte in field]))
        return b"".join(parts)


def shared_frames(pages: Pages) -> SharedFrames | None:
    """Read the allocator; None where the container kernel works without it, or has not begun."""
    first, end, count, children, trees, fields, *reserved = _LLFREE.unpack(
        pages.read(pages.place["llfree"], _LLFREE.size)
    )
    if not count:
        return None
    number = _TREE_CHILDREN * count
    return SharedFrames(
        first,
        end,
        struct.unpack(f"<{number}H", pages.read(children - _DIRECT, 2 * number)),
        struct.unpack(f"<{count}H", pages.read(trees - _DIRECT, 2 * count)),
        pages.read(fields - _DIRECT, _FIELD * number),
        {tree: free for tree, free in zip(reserved[::2], reserved[1::2], strict=True) if tree != _NO_TREE},
    )
