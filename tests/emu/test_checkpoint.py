"""Checkpoints: back to a moment, from any later one, and the same run again."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import pytest

from paracell.emu.checkpoint import Checkpoint
from paracell.emu.machine import Machine
from paracell.emu.registers import R8, RAX, RBX, RCX, RDX, RIP, RSI
from paracell.emu.stop import Reason
from paracell.runtimes import RUNTIMES
from tests.emu.world import World
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


PAGES, OTHER_ROOT, PLACE, FRAMES = 0x4000, 0x6000, 0x100000, (0x80000, 0x81000)
PCIDE, KEPT = 1 << 17, 1 << 63
# mov rax, [rcx]; mov r8, rax; mov cr3, rbx; mov rax, [rcx]; test edx, edx; jz 1f; mov cr3, rsi; 1: hlt
READ = bytes.fromhex("488b01 4989c0 0f22db 488b01 85d2 7403 0f22de f4")


@pytest.mark.parametrize(("pcids", "back"), [(True, True), (True, False), (False, False)])
def test_translations_by_other_tables_go_back(*, pcids: bool, back: bool) -> None:
    """A run that uses other tables than those of the checkpoint's CR3, under another PCID or to its end."""
    machine = Machine(16 << 20)
    world = World(machine=machine)
    cpu, memory = machine.cpu, machine.memory
    entry = PAGES + 8 * (PLACE >> 12)
    pages = [page << 12 | 0x63 for page in range(512)]
    for at, words in (
        (0x1000, [0x2027]), (0x2000, [0x3027]), (0x3000, [0xE7]),  # the walks of the checkpoint's tables write nothing
        (OTHER_ROOT, [0x7007]), (0x7000, [0xA007]), (0xA000, [PAGES | 7]), (PAGES, pages),
    ):  # fmt: skip
        memory.write(at, struct.pack(f"<{len(words)}Q", *words))
    for at, word in ((PLACE, 7), (FRAMES[0], 1), (FRAMES[1], 2), (entry, FRAMES[0] | 0x63)):
        memory.write(at, struct.pack("<Q", word))
    memory.write(CODE, READ)
    cpu.set_cr4(0x20 | (PCIDE if pcids else 0))
    world.at_ring(0)
    cpu.q[RBX], cpu.q[RSI] = (OTHER_ROOT | 2 | KEPT, 0x1000 | KEPT) if pcids else (OTHER_ROOT, 0x1000)
    cpu.q[RCX], cpu.q[RDX] = PLACE, back
    checkpoint = Checkpoint(machine, exact=False)
    memory.write(entry, struct.pack("<Q", FRAMES[1] | 0x63))
    read = []
    for _ in range(2):
        assert machine.run().reason is Reason.HALTED
        read.append((cpu.q[R8], cpu.q[RAX]))
        checkpoint.restore()
    assert read == [(7, 2), (7, 1)]
    machine.close()


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
