"""A student's folder: made from a lab, and known again by its ``lab.toml``."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Final

from ..problem import Problem
from .catalogue import Lab, named

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MARK: Final = "lab.toml"
_TESTS: Final = "tests.py"  # to be read; `check` runs the lab's own


def contents(lab: Lab) -> dict[str, str]:
    """Give the files of a fresh folder: name and text."""
    skeleton = lab.folder / "skeleton"
    files = {path.name: path.read_text(encoding="utf-8") for path in sorted(skeleton.iterdir()) if path.is_file()}
    mark = f'# `paracell lab check` knows this folder by the next line.\nlab = "{lab.name}"\n'
    tests = (lab.folder / _TESTS).read_text(encoding="utf-8")
    return {**files, "handout.md": lab.handout, _TESTS: tests, MARK: mark}


def start(lab: Lab, folder: Path) -> list[str]:
    """Make a student's folder; give the names of its files.

    Raises:
        Problem: there is something in the folder.
        OSError: it cannot be made.

    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Problem(f"not an empty folder: {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    files = contents(lab)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return list(files)


def lab_of(folder: Path) -> Lab:
    """Tell which lab a folder belongs to; `Problem` if it is none."""
    mark = folder / MARK
    if not folder.is_dir():
        raise Problem(f"no such folder: {folder}")
    if not mark.is_file():
        raise Problem(f"not a lab's folder, it has no {MARK} (say which lab with --lab): {folder}")
    try:
        name = tomllib.loads(mark.read_text(encoding="utf-8")).get("lab")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Problem(f"not what `paracell lab start` wrote, {error}: {mark}") from error
    if not isinstance(name, str):
        raise Problem(f'it does not say lab = "NAME": {mark}')
    return named(name)


def remarks(lab: Lab, folder: Path) -> Iterator[str]:
    """Say what a student should know of the folder: tests that were changed have no effect."""
    tests = folder / _TESTS
    if tests.is_file() and tests.read_bytes() != (lab.folder / _TESTS).read_bytes():
        yield f"{tests} is not the lab's own; check runs the lab's own"
