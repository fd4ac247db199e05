"""Checkpoints: back to a moment, from any later one, and the same run again."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from paracell.emu.checkpoint import Checkpoint
from paracell.emu.machine import Machine
from paracell.emu.registers import RAX, RDX, RIP
from paracell.emu.stop import Reason
from paracell.runtimes import RUNTIMES
from tests.guest.kernels import Typed, boot, tar_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paracell.emu.events import Event

CODE = 0x10000
# inc eax | mov [rax*8+0x20000], eax | jmp back
LOOP = bytes.fromhex("ffc0 8904c500000200 ebf5")


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine(4 << 20)
    made.memory.write(CODE, LOOP)
    made.cpu.q[RIP], made.cpu.q[RDX] = CODE, 0x80
    yield made
    made.close()


def state(machine: Machine) -> tuple[int, int, bytes]:
    return machine.cpu.q[RAX], machine.cpu.q[RIP], bytes(machine.memory.ram)


@pytest.mark.parametrize("exact", [True, False])
def test_back_and_forth_between_three(machine: Machine, *, exact: bool) -> None:
    made, kept = [], []
    for _ in range(3):
        machine.run(3000)
        made.append(Checkpoint(machine, exact=exact))
        kept.append(state(machine))
    for which in (2, 0, 1, 1, 2, 0, 2, 1, 0):
        machine.run(4500)
        made[which].restore()
        assert state(machine) == kept[which]
    machine.run(3000)
    assert state(machine) == kept[1]


def test_what_python_writes_goes_back_too(machine: Machine) -> None:
    machine.run(30)
    before = Checkpoint(machine)
    machine.memory[0x30000:0x30004] = b"here"
    machine.memory[CODE : CODE + 2] = b"\xff\xc8"  # DEC EAX, over code that has run
    machine.run(30)
    before.restore()
    assert machine.memory[0x30000:0x30004] == bytes(4)
    at = machine.cpu.q[RAX]
    machine.run(30)
    assert machine.cpu.q[RAX] == at + 10


def test_a_snapshot_after_a_checkpoint_is_whole(machine: Machine) -> None:
    machine.run(3000)
    checkpoint = Checkpoint(machine)
    machine.run(3)
    file = io.BytesIO()
    machine.save(file)
    again = Machine.restore(io.BytesIO(file.getvalue()))
    assert state(again) == state(machine)
    again.close()
    checkpoint.restore()


class Seen:
    """All events of a run."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        """Nothing is buffered."""


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_run_from_a_checkpoint_is_the_same_each_time(runtime: str) -> None:
    from paracell.guest import shipped  # noqa: PLC0415  (only this test needs images)

    program = shipped.image("linux/processes").read_bytes()
    machine = boot(runtime, tar_of({"bin/processes": program}), ["/bin/processes"], console=Typed(b""), memory=64 << 20)
    assert machine.run(1_200_000).reason is Reason.LIMIT
    start = Checkpoint(machine)
    runs = []
    for _ in range(3):
        seen = Seen()
        machine.add_sink(seen)
        stop = machine.run()
        machine.remove_sink(seen)
        memory = bytes(machine.memory.ram)
        runs.append((stop.reason, stop.value, machine.clock.cycles, hash(memory), seen.events))
        start.restore()
    machine.close()
    assert runs[0][0] is Reason.EXIT
    assert len(runs[0][4]) > 1000
    assert runs[1] == runs[0]
    assert runs[2] == runs[0]
