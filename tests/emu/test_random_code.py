"""3,000 random instruction sequences: each ends with a `Stop`, and none with an exception of Python's or a hang."""

from __future__ import annotations

from random import Random

import pytest

from .random_code import Wild, sequence

SEED, COUNT, PARTS = 20261126, 3000, 4
RENEW = 250  # sequences on one machine


def run(first: int, count: int) -> dict[str, int]:
    """Run sequences by number; how many ended in which way."""
    ends: dict[str, int] = {}
    wild = Wild()
    try:
        for number in range(first, first + count):
            if number % RENEW == 0:
                wild.close()
                wild = Wild()
            random = Random(SEED + number)
            code = sequence(random)
            try:
                stop = wild.play(code, random)
            except BaseException as error:
                error.add_note(f"sequence {number}: {code.hex(' ')}")
                raise
            ends[stop.reason.value] = ends.get(stop.reason.value, 0) + 1
    finally:
        wild.close()
    return ends


@pytest.mark.parametrize("part", range(PARTS))
def test_no_sequence_is_too_much(part: int) -> None:
    ends = run(part * COUNT // PARTS, COUNT // PARTS)
    assert sum(ends.values()) == COUNT // PARTS
    assert ends["halted"] > COUNT // PARTS / 3  # most get as far as an exception, whose handler halts
    assert ends["limit"] > 5


def test_a_sequence_depends_on_its_number_alone() -> None:
    assert [sequence(Random(SEED + n)) for n in (1, 2)] == [sequence(Random(SEED + n)) for n in (1, 2)]
