"""Planted mistakes of `docs/fuzz.md` and `docs/fuzz-targets.md`: each is found from nothing, by seed 1, within its row's tries."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from paracell.fuzz import Options, make_target
from paracell.fuzz.engine import Engine

DOCS: Final = Path(__file__).parents[2] / "docs"
# A row of the second page names a runtime, too.
ROW: Final = r"^\| ([a-z]+) \|(?: (–|[a-z]+) \|)? ([a-z0-9-]+) \| [^|]* \| ([\d,]+) \|$"
ROWS: Final = [
    (target, None if runtime in {"", "–"} else runtime, off, int(tries.replace(",", "")), quick)
    for page, quick in (("fuzz.md", 200), ("fuzz-targets.md", 20))
    for target, runtime, off, tries in re.findall(ROW, (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE)
]


def test_the_table_is_read() -> None:
    assert len(ROWS) == 33
    assert {target for target, *_ in ROWS} == {"gates", "pager", "hypercalls", "syscalls", "vmentry", "images", "walk"}


@pytest.mark.parametrize(
    ("target", "runtime", "off", "tries"),
    [pytest.param(*row, marks=() if row[3] <= quick else pytest.mark.sweep) for *row, quick in ROWS],
)
def test_a_planted_mistake_is_found(target: str, runtime: str | None, off: str, tries: int) -> None:
    with closing(make_target(target, Options((off,), runtime=runtime))) as made:
        engine = Engine(made, target)
        finding = engine.run(tries)
        engine.close()
        assert finding
        assert made.run(finding.data) == finding.found
