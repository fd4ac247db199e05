"""What TCG counts: nothing, translated blocks, or instructions.

Unicorn counts instructions when a run has a limit, by a hook of its own on each; that makes code six times slower, for Unicorn
computes EFLAGS before each hook.  The same callback as a hook on blocks costs an eighth.  Blocks that count and blocks that
do not live side by side: both hooks stay, but only what is translated while one is on has it inside, and two bits of hflags that
mean nothing to TCG keep the translations apart.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from . import layout

if TYPE_CHECKING:
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

    NOTHING = 0
    BLOCKS = 1
    INSTRUCTIONS = 2


_BITS: Final = (0, 1 << 29, 1 << 30)  # of hflags
_NOT_BITS: Final = 0xFFFFFFFF & ~sum(_BITS)
_NOTHING, _BLOCKS, _INSTRUCTIONS = Unit  # a member read off the class takes 0.1 µs


class Counting:
    """The counter of one engine.

    Attributes:
        counter: [0] what this run, or the last one, has counted; [1] the limit.
        unit: what is counted now.

    """

    def __init__(self, places: Places, hflags: memoryview) -> None:
        self.counter = places.counter
        self.unit = _NOTHING
        self._instructions, self._blocks = places.instructions, places.blocks
        self._d = hflags

    def select(self, unit: Unit) -> None:
        """Count these from the next block on; only between two blocks."""
        if unit is self.unit and self._d[_HFLAGS] & ~_NOT_BITS == _BITS[unit]:
            return
        self.unit = unit
        for bounds, its in ((self._blocks, _BLOCKS), (self._instructions, _INSTRUCTIONS)):
            bounds[0], bounds[1] = _EVERYWHERE if unit is its else (_NOWHERE, _NOWHERE)
        self._d[_HFLAGS] = self._d[_HFLAGS] & _NOT_BITS | _BITS[unit]
