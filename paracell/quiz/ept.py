"""Two-dimensional walks: the guest's tables in guest-physical memory, an EPT below them, and what may be refused by either."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu import ept
from ..mmu.entry import Entry
from ..mmu.ept import EptEntry, Root
from ..mmu.explain import look
from ..mmu.rights import EXEC, READ, WRITE, Context
from ..mmu.second import SecondStage
from ..mmu.tlb import GuestPhysical
from .question import Answer, Question
from .tables import NAMES, OPEN, PAGE, PS, WIDTH, D, Words, address, chain, frames, paging

if TYPE_CHECKING:
    from random import Random

    from ..mmu.explain import Walk

_NEEDS: Final = dict(zip(NAMES, (READ, WRITE, EXEC), strict=True))
_OPEN: Final = EptEntry.R.mask | EptEntry.W.mask | EptEntry.X.mask
_BACK: Final = 6 << 3  # memory type 6, write-back
_TRANSLATES: Final = 'SDM "EPT Translation Mechanism"'
_EXITS: Final = 'SDM "EPT-Induced VM Exits", "Exit Qualification for EPT Violations"'
_FAULTS: Final = 'SDM "Page-Fault Exceptions"'
_RIGHTS: Final = (_OPEN, _OPEN, _OPEN, 0, 1, 2, 4, 5, 6)  # of the entry that may refuse


def ask(random: Random) -> Question:
    """Make a question."""
    gva, last = address(random), random.choice([1, 1, 2])
    pages = frames(random, 5, below=1 << 21)  # guest-physical, all in one table of the EPT
    if last == 2:
        pages[4] = 1 << 21
    hosts = dict(zip(pages, frames(random, 5), strict=True))
    memory, guest, upper = Words(), Words(), frames(random, 4)
    user, access = random.random() < 0.6, random.choice(NAMES)
    dirty = random.random() < 0.4
    leaf = OPEN | (D if random.random() < 0.7 else 0) | (PS if last == 2 else 0)
    for bit in (Entry.RW.mask, Entry.US.mask, Entry.P.mask):
        leaf ^= bit if random.random() < 0.15 else 0
    places = chain(guest, pages, gva, last, pages[4] | leaf)
    for at in places:
        memory.write64(hosts[at // PAGE * PAGE] | at % PAGE, guest.at[at])
    final = pages[4] + (gva & (1 << 21) - PAGE if last == 2 else 0)
    wanted = [at // PAGE * PAGE for at in places] + [final]
    refuses = random.choice([wanted[-1], wanted[-1], wanted[-2]])
    for gpa in wanted:
        host = hosts.get(gpa, hosts[pages[4]])
        rights = random.choice(_RIGHTS) if gpa == refuses else _OPEN
        _map(memory, upper, gpa, host | rights | _BACK)
    given = (
        f"CR3 is {pages[0]:#x} (guest-physical), the EPT's top table is at {upper[0]:#x}; MAXPHYADDR {WIDTH};",
        f"A and D flags for EPT are {'on' if dirty else 'off'}, no mode-based execute control.",
        "Words of physical memory that are not 0, the EPT's tables:",
        *memory.lines(sorted(upper)),
        "and the pages that hold the guest's tables:",
        *memory.lines(sorted({hosts[at // PAGE * PAGE] for at in places})),
        f"CPL {3 if user else 0}, CR0.WP 1, no SMEP, no SMAP, no keys, EFER.NXE 1; nothing is cached.",
    )

    def solve() -> Answer:
        root = Root(upper[0], ept.reserved(WIDTH), dirty=dirty)
        second = SecondStage(memory, root, GuestPhysical(), still=True)
        return _explain(look(memory, paging(pages[0]), Context(user), gva, _NEEDS[access], second))

    asked = f"A {access} at {gva:#x}: which physical address, #PF or VM exit, and after how many reads of entries?"
    return Question(given, asked, solve)


def _map(memory: Words, upper: list[int], gpa: int, entry: int) -> None:
    """Map a page of 4 KiB; the upper tables serve all."""
    for level, table, below in ((4, upper[0], upper[1]), (3, upper[1], upper[2])):
        memory.write64(table + (gpa >> 12 + 9 * (level - 1) & 511) * 8, below | _OPEN)
    memory.write64(upper[2] + (gpa >> 21 & 511) * 8, upper[3] | _OPEN)
    memory.write64(upper[3] + (gpa >> 12 & 511) * 8, entry)


def _explain(walk: Walk) -> Answer:
    """Give a walk as an answer."""
    reads = f"{walk.reads} entries read, {len(walk.steps)} of the guest's tables"
    why = (f"{reads}: each address of an entry, and the last one, goes through the EPT first", *str(walk).splitlines())
    if walk.exit is not None:
        code = 48 if walk.exit.qualification else 49
        number = f"qualification {int(walk.exit.qualification):#x}" if walk.exit.qualification else "no qualification"
        result = f"VM exit {code}, {walk.exit.name} at {walk.exit.gpa:#x}, {number}: {walk.exit.reason}; {reads}"
        return Answer(result, why, _EXITS)
    if walk.fault is not None:
        return Answer(f"#PF, error code {int(walk.fault.error):#x}: {walk.fault.reason}; {reads}", why, _FAULTS)
    return Answer(f"physical {walk.physical:#x}; {reads}", why, _TRANSLATES)
