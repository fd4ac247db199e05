"""What TCG counts: translated blocks, or instructions, or both.

Unicorn counts instructions when a run has a limit, by a hook of its own on each; that makes code six times slower, for Unicorn
computes EFLAGS before each hook.  The same callback as a hook on blocks costs an eighth.  Unicorn has one counter, so where
both are wanted Python counts the blocks.  The kinds of translation live side by side: all hooks stay, but what is translated while one is
on has only that inside, and two bits of hflags that mean nothing to TCG keep the translations apart.

Something always counts, for only the limit has TCG leave where nothing is half done.  It looks for what `uc_emu_stop` of
another thread asks for behind each access to memory as well, and goes back to the begin of that instruction: an addition to memory
that had been stored was done twice.  And while such a request waits, Unicorn calls some hooks no more: a CPUID was TCG's.

So blocks need no such looks, which cost a third of their time, and are translated without, by Unicorn's ``no_exit_request``.  Those with
an instruction that has a hook keep them, for the hook may have TCG leave before it (`Engine.may_run`).
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from . import layout

if TYPE_CHECKING:
    from collections.abc import Callable

    from .calibrate import Places

UNLIMITED: Final = 1 << 62
MOST: Final = (
    1 << 26
)  # in one run that counts: what another thread asks for in an unlucky moment waits for a fraction of a second
_NOWHERE: Final = 0xFFFF_FFFF_FFFF_FFFF  # no instruction begins there
_EVERYWHERE: Final = (1, 0)
_HFLAGS: Final = layout.HFLAGS >> 2


class Unit(IntEnum):
    """What is counted."""

    BLOCKS = 0
    INSTRUCTIONS = 1
    BOTH = 2


_BITS: Final = (0, 1 << 29, 1 << 30)  # of hflags
_NOT_BITS: Final = 0xFFFFFFFF & ~sum(_BITS)
_BLOCKS, _INSTRUCTIONS, _BOTH = Unit  # a member read off the class takes 0.1 µs


class Counting:
    """The counter of one engine.

    Attributes:
        counter: [0] what this run, or the last one, has counted, instructions of both; [1] the limit, which other threads may set to 0.
        blocks: the same for the blocks of both.
        timed: that one of the two whose count the clock charges.
        unit: what is counted now.

    """

    def __init__(self, places: Places, hflags: memoryview, hook_blocks: Callable[[], memoryview]) -> None:
        """`hook_blocks` makes a hook on blocks that calls `count_block`, and gives the first and the last address that it is for.

        It is made when it is needed first: Unicorn calls a hook on blocks directly, and 1.5 times as fast, while it is the only one.
        """
        self.counter = places.counter
        self.blocks = [0, 0]
        self.timed: memoryview | list[int] = self.counter
        self.unit = _BLOCKS
        self._hook_blocks = hook_blocks
        self._each_block: memoryview | None = None
        self._instructions, self._blocks = places.instructions, places.blocks
        self._blocks[0], self._blocks[1] = _EVERYWHERE
        self._no_exit_request = places.no_exit_request
        self._d = hflags

    def select(self, unit: Unit) -> None:
        """Count these from the next block on; only between two blocks."""
        if unit is self.unit and self._d[_HFLAGS] & ~_NOT_BITS == _BITS[unit]:
            return
        self.unit = unit
        self.timed = self.blocks if unit is _BOTH else self.counter
        self._no_exit_request[0] = 0
        if unit is _BOTH and self._each_block is None:
            self._each_block = self._hook_blocks()
        for bounds, on in (
            (self._blocks, unit is _BLOCKS),
            (self._instructions, unit is not _BLOCKS),
            (self._each_block, unit is _BOTH),
        ):
            if bounds is not None:
                bounds[0], bounds[1] = _EVERYWHERE if on else (_NOWHERE, _NOWHERE)
        self._d[_HFLAGS] = self._d[_HFLAGS] & _NOT_BITS | _BITS[unit]

    def begin(self) -> None:
        """Begin a run."""
        self.counter[0] = self.blocks[0] = 0

    def count_block(self) -> bool:
        """Count a block that is about to run; False where it must not, for it is one too many."""
        blocks = self.blocks
        if blocks[0] >= blocks[1]:
            return False
        blocks[0] += 1
        return True

    def take_back(self) -> None:
        """Take back what was counted last: TCG leaves before it, or in its middle, and counts it when it goes on."""
        self.counter[0] -= 1
        if self.unit is _BOTH:
            self.blocks[0] -= 1
