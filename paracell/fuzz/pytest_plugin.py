"""Findings as tests: ``pytest -p paracell.fuzz.pytest_plugin FOLDER`` collects the files ``crash-…`` and ``minimized-from-…``.

A test passes where its input comes to nothing any more, and fails with what was found and what happened where it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from .finding import BadFinding, FindingFile, open_finding
from .target import BadTarget

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

_NAMES: Final = ("crash-", "minimized-from-")
_SHOWN: Final = 30  # lines of what happened


class Reproduced(AssertionError):
    """An input that still comes to something."""


class FindingTest(pytest.Item):
    """One finding."""

    def runtest(self) -> None:
        """Run the input again."""
        finding, target = open_finding(str(self.path))
        lines: list[str] = []
        try:
            found = target.run(finding.data, lines.append)
        finally:
            target.close()
        if found is not None:
            raise Reproduced("\n".join((str(found), f"in {finding.target}", *lines[-_SHOWN:])))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any, **more: Any) -> Any:
        """Show what was found, and no Python of ours."""
        if isinstance(excinfo.value, (Reproduced, BadFinding, BadTarget, OSError)):
            return str(excinfo.value)
        return super().repr_failure(excinfo, *args, **more)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Say which."""
        return self.path, None, self.name


class FindingFileCollector(pytest.File):
    """A file with a finding."""

    def collect(self) -> Iterator[pytest.Item]:
        """Give its test, named by the target."""
        yield FindingTest.from_parent(self, name=FindingFile.from_bytes(self.path.read_bytes()).target)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Take files that are named as findings are."""
    if not file_path.name.startswith(_NAMES) or file_path.suffix:
        return None
    return FindingFileCollector.from_parent(parent, path=file_path)
