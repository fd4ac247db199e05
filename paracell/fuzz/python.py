"""Targets, rules and functions out of a user's Python file, ``FILE.py:NAME`` or ``MODULE:NAME``."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .target import BadTarget, Found, Options, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable
    from types import FrameType

    from .target import Tell

_T = TypeVar("_T")


def find(spec: str) -> Any:
    """Import what ``FILE.py:NAME`` or ``MODULE:NAME`` names; `BadTarget` says what is missing, or what the file raised."""
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name:
        raise BadTarget(f"{spec}: which function? FILE.py:FUNCTION")
    try:
        module = _by_path(place) if place.endswith(".py") else importlib.import_module(place)
    except BadTarget:
        raise
    except ModuleNotFoundError as error:
        raise BadTarget(f"{place}: {error}") from error
    except Exception as error:
        raise BadTarget(f"{place}: raised at its import: {type(error).__name__}: {error}") from error
    try:
        return getattr(module, name)
    except AttributeError as error:
        raise BadTarget(f"{place}: has no {name}") from error


def load(spec: str, kind: type[_T]) -> _T:
    """Import a value that must be of this kind."""
    found = find(spec)
    if not isinstance(found, kind):
        raise BadTarget(f"{spec}: a {type(found).__name__}, and not a {kind.__name__}")
    return found


def _by_path(path: str) -> Any:
    file = Path(path).resolve()
    if not file.is_file():
        raise BadTarget(f"{path}: no such file")
    name = f"paracell_fuzz_{file.stem}_{hashlib.sha1(str(file).encode(), usedforsecurity=False).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    found = importlib.util.spec_from_file_location(name, file)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    folder = str(file.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # it may import its neighbours
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def python_target(options: Options) -> Target:
    """Make a target of a function, or of a class that is a `Target`."""
    found = find(options.argument)
    if isinstance(found, type) and issubclass(found, Target):
        try:
            return found(options)
        except BadTarget:
            raise
        except Exception as error:
            raise BadTarget(f"{options.argument}: could not be made: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise BadTarget(f"{options.argument}: is no function")
    return PythonTarget(options, found)


class PythonTarget(Target):
    """A function that takes bytes, and raises where something is wrong.  The lines of its file are the coverage."""

    name = "python"

    def __init__(self, options: Options, function: Callable[[bytes], object]) -> None:
        super().__init__(options)
        if options.runtime or options.nested or options.differential or options.oracle:
            raise BadTarget(
                f"{options.argument}: a function has no machine for -runtime, -nested, -differential, -oracle"
            )
        self._function = function
        code = getattr(function, "__code__", None)
        self._file: str | None = getattr(code, "co_filename", None)
        self._lines: set[Hashable] = set()

    def run(self, data: bytes, tell: Tell | None = None) -> Found | None:
        """Call the function."""
        self._lines.clear()
        before = sys.gettrace()
        sys.settrace(self._called)
        try:
            self._function(data)
        except Exception as error:  # noqa: BLE001 -- any is a finding
            sys.settrace(before)
            found = _found(error, self._file)
            if tell:
                import traceback

                tell("".join(traceback.format_exception(error)).rstrip())
            return found
        finally:
            sys.settrace(before)
        return None

    def _called(self, frame: FrameType, what: str, _value: object) -> Callable[..., Any] | None:
        """Follow the lines of the functions in the target's file: edges from one to the next."""
        del what
        if frame.f_code.co_filename != self._file:
            return None
        name, last, lines = frame.f_code.co_name, 0, self._lines

        def line(frame: FrameType, what: str, _value: object) -> Callable[..., Any]:
            nonlocal last
            if what == "line":
                now = frame.f_lineno
                lines.add((name, last, now))
                last = now
            return line

        return line

    def features(self) -> Iterable[Hashable]:
        """Give the pairs of lines that followed each other."""
        return tuple(self._lines)

    def digest(self) -> str:
        """Name the file by its content."""
        return hashlib.sha256(Path(self._file).read_bytes()).hexdigest() if self._file else ""


def _found(error: Exception, file: str | None) -> Found:
    """Say what was raised, and in which line of the target's file."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    where = f" (line {line} of {Path(file).name})" if file and line else ""
    text = str(error)
    return Found(f"{type(error).__name__}{f': {text}' if text else ''}{where}")
