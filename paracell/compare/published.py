"""What was published, from `published.toml`; where the file is not there, nothing was."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import Factory, frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

FILE: Final = Path(__file__).with_name("published.toml")


@frozen
class Published:
    """The tables of the file, each row as it stands there."""

    claim: Sequence[dict[str, Any]] = Factory(list)
    operation: Sequence[dict[str, Any]] = Factory(list)
    memory: Sequence[dict[str, Any]] = Factory(list)
    note: Sequence[dict[str, Any]] = Factory(list)

    def claimed(self, name: str) -> dict[str, Any] | None:
        """Give a claim by its name."""
        return next((row for row in self.claim if row["name"] == name), None)

    def time(self, row: str, runtime: str, place: str) -> dict[str, Any] | None:
        """Give the times of an operation, in µs."""
        return next(
            (r for r in self.operation if r["row"] == row and r["runtime"] == runtime and place in r["places"]), None
        )

    def waste(self, workload: str, policy: str) -> dict[str, Any] | None:
        """Give the waste of a policy, in per cent; `of` says which mean over time: of the ratios, or the ratio of the means."""
        return next(
            (r for r in self.memory if workload.partition("-")[0] == r["workload"] and policy == r["policy"]), None
        )


def read() -> Published:
    """Read the file.

    Raises:
        ValueError: it is no TOML.

    """
    import tomllib

    try:
        text = FILE.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Published()
    return Published(**tomllib.loads(text))
