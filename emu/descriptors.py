"""What a segment register and a table register hold, and what a descriptor says (SDM "Segment Descriptors").

::

    63    56 55  52 51   48 47                40 39              16 15             0
    ┌───────┬──────┬───────┬───┬─────┬───┬──────┬─────────────────┬────────────────┐
    │base 31│G DB L│limit  │ P │ DPL │ S │ type │ base 23:0       │ limit 15:0     │
    │  :24  │  AVL │ 19:16 │   │     │   │      │                 │                │
    └───────┴──────┴───────┴───┴─────┴───┴──────┴─────────────────┴────────────────┘
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from attrs import frozen

from ..mmu.address import U32

ACCESSED: Final = 1 << 40
_BIG: Final = 1 << 14  # D/B in `Segment.access`


class Table(NamedTuple):
    """GDTR or IDTR: the linear base and the limit in bytes, less one."""

    base: int
    limit: int


@frozen(slots=True)
class Segment:
    """A segment register with its hidden part.

    Attributes:
        selector: the visible 16 bits.
        base: linear base address.
        limit: last valid byte, granularity applied.
        access: type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, D/B 14, G 15, unusable 16 (SDM "Segment Descriptors").

    """

    selector: int
    base: int
    limit: int
    access: int

    @property
    def dpl(self) -> int:
        """The descriptor privilege level."""
        return self.access >> 5 & 3

    @property
    def pointer_mask(self) -> int:
        """The bits of the stack pointer that a stack of this segment uses outside of 64-bit mode: the B flag decides."""
        return U32 if self.access & _BIG else 0xFFFF


UNUSABLE: Final = 1 << 16
NULL: Final = Segment(0, 0, 0, UNUSABLE)
FLAT_CODE32: Final = Segment(8, 0, 0xFFFFFFFF, 0xC09B)
FLAT_DATA32: Final = Segment(16, 0, 0xFFFFFFFF, 0xC093)
FLAT_CODE64: Final = Segment(8, 0, 0xFFFFFFFF, 0xA09B)


_INTERNED: Final[dict[Segment, Segment]] = {}
_MOST: Final = 8192  # a guest can make up descriptors without end


def intern(segment: Segment) -> Segment:
    """Give the one object that stands for all equal segments, so that transitions.py may compare by identity."""
    if len(_INTERNED) > _MOST:
        _INTERNED.clear()
    return _INTERNED.setdefault(segment, segment)


@lru_cache(maxsize=4096)
def parse(selector: int, raw: int, high: int = 0) -> Segment:
    """Make a `Segment` of a descriptor; `high` is the second word of a 16-byte one."""
    limit = raw & 0xFFFF | raw >> 32 & 0xF0000
    if raw >> 55 & 1:
        limit = limit << 12 | 0xFFF
    base = raw >> 16 & 0xFFFFFF | raw >> 32 & 0xFF000000 | (high & 0xFFFFFFFF) << 32
    return intern(Segment(selector, base, limit, raw >> 40 & 0xF0FF))


@lru_cache
def null_stack(cpl: int) -> Segment:
    """Give the null SS that IA-32e mode loads with a new, inner privilege level (SDM "Stack Switching in IA-32e Mode")."""
    return intern(Segment(cpl, 0, 0, UNUSABLE | cpl << 5))
