"""One snapshot, run to its end again and again in one process: the same each time, and nothing of the host's memory stays behind."""

from __future__ import annotations

import gc
import hashlib
import io
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paracell.emu.machine import Machine
from paracell.emu.stop import Reason
from paracell.guest import shipped
from paracell.runtimes import RUNTIMES

from .kernels import Typed, boot, tar_of

if TYPE_CHECKING:
    from paracell.emu.events import Event

PAGE = 4096
WARM = 10  # runs until what is kept for good is kept: caches, arenas, views
SPARE = 2 << 20  # bytes that an allocator may round up to


class Digest:
    """Every event of a run, in one number."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.count = 0

    def emit(self, event: Event) -> None:
        """Take one event."""
        self.count += 1
        self.hash.update(repr((event.kind.name, event.at, event.rip, list(event.data))).encode())

    def close(self) -> None:
        """Nothing is buffered."""


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE


def _snapshot(runtime: str) -> bytes:
    """A container, shortly after its start, with a program that makes and loses processes."""
    program = (shipped.IMAGES / "linux" / "processes").read_bytes()
    machine = boot(runtime, tar_of({"bin/processes": program}), ["/bin/processes"], console=Typed(b""), memory=64 << 20)
    assert machine.run(2_000_000).reason is Reason.LIMIT
    file = io.BytesIO()
    machine.save(file)
    machine.close()
    return file.getvalue()


def _run(snapshot: bytes) -> tuple[str, int, int, bytes, str]:
    console, digest = Typed(b""), Digest()
    machine = Machine.restore(io.BytesIO(snapshot), console)
    machine.add_sink(digest)
    stop = machine.run()
    machine.close()
    return stop.reason, stop.value, digest.count, bytes(console.sent[0]), digest.hash.hexdigest()


def _again_and_again(runtime: str, times: int) -> int:
    """Give by how many bytes the process has grown between the runs that warm it up and the last one."""
    snapshot = _snapshot(runtime)
    first = _run(snapshot)
    assert first[:2] == (Reason.EXIT, 42)
    assert first[2] > 1000
    resident = 0
    for run in range(times):
        if run == WARM:
            resident = _resident()
        assert _run(snapshot) == first
        gc.collect()  # a machine is full of cycles: how many wait to be collected is Python's affair
    return _resident() - resident


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("times", [25, pytest.param(1000, marks=pytest.mark.sweep)])
def test_each_run_is_the_first_again(times: int, runtime: str) -> None:
    """In a process of its own: what other tests have left in this one's memory moves its size by megabytes."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        assert process.submit(_again_and_again, runtime, times).result() < SPARE
