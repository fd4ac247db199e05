"""Every example runs: in the docstrings of what is public, and in docs/api.md."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
MODULES = (
    "paracell.container",
    "paracell.machine",
    "paracell.processor",
    "paracell.record",
    "paracell.settings",
    "paracell.emu.events",
    "paracell.emu.memory",
    "paracell.mmu.address",
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


def test_the_page_of_the_api() -> None:
    """One session from top to bottom: a block may use what an earlier one made."""
    blocks = _BLOCK.findall((DOCS / "api.md").read_text(encoding="utf-8"))
    assert len(blocks) > 8
    check(doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "api.md", "docs/api.md", 0))


def check(example: doctest.DocTest) -> None:
    report: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    runner.run(example, out=report.append)
    assert not runner.summarize(verbose=False).failed, "".join(report)


def test_each_module_has_examples() -> None:
    assert {example.name.split(":")[0].rsplit(".", 1)[0].split(".")[0] for example in examples()} == {"paracell"}
    assert len(examples()) > 12
