"""What the tests of a lab are written with: a test is a function of the student's work, and has points and a title.

::

    @test(15, "walk: a present page")
    def present(student: Student) -> None:
        walk = student.function("walker", "walk")
        ...
        expect(got == wanted, f"walk({address:#x}) gave {got}, and the processor {wanted}")
"""

from __future__ import annotations

import importlib.util
import random
import sys
import zlib
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType


class Wrong(Exception):
    """The work is wrong; the text says what was asked, what came, and what should have come."""


def expect(holds: bool, otherwise: str) -> None:
    """Raise `Wrong` with the text `otherwise` unless it `holds`."""
    if not holds:
        raise Wrong(otherwise)


@define
class Student:
    """A student's work, as a test reaches it.

    Attributes:
        folder: where the files are.
        random: numbers that are the same in each run of the same test.
        loaded: modules that are there already, by name.

    """

    folder: Path
    random: random.Random
    loaded: dict[str, ModuleType] = field(factory=dict, init=False)

    def module(self, name: str) -> ModuleType:
        """Import ``NAME.py`` of the student's, once; `Wrong` if there is no such file.  What its code raises comes out."""
        if name not in self.loaded:
            path = self.folder / f"{name}.py"
            expect(path.is_file(), f"{name}.py is missing")
            spec = importlib.util.spec_from_file_location(name, path)
            assert spec is not None
            assert spec.loader is not None
            made = importlib.util.module_from_spec(spec)
            sys.modules[name] = made  # dataclasses look themselves up there
            spec.loader.exec_module(made)
            self.loaded[name] = made
        return self.loaded[name]

    def get(self, module: str, name: str) -> Any:
        """Give what the student's module calls `name`; `Wrong` if there is no such name."""
        found = getattr(self.module(module), name, None)
        expect(found is not None, f"{module}.py has no {name}")
        return found

    def function(self, module: str, name: str) -> Callable[..., Any]:
        """Give a function or a class of the student's; `Wrong` if there is none of that name."""
        found = self.get(module, name)
        expect(callable(found), f"{name} in {module}.py is no function")
        made: Callable[..., Any] = found
        return made


@frozen
class Test:
    """One test.

    Attributes:
        points: what it is worth; it gives all of them or none.
        title: what it is called.
        run: raises `Wrong`, or whatever the student's code raises, if the work does not pass.
        seconds: of processor time that it may take.

    """

    points: int
    title: str
    run: Callable[[Student], None]
    seconds: int

    def student(self, folder: Path, seed: int = 0) -> Student:
        """Give the work in `folder`, with the random numbers of this test and `seed`."""
        return Student(folder, random.Random(zlib.crc32(f"{seed} {self.title}".encode())))  # noqa: S311 -- cases, no secrets


def test(points: int, title: str, *, seconds: int = 10) -> Callable[[Callable[[Student], None]], Test]:  # noqa: PT028 -- no test
    """Declare a test, as a decorator; `seconds` of processor time are what it may take."""

    def declare(run: Callable[[Student], None]) -> Test:
        return Test(points, title, run, seconds)

    return declare


def collect(module: ModuleType) -> tuple[Test, ...]:
    """Give the tests that a module declares, in order."""
    return tuple(value for value in vars(module).values() if isinstance(value, Test))
