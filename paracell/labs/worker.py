"""The process that runs one test of a student's work: ``python -m paracell.labs.worker LAB TEST DIR SEED SECONDS RESULT``.

It writes what went wrong as JSON to the descriptor RESULT: null for nothing, else a text.  Nothing else that it does counts: a
process that ends without a result has failed.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any, Final

from attrs import evolve

from .attempt import TookTooLong, attempt
from .catalogue import named

_MEMORY: Final = 8 << 30  # bytes of address space; a machine of 1 GiB reserves twice that
_GRACE: Final = 1  # second between the exception and the end for code that catches it


def _late(number: int, frame: Any) -> None:
    del number, frame
    raise TookTooLong


def limit(seconds: int) -> None:
    """Let this process run for so many seconds of processor time, and take so much memory."""
    signal.signal(signal.SIGXCPU, _late)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + _GRACE))
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    memory = _MEMORY if most == resource.RLIM_INFINITY else min(_MEMORY, most)
    resource.setrlimit(resource.RLIMIT_AS, (memory, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(lab: str, number: str, folder: str, seed: str, seconds: str, result: str) -> None:
    """Run the test, tell the result, and end whatever threads are left."""
    test = evolve(named(lab).tests()[int(number)], seconds=int(seconds))
    place = Path(folder)
    sys.path.append(folder)  # a module beside the student's; behind the library, which it cannot hide
    limit(test.seconds)
    wrong = attempt(test, test.student(place, int(seed)))
    with open(int(result), "w", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 -- a descriptor
        json.dump(wrong, file)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
