"""Page tables that fit on a screen: a few words of physical memory, and the lines that print them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..mmu.entry import Entry
from ..mmu.walk import Mode, Paging, reserved_bits

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

SHIFT: Final = {4: 39, 3: 30, 2: 21, 1: 12}
PAGE: Final = 4096
OPEN: Final = Entry.P.mask | Entry.RW.mask | Entry.US.mask | Entry.A.mask
PS, D, XD = Entry.PS.mask, Entry.D.mask, Entry.XD.mask
WIDTH: Final = 46  # bits of a physical address
NAMES: Final = ("read", "write", "fetch")


class Words:
    """Physical memory of few words; all others are 0."""

    low = 0  # no RAM that anybody may reach but by `read64`

    def __init__(self) -> None:
        self.at: dict[int, int] = {}

    @property
    def words(self) -> Any:
        """Nothing: whoever reads does so by `read64`."""
        raise IndexError

    def read64(self, address: int) -> int:
        """Read a word."""
        return self.at.get(address, 0)

    def write64(self, address: int, value: int) -> None:
        """Write a word."""
        self.at[address] = value

    def lines(self, tables: Iterable[int]) -> list[str]:
        """Print the words of these tables: a table a group, a word a line."""
        out = []
        for table in tables:
            words = sorted(at for at in self.at if at // PAGE * PAGE == table)
            out += [f"  table at {table:#x}"]
            out += [f"    at {at:#x}: {self.at[at]:#018x}" for at in words]
        return out


def frames(random: Random, count: int, below: int = 1 << 24) -> list[int]:
    """Choose pages, all different."""
    return [frame * PAGE for frame in random.sample(range(1, below // PAGE), count)]


def address(random: Random) -> int:
    """Choose a canonical linear address whose four indexes differ from each other."""
    indexes = random.sample(range(1, 256), 4)
    gva = sum(index << SHIFT[level] for index, level in zip(indexes, (4, 3, 2, 1), strict=True))
    gva |= random.randrange(PAGE)
    return gva | 0xFFFF_8000_0000_0000 if random.random() < 0.3 else gva


def index(gva: int, level: int) -> int:
    """Give the index that an address has at a level."""
    return gva >> SHIFT[level] & 511


def chain(memory: Words, tables: list[int], gva: int, last: int, entry: int, flags: int = OPEN) -> list[int]:
    """Write the entries of one translation; gives where they are, top first.

    Args:
        memory: takes them.
        tables: the tables, top first.
        gva: the address.
        last: the level of the entry that maps the page.
        entry: that entry.
        flags: those of the entries above it.

    """
    places = []
    for number, level in enumerate(range(4, last - 1, -1)):
        at = tables[number] + 8 * index(gva, level)
        memory.write64(at, entry if level == last else tables[number + 1] | flags)
        places.append(at)
    return places


def decoys(random: Random, memory: Words, tables: list[int], gva: int) -> None:
    """Write entries that a wrong index, or one of another level, would find."""
    for number, table in enumerate(tables):
        level = 4 - number
        wrong = {index(gva, level) + 1, index(gva, level % 4 + 1)}
        for slot in sorted(wrong):
            at = table + 8 * (slot % 512)
            if at not in memory.at:
                below = tables[number + 1] if number + 1 < len(tables) else frames(random, 1)[0]
                memory.write64(at, random.choice([below, frames(random, 1)[0]]) | OPEN)


def paging(root: int, *, nxe: bool = True, smep: bool = False) -> Paging:
    """Give 4-level paging from a top table."""
    masks = reserved_bits(Mode.LEVEL4, nxe=nxe, maxphyaddr=WIDTH)
    return Paging(Mode.LEVEL4, root, masks, fetch_bit=nxe or smep)
