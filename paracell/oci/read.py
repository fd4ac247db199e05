"""Values out of JSON that a user wrote: each has the type that it should have, or a line says where it has not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from .problem import OciProblem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_T = TypeVar("_T")
_MISSING: Any = object()


class Table:
    """An object of JSON, and where it is, as in ``process.user``; it remembers who was asked for."""

    def __init__(self, value: Any, place: str = "") -> None:
        if not isinstance(value, dict):
            raise OciProblem(f"config.json: {place or 'the file'} is no object")
        self.value: dict[str, Any] = value
        self.place = place
        self._asked: set[str] = set()

    @classmethod
    def load(cls, path: Path) -> Table:
        """Read a file; `OciProblem` or `OSError`."""
        try:
            return cls(json.loads(path.read_bytes()))
        except (ValueError, RecursionError) as error:
            raise OciProblem(f"not JSON: {path} ({error})") from error

    def name(self, key: str) -> str:
        """Give the place of one of its values."""
        return f"{self.place}.{key}" if self.place else key

    def get(self, key: str, kind: type[_T], default: _T = _MISSING) -> _T:
        """Give a value; `OciProblem` if it has another type, or is missing and has no default.  A null is missing."""
        self._asked.add(key)
        value = self.value.get(key)
        if value is None:
            if default is _MISSING:
                raise OciProblem(f"config.json: {self.name(key)} is missing")
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise OciProblem(f"config.json: {self.name(key)} is no {_NAMES.get(kind, kind.__name__)}")
        return value

    def strings(self, key: str) -> list[str]:
        """Give a list of strings; none where it is missing."""
        found = self.get(key, list, [])
        for n, value in enumerate(found):
            if not isinstance(value, str):
                raise OciProblem(f"config.json: {self.name(key)}[{n}] is no string")
        return found

    def number(self, key: str, default: int, most: int = (1 << 32) - 1) -> int:
        """Give a number from 0 to `most`."""
        value = self.get(key, int, default)
        if not 0 <= value <= most:
            raise OciProblem(f"config.json: {self.name(key)} is not between 0 and {most}")
        return value

    def table(self, key: str) -> Table:
        """Give an object; an empty one where it is missing."""
        return Table(self.get(key, dict, {}), self.name(key))

    def tables(self, key: str) -> Iterator[Table]:
        """Give a list of objects."""
        for n, value in enumerate(self.get(key, list, [])):
            yield Table(value, f"{self.name(key)}[{n}]")

    def rest(self) -> list[str]:
        """Name what nobody has asked for, and what is not empty."""
        return [self.name(key) for key, value in self.value.items() if key not in self._asked and value not in _EMPTY]


_NAMES = {dict: "object", list: "list", str: "string", int: "whole number", bool: "truth value"}
_EMPTY: Any = (None, "", [], {}, False)
