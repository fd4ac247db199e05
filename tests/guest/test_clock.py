"""Virtual time repeats: a run that is stopped, saved, watched or sliced is the same run, by either clock."""

from __future__ import annotations

import hashlib
import io
import random
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from paracell.container import Container
from paracell.emu.machine import Machine
from paracell.emu.stop import Reason
from paracell.runtimes import RUNTIMES

if TYPE_CHECKING:
    from paracell.emu.events import Event
    from paracell.emu.machine import ClockKind
    from paracell.emu.stop import Stop

MEMORY = 64 << 20
PROGRAMS = [("pipe", "40"), ("fork", "6"), ("thread", "20"), ("-e", "signal", "60")]
runtimes = pytest.mark.parametrize("runtime", RUNTIMES)
clocks = pytest.mark.parametrize("clock", ["blocks", "exact"])
all_clocks = pytest.mark.parametrize("clock", ["blocks", "exact", "steady"])
programs = pytest.mark.parametrize("program", PROGRAMS, ids=" ".join)


class End(NamedTuple):
    """How a run ended: why, what memory holds, and what the clock shows, in all and for what TCG counted."""

    reason: Reason
    value: int
    memory: str
    cycles: int
    counted: int


def _machine(runtime: str, program: tuple[str, ...], clock: ClockKind) -> Machine:
    return Container("lat", *program, runtime=runtime, memory=MEMORY, clock=clock).inner


def _finish(machine: Machine, stop: Stop | None = None) -> End:
    stop = stop or machine.run()
    end = End(
        stop.reason,
        stop.value,
        hashlib.sha256(machine.memory.ram[:MEMORY]).hexdigest(),
        machine.clock.now,
        machine.clock.counted,
    )
    machine.close()
    return end


@runtimes
@clocks
@programs
def test_a_run_that_is_stopped_anywhere_and_goes_on_is_the_same_run(
    runtime: str, clock: ClockKind, program: tuple[str, ...]
) -> None:
    machine = _machine(runtime, program, clock)
    start = time.perf_counter()
    undisturbed = _finish(machine)
    pause = (time.perf_counter() - start) / 12
    assert undisturbed.reason is Reason.EXIT
    assert undisturbed.counted > 0
    random_ = random.Random(f"{runtime} {clock} {program}")
    stops = turn = 0
    while turn < 2 or stops < 5:  # shorter each time: how long a run takes depends on what else the computer does
        machine = _machine(runtime, program, clock)
        pause /= 1 + turn // 2
        while True:
            timer = threading.Timer(random_.random() * pause, machine.request_stop)
            timer.start()
            stop = machine.run()
            timer.cancel()
            timer.join()
            if stop.reason is not Reason.INTERRUPTED:
                break
            stops += 1
            if turn % 2 and random_.random() < 0.5:
                file = io.BytesIO()
                machine.save(file)
                machine.close()
                file.seek(0)
                machine = Machine.restore(file)
        end = End(
            stop.reason,
            stop.value,
            hashlib.sha256(machine.memory.ram[:MEMORY]).hexdigest(),
            machine.clock.now,
            machine.clock.counted,
        )
        machine.close()
        assert end == undisturbed
        turn += 1


class _Sink:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        """Nothing to close."""


@runtimes
@clocks
@programs
def test_who_watches_changes_nothing(runtime: str, clock: ClockKind, program: tuple[str, ...]) -> None:
    watched = _machine(runtime, program, clock)
    sink = _Sink()
    watched.add_sink(sink)
    assert _finish(watched) == _finish(_machine(runtime, program, clock))
    times = [event.at for event in sink.events]
    assert times == sorted(times)


@runtimes
@all_clocks
@programs
def test_no_clock_minds_slices(runtime: str, clock: ClockKind, program: tuple[str, ...]) -> None:
    """`run(n)` counts instructions, and ends in the middle of blocks."""
    undisturbed = _finish(_machine(runtime, program, clock))
    machine = _machine(runtime, program, clock)
    random_, slices = random.Random(runtime), 0
    while (stop := machine.run(random_.randrange(1, 4000))).reason is Reason.LIMIT and slices < 200:
        slices += 1
    assert slices > 50
    assert _finish(machine, None if stop.reason is Reason.LIMIT else stop) == undisturbed
