"""The rows of the speed table: how each is measured, and the bound it is held to."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ..container import prepare
from ..emu.machine import Machine, Reason
from ..guest import image, shipped
from .floor import Bare, function

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..guest.image import Image
    from ..guest.multiboot import Module

_ROUNDS: Final = 5
_PAGES: Final = 512  # as in guest/bench/bench.c
_MEMORY: Final = 64 << 20


class Unmeasured(RuntimeError):
    """A row that cannot be measured here, and why."""


@frozen
class Row:
    """One line of the table.

    Attributes:
        name: what is measured.
        ratio: ours divided by the floor's, or None where it could not be measured.
        bound: what the ratio is to reach.
        at_least: whether the bound is a minimum; else it is a maximum.
        note: the figures behind the ratio, or why there is none.

    """

    name: str
    ratio: float | None
    bound: float
    at_least: bool
    note: str

    @property
    def reached(self) -> bool | None:
        """Whether the bound holds."""
        if self.ratio is None:
            return None
        return self.ratio >= self.bound if self.at_least else self.ratio <= self.bound


def _median(measure: Callable[[], float]) -> float:
    measure()  # translation and caches
    return statistics.median(measure() for _ in range(_ROUNDS))


def _run(kernel: Image, line: str, memory: int = _MEMORY, modules: Sequence[Module] = ()) -> float:
    """Seconds that a guest needs from its first instruction to its exit."""
    machine = Machine(memory)
    machine.load(kernel, line, modules)
    start = time.perf_counter()
    stop = machine.run()
    seconds = time.perf_counter() - start
    machine.close()
    if stop.reason is not Reason.EXIT:
        raise Unmeasured(f"the guest ended by {stop.reason}")
    return seconds


def _slope(run: Callable[[int], float], few: int, many: int) -> float:
    """Seconds for one turn: what `many` cost more than `few`, so that start and end fall out."""
    return _median(lambda: max(run(many) - run(few), 1e-9)) / (many - few)


class Table:
    """Measures row by row; floors that several rows share are measured once."""

    def __init__(self) -> None:
        self._bare = Bare()
        self._loops = image.load(shipped.image("bench.elf"))
        self._traps = 0.0

    def rows(self) -> Iterator[Row]:
        """Measure everything, in the order of the manual."""
        yield self._straight()
        yield self._null_syscall("null syscall, native", "native")
        yield self._null_syscall("XGate null syscall", "paracell")
        yield self._refill("TLB refill, full walk", "walk", 4.0)
        yield self._refill("TLB refill, Python TLB", "global", 2.0)
        yield self._fault()
        yield self._permutations()
        yield self._start()
        yield self._trace()
        yield self._resident()

    def two_traps(self) -> float:
        """Seconds for two bare traps."""
        if not self._traps:
            self._traps = _median(lambda: self._bare.two_traps(20_000))
        return self._traps

    def _turn(self, what: str, few: int, many: int) -> float:
        return _slope(lambda n: _run(self._loops, f"{what} {n}"), few, many)

    def _straight(self) -> Row:
        count = 2_000_000
        floor = _median(lambda: self._bare.loop(function(self._loops, "bench_straight"), count))
        ours = self._turn("straight", 1, count)
        return Row("straight-line user code", floor / ours, 0.9, True, _figures(ours, floor))

    def _null_syscall(self, name: str, runtime: str) -> Row:
        def run(count: int) -> float:
            container = prepare(runtime, "null", [str(count)], [], None, _MEMORY)
            return _run(image.load(container.image), "", _MEMORY, container.modules)

        try:
            ours = _slope(run, 1, 20_000)
        except (Unmeasured, ValueError) as error:
            return Row(name, None, 3.0, False, str(error))
        return Row(name, ours / self.two_traps(), 3.0, False, _figures(ours, self.two_traps()))

    def _refill(self, name: str, what: str, bound: float) -> Row:
        touch = function(self._loops, "bench_touch")
        floor = _median(lambda: self._bare.refill(touch, _PAGES, 10))
        ours = self._turn(what, 2, 42) / _PAGES
        return Row(name, ours / floor, bound, False, _figures(ours, floor))

    def _fault(self) -> Row:
        ours = self._turn("fault", 1, 20_000)
        return Row(
            "#PF delivered and returned from", ours / self.two_traps(), 6.0, False, _figures(ours, self.two_traps())
        )

    def _permutations(self) -> Row:
        name = "access permutations a second"
        qemu = shutil.which("qemu-system-x86_64")
        if qemu is None:
            return Row(name, None, 1.0, True, "QEMU is not installed")
        try:
            path = shipped.image("permute.elf")
        except shipped.NotBuilt as error:
            return Row(name, None, 1.0, True, str(error))
        command = [
            qemu,
            "-accel",
            "tcg",
            "-cpu",
            "max",
            "-m",
            "128",
            "-display",
            "none",
            "-serial",
            "null",
            "-no-reboot",
        ]
        command += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel", str(path)]
        theirs = _median(lambda: _timed(command, ok=(1,)))
        ours = _median(lambda: _run(image.load(path), "", 128 << 20))
        return Row(name, theirs / ours, 1.0, True, f"{ours:.2f} s, QEMU {theirs:.2f} s for the image")

    def _start(self) -> Row:
        floor = _median(lambda: _timed([sys.executable, "-c", "import unicorn"]))
        name = "paracell run hello"
        try:
            ours = _median(lambda: _timed([sys.executable, "-m", "paracell", "run", "hello"]))
        except Unmeasured as error:
            return Row(name, None, 4.0, False, str(error))
        return Row(name, ours / floor, 4.0, False, _figures(ours, floor))

    def _trace(self) -> Row:
        name = "the same events with --trace"
        with tempfile.TemporaryDirectory() as folder:
            plain = [sys.executable, "-m", "paracell", "run", "--runtime", "native"]
            traced = [*plain, "--trace", str(Path(folder, "t.jsonl"))]

            def slope(command: list[str]) -> float:
                return _slope(lambda n: _timed([*command, "null", str(n)]), 1, 100_000)

            try:
                ours, floor = slope(traced), slope(plain)
            except Unmeasured as error:
                return Row(name, None, 2.0, False, str(error))
        return Row(name, ours / floor, 2.0, False, _figures(ours, floor))

    def _resident(self) -> Row:
        """A guest of 1 GiB that touches 32 MiB; the ratio is MiB resident over the 200 allowed."""
        name = "memory of a 1 GiB guest"
        command = [sys.executable, "-m", "paracell", "run", "--memory", "1G", "touch", "32"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert process.stderr is not None
        message = process.stderr.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            return Row(name, None, 1.0, False, message.strip() or f"status {process.returncode}")
        resident = usage.ru_maxrss / 1024
        return Row(name, resident / 200, 1.0, False, f"{resident:.0f} MiB resident, 200 allowed")


def _figures(ours: float, floor: float) -> str:
    scale, unit = (1e3, "ms") if max(ours, floor) > 1e-3 else (1e6, "µs") if max(ours, floor) > 1e-7 else (1e9, "ns")
    return f"{ours * scale:.3g} {unit}, floor {floor * scale:.3g} {unit}"


def _timed(command: Sequence[str], ok: Sequence[int] = (0,)) -> float:
    start = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode not in ok:
        raise Unmeasured(done.stderr.decode(errors="replace").strip() or f"status {done.returncode}")
    return seconds
