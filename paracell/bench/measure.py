"""What a row of the speed table is, and how two things are measured side by side."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ..emu.features import DEFAULT
from ..emu.memory import APIC_PAGE
from ..emu.stop import Reason
from ..machine import Machine
from ..signals import stopping

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO

    from ..bundle import Bundle
    from ..emu.features import Features
    from ..guest.image import Image
    from ..guest.multiboot import Module

ROUNDS: Final = 7
MEMORY: Final = 64 << 20
# The local APIC's registers, switched on with its timer in TSC-deadline mode (SDM "Local APIC Register Address Map").
_SPURIOUS, _LVT_TIMER, _APIC_ON, _TSC_DEADLINE = 0xF0, 0x320, 0x1FF, 2 << 17 | 0xFE
PROGRAM: Final = (sys.executable, "-m", "paracell")


class Unmeasured(RuntimeError):
    """A row that cannot be measured here, and why."""


class NotHere(Unmeasured):
    """This computer lacks what the row needs, or has too much else to do."""


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


def compare(ours: Callable[[], float], floor: Callable[[], float]) -> Pair:
    """Measure both by turns, so that a noisy moment hits both; the first round only warms up."""
    rounds = [(ours(), floor()) for _ in range(ROUNDS + 1)][1:]
    return Pair(
        statistics.median(o for o, _ in rounds),
        statistics.median(f for _, f in rounds),
        statistics.median(o / f for o, f in rounds),
    )


def run(
    kernel: Image,
    line: str,
    memory: int = MEMORY,
    modules: Sequence[Module] = (),
    *,
    armed: bool = False,
    cpu: str | Features = DEFAULT,
    nested: bool = False,
) -> float:
    """Seconds of processor time that a guest needs from its first instruction to its exit: other jobs do not count.

    `armed` has a timer run, as it does while two processes can run: then TCG counts.
    """
    with Machine.boot(kernel, modules=modules, append=line, memory=memory, cpu=cpu, nested=nested) as machine:
        devices = machine.inner.devices
        if armed:
            devices.mmio_write(APIC_PAGE + _SPURIOUS, 4, _APIC_ON)
            devices.mmio_write(APIC_PAGE + _LVT_TIMER, 4, _TSC_DEADLINE)
            devices.lapic.set_deadline(1 << 60)
        with stopping(machine.inner.request_stop):
            start = time.thread_time()
            stop = machine.inner.run()
            seconds = time.thread_time() - start
    if stop.reason is not Reason.EXIT:
        raise Unmeasured(f"the guest ended by {stop.reason}")
    return seconds


def run_bundle(bundle: Bundle, line: str = "", *, nested: bool = False) -> float:
    """Seconds of processor time that a container needs."""
    runtime = bundle.runtime
    return run(runtime.load(), line, MEMORY, bundle.modules, cpu=runtime.processor(DEFAULT), nested=nested)


def slope(run: Callable[[int], float], few: int, many: int) -> float:
    """Seconds for one turn: what `many` cost more than `few`, so that start and end fall out."""
    difference = run(many) - run(few)
    if difference <= 0:
        raise NotHere(f"{many} turns took no longer than {few}: this computer is too busy")
    return difference / (many - few)


def spent_by_children() -> float:
    """Seconds of processor time of the commands that have ended so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def environment_of(**more: str) -> dict[str, str]:
    """Give the environment for a Python that finds this package and keeps its bytecode."""
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return inherited | {"PYTHONPATH": str(Path(__file__).absolute().parents[2])} | more


def timed(
    command: Sequence[str],
    ok: Sequence[int] = (0,),
    environment: dict[str, str] | None = None,
    stdout: IO[bytes] | int = subprocess.PIPE,
) -> float:
    """Seconds of processor time that a command needs, whose end must be by a status in `ok`: other jobs do not count."""
    environment = environment or environment_of()
    start = spent_by_children()
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, check=False, env=environment
    )
    seconds = spent_by_children() - start
    if done.returncode not in ok:
        raise Unmeasured(done.stderr.decode(errors="replace").strip() or f"status {done.returncode}")
    return seconds
