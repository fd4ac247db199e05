"""The space of one-bit conditions, as numbered cases.

A *table pair* is an entry that names a table and, below it, the entry that maps the page::

    4-KiB page   pde.*    pte.*           names as kvm-unit-tests' access.c has them
    2-MiB page   pdpte.*  pde.*
    1-GiB page   pml4e.*  pdpte.*

Every legal permutation of their bits meets every context: access, CR0.WP, CR4, EFER.NXE, RFLAGS.AC, PKRU, PKRS.  Illegal, as
they say nothing: two reserved bits at once; bits below an entry that is not present or has a reserved bit (there the lower entry is
tried as 0 and as all-permissive); AC without SMAP; keys' rights while keys are off.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from paracell.fuzz.model.paging import PS, RW, US, XD, A, Access, D, P, State, bits

if TYPE_CHECKING:
    from collections.abc import Iterator

MAXPHYADDR = 46
KEY = 5
KEY_BITS = KEY << 59
OTHER_KEY_BITS = 9 << 59  # a table entry's bits 62:59 are ignored

BITS = {
    "p": P,
    "rw": RW,
    "user": US,
    "a": A,
    "d": D,
    "nx": XD,
    "51": 1 << 51,
    "46": 1 << MAXPHYADDR,
    "13": 1 << 13,
    "pse": PS,
}
BITS["pkey"] = KEY_BITS

ACCESSES = tuple(
    Access(write, fetch, user, implicit)
    for user, implicit in ((False, False), (True, False), (False, True))
    for write, fetch in ((False, False), (True, False), (False, True))
    if not (implicit and fetch)
)


class Pair(NamedTuple):
    """Two levels under test: their names, and the shift of the page's entry."""

    table: str
    page: str
    shift: int


PAIRS = (Pair("pde", "pte", 12), Pair("pdpte", "pde", 21), Pair("pml4e", "pdpte", 30))


def entries(pair: Pair) -> Iterator[tuple[int, int]]:
    """Give the bits of the table's and the page's entry."""
    large = PS if pair.shift > 12 else 0
    spoilt = ["51", "46", *(["13"] if large else [])]
    page_bits = [_sum(chosen) | large for chosen in _subsets("p", "rw", "user", "a", "d", "nx", "pkey")]
    open_page = P | RW | US | A | D | large
    for table in map(_sum, _subsets("p", "rw", "user", "a", "nx")):
        table_bits = table | OTHER_KEY_BITS
        if not table & P:
            yield from ((table_bits, page) for page in (0, open_page))
            continue
        for page in page_bits:
            yield table_bits, page
            if page & P:
                yield from ((table_bits, page | BITS[name]) for name in spoilt)
        for name in ("51", "46", *(["pse"] if pair.table == "pml4e" else [])):
            yield from ((table_bits | BITS[name], page) for page in (0, open_page))


def contexts() -> Iterator[tuple[State, Access]]:
    """Give registers and accesses.  KEY's rights are under test; all others refuse everything, except in one case out of two."""
    rights = [None, *(r << 2 * KEY | 0xFFFFFFFF & ~(3 << 2 * KEY | 3) for r in range(4))]
    for wp, smep, nxe, (smap, ac), user_key, supervisor_key, access in product(
        (False, True),
        (False, True),
        (False, True),
        ((False, False), (True, False), (True, True)),
        rights,
        rights,
        ACCESSES,
    ):
        if user_key is not None and supervisor_key is not None and (user_key ^ supervisor_key) >> 2 * KEY != 3:
            continue  # both at once: one permits what the other refuses
        yield (
            State(
                wp=wp, smep=smep, smap=smap, ac=ac, nxe=nxe, maxphyaddr=MAXPHYADDR,
                pke=user_key is not None, pks=supervisor_key is not None, pkru=user_key or 0, pkrs=supervisor_key or 0,
            ),
            access,
        )  # fmt: skip


def name(pair: Pair, table: int, page: int, state: State, access: Access) -> str:
    """Spell a case as access.c does: the short names of all bits that are set."""
    words = [f"{level}.{bit}" for level, entry in ((pair.table, table & ~OTHER_KEY_BITS), (pair.page, page))
             for bit, mask in BITS.items() if entry & mask == mask]  # fmt: skip
    words += [f"cr0.{n}" for n in ("wp",) if state.wp]
    words += [f"cr4.{n}" for n in ("smep", "smap", "pke", "pks") if getattr(state, n)]
    words += [f"pkru={state.pkru >> 2 * KEY & 3}"] * state.pke + [f"pkrs={state.pkrs >> 2 * KEY & 3}"] * state.pks
    words += ["efer.nx"] * state.nxe + ["rflags.ac"] * state.ac
    words += [n for n in Access._fields if getattr(access, n)]
    return " ".join(words)


def _subsets(*names: str) -> Iterator[tuple[str, ...]]:
    for chosen in product((False, True), repeat=len(names)):
        yield tuple(n for n, yes in zip(names, chosen, strict=True) if yes)


def _sum(names: tuple[str, ...]) -> int:
    return sum(BITS[n] for n in names)


assert bits(51, MAXPHYADDR) & BITS["51"] & ~BITS["46"]
