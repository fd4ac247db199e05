"""The rows of the speed table: how each is measured, and the bound it is held to."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..bundle import prepare
from ..fuzz import Options, make_target
from ..fuzz.gates import GatesTarget
from ..fuzz.work import Work
from ..guest import image, shipped
from ..guest.elf import BadImage
from ..runtimes import NATIVE, PARACELL, PVM, RUNV, Runtime
from ..signals import stopping
from . import memory
from .effects import Effects, floor
from .floor import Bare, function
from .measure import (
    MEMORY,
    PROGRAM,
    ROUNDS,
    Limit,
    Mebibytes,
    Pair,
    Row,
    Runtimes,
    Unmeasured,
    compare,
    environment_of,
    run,
    run_bundle,
    slope,
    timed,
)
from .others import access_cases, beside, on_bochs, on_qemu, qemu
from .python import FirstLine
from .ready import Readiness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..fuzz import Target

    Measure = tuple[str, float | None, Callable[[], Pair]]

_VMX: Final = "pks,+vmx"
_TRIES: Final = 3_000
_A_TRY: Final = 1 / 2_000  # seconds
_A_PROGRAMS_TRY: Final = 1 / 5_000  # seconds
_A_PAGE: Final = b"Q" * 4096
_PAGES: Final = 512  # as in guest/bench/bench.c


_ALLOWED: Final = 200  # MiB resident
_READY: Final = 0.5  # s from nothing
_RESTORED: Final = 0.05  # s from a snapshot
_PYTHON: Final = 10.0  # the same for CPython's first line
_PYTHON_RESTORED: Final = 0.5
# Ratios of the floor's speed; the others are of its time.
_RATES: Final = (
    "straight-line user code",
    "straight-line code while two can run",
    "access permutations a second",
    "instructions a second, beside QEMU",
    "null syscalls a second, beside QEMU",
    "instructions a second, beside Bochs",
    "null syscalls a second, beside Bochs",
)


class Table:
    """Measures row by row; `access` is the path of kvm-unit-tests' image, if it is to be run."""

    def __init__(self, access: str | None = None) -> None:
        self._access = access
        self._bare = Bare()
        self._loops = image.load(shipped.image("bench.elf"))

    def rows(self) -> Iterator[Row]:
        """Measure everything, in the order of the manual."""
        rows = (*self._floors(), *_CONTAINERS, *_beside_native(self._operation), *_beside_others())
        for name, bound, measure in rows:
            at_least = name in _RATES
            try:
                pair = measure()
            except (Unmeasured, shipped.NotBuilt, BadImage) as error:
                yield Row(name, None, bound, at_least, str(error))
            else:
                yield Row(name, 1 / pair.ratio if at_least else pair.ratio, bound, at_least, str(pair))

    def _floors(self) -> tuple[Measure, ...]:
        """What the machine does, beside Unicorn with callbacks that do less or nothing else."""
        return (
            ("straight-line user code", 0.9, self._straight),
            ("straight-line code while two can run", 0.5, self._armed),
            ("null syscall, native", 1.6, lambda: self._null_syscall(NATIVE, Effects.system_calls)),
            ("XGate null syscall", 1.6, lambda: self._null_syscall(PARACELL, Effects.gates)),
            ("#PF delivered and returned from", 2.0, self._fault),
            ("TLB refill, full walk", 4.0, lambda: self._refill("walk")),
            ("TLB refill, Python TLB", 2.0, lambda: self._refill("cached")),
            ("access permutations a second", 1.0, self._permutations),
            ("VMREAD", 3.0, lambda: self._in_traps("read", 20_000)),
            ("VM exit and entry", 12.0, lambda: self._in_traps("exit", 5_000)),
            ("null hypercall under RunV", 25.0, self._hypercall),
            ("the same, nested", 60.0, lambda: self._hypercall(nested=True)),
            ("TLB refill through two stages, beside one", 2.0, self._two_stages),
            ("page bound by a batch, beside one bound at its touch", 1.0, memory.bound_ahead),
            ("page bound at its touch under RunV", None, lambda: memory.reactive(self._two_traps)),
            ("page bound at its touch under RunV, nested", None, lambda: memory.reactive(self._two_traps, nested=True)),
            ("page that goes back and comes again", None, lambda: memory.reclaimed(self._two_traps)),
        )

    def _two_traps(self) -> float:
        return self._bare.two_traps(20_000)

    def _turn(self, what: str, few: int, many: int) -> float:
        return slope(lambda n: run(self._loops, f"{what} {n}"), few, many)

    def _in_traps(self, what: str, count: int) -> Pair:
        """What a turn of a virtual machine's operation takes, beside two bare traps."""
        return compare(lambda: slope(lambda n: run(self._loops, f"{what} {n}", cpu=_VMX), 1, count), self._two_traps)

    def _hypercall(self, *, nested: bool = False) -> Pair:
        def turns(count: int) -> float:
            return _contained(RUNV, "vmcall", str(count), nested=nested)

        return compare(lambda: slope(turns, 1, 10_000), self._two_traps)

    def _two_stages(self) -> Pair:
        return compare(
            lambda: slope(lambda n: run(self._loops, f"two {n}", cpu=_VMX), 2, 42), lambda: self._turn("walk", 2, 42)
        )

    def _straight(self) -> Pair:
        count = 20_000_000
        code = function(self._loops, "bench_straight")
        # A new engine each time, as a new machine has: the first of a process is faster by a sixth, by where its memory lies.
        return compare(lambda: self._turn("straight", 1, count), lambda: Bare().loop(code, count))

    def _armed(self) -> Pair:
        """The same loop without a timer and with one: the share of full speed is the inverse of the ratio."""
        count = 20_000_000

        def turn(*, armed: bool) -> float:
            return slope(lambda n: run(self._loops, f"straight {n}", armed=armed), 1, count)

        return compare(lambda: turn(armed=True), lambda: turn(armed=False))

    def _null_syscall(self, runtime: Runtime, effect: Callable[[Effects, int], float]) -> Pair:
        return compare(lambda: slope(lambda n: _contained(runtime, "null", str(n)), 1, 20_000), lambda: floor(effect))

    def _operation(self, turn: Callable[[Runtime], float]) -> Runtimes:
        """Compare what one turn takes under the two runtimes."""
        traps: list[float] = []

        def native() -> float:
            traps.append(self._two_traps())
            return turn(NATIVE)

        pair = compare(lambda: turn(PARACELL), native)
        return Runtimes(pair.ours, pair.floor, pair.ratio, statistics.median(traps))

    def _refill(self, what: str) -> Pair:
        touch = function(self._loops, "bench_touch")
        return compare(lambda: self._turn(what, 2, 42) / _PAGES, lambda: self._bare.refill(touch, _PAGES, 40))

    def _fault(self) -> Pair:
        return compare(lambda: self._turn("fault", 1, 20_000), lambda: floor(Effects.page_faults))

    def _permutations(self) -> Pair:
        if self._access is not None:
            return access_cases(self._access)
        path = shipped.image("permute.elf")
        kernel = image.load(path)
        return compare(lambda: run(kernel, "", 128 << 20), lambda: qemu(path))


def _contained(runtime: Runtime, program: str, *arguments: str, line: str = "", nested: bool = False) -> float:
    """Seconds that a container with a shipped program runs."""
    return run_bundle(prepare(runtime, program, arguments, memory=MEMORY), line, nested=nested)


def _turn_of(operation: str, many: int, *options: str, line: str = "") -> Callable[[Runtime], float]:
    """Give what measures one turn of an operation of `lat` by runtime, with a command line for the kernel."""

    def turn(runtime: Runtime) -> float:
        return slope(lambda n: _contained(runtime, "lat", *options, operation, str(n), line=line), 1, many)

    return turn


def _switch(runtime: Runtime) -> float:
    """Half of what a round trip takes longer than its calls do in one process."""
    return (_turn_of("pipe", 2000)(runtime) - 2 * _turn_of("self", 2000)(runtime)) / 2


def _ready(runtime: Runtime) -> Pair:
    return _readiness(runtime, Readiness.from_nothing, _READY)


def _restored() -> Pair:
    return _readiness(PARACELL, Readiness.from_snapshot, _RESTORED)


def _readiness(runtime: Runtime, measure: Callable[[Readiness], float], allowed: float) -> Pair:
    with tempfile.TemporaryDirectory() as folder:
        container = Readiness(runtime, "hello", Path(folder, "snapshot"))
        seconds = statistics.median([measure(container) for _ in range(ROUNDS + 1)][1:])
    return Limit(seconds, allowed, seconds / allowed)


def _first_line(measure: Callable[[FirstLine], float], allowed: float) -> Pair:
    with tempfile.TemporaryDirectory() as folder:
        python = FirstLine(Path(folder))
        seconds = statistics.median([measure(python) for _ in range(ROUNDS)])
    return Limit(seconds, allowed, seconds / allowed)


def _try() -> Pair:
    """Processor time of one try, with coverage and rules; 2,000 a second are wanted."""
    target = GatesTarget()
    work = Work(target, 1, target.max_len)
    with stopping(target.machine.request_stop) as caught:
        start = time.thread_time()
        work.tries(range(_TRIES), lambda: bool(caught))
    seconds = (time.thread_time() - start) / _TRIES
    target.close()
    return Limit(seconds, _A_TRY, seconds / _A_TRY)


def _program_try() -> Pair:
    """Processor time of one try of a program, whose input fills a page; 5,000 a second are wanted."""
    target = make_target("puzzle", Options(runtime="native"))
    work = Work(target, 1, target.max_len)
    with stopping(_stop_of(target)) as caught:
        start = time.thread_time()
        work.inputs(((n, _A_PAGE) for n in range(_TRIES)), lambda: bool(caught))
    seconds = (time.thread_time() - start) / _TRIES
    target.close()
    return Limit(seconds, _A_PROGRAMS_TRY, seconds / _A_PROGRAMS_TRY)


def _stop_of(target: Target) -> Callable[[], None]:
    assert target.machine is not None
    return target.machine.request_stop


def _start() -> Pair:
    floor = [sys.executable, "-c", "import unicorn"]
    with tempfile.TemporaryDirectory() as folder:
        # Both find their bytecode ready, as after any installation.
        cached = environment_of(PYTHONPYCACHEPREFIX=folder)
        ours = [*PROGRAM, "run", "hello"]
        return compare(lambda: timed(ours, environment=cached), lambda: timed(floor, environment=cached))


def _trace() -> Pair:
    with tempfile.TemporaryDirectory() as folder:
        plain = [*PROGRAM, "run", "--runtime", NATIVE.name]
        traced = [*plain, "--trace", str(Path(folder, "t.jsonl"))]

        def turns(command: list[str]) -> float:
            return slope(lambda n: timed([*command, "null", str(n)]), 1, 50_000)

        return compare(lambda: turns(traced), lambda: turns(plain))


# Linux counts what a process was before its exec, too, so a small one starts it: this one may have grown.
_WATCHED: Final = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


def _resident() -> Pair:
    """A guest of 1 GiB that touches 32 MiB: its mebibytes over the 200 allowed."""
    command = [sys.executable, "-c", _WATCHED, *PROGRAM, "run", "--memory", "1G", "touch", "32"]
    done = subprocess.run(command, capture_output=True, check=False, env=environment_of(), text=True)
    if done.returncode:
        raise Unmeasured(done.stderr.strip() or f"status {done.returncode}")
    resident = int(done.stdout) / 1024
    return Mebibytes(resident, _ALLOWED, resident / _ALLOWED)


_CONTAINERS: Final[tuple[Measure, ...]] = (
    ("paracell run hello", 3.5, _start),
    ("the same events with --trace", 2.0, _trace),
    ("memory of a 1 GiB guest", 1.0, _resident),
    ("container ready for its first instruction", 1.0, partial(_ready, PARACELL)),
    ("the same under PVM", 1.0, partial(_ready, PVM)),
    ("the same under RunV", 1.0, partial(_ready, RUNV)),
    ("ready from a snapshot", 1.0, _restored),
    ("CPython ready for its first line", 1.0, partial(_first_line, FirstLine.from_nothing, _PYTHON)),
    ("the same from a snapshot", 1.0, partial(_first_line, FirstLine.from_snapshot, _PYTHON_RESTORED)),
    ("a try of the fuzzer at the gates", 1.0, _try),
    ("a try of the fuzzer with a program, 4 KiB dirty", 1.0, _program_try),
)


def _beside_native(operation: Callable[[Callable[[Runtime], float]], Runtimes]) -> tuple[Measure, ...]:
    """Operations under `paracell`, beside `native`; no bounds."""
    return (
        ("fork+exit, beside native", None, lambda: operation(_turn_of("fork", 400))),
        ("fork+exec+exit, beside native", None, lambda: operation(_turn_of("exec", 200))),
        ("pipe round trip, beside native", None, lambda: operation(_turn_of("pipe", 2000))),
        ("faulted page, beside native", None, lambda: operation(_turn_of("fault", 8000, "-e"))),
        (
            "page fault of one page, beside native",
            None,
            lambda: operation(_turn_of("fault", 4000, "-e", line="around=1")),
        ),
        ("signal, beside native", None, lambda: operation(_turn_of("signal", 4000, "-e"))),
        ("context switch, beside native", None, lambda: operation(_switch)),
    )


# What `lat` is to do, its turns here, how many times as many on QEMU and on Bochs, and the bound beside QEMU; Bochs is to be no faster.
_OPERATIONS: Final = (
    ("pipe round trip", "lat pipe", 4000, 10, 1, 2.5),
    ("fork+exit", "lat fork", 800, 10, 1, 3.5),
    ("fork+exec+exit", "lat exec", 400, 10, 1, 4.0),
    ("signal", "lat -e signal", 8000, 10, 1, 1.4),
    ("faulted page", "lat -e fault", 8000, 10, 2, 9.0),
)


def _beside_others() -> Iterator[Measure]:
    """The native container here and on other emulators, the same image."""
    for name, program, count, on_q, on_b, bound in _OPERATIONS:
        yield f"{name}, beside QEMU", bound, partial(beside, on_qemu, program, count, on_q)
        yield f"{name}, beside Bochs", 1.0, partial(beside, on_bochs, program, count, on_b)
    yield "instructions a second, beside QEMU", None, lambda: beside(on_qemu, "loop", 50_000_000, 10)
    yield "null syscalls a second, beside QEMU", None, lambda: beside(on_qemu, "null", 100_000, 10)
    yield "instructions a second, beside Bochs", None, lambda: beside(on_bochs, "loop", 20_000_000, 1)
    yield "null syscalls a second, beside Bochs", None, lambda: beside(on_bochs, "null", 100_000, 10)
