"""The tests of a lab from a notebook, on what its cells have defined."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from attrs import frozen

from .attempt import attempt
from .catalogue import named

if TYPE_CHECKING:
    from collections.abc import Mapping


@frozen(repr=False)
class Report:
    """What came of a lab's tests; a notebook shows it as `paracell lab check` does.

    Attributes:
        lines: a line for each test, and what is wrong below it.
        score: the points.
        most: the points that there are.

    """

    lines: tuple[str, ...]
    score: int
    most: int

    def __repr__(self) -> str:
        """Show the lines and the score."""
        return "\n".join([*self.lines, f"Score: {self.score}/{self.most}"])


def check(lab: str, names: Mapping[str, Any]) -> Report:
    """Run the tests of a lab on the functions of a notebook: ``check("keys", globals())``.

    They run in the notebook's own process: what loops without end is interrupted as any cell is.

    Raises:
        Problem: there is no such lab.

    """
    found = named(lab)
    modules = {}
    for file in found.files:
        made = ModuleType(Path(file).stem)
        vars(made).update({name: value for name, value in names.items() if not name.startswith("_")})
        modules[made.__name__] = made
    folder = _folder(names)
    lines, score, most = [], 0, 0
    for test in found.tests():
        student = test.student(folder)
        student.loaded.update(modules)
        wrong = attempt(test, student)
        lines.append(f"== Test {test.title} == {test.title}: {'OK' if wrong is None else 'FAIL'}")
        lines += ["    " + re.sub(r"^  \S+\.py:", "  line ", line) for line in (wrong or "").splitlines()]
        score, most = score + (0 if wrong else test.points), most + test.points
    return Report(tuple(lines), score, most)


def _folder(names: Mapping[str, Any]) -> Path:
    """Find where the notebook's cells are kept as files, for tracebacks: that of any function."""
    for value in names.values():
        code = getattr(value, "__code__", None)
        if code is not None and "ipykernel" in code.co_filename:
            return Path(code.co_filename).parent
    return Path("/nonexistent")
