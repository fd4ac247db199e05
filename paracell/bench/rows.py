"""The rows of the speed table: how each is measured, and the bound it is held to."""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ..container import Container, prepare
from ..emu.machine import Machine, Reason
from ..fuzz import Attacker
from ..guest import image, shipped
from ..guest.elf import BadImage
from ..guest.multiboot import plan
from . import bochs
from .floor import Bare, function
from .ready import Readiness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import IO

    from ..guest.image import Image
    from ..guest.multiboot import Module

_TRIES: Final = 3_000
_A_TRY: Final = 1 / 2_000  # seconds
_ROUNDS: Final = 7
_PAGES: Final = 512  # as in guest/bench/bench.c
_MEMORY: Final = 64 << 20


_ALLOWED: Final = 200  # MiB resident
_READY: Final = 0.5  # s from nothing
_RESTORED: Final = 0.05  # s from a snapshot
_PARACELL: Final = (sys.executable, "-m", "paracell")
# Ratios of the floor's speed; the others are of its time.
_RATES: Final = (
    "straight-line user code",
    "access permutations a second",
    "instructions a second, beside QEMU",
    "null syscalls a second, beside QEMU",
    "instructions a second, beside Bochs",
    "null syscalls a second, beside Bochs",
)
_QEMU: Final = (
    *("qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "128", "-display", "none", "-serial", "null"),
    *("-serial", "null", "-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
)


# What the image asks of a machine: an environment text as its first module.
_ENVIRONMENT: Final = b"NR_CPUS=1\nMEMSIZE=512\nTEST_DEVICE=0\nBOOTLOADER=1\n"
_QEMU_ACCESS: Final = (
    *("qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "512", "-display", "none", "-no-reboot"),
    *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
)


class Unmeasured(RuntimeError):
    """A row that cannot be measured here, and why."""


@frozen
class Row:
    """One line of the table.

    Attributes:
        name: what is measured.
        ratio: ours divided by the floor's, or None where it could not be measured.
        bound: what the ratio is to reach; None for a row that only informs.
        at_least: whether the bound is a minimum; else it is a maximum.
        note: the figures behind the ratio, or why there is none.

    """

    name: str
    ratio: float | None
    bound: float | None
    at_least: bool
    note: str

    @property
    def reached(self) -> bool | None:
        """Whether the bound holds."""
        if self.ratio is None or self.bound is None:
            return None
        return self.ratio >= self.bound if self.at_least else self.ratio <= self.bound


@frozen
class Pair:
    """Seconds of ours and of the floor: medians, and the median of the ratios of the rounds."""

    ours: float
    floor: float
    ratio: float

    def __str__(self) -> str:
        """Show both in a unit that suits them."""
        most = max(self.ours, self.floor)
        scale, unit = (1e3, "ms") if most > 1e-3 else (1e6, "µs") if most > 1e-7 else (1e9, "ns")
        return f"{self.ours * scale:.3g} {unit}, floor {self.floor * scale:.3g} {unit}"


class Mebibytes(Pair):
    """Not time but memory."""

    def __str__(self) -> str:
        """Show it."""
        return f"{self.ours:.0f} MiB resident, {self.floor} allowed"


class Limit(Pair):
    """Not a floor but what is allowed."""

    def __str__(self) -> str:
        """Show both."""
        return f"{self.ours * 1e3:.3g} ms, {self.floor * 1e3:.3g} ms allowed"


@frozen
class Runtimes(Pair):
    """The two runtimes, `floor` being native; and seconds of two bare traps, measured in the same rounds."""

    traps: float

    def __str__(self) -> str:
        """Show both, and how often the floor fits into each."""
        ours, native = self.ours * 1e6, self.floor * 1e6
        beside = f"{_digits(self.ours / self.traps)} and {_digits(self.floor / self.traps)} floors"
        return f"paracell {_digits(ours)} µs, native {_digits(native)} µs; {beside} of {self.traps * 1e6:.2f} µs"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _compare(ours: Callable[[], float], floor: Callable[[], float]) -> Pair:
    """Measure both by turns, so that a noisy moment hits both; the first round only warms up."""
    rounds = [(ours(), floor()) for _ in range(_ROUNDS + 1)][1:]
    return Pair(
        statistics.median(o for o, _ in rounds),
        statistics.median(f for _, f in rounds),
        statistics.median(o / f for o, f in rounds),
    )


def _run(kernel: Image, line: str, memory: int = _MEMORY, modules: Sequence[Module] = ()) -> float:
    """Seconds of processor time that a guest needs from its first instruction to its exit: other jobs do not count."""
    machine = Machine(memory)
    machine.load(kernel, line, modules)
    start = time.thread_time()
    stop = machine.run()
    seconds = time.thread_time() - start
    machine.close()
    if stop.reason is not Reason.EXIT:
        raise Unmeasured(f"the guest ended by {stop.reason}")
    return seconds


def _slope(run: Callable[[int], float], few: int, many: int) -> float:
    """Seconds for one turn: what `many` cost more than `few`, so that start and end fall out."""
    difference = run(many) - run(few)
    if difference <= 0:
        raise Unmeasured(f"{many} turns took no longer than {few}: this computer is too busy")
    return difference / (many - few)


class Table:
    """Measures row by row; `access` is the path of kvm-unit-tests' image, if it is to be run."""

    def __init__(self, access: str | None = None) -> None:
        self._access = access
        self._bare = Bare()
        self._loops = image.load(shipped.image("bench.elf"))

    def rows(self) -> Iterator[Row]:
        """Measure everything, in the order of the manual."""
        measures = (
            ("straight-line user code", 0.9, self._straight),
            ("null syscall, native", 3.0, lambda: self._null_syscall("native")),
            ("XGate null syscall", 3.0, lambda: self._null_syscall("paracell")),
            ("TLB refill, full walk", 4.0, lambda: self._refill("walk")),
            ("TLB refill, Python TLB", 2.0, lambda: self._refill("global")),
            ("#PF delivered and returned from", 6.0, self._fault),
            ("access permutations a second", 1.0, self._permutations),
            ("paracell run hello", 4.0, _start),
            ("the same events with --trace", 2.0, _trace),
            ("memory of a 1 GiB guest", 1.0, _resident),
            ("container ready for its first instruction", 1.0, _ready),
            ("ready from a snapshot", 1.0, _restored),
            ("a try of the random attacker", 1.0, _try),
            ("fork+exit, beside native", None, lambda: self._operation(_turn_of("fork", 30))),
            ("fork+exec+exit, beside native", None, lambda: self._operation(_turn_of("exec", 15))),
            ("pipe round trip, beside native", None, lambda: self._operation(_turn_of("pipe", 500))),
            ("page fault, beside native", None, lambda: self._operation(_turn_of("fault", 4000, "-e"))),
            ("signal, beside native", None, lambda: self._operation(_turn_of("signal", 2000, "-e"))),
            ("context switch, beside native", None, lambda: self._operation(_switch)),
            ("instructions a second, beside QEMU", None, lambda: _beside(_on_qemu, "loop", 50_000_000, 10)),
            ("null syscalls a second, beside QEMU", None, lambda: _beside(_on_qemu, "null", 100_000, 10)),
            ("instructions a second, beside Bochs", None, lambda: _beside(_on_bochs, "loop", 20_000_000, 1)),
            ("null syscalls a second, beside Bochs", None, lambda: _beside(_on_bochs, "null", 100_000, 10)),
        )
        for name, bound, measure in measures:
            at_least = name in _RATES
            try:
                pair = measure()
            except (Unmeasured, shipped.NotBuilt, BadImage) as error:
                yield Row(name, None, bound, at_least, str(error))
            else:
                yield Row(name, 1 / pair.ratio if at_least else pair.ratio, bound, at_least, str(pair))

    def _two_traps(self) -> float:
        return self._bare.two_traps(20_000)

    def _turn(self, what: str, few: int, many: int) -> float:
        return _slope(lambda n: _run(self._loops, f"{what} {n}"), few, many)

    def _straight(self) -> Pair:
        count = 20_000_000
        code = function(self._loops, "bench_straight")
        # A new engine each time, as a new machine has: the first of a process is faster by a sixth, by where its memory lies.
        return _compare(lambda: self._turn("straight", 1, count), lambda: Bare().loop(code, count))

    def _null_syscall(self, runtime: str) -> Pair:
        return _compare(
            lambda: _slope(lambda n: _contained(runtime, "null", str(n)), 1, 20_000),
            self._two_traps,
        )

    def _operation(self, turn: Callable[[str], float]) -> Runtimes:
        """Compare what one turn takes under the two runtimes."""
        traps: list[float] = []

        def native() -> float:
            traps.append(self._two_traps())
            return turn("native")

        pair = _compare(lambda: turn("paracell"), native)
        return Runtimes(pair.ours, pair.floor, pair.ratio, statistics.median(traps))

    def _refill(self, what: str) -> Pair:
        touch = function(self._loops, "bench_touch")
        return _compare(lambda: self._turn(what, 2, 42) / _PAGES, lambda: self._bare.refill(touch, _PAGES, 40))

    def _fault(self) -> Pair:
        return _compare(lambda: self._turn("fault", 1, 20_000), self._two_traps)

    def _permutations(self) -> Pair:
        if self._access is not None:
            return _access_cases(self._access)
        path = shipped.image("permute.elf")
        kernel = image.load(path)
        return _compare(lambda: _run(kernel, "", 128 << 20), lambda: _qemu(path))


def _contained(runtime: str, program: str, *arguments: str) -> float:
    """Seconds that a container with a shipped program runs."""
    container = prepare(runtime, program, arguments, [], None, _MEMORY)
    return _run(image.load(container.image), "", _MEMORY, container.modules)


def _turn_of(operation: str, many: int, *options: str) -> Callable[[str], float]:
    """Give what measures one turn of an operation of `lat` by runtime."""

    def turn(runtime: str) -> float:
        return _slope(lambda n: _contained(runtime, "lat", *options, operation, str(n)), 1, many)

    return turn


def _switch(runtime: str) -> float:
    """Half of what a round trip takes longer than its calls do in one process; instructions are counted in both."""
    return (_turn_of("pipe", 500)(runtime) - 2 * _turn_of("self", 500)(runtime)) / 2


def _ready() -> Pair:
    return _readiness(Readiness.from_nothing, _READY)


def _restored() -> Pair:
    return _readiness(Readiness.from_snapshot, _RESTORED)


def _readiness(measure: Callable[[Readiness], float], allowed: float) -> Pair:
    with tempfile.TemporaryDirectory() as folder:
        container = Readiness("paracell", "hello", Path(folder, "snapshot"))
        seconds = statistics.median([measure(container) for _ in range(_ROUNDS + 1)][1:])
    return Limit(seconds, allowed, seconds / allowed)


def _try() -> Pair:
    """Processor time of one try; 2,000 a second are wanted."""
    attacker = Attacker()
    start = time.thread_time()
    for number in range(_TRIES):
        attacker.search(1, number)
    seconds = (time.thread_time() - start) / _TRIES
    attacker.close()
    return Limit(seconds, _A_TRY, seconds / _A_TRY)


def _access_cases(path: str) -> Pair:
    """Seconds for one case of kvm-unit-tests' `access`, measured once: it takes minutes."""
    _need_qemu()
    with tempfile.TemporaryDirectory() as folder:
        environment, console = Path(folder, "env"), Path(folder, "console")
        environment.write_bytes(_ENVIRONMENT)
        ours = [*_PARACELL, "boot", path, "--module", str(environment), "--memory", "512M"]
        theirs = [*_QEMU_ACCESS, "-serial", f"file:{console}", "-kernel", path, "-initrd", str(environment)]
        with console.open("wb") as file:
            seconds = _timed(ours, ok=(1, 3), stdout=file)
        here = seconds / _cases(console)
        seconds = _timed(theirs, ok=(1, 3))
        there = seconds / _cases(console)
    return Pair(here, there, here / there)


def _need_qemu() -> None:
    if shutil.which(_QEMU[0]) is None:
        raise Unmeasured("QEMU is not installed")


def _cases(console: Path) -> int:
    """Read from the image's summary how many cases it ran."""
    found = re.findall(rb"(\d+) tests, \d+ failures", console.read_bytes())
    if not found:
        raise Unmeasured("the image printed no summary: it is not kvm-unit-tests' access_test")
    return int(found[-1])


def _qemu(kernel: Path, *more: str) -> float:
    """Seconds that QEMU's TCG needs for an image, its own start included."""
    _need_qemu()
    return _timed([*_QEMU, "-kernel", str(kernel), *more], ok=(1,))


def _on_qemu(container: Container, folder: Path) -> float:
    files = [folder / module.name for module in container.modules]
    for file, module in zip(files, container.modules, strict=True):
        file.write_bytes(module.data)
    return _qemu(container.image, "-initrd", ",".join(map(str, files)))


def _on_bochs(container: Container, folder: Path) -> float:
    boot = plan(image.load(container.image), [(0, _MEMORY)], "", container.modules)
    start = time.perf_counter()
    try:
        bochs.run(boot, _MEMORY >> 20, folder)
    except bochs.BochsError as error:
        raise Unmeasured(str(error)) from error
    return time.perf_counter() - start


def _beside(other: Callable[[Container, Path], float], program: str, count: int, more: int) -> Pair:
    """Seconds for one turn of a shipped program in the native container, here and elsewhere, where it takes `more` times the turns."""
    with tempfile.TemporaryDirectory() as folder:

        def contained(turns: int) -> Container:
            return prepare("native", program, [str(turns)], [], None, _MEMORY)

        def here(turns: int) -> float:
            container = contained(turns)
            return _run(image.load(container.image), "", _MEMORY, container.modules)

        return _compare(
            lambda: _slope(here, 1, count),
            lambda: _slope(lambda n: other(contained(n), Path(folder)), 1, more * count),
        )


def _start() -> Pair:
    floor = [sys.executable, "-c", "import unicorn"]
    with tempfile.TemporaryDirectory() as folder:
        # Both find their bytecode ready, as after any installation.
        environment = _environment(PYTHONPYCACHEPREFIX=folder)
        ours = [*_PARACELL, "run", "hello"]
        return _compare(lambda: _timed(ours, environment=environment), lambda: _timed(floor, environment=environment))


def _trace() -> Pair:
    with tempfile.TemporaryDirectory() as folder:
        plain = [*_PARACELL, "run", "--runtime", "native"]
        traced = [*plain, "--trace", str(Path(folder, "t.jsonl"))]

        def slope(command: list[str]) -> float:
            return _slope(lambda n: _timed([*command, "null", str(n)]), 1, 50_000)

        return _compare(lambda: slope(traced), lambda: slope(plain))


def _resident() -> Pair:
    """A guest of 1 GiB that touches 32 MiB: its mebibytes over the 200 allowed."""
    command = [*_PARACELL, "run", "--memory", "1G", "touch", "32"]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=_environment()
    )
    assert process.stderr is not None
    message = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise Unmeasured(message.strip() or f"status {process.returncode}")
    resident = usage.ru_maxrss / 1024
    return Mebibytes(resident, _ALLOWED, resident / _ALLOWED)


def _environment(**more: str) -> dict[str, str]:
    """Give the environment for a Python that finds this package and keeps its bytecode."""
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return inherited | {"PYTHONPATH": str(Path(__file__).absolute().parents[2])} | more


def _timed(
    command: Sequence[str],
    ok: Sequence[int] = (0,),
    environment: dict[str, str] | None = None,
    stdout: IO[bytes] | int = subprocess.PIPE,
) -> float:
    environment = environment or _environment()
    start = time.perf_counter()
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, check=False, env=environment
    )
    seconds = time.perf_counter() - start
    if done.returncode not in ok:
        raise Unmeasured(done.stderr.decode(errors="replace").strip() or f"status {done.returncode}")
    return seconds
