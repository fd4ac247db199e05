"""Results of cells as files: one JSON file each, in a directory, so that an interrupted comparison goes on where it was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from attrs import asdict

from ..output import whole_file
from .cells import FORMAT, Cell

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_SHOWN: Final = 12  # digits of a key in a file's name
_BILL: Final = {"turns": int, "instructions": int, "slept": int, "times": dict, "services": dict, "kinds": dict}


class Results:
    """The results that a directory has.

    Attributes:
        folder: the directory, which is made when the first result comes; None keeps nothing.
        complaints: a line for each file that was not taken.

    """

    def __init__(self, folder: Path | None) -> None:
        """Look at a directory.

        Args:
            folder: it, or None.

        Raises:
            ValueError: it is there, but no directory.

        """
        if folder is not None and folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder}: no directory, so no place for results")
        self.folder = folder
        self.complaints: list[str] = []

    def _path(self, cell: Cell) -> Path:
        assert self.folder is not None
        return self.folder / f"{cell.name}.{cell.key[:_SHOWN]}.json"

    def look_round(self, cells: Sequence[Cell]) -> None:
        """Complain, in one line, of files in the directory that are no result of any comparison."""
        if self.folder is None or not self.folder.is_dir():
            return
        names = {self._path(cell).name for cell in cells}
        foreign = [p.name for p in sorted(self.folder.iterdir()) if p.name not in names and not _may_be_ours(p.name)]
        if foreign:
            more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
            self.complaints.append(f"{self.folder}: {foreign[0]}{more}: no result of a comparison; left as it is")

    def get(self, cell: Cell) -> dict[str, Any] | None:
        """Give the result of a cell; None where there is none, and where its file is broken, with a complaint."""
        if self.folder is None:
            return None
        path = self._path(cell)
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self.complaints.append(f"{path}: {error}; measured again")
            return None
        why = _refused(found, cell)
        if why is not None:
            self.complaints.append(f"{path}: {why}; measured again")
            return None
        result: dict[str, Any] = found["result"]
        return result

    def put(self, cell: Cell, result: dict[str, Any]) -> None:
        """Keep a result: its file appears whole or not at all."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        record = {"format": FORMAT, "key": cell.key, "cell": asdict(cell), "result": result}
        with whole_file(str(self._path(cell))) as file:
            file.write(json.dumps(record, indent=1, sort_keys=True).encode() + b"\n")


def _may_be_ours(name: str) -> bool:
    kind, dot, rest = name.removeprefix(".").partition("-")
    return kind in {"operation", "application", "memory"} and bool(dot) and ".json" in rest


def _refused(found: object, cell: Cell) -> str | None:
    """Say why a file's content is no result of this cell."""
    if not isinstance(found, dict) or found.keys() != {"format", "key", "cell", "result"}:
        return "no result of a comparison"
    if found["format"] != FORMAT or found["key"] != cell.key or found["cell"] != asdict(cell):
        return "the result of something else"
    result = found["result"]
    if not isinstance(result, dict):
        return "no result in it"
    if isinstance(result.get("missing"), str):
        return None
    if cell.kind == "memory":
        return None if _are_samples(result) else "no samples in it"
    whole = result.keys() == _BILL.keys() and all(isinstance(result[name], kind) for name, kind in _BILL.items())
    if not whole or result["turns"] < 1:
        return "no counts in it"
    numbers = [number for name in ("times", "services", "kinds") for number in result[name].values()]
    return None if all(type(number) is int for number in numbers) else "counts in it that are no numbers"


def _are_samples(result: dict[str, Any]) -> bool:
    samples = result.get("samples")
    return (
        isinstance(samples, list)
        and type(result.get("end")) is int
        and all(isinstance(s, list) and len(s) == 7 and all(type(n) is int for n in s) for s in samples)
    )
