"""Every test of a lab, each in a process of its own that cannot take more than its time, its memory and its share of the screen."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .catalogue import Lab
    from .grade import Test

_PRINTED: Final = 1 << 20  # bytes that a test's process may print
_PATIENCE: Final = 6  # seconds of real time for each of processor time: the computer may be busy
_SHOWN: Final = 2000  # characters of a text that a student sees
_ROOT: Final = Path(__file__).parents[2]  # where `paracell` is imported from


@frozen
class Result:
    """What came of a test.

    Attributes:
        test: which.
        wrong: what is wrong with the work, for the student; None if it passed.
        printed: what the student's code printed, shortened.
        seconds: how long it took.

    """

    test: Test
    wrong: str | None
    printed: str
    seconds: float

    @property
    def score(self) -> int:
        """The points that it gives."""
        return self.test.points if self.wrong is None else 0

    @property
    def output(self) -> str:
        """What the student reads: what is wrong, and what the code printed."""
        said = [self.wrong] if self.wrong else []
        if self.printed and self.wrong:
            said.append("your code printed:\n" + "\n".join(f"  {line}" for line in self.printed.splitlines()))
        return "\n".join(said)


def check(lab: Lab, folder: Path, seed: int = 0) -> Iterator[Result]:
    """Run each test of `lab` on the work in `folder`, and give each result as it comes."""
    for number, test in enumerate(lab.tests()):
        start = time.perf_counter()
        wrong, printed = _run(lab, number, test, folder.resolve(), seed)
        yield Result(test, wrong, printed, time.perf_counter() - start)


def _run(lab: Lab, number: int, test: Test, folder: Path, seed: int) -> tuple[str | None, str]:
    """Run one test in a process, and end every process that is left of it."""
    inward, outward = os.pipe()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, inward)
        try:
            process = subprocess.Popen(  # noqa: S603 -- this Python, with our own module
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "paracell.labs.worker",
                    lab.name,
                    str(number),
                    folder,
                    str(seed),
                    str(test.seconds),
                    str(outward),
                ],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[outward],
                start_new_session=True,
                env=_environment(),
            )
        finally:
            os.close(outward)
        stack.enter_context(process)
        stack.callback(_end, process)
        trouble, printed, said = _listen(process, inward, _PATIENCE * test.seconds)
        _end(process)
    shown = _shorten(printed.decode("utf-8", "replace"))
    return (trouble or _verdict(process.returncode, said, test.seconds)), shown


def _environment() -> dict[str, str]:
    """Give the process this library, however it was found, and bytes that do not depend on who is logged in."""
    path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {
        **os.environ,
        "PYTHONPATH": path,
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONIOENCODING": "utf-8",
    }


def _listen(process: subprocess.Popen[bytes], result: int, seconds: float) -> tuple[str | None, bytes, bytes]:
    """Read what a process prints and its result until both end; what stopped it, if we did."""
    assert process.stdout is not None
    printed, said, end = bytearray(), bytearray(), time.monotonic() + seconds
    with selectors.DefaultSelector() as waiting:
        waiting.register(process.stdout.fileno(), selectors.EVENT_READ, printed)
        waiting.register(result, selectors.EVENT_READ, said)
        while waiting.get_map():
            left = end - time.monotonic()
            if left <= 0:
                return f"nothing came of it for {seconds} s: it waits for something", bytes(printed), bytes(said)
            for key, _ in waiting.select(left):
                data = os.read(key.fd, 1 << 16)
                if not data:
                    waiting.unregister(key.fd)
                    if key.fd == result:
                        end = min(end, time.monotonic() + 1)  # a process that it left behind may hold its output
                        if said:
                            return None, bytes(printed), bytes(said)
                key.data.extend(data)
                if len(printed) > _PRINTED:
                    return f"your code printed more than {_PRINTED >> 10} KiB", bytes(printed), bytes(said)
    return None, bytes(printed), bytes(said)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process, and whatever it has started in its session."""
    if process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)  # it has told its result, and is about to end
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _verdict(status: int, said: bytes, seconds: int) -> str | None:
    """Understand the result of a process, or how it ended without one."""
    with contextlib.suppress(ValueError):
        wrong = json.loads(said)
        if wrong is None:
            return None
        if isinstance(wrong, str):
            return _shorten(wrong)
    if -status in {signal.SIGXCPU, signal.SIGKILL}:
        return f"still running after {seconds} s of processor time"
    if status < 0:
        return f"your code ended the process by signal {-status} ({signal.Signals(-status).name})"
    return f"your code ended the process, with status {status}"


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}\n… {len(text) - _SHOWN:,} characters more"
