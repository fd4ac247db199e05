"""Access rights: four entries, the control registers, and one access."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.entry import LEVEL_NAMES, Entry
from ..mmu.explain import look
from ..mmu.rights import EXEC, READ, WRITE, Context
from .question import Answer, Question
from .tables import NAMES, OPEN, WIDTH, XD, D, Words, address, chain, frames, paging

if TYPE_CHECKING:
    from random import Random

    from ..mmu.explain import Walk

_SECTION: Final = 'SDM "Determination of Access Rights"'
_NEEDS: Final = dict(zip(NAMES, (READ, WRITE, EXEC), strict=True))
_RW, _US = Entry.RW.mask, Entry.US.mask


def ask(random: Random) -> Question:
    """Make a question."""
    gva, tables, memory = address(random), frames(random, 4), Words()
    places = chain(memory, tables, gva, 1, frames(random, 1)[0] | OPEN | D)
    for at in places:
        for bit, odds in ((_RW, 0.25), (_US, 0.25), (XD, 0.2)):
            memory.at[at] ^= bit if random.random() < odds else 0
    user, access = random.random() < 0.5, random.choice(NAMES)
    wp, smep, smap, ac = (random.random() < 0.5 for _ in range(4))
    nxe = random.random() < 0.85
    given = (
        f"4-level paging, MAXPHYADDR {WIDTH}, no protection keys.  The walk meets these entries:",
        *(f"  {LEVEL_NAMES[level]:<6} {memory.at[at]:#018x}" for level, at in zip((4, 3, 2, 1), places, strict=True)),
        f"CPL {3 if user else 0}, CR0.WP {wp:d}, CR4.SMEP {smep:d}, CR4.SMAP {smap:d}, EFER.NXE {nxe:d}, RFLAGS.AC {ac:d}.",
    )

    def solve() -> Answer:
        context = Context(user, wp, smep, smap and not user and not ac)
        walk = look(memory, paging(tables[0], nxe=nxe, smep=smep), context, gva, _NEEDS[access])
        return allowed(walk, _SECTION)

    return Question(given, f"A {access} at {gva:#x}: allowed, or which error code and why?", solve)


def allowed(walk: Walk, section: str) -> Answer:
    """Give an answer that says whether the access is allowed."""
    fault, why = walk.fault, tuple(str(walk).splitlines())
    if fault is None:
        return Answer("allowed", why, section)
    return Answer(f"#PF, error code {int(fault.error):#x}: {fault.reason}", why, section)
