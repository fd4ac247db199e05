"""A second opinion on LLFree: a set of free frames, and which of them have memory behind them.

It shares no code with the allocator, and knows of fields, children and trees only what docs/memory.md says of their words.

- a block that is taken was free, lies where its size asks for, and has memory behind it: what was evicted was installed first;
- no block is refused that is there;
- between two operations a child counts what its field has free, and a tree what its children have, with what its owner has of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CHILD: Final = 512  # frames
TREE: Final = 8  # children
FREE, ALLOCATED, EVICTED = 0x3FF, 0x4000, 0x8000  # of a child
TREE_FREE, RESERVED = 0x1FFF, 0x8000  # of a tree


class WrongFrame(AssertionError):
    """What the allocator did, and what it should have done."""


@define
class Frames:
    """What is free, in use, evicted, and taken away.

    Attributes:
        first: the first frame, by page number.
        end: the one behind the last.
        free: frames that can be taken.
        blocks: the order of each block in use, by its first frame.
        evicted: children without memory behind them.
        away: children that the host has taken for good.

    """

    first: int
    end: int
    free: set[int] = field(init=False)
    blocks: dict[int, int] = field(factory=dict)
    evicted: set[int] = field(factory=set)
    away: set[int] = field(factory=set)

    def __attrs_post_init__(self) -> None:
        """Everything is free."""
        self.free = set(range(self.first, self.end))

    def whole(self, child: int) -> bool:
        """Tell whether all 512 frames of a child are free."""
        return self.free.issuperset(range(child * CHILD, (child + 1) * CHILD))

    def took(self, frame: int, order: int) -> None:
        """A block was handed out."""
        block = range(frame, frame + (1 << order))
        if frame % (1 << order):
            raise WrongFrame(f"{frame:#x} is no block of order {order}")
        if not self.free.issuperset(block):
            raise WrongFrame(f"{frame:#x}, order {order}, was not free")
        for child in range(block.start // CHILD, (block.stop - 1) // CHILD + 1):
            if child in self.evicted:
                raise WrongFrame(f"{frame:#x} lies in child {child}, which nobody has installed")
        self.free -= set(block)
        self.blocks[frame] = order

    def refused(self, order: int, *, host_full: bool) -> None:
        """No block of this order was handed out; `host_full`: the host installs nothing."""
        size = 1 << order
        for frame in range(-(-self.first // size) * size, self.end - size + 1, size):
            children = range(frame // CHILD, (frame + size - 1) // CHILD + 1)
            if self.free.issuperset(range(frame, frame + size)) and not (
                host_full and self.evicted.intersection(children)
            ):
                raise WrongFrame(f"{frame:#x}, order {order}, is free and was refused")

    def gave(self, frame: int) -> None:
        """A block came back."""
        self.free |= set(range(frame, frame + (1 << self.blocks.pop(frame))))


def wrong_counts(
    frames: tuple[int, int],
    children: Sequence[int],
    trees: Sequence[int],
    fields: Sequence[int],
    reserved: dict[int, int],
) -> Iterator[str]:
    """Compare each count with what it counts, and give a line for each that is wrong.

    Args:
        frames: the first frame, and the one behind the last.
        children: 8 words a tree.
        trees: a word each.
        fields: 8 words of 64 bits a child.
        reserved: how many free frames the processor counts itself, by tree.

    """
    first, end = frames
    for number, child in enumerate(children):
        bits = fields[8 * number : 8 * number + 8]
        zeros = 512 - sum(word.bit_count() for word in bits)
        ours = range(max(first, number * CHILD), min(end, (number + 1) * CHILD))
        if child & ~(FREE | ALLOCATED | EVICTED):
            yield f"child {number}: {child:#x} has bits that mean nothing"
        if child & ALLOCATED and (child & FREE or zeros != CHILD or len(ours) != CHILD):
            yield f"child {number}: {child:#x} is allocated as a whole, and {zeros} bits are free"
        if not child & ALLOCATED and child & FREE != zeros:
            yield f"child {number}: {child & FREE} free frames are counted, and {zeros} are there"
        for frame in (*range(number * CHILD, ours.start), *range(max(ours.stop, number * CHILD), (number + 1) * CHILD)):
            if not bits[frame % CHILD // 64] >> frame % 64 & 1:
                yield f"frame {frame:#x} is free, and no frame of ours"
                break
    for number, tree in enumerate(trees):
        there = sum(child & FREE for child in children[TREE * number : TREE * number + TREE])
        counted = (tree & TREE_FREE) + reserved.get(number, 0)
        if counted != there:
            yield f"tree {number}: {counted} free frames are counted, and {there} are there"
        if bool(tree & RESERVED) != (number in reserved):
            yield f"tree {number}: reserved is {bool(tree & RESERVED)}"
