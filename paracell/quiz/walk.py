"""Page walks by hand: 4-level tables with pages of 4 KiB, 2 MiB and 1 GiB, entries that are missing and entries with reserved bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.entry import LEVEL_NAMES
from ..mmu.explain import look
from ..mmu.render import SIZES
from ..mmu.rights import READ, Context
from .question import Answer, Question
from .tables import OPEN, PS, SHIFT, WIDTH, D, Words, address, chain, decoys, frames, index, paging

if TYPE_CHECKING:
    from random import Random

    from ..mmu.explain import Walk

_SECTION: Final = 'SDM "4-Level Paging and 5-Level Paging"'
_FAULT: Final = 'SDM "Page-Fault Exceptions"'
_OUTCOMES: Final = ("page", "page", "page", "absent", "reserved")


def ask(random: Random) -> Question:
    """Make a question."""
    gva, tables, memory = address(random), frames(random, 4), Words()
    last = random.choice([1, 1, 2, 3])
    frame = frames(random, 1)[0] if last == 1 else random.randrange(1, 16) << 12 + 9 * (last - 1)
    places = chain(
        memory, tables, gva, last, frame | OPEN | (D if random.random() < 0.5 else 0) | (PS if last > 1 else 0)
    )
    decoys(random, memory, tables[: 5 - last], gva)
    outcome = random.choice(_OUTCOMES)
    if outcome != "page":
        _spoil(random, memory, places, last, outcome)
    given = (
        f"4-level paging, MAXPHYADDR {WIDTH}, EFER.NXE 1.  CR3 is {tables[0]:#x}.  Words of the tables that are not 0:",
        *memory.lines(sorted(tables[: 5 - last])),
    )

    def solve() -> Answer:
        return explain(look(memory, paging(tables[0]), Context(user=False), gva, READ))

    return Question(given, f"A supervisor reads at {gva:#x}: which physical address, or which error code?", solve)


def _spoil(random: Random, memory: Words, places: list[int], last: int, outcome: str) -> None:
    """Have one entry refuse the walk."""
    at = random.choice(places)
    entry = memory.at[at]
    if outcome == "absent":
        entry &= ~1
    elif at == places[0]:
        entry |= random.choice([PS, 1 << 47])
    elif at == places[-1] and last > 1:
        entry |= random.choice([1 << 13, 1 << 48])
    else:
        entry |= 1 << random.randrange(WIDTH, 52)
    memory.at[at] = entry


def _last_level(walk: Walk) -> int:
    """Give the level of the entry that maps the page: 1 where no large page ends the walk."""
    step = walk.steps[-1]
    large = step.level in {2, 3} and not ~int(step.entry) & (PS | 1)
    return step.level if large else 1


def explain(walk: Walk) -> Answer:
    """Give a walk as an answer."""
    last = _last_level(walk)
    parts = ", ".join(f"{LEVEL_NAMES[level]} {index(walk.gva, level)}" for level in range(4, last - 1, -1))
    offset = walk.gva & (1 << SHIFT[last]) - 1
    why = (f"indexes: {parts}; offset in a {SIZES[last]} page {offset:#x}", *str(walk).splitlines())
    if walk.fault is None:
        assert walk.physical is not None
        return Answer(f"physical {walk.physical:#x}", why, _SECTION)
    return Answer(f"#PF, error code {int(walk.fault.error):#x}: {walk.fault.reason}", why, _FAULT)
