"""The labs that there are: each is a folder beside this file.

::

    labs/NAME/lab.toml       number, title, minutes, learns, files
    labs/NAME/handout.md     what a student reads
    labs/NAME/hints.md       one hint below each heading ``## …``
    labs/NAME/skeleton/      the files that `start` copies
    labs/NAME/tests.py       what `check` runs
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ..problem import Problem

if TYPE_CHECKING:
    from .grade import Test

HERE: Final = Path(__file__).parent


@frozen
class Lab:
    """One lab.

    Attributes:
        name: what the command line calls it.
        number: its place in the course, from 1.
        title: one line.
        minutes: how long it takes somebody who has heard the lecture.
        learns: what one learns, one line.
        files: the names of the files that a student changes.

    """

    name: str
    number: int
    title: str
    minutes: int
    learns: str
    files: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where its parts are."""
        return HERE / self.name

    @property
    def handout(self) -> str:
        """The hand-out, as Markdown."""
        return (self.folder / "handout.md").read_text(encoding="utf-8")

    @property
    def hints(self) -> list[str]:
        """The hints, each as Markdown with its heading."""
        text = (self.folder / "hints.md").read_text(encoding="utf-8")
        return [part.strip() for part in re.split(r"^(?=## )", text, flags=re.MULTILINE) if part.startswith("## ")]

    def tests(self) -> tuple[Test, ...]:
        """Give its tests in order; this imports them."""
        import importlib

        from .grade import collect

        return collect(importlib.import_module(f".{self.name}.tests", __package__))


def labs() -> list[Lab]:
    """Give every lab, in the order of the course."""
    found = []
    for path in HERE.glob("*/lab.toml"):
        said = tomllib.loads(path.read_text(encoding="utf-8"))
        said["files"] = tuple(said["files"])
        found.append(Lab(name=path.parent.name, **said))
    return sorted(found, key=lambda lab: lab.number)


def named(name: str) -> Lab:
    """Give the lab of this name; `Problem` if there is none."""
    known = labs()
    for lab in known:
        if lab.name == name:
            return lab
    raise Problem(f"no such lab: {name}; there are {', '.join(lab.name for lab in known)}")
