"""Inputs in folders, laid out as the fuzzer wtf has it: FOLDER has three.

``inputs`` holds what somebody begins with, ``outputs`` what was kept because it showed something new, named by its SHA-1,
``crashes`` findings.  Files in FOLDER itself are read, too: a corpus of libFuzzer's.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..output import whole_file
from .finding import BadFinding, FindingFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

INPUTS, OUTPUTS, CRASHES = "inputs", "outputs", "crashes"
_LARGEST: Final = 1 << 20  # bytes of a file; libFuzzer's limit for one, too


def name_of(data: bytes) -> str:
    """Give the name of an input's file."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


class Corpus:
    """The folders and files of one command line; new inputs go to the first folder.

    Raises:
        OSError: one of them is not there, or cannot be read.

    """

    def __init__(self, places: Sequence[str]) -> None:
        self.folders = [p for p in places if Path(p).is_dir()]
        self.files = [p for p in places if p not in self.folders]
        self._first: set[str] = set()

    def read(self) -> Iterator[tuple[str, bytes]]:
        """Give each input once, with its path: the files, then folder after folder, by name."""
        done: set[str] = set()
        for path in (*self.files, *(p for f in self.folders for p in _paths(f))):
            data = read_input(path)
            name = name_of(data)
            if self.folders and Path(path).is_relative_to(self.folders[0]):
                self._first.add(name)
            if name not in done:
                done.add(name)
                yield path, data

    def keep(self, data: bytes) -> None:
        """Write an input that showed something new."""
        name = name_of(data)
        if not self.folders or name in self._first:
            return
        place = Path(self.folders[0], OUTPUTS)
        place.mkdir(exist_ok=True)
        with whole_file(str(place / name)) as file:
            file.write(data)
        self._first.add(name)

    def has(self, data: bytes) -> bool:
        """Tell whether the first folder has this input already."""
        return name_of(data) in self._first

    def crashes(self) -> str:
        """Give the beginning of a finding's path."""
        return f"{Path(self.folders[0], CRASHES)}{os.sep}" if self.folders else ""


def read_input(path: str) -> bytes:
    """Read an input, or take it out of a finding."""
    with open(path, "rb") as file:  # noqa: PTH123 -- the path goes into OSError as the user wrote it
        data = file.read(_LARGEST)
    try:
        return FindingFile.input_of(data)
    except BadFinding as error:
        raise BadFinding(f"{path}: {error}") from error


def _paths(folder: str) -> Iterator[str]:
    for each in ("", INPUTS, OUTPUTS):
        place = Path(folder, each)
        if place.is_dir():
            yield from sorted(str(p) for p in place.iterdir() if p.is_file() and not p.name.startswith("."))
