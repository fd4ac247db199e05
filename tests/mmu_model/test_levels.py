"""Rights come from every level: all permutations over four levels at once, and over the other paging modes."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final

import pytest

from paracell.fuzz.model.paging import BITS32, LEVEL4, PAE, PS, RW, SHIFTS, US, XD, A, Access, D, P, State, translate
from paracell.fuzz.model.tables import TABLES, Tables

from .conditions import ACCESSES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

LINEAR4: Final = 0xFFFF_9234_5678_9ABC
LINEAR32: Final = 0xC4D3_52A1


def sums(*bits: int) -> list[int]:
    """Give the sum of every subset."""
    return [sum(chosen) for chosen in product(*((0, b) for b in bits))]


def states(mode: str, *, pse: tuple[bool, ...] = (True,)) -> Iterator[State]:
    switches = (False, True)
    for wp, smep, smap, nxe, ac, large in product(switches, switches, switches, switches, switches, pse):
        if smap or not ac:
            yield State(mode, wp=wp, smep=smep, smap=smap, nxe=nxe, ac=ac, pse=large, maxphyaddr=40)


def agree(linear: int, states: Iterable[State], layouts: Sequence[tuple[int, ...]], accesses: Iterable[Access]) -> int:
    """Compare walker and model on every combination; give how many there were."""
    done = 0
    chosen = tuple(accesses)
    for state in states:
        tables = Tables(state.mode, linear)
        for entries, access in product(layouts, chosen):
            assert tables.outcome(state, access, entries) == translate(state, access, linear, entries), (
                f"{state}\n{access}\n{[hex(e) for e in entries]}"
            )
            done += 1
    return done


def test_four_levels() -> None:
    """Every level's R/W, U/S and XD, and P of every level."""
    rights = sums(RW, US, XD)
    layouts = [
        tuple(base | P | bits for base, bits in zip((*TABLES[1:], 0x7000), chosen, strict=True))
        for chosen in product(rights, repeat=4)
    ]
    chosen = [s for s in states(LEVEL4) if s.nxe][::5]
    assert agree(LINEAR4, chosen, layouts[::3], ACCESSES) > 20_000


def test_the_first_entry_that_is_not_there_decides() -> None:
    """P, A, one reserved bit at every level: order of the checks, and which entries are marked as used."""
    bits = sums(P, A, 1 << 45, D)
    layouts = [
        tuple(base | RW | US | b for base, b in zip((*TABLES[1:], 0x7000), chosen, strict=True))
        for chosen in product(bits, repeat=4)
    ]
    chosen = [State(nxe=True, maxphyaddr=40), State(nxe=False, wp=False, maxphyaddr=44)]
    assert agree(LINEAR4, chosen, layouts[::5], (Access(), Access(write=True, user=True))) > 50_000


@pytest.mark.parametrize("pse", [False, True])
def test_32_bit(pse: bool) -> None:
    pages = [0x12345000 | b for b in sums(P, RW, US, A, D)]
    pdes = [base | b for base in (TABLES[1], TABLES[1] | PS) for b in sums(P, RW, US, A, D)]
    if pse:
        pdes += [0x12C00000 | P | RW | US | PS | b for b in sums(D, 1 << 13, 1 << 20, 1 << 21, 1 << 12)]
    layouts = list(product(pdes, pages[::3]))
    accesses = [a for a in ACCESSES if not a.implicit]
    assert agree(LINEAR32, states(BITS32, pse=(pse,)), layouts[::2], accesses) > 10_000


def test_pae() -> None:
    registers = [0, TABLES[1] | P]
    pages = [0x7000 | b for b in sums(P, RW, US, XD)] + [0x7000 | P | b for b in sums(A, D, 1 << 52, 1 << 62, 1 << 40)]
    pdes = [TABLES[2] | b for b in sums(P, RW, US, XD, A)]
    pdes += [0x600000 | PS | P | RW | US | b for b in sums(XD, D, 1 << 13, 1 << 59)]
    layouts = list(product(registers, pdes, pages))
    assert agree(LINEAR32, states(PAE), layouts[::7], [a for a in ACCESSES if not a.implicit]) > 10_000


@pytest.mark.parametrize("page", [12, 21, 30])
def test_every_key(page: int) -> None:
    """All sixteen keys, all four rights in PKRU and PKRS, CR0.WP, both modes of address, every access; other keys refuse or permit all."""
    accesses = ACCESSES
    level = SHIFTS[LEVEL4].index(page)
    done = 0
    for key, us, rights, others, wp, pke, pks in product(
        range(16), (0, US), range(4), (0, 0xFFFFFFFF), (False, True), (False, True), (False, True)
    ):
        register = others & ~(3 << 2 * key) | rights << 2 * key
        opposite = others & ~(3 << 2 * key) | (rights ^ 3) << 2 * key
        leaf = 0x40000000 | P | RW | us | key << 59 | (PS if page > 12 else 0)
        entries = (*(t | P | RW | US | (key ^ 7) << 59 for t in TABLES[1 : level + 1]), leaf, *(0,) * (3 - level))
        state = State(
            wp=wp, pke=pke, pks=pks, pkru=register if us else opposite, pkrs=opposite if us else register, maxphyaddr=46
        )
        done += agree(LINEAR4, [state], [entries], accesses)
    assert done == 16 * 2 * 4 * 2 * 8 * len(accesses)
