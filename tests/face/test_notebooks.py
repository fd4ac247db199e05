"""The notebooks of the manual: each runs, shows what the manual shows, and uses nothing but `import paracell` and, for a lab, its tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from nbclient import NotebookClient
from nbformat import reads

from paracell.labs.catalogue import named
from paracell.labs.notebook import check

_NUMBERS = re.compile(r"0x[0-9a-f]{5,}|\b[\d,]{4,}\b")
ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs").glob("*.ipynb"))
LABS = [path for path in NOTEBOOKS if path.stem.startswith("lab-")]
_ALLOWED = re.compile(
    r"import paracell|from paracell import [\w, ]+|from paracell\.labs\.notebook import check|from (collections|dataclasses) import \w+"
)


def notebook(path: Path) -> Any:
    return reads(path.read_text(encoding="utf-8"), as_version=4)  # type: ignore[no-untyped-call]


def shown(notebook: Any) -> list[str]:
    """What each code cell shows, as text; addresses and times change with the kernel, and are not compared."""
    out = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            texts = [o.get("text") or "".join(o.get("data", {}).get("text/plain", "")) for o in cell.outputs]
            out.append(_NUMBERS.sub("#", "".join(texts)))
    return out


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_shows_what_the_manual_shows(path: Path) -> None:
    stored = notebook(path)
    fresh = notebook(path)
    NotebookClient(fresh, timeout=300, kernel_name="python3").execute()
    assert shown(fresh) == shown(stored)
    assert any(shown(stored))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_needs_no_other_name(path: Path) -> None:
    cells = [cell.source for cell in notebook(path).cells if cell.cell_type == "code"]
    imports = re.findall(r"^(?:import|from) .*", "\n".join(cells), re.MULTILINE)
    assert imports
    assert all(_ALLOWED.fullmatch(line) for line in imports)


def test_which_there_are() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "lab-keys",
        "lab-nested",
        "lab-syscalls",
        "page-fault",
        "price-of-wrpkru",
    ]


@pytest.mark.parametrize("path", LABS, ids=lambda path: path.stem)
def test_a_solved_lab_gets_every_point(path: Path) -> None:
    """With the solution in the place of the student's cell."""
    lab = path.stem.removeprefix("lab-")
    solved = notebook(path)
    (work,) = [cell for cell in solved.cells if "work" in cell.metadata.get("tags", ())]
    (file,) = named(lab).files
    solution = ROOT / "tests/labs" / lab / file
    names: dict[str, Any] = {}
    exec(compile(solution.read_text(encoding="utf-8"), str(solution), "exec"), names)
    assert "raise NotImplementedError" in work.source
    assert check(lab, {}).score == 0
    if lab == "keys":  # the other takes seconds, and tests/labs has it
        report = check(lab, names)
        assert report.score == report.most == 100, report
