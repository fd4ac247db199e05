"""Protection keys: an access under PKRU and PKRS, and values for WRPKRU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.entry import Entry
from ..mmu.explain import look
from ..mmu.rights import EXEC, READ, WRITE, Context
from ..pku.registers import PKRU
from ..pku.rights import denied
from .question import Answer, Question
from .rights import allowed
from .tables import NAMES, OPEN, D, Words, address, chain, frames, paging

if TYPE_CHECKING:
    from random import Random

_SECTION: Final = 'SDM "Protection Keys"'
_NEEDS: Final = dict(zip(NAMES, (READ, WRITE, EXEC), strict=True))


def ask(random: Random) -> Question:
    """Make a question."""
    return random.choice([_access, _access, _value, _meaning])(random)


def _access(random: Random) -> Question:
    """Ask about one access."""
    gva, tables, memory = address(random), frames(random, 4), Words()
    key, user_page = random.randrange(16), random.random() < 0.7
    leaf = frames(random, 1)[0] | OPEN | D | key << Entry.PKEY.shift
    leaf &= ~(0 if user_page else Entry.US.mask)
    chain(memory, tables, gva, 1, leaf)
    user, wp = user_page and random.random() < 0.7, random.random() < 0.7
    pkru, pkrs = random.getrandbits(32), random.getrandbits(32)
    access = random.choice(["read", "write", "write", "fetch"])
    given = (
        "4-level paging, CR4.PKE 1, CR4.PKS 1, no SMEP, no SMAP, EFER.NXE 1.  All tables above are open (P, RW, US); the last entry:",
        f"  PTE    {leaf:#018x}",
        f"CPL {3 if user else 0}, CR0.WP {wp:d}, PKRU {pkru:#010x}, IA32_PKRS {pkrs:#010x}.",
    )

    def solve() -> Answer:
        keys = denied(pkru, user=user, wp=wp), denied(pkrs, user=False, wp=wp)
        walk = look(memory, paging(tables[0]), Context(user, wp, False, False, *keys), gva, _NEEDS[access])
        return allowed(walk, _SECTION)

    return Question(given, f"A {access} at {gva:#x}: allowed, or which error code and why?", solve)


def _value(random: Random) -> Question:
    """Ask for a value of PKRU."""
    closed, read_only, free = random.sample(range(16), 3)
    before = random.getrandbits(32)
    given = (f"PKRU is {before:#010x}, and CR0.WP is 1.", "ECX and EDX are 0.")

    def solve() -> Answer:
        fields = {
            f"AD{closed}": 1,
            f"WD{closed}": 1,
            f"AD{read_only}": 0,
            f"WD{read_only}": 1,
            f"AD{free}": 0,
            f"WD{free}": 0,
        }
        value = PKRU(before).replace(**fields)
        return Answer(f"EAX = {int(value):#010x}", ("two bits a key, AD below WD:", repr(value)), _SECTION)

    asked = f"Which EAX closes key {closed} (AD and WD), leaves key {read_only} read only, opens key {free} and keeps the rest by WRPKRU?"
    return Question(given, asked, solve)


def _meaning(random: Random) -> Question:
    """Ask what a value of PKRU means."""
    pkru = PKRU(sum(random.choice([0, 0, 1, 2, 3]) << 2 * key for key in range(16)))
    given = (f"PKRU is {int(pkru):#010x}, CPL is 3, and there is a user page, writable, with each of the 16 keys.",)

    def solve() -> Answer:
        readable = [str(key) for key in range(16) if not pkru.denies_access(key)]
        writable = [str(key) for key in range(16) if not pkru.denies_write(key)]
        result = f"read {' '.join(readable) or 'none'}; write {' '.join(writable) or 'none'}"
        return Answer(result, (repr(pkru), *pkru.lines()), _SECTION)

    return Question(given, "The pages of which keys may the program read, and of which may it write?", solve)
