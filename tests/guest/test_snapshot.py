"""A machine saved in the middle of a run goes on elsewhere as if nothing had happened."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from paracell.emu.events import Kind
from paracell.emu.machine import Machine
from paracell.emu.snapshot import BadSnapshot
from paracell.emu.stop import Reason
from paracell.guest import shipped
from paracell.runtimes import RUNTIMES

from .kernels import Typed, boot, tar_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from paracell.emu.events import Event

# A walk that an empty TLB makes is no event of the guest's.
_CHILD = """
import sys
from paracell.emu.events import Kind
from paracell.emu.machine import Machine
from paracell.runtimes import RUNTIMES
from tests.guest.kernels import Typed
from tests.guest.test_snapshot import Listener
console = Typed(b"")
with open(sys.argv[1], "rb") as file:
    machine = Machine.restore(file, console)
runtime = RUNTIMES[sys.argv[2]]
machine.symbols.add(runtime.boots, runtime.load().symbols)
runtime.attach(machine)
listener = Listener()
machine.add_sink(listener)
stop = machine.run()
import json
print(json.dumps([stop.reason, stop.value, console.sent[0].decode(), listener.seen]))
"""


class Listener:
    """Keeps every event but page walks, and calls `at` when there are enough."""

    def __init__(self, enough: int = 1 << 60, at: Callable[[], None] = lambda: None) -> None:
        self.seen: list[list[object]] = []
        self._enough, self._at = enough, at

    def emit(self, event: Event) -> None:
        """Take one event."""
        if event.kind is not Kind.PAGE_WALK:
            self.seen.append([event.kind.name, event.at, event.rip, list(event.data)])
            if len(self.seen) == self._enough:
                self._at()

    def close(self) -> None:
        """Nothing is buffered."""


def _machine(runtime: str, console: Typed) -> Machine:
    rootfs = tar_of({"bin/syscalls": shipped.image("linux/syscalls").read_bytes()})
    return boot(runtime, rootfs, ["/bin/syscalls"], console=console, memory=64 << 20)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("enough", [40, 700, 1500])
def test_another_process_goes_on(runtime: str, enough: int, tmp_path: Path) -> None:
    console = Typed(b"")
    machine = _machine(runtime, console)
    before = Listener(enough, machine.request_stop)
    machine.add_sink(before)
    assert machine.run().reason is Reason.INTERRUPTED
    file = tmp_path / "snapshot"
    with file.open("wb") as out:
        machine.save(out)
    events, printed = len(before.seen), len(console.sent[0])
    stop = machine.run()
    machine.close()
    assert stop.reason is Reason.EXIT
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, str(file), runtime], check=True, capture_output=True, text=True
    )
    reason, value, said, seen = json.loads(child.stdout)
    assert (reason, value) == (stop.reason, stop.value)
    assert said == console.sent[0][printed:].decode()
    assert seen == before.seen[events:]
    assert len(seen) > 100


def test_a_snapshot_holds_what_is_not_zero() -> None:
    machine = _machine("native", Typed(b""))
    machine.run()
    sizes = []
    for pages in (0, 1000):
        for page in range(pages):
            machine.memory.write(0x2000000 + 4096 * page, bytes(range(256)) * 16)
        file = io.BytesIO()
        machine.save(file)
        sizes.append(len(file.getvalue()))
    assert sizes[0] < 1 << 20
    assert sizes[1] - sizes[0] < 1000 * 200  # they compress well
    machine.close()


@pytest.mark.parametrize("damage", [lambda s: s[:100], lambda s: s[:-50], lambda s: s[:2000] + b"?" * 50 + s[2050:]])
def test_damage_is_found(damage: Callable[[bytes], bytes]) -> None:
    machine = _machine("native", Typed(b""))
    file = io.BytesIO()
    machine.save(file)
    machine.close()
    with pytest.raises(BadSnapshot):
        Machine.restore(io.BytesIO(damage(file.getvalue())))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("memory", 1 << 60),
        ("memory", 1 << 70),
        ("devices", 3),
        ("state", []),
        ("features", "x"),
        ("time", None),
        ("pages", [1 << 30]),
        ("pages", [-1]),
    ],
)
def test_a_header_with_a_wrong_value_is_damage(key: str, value: object) -> None:
    machine = Machine(1 << 20)
    file = io.BytesIO()
    machine.memory.write(0, b"x")
    machine.save(file)
    machine.close()
    whole = file.getvalue()
    length = int.from_bytes(whole[8:16], "little")
    text = json.dumps(json.loads(whole[16 : 16 + length]) | {key: value}).encode()
    with pytest.raises(BadSnapshot) as refusal:
        Machine.restore(io.BytesIO(whole[:8] + len(text).to_bytes(8, "little") + text + whole[16 + length :]))
    assert "\n" not in str(refusal.value)
