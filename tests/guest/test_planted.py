"""Planted mistakes of `docs/fuzz.md`: each is found from an empty corpus, by seed 1, within the tries that its row states."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from paracell.fuzz import Options, make_target
from paracell.fuzz.engine import Engine

PAGE: Final = (Path(__file__).parents[2] / "docs/fuzz.md").read_text(encoding="utf-8")
ROWS: Final = [
    (target, off, int(tries.replace(",", "")))
    for target, off, tries in re.findall(r"^\| ([a-z]+) \| ([a-z-]+) \| .* \| ([\d,]+) \|$", PAGE, re.MULTILINE)
]
QUICK: Final = 200  # tries


def test_the_table_is_read() -> None:
    assert len(ROWS) >= 8


@pytest.mark.parametrize(
    ("target", "off", "tries"),
    [pytest.param(*row, marks=() if row[2] <= QUICK else pytest.mark.sweep) for row in ROWS],
)
def test_a_planted_mistake_is_found(target: str, off: str, tries: int) -> None:
    with closing(make_target(target, Options((off,)))) as made:
        engine = Engine(made, target)
        finding = engine.run(tries)
        engine.close()
        assert finding
        assert made.run(finding.data) == finding.found
