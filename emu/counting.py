"""What TCG counts: translated blocks, or instructions.

Unicorn counts instructions when a run has a limit, by a hook of its own on each; that makes code six times slower, for Unicorn
computes EFLAGS before each hook.  The same callback as a hook on blocks costs an eighth.  Both kinds of translation live side by side:
both hooks stay, but what is translated while one is on has only that inside, and a bit of hflags that means nothing to TCG keeps
the translations apart.

One of them always counts, for only the limit has TCG leave where nothing is half done.  It looks for what `uc_emu_stop` of
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


_BIT: Final = 1 << 30  # of hflags
_BITS: Final = (0, _BIT)
_BLOCKS, _INSTRUCTIONS = Unit  # a member read off the class takes 0.1 µs


class Counting:
    """The counter of one engine.

    Attributes:
        counter: [0] what this run, or the last one, has counted; [1] the limit, which other threads may set to 0.
        unit: what is counted now.

    """

    def __init__(self, places: Places, hflags: memoryview) -> None:
        self.counter = places.counter
        self.unit = _BLOCKS
        self._instructions, self._blocks = places.instructions, places.blocks
        self._blocks[0], self._blocks[1] = _EVERYWHERE
        self._no_exit_request = places.no_exit_request
        self._d = hflags

    def select(self, unit: Unit) -> None:
        """Count these from the next block on; only between two blocks."""
        if unit is self.unit and self._d[_HFLAGS] & _BIT == _BITS[unit]:
            return
        self.unit = unit
        self._no_exit_request[0] = 0
        for bounds, its in ((self._blocks, _BLOCKS), (self._instructions, _INSTRUCTIONS)):
            bounds[0], bounds[1] = _EVERYWHERE if unit is its else (_NOWHERE, _NOWHERE)
        self._d[_HFLAGS] = self._d[_HFLAGS] & ~_BIT | _BITS[unit]
