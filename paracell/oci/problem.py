"""What an OCI runtime refuses."""

from __future__ import annotations

from typing import Final

from ..problem import Problem

REFUSED: Final = 1  # the exit status of runc for whatever goes wrong with itself


class OciProblem(Problem):
    """A request that cannot be done; ends the command with status 1."""

    def __init__(self, line: str) -> None:
        super().__init__(line, REFUSED)
