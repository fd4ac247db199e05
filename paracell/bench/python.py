"""How long CPython takes until its first line runs, in a container: this computer's own, with no more files than it opens for that."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..container import Container
from ..emu.events import Event, Kind
from ..emu.sinks import Listener
from ..machine import Machine
from ..runtimes import PARACELL
from .measure import NotHere, Unmeasured

if TYPE_CHECKING:
    from collections.abc import Iterator

_PYTHON: Final = "/usr/bin/python3"
_OPTIONS: Final = ("-I", "-S", "-B")
_LINE: Final = "import os; os.write(1, b'first')"
_FILES: Final = (
    "import sys; print('\\n'.join(m.__file__ for m in sys.modules.values() if getattr(m, '__file__', None)))"
)
_WRITE: Final = 1  # the system call


def _output_of(*command: str) -> Iterator[str]:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise Unmeasured(f"{command[0]}: status {done.returncode}")
    yield from done.stdout.splitlines()


def _files() -> Iterator[str]:
    """Name the interpreter, its shared libraries, and the modules that it loads before its first line."""
    if not shutil.which(_PYTHON) or not shutil.which("ldd"):
        raise NotHere(f"no {_PYTHON}, or no ldd, here")
    yield _PYTHON
    for line in _output_of("ldd", os.path.realpath(_PYTHON)):
        yield from (word for word in line.split() if word.startswith("/"))
    yield from (file for file in _output_of(_PYTHON, *_OPTIONS, "-c", f"import os; {_FILES}") if file.startswith("/"))


def _carry_in(root: Path) -> None:
    """Copy the files, and each module's bytecode where it lies."""
    for name in _files():
        cached = [*Path(name).parent.glob(f"__pycache__/{Path(name).stem}.*.pyc")]
        for file in (Path(name), *cached):
            to = root / str(file).lstrip("/")
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, to)


class FirstLine:
    """A container with CPython in `folder`, and a snapshot of the machine where the first line is about to run."""

    def __init__(self, folder: Path) -> None:
        self._root, self._snapshot = folder / "root", folder / "snapshot"
        _carry_in(self._root)
        with self._started() as machine:
            machine.save(self._snapshot)

    def from_nothing(self) -> float:
        """Seconds from the making of a container until the first line has called write."""
        start = time.perf_counter()
        machine = self._started()
        seconds = time.perf_counter() - start
        machine.close()
        return seconds

    def from_snapshot(self) -> float:
        """Seconds from the opening of the snapshot until the program runs again behind its write."""
        start = time.perf_counter()
        machine = Machine.restore(self._snapshot, runtime=PARACELL)
        _run_to(machine, Kind.GATE_EXIT)
        seconds = time.perf_counter() - start
        machine.close()
        return seconds

    def _started(self) -> Container:
        container = Container(_PYTHON, *_OPTIONS, "-c", _LINE, rootfs=str(self._root), runtime=PARACELL)
        _run_to(container, Kind.GATE_ENTER)
        return container


def _run_to(machine: Machine, kind: Kind) -> None:
    """Run until a write to standard output begins, by GATE_ENTER, or until the next GATE_EXIT."""
    seen: list[Event] = []

    def look(event: Event) -> None:
        if event.kind is kind and (kind is Kind.GATE_EXIT or (event.nr == _WRITE and event.arg0 == 1)):
            seen.append(event)
            machine.inner.request_stop()

    sink = Listener(look)
    machine.inner.add_sink(sink)
    end = machine.run()
    machine.inner.remove_sink(sink)
    if not seen:
        raise Unmeasured(f"CPython ended before its first line: {end}")
