"""Every example runs: in the docstrings of what is public, and in pages of the manual."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = (
    "paracell.container",
    "paracell.machine",
    "paracell.processor",
    "paracell.record",
    "paracell.runs",
    "paracell.settings",
    "paracell.view",
    "paracell.compare.price",
    "paracell.compare.services",
    "paracell.compare.tally",
    "paracell.diff.align",
    "paracell.diff.difference",
    "paracell.emu.cost",
    "paracell.emu.events",
    "paracell.emu.memory",
    "paracell.emu.sinks.crossings",
    "paracell.mmu.address",
    "paracell.oracle.watching",
)
_BLOCK = re.compile(r"^```pycon\n(.*?)^```", re.DOTALL | re.MULTILINE)


def examples() -> list[doctest.DocTest]:
    found: list[doctest.DocTest] = []
    for name in MODULES:
        found += [
            t for t in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name)) if t.examples
        ]
    return found


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_docstring(example: doctest.DocTest) -> None:
    check(example)


@pytest.mark.parametrize(
    ("page", "least"), [("docs/api.md", 8), ("docs/costs.md", 1), ("docs/fuzz.md", 2), ("README.md", 1)]
)
def test_page(page: str, least: int) -> None:
    """One session from top to bottom: a block may use what an earlier one made."""
    blocks = _BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    assert len(blocks) >= least
    check(doctest.DocTestParser().get_doctest("\n".join(blocks), {}, page, page, 0))


def check(example: doctest.DocTest) -> None:
    report: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    runner.run(example, out=report.append)
    assert not runner.summarize(verbose=False).failed, "".join(report)


def test_each_module_has_examples() -> None:
    assert {example.name.split(":")[0].rsplit(".", 1)[0].split(".")[0] for example in examples()} == {"paracell"}
    assert len(examples()) > 12
