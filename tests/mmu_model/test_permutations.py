"""The walker against the model, over every legal permutation of the one-bit conditions (`sweep`), and over one in a few hundred.

The order of cases is fixed: a slice takes every N-th, N prime, so that it meets every value of every condition.
"""

from __future__ import annotations

from typing import Final

import pytest

from paracell.fuzz.model.paging import LEVEL4, RW, US, Access, P, translate
from paracell.fuzz.model.tables import TABLES, Tables

from .conditions import ACCESSES, PAIRS, Pair, contexts, entries, name

LINEAR: Final = 0x5A4D_3C2B_1A98 & 0x7FFF_FFFF_FFFF
FRAME: Final = 0x2A_4000_0000  # aligned for every page size
ABOVE: Final = P | RW | US
STRIDE: Final = 307
PARTS: Final = 8

CONTEXTS: Final = tuple(contexts())


def compare(pair: Pair, begin: int, stride: int) -> int:
    """Compare cases begin, begin + stride, … of `pair`; give how many, or fail with all that differ (at most ten)."""
    tables = Tables(LEVEL4, LINEAR)
    bits = tuple(entries(pair))
    level = (39, 30, 21, 12).index(pair.shift)
    above = tuple(TABLES[i + 1] | ABOVE for i in range(level - 1))
    below = (0,) * (3 - level)
    wrong: list[str] = []
    cases = range(begin, len(bits) * len(CONTEXTS), stride)
    for case in cases:
        table, page = bits[case % len(bits)]
        state, access = CONTEXTS[case // len(bits)]
        before = (*above, TABLES[level] | table, FRAME | page, *below)
        expected = translate(state, access, LINEAR, before)
        got = tables.outcome(state, access, before)
        if got != expected:
            wrong.append(f"{name(pair, table, page, state, access)}:\n    got      {got}\n    expected {expected}")
            if len(wrong) == 10:
                break
    assert not wrong, "\n".join(wrong)
    return len(cases)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: f"{p.table}-{p.page}")
def test_slice(pair: Pair) -> None:
    assert compare(pair, 11, STRIDE) > 30_000


@pytest.mark.sweep
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: f"{p.table}-{p.page}")
def test_every_permutation(pair: Pair, part: int) -> None:
    assert compare(pair, part, PARTS) > 1_000_000


@pytest.mark.parametrize("access", ACCESSES, ids=str)
def test_the_space_holds_both_answers(access: Access) -> None:
    """A space in which an access always fails, or never, would test nothing."""
    bits = tuple(entries(PAIRS[0]))
    answers = {
        translate(state, access, LINEAR, (0x5000 | ABOVE, 0x9000 | ABOVE, 0xC000 | table, FRAME | page)).error
        for state in [s for s, a in CONTEXTS if a == access][::3]
        for table, page in bits[::7]
    }
    assert None in answers
    assert len(answers) > 3
