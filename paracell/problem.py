"""What went wrong, as one line for people and one number for scripts.

========  =================================================================
status    meaning
========  =================================================================
2         bad input: a file, an option, an image, a root file system
125       ParaCell itself failed, a standard stream could not be written, or
          the machine stopped without a status
126       the program cannot be executed (no x bit, a directory, no program)
127       the program was not found
128 + n   the guest died of signal n
========  =================================================================

The rest belong to the guest, as with ``runc run``.
"""

from __future__ import annotations

import os
from typing import Final

STREAMS: Final = ("standard input", "standard output", "standard error")  # what errors name instead of a path
BAD_INPUT: Final = 2
FAILED: Final = 125
NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127
SIGNALLED: Final = 128


class Problem(Exception):
    """Ends the command.

    Attributes:
        line: what and where, without the program's name.
        status: the exit status.

    """

    def __init__(self, line: str, status: int = BAD_INPUT) -> None:
        super().__init__(line)
        self.line = line
        self.status = status


def explain(error: BaseException) -> Problem | None:
    """Turn an error that a user can cause into a `Problem`; None for what is a bug of ours."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, OSError) and (error.strerror or error.filename):
        where = error.filename2 or error.filename
        what = error.strerror or str(error)
        line = what if where is None else f"{what}: {os.fsdecode(where) if not isinstance(where, int) else where}"
        return Problem(line, FAILED if where in STREAMS else BAD_INPUT)
    if isinstance(error, MemoryError):
        return Problem("not enough memory on this computer", FAILED)
    if type(error).__name__ == "BadProgram":
        return Problem(str(error), NOT_EXECUTABLE)
    module = type(error).__module__
    if isinstance(error, ValueError) and module.startswith(__package__ or "paracell"):
        return Problem(str(error))  # BadImage, BadRootfs and kin: they say what and where themselves
    if type(error).__name__ == "UnicornMismatch":
        return Problem(str(error), FAILED)
    return None
