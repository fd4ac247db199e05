"""One test of one student's work, whatever the work does: what went wrong comes as a text for the student."""

from __future__ import annotations

import linecache
import traceback
from typing import TYPE_CHECKING, Final

from .grade import Wrong

if TYPE_CHECKING:
    from pathlib import Path

    from .grade import Student, Test

_FRAMES: Final = 6  # of the student's, that a traceback shows: the innermost


class TookTooLong(BaseException):
    """The time is over; raised in the middle of the student's code, whose ``except Exception`` does not catch it."""


def attempt(test: Test, student: Student) -> str | None:
    """Run a test; None if the work passes, else what is wrong with it."""
    try:
        test.run(student)
    except Wrong as wrong:
        return str(wrong)
    except SystemExit as left:
        return _with_place(f"your code called sys.exit({left.code!r})", left, student.folder)
    except TookTooLong as late:
        return _with_place(f"still running after {test.seconds} s of processor time", late, student.folder)
    except BaseException as error:  # noqa: BLE001 -- the student's code raises what it likes
        return _told(error, student.folder)
    return None


def _told(error: BaseException, folder: Path) -> str:
    try:
        line = "".join(traceback.format_exception_only(error)).strip()
    except Exception:  # noqa: BLE001 -- an exception of the student's own whose text raises
        line = type(error).__name__
    if isinstance(error, SyntaxError):
        return line.replace(f"{folder}/", "")
    if isinstance(error, NotImplementedError) and not str(error):
        line = "not written yet (NotImplementedError)"
    if not _frames(error, folder):
        line = f"the test could not use what your code gave: {line}"
    return _with_place(line, error, folder)


def _frames(error: BaseException, folder: Path) -> list[traceback.FrameSummary]:
    """Give the frames of the traceback that are in the student's files."""
    linecache.checkcache()
    frames = traceback.extract_tb(error.__traceback__)
    return [frame for frame in frames if frame.filename.startswith(f"{folder}/")]


def _with_place(line: str, error: BaseException, folder: Path) -> str:
    """Put the student's part of the traceback below a line."""
    frames = _frames(error, folder)
    shown = frames[-_FRAMES:]
    left_out = [f"  … {len(frames) - _FRAMES} calls before"] if len(frames) > _FRAMES else []
    places = [f"  {f.filename.removeprefix(f'{folder}/')}:{f.lineno}, in {f.name}: {f.line}" for f in shown]
    return "\n".join([line, *left_out, *places])
