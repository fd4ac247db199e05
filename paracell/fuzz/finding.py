"""A finding, and the file that keeps it: all that is needed to run it again."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final, Self

from attrs import asdict, frozen

from .target import Found, Options
from .targets import make_target

if TYPE_CHECKING:
    from .target import Target

_MARK: Final = b'{\n "paracell": "finding"'
_LARGEST: Final = 4 << 20  # bytes of a finding's file


class BadFinding(ValueError):
    """A file that is no finding."""


@frozen
class FindingFile:
    """An input that came to something.

    Attributes:
        target: as the command line had it.
        options: how the target was made.
        found: what it came to.
        data: the input.
        digest: of the images or files that the target was made of.
        seed, number: of the try that made it; -1 where it was in a corpus.

    """

    target: str
    options: Options
    found: Found
    data: bytes
    digest: str
    seed: int = 0
    number: int = -1

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"crash-{hashlib.sha1(self.data, usedforsecurity=False).hexdigest()}"

    def make(self) -> Target:
        """Make the target that it was found in; raises `BadTarget`."""
        return make_target(self.target, self.options)

    def to_json(self, target: Target | None = None) -> str:
        """Write it as a file's text, with a description where the target is at hand."""
        record = {
            "paracell": "finding",
            "what": self.found.what,
            "rip": f"{self.found.rip:#x}",
            "target": self.target,
            "options": {k: v for k, v in asdict(self.options).items() if v and k != "argument"},
            "seed": self.seed,
            "number": self.number,
            "input": self.data.hex(),
            "says": target.describe(self.data).splitlines() if target else [],
            "images": self.digest,
        }
        return json.dumps(record, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_json` wrote; `BadFinding` for anything else."""
        try:
            record: dict[str, Any] = json.loads(data)
            given = {name: _option(name, value) for name, value in record["options"].items()}
            return cls(
                str(record["target"]),
                Options(**given),
                Found(str(record["what"]), int(record["rip"], 16)),
                bytes.fromhex(record["input"]),
                str(record["images"]),
                int(record["seed"]),
                int(record["number"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise BadFinding(f"no finding of paracell fuzz: {type(error).__name__} {error}") from error

    @staticmethod
    def input_of(data: bytes) -> bytes:
        """Give the input of a finding's file, and any other bytes as they are."""
        if data.startswith(_MARK):
            return FindingFile.from_bytes(data).data
        return data


def _option(name: str, value: object) -> Any:
    """Give an option as `Options` has it; ValueError for a value of another kind."""
    if name in {"off", "differential", "oracle"} and isinstance(value, list):
        return tuple(map(str, value))
    if isinstance(value, bool if name == "nested" else str) and name not in {"off", "differential", "oracle"}:
        return value
    raise ValueError(f"{name} is {value!r}")


def open_finding(path: str) -> tuple[FindingFile, Target]:
    """Read a finding, and make its target; raises `BadFinding`, `BadTarget` or ``OSError``."""
    with open(path, "rb") as file:  # noqa: PTH123 -- the path goes into OSError as the user wrote it
        finding = FindingFile.from_bytes(file.read(_LARGEST))
    return finding, finding.make()
