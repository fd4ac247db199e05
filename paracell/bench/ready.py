"""How long a container takes until its program runs: from nothing, and from a snapshot."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from ..container import prepare
from ..emu.machine import Machine
from ..emu.registers import RIP
from ..emu.stop import Reason
from ..guest import image, shipped
from ..guest.elf import parse
from ..guest.files import read_regular

if TYPE_CHECKING:
    from pathlib import Path

_MEMORY: Final = 256 << 20  # as `paracell run` has it
_FIRST: Final = 2  # bytes of XOR EBP, EBP, with which each of our programs begins


class Readiness:
    """A container that is to run `program`; `snapshot` is where the machine is kept that stands at its first instruction."""

    def __init__(self, runtime: str, program: str, snapshot: Path) -> None:
        self._container = prepare(runtime, program, [], [], None, _MEMORY)
        self._image = image.load(self._container.image)
        path = shipped.program(program)
        assert path is not None
        self._entry = parse(read_regular(path), program).entry
        self._snapshot = snapshot
        machine = self._started()
        with snapshot.open("wb") as file:
            machine.save(file)
        machine.close()

    def from_nothing(self) -> float:
        """Seconds from the making of a machine until its program's first instruction is next."""
        start = time.perf_counter()
        machine = self._started()
        seconds = time.perf_counter() - start
        machine.close()
        return seconds

    def from_snapshot(self) -> float:
        """Seconds from the opening of the snapshot until its program's first instruction has run."""
        start = time.perf_counter()
        with self._snapshot.open("rb") as file:
            machine = Machine.restore(file)
        _reach(machine, self._entry + _FIRST)
        seconds = time.perf_counter() - start
        machine.close()
        return seconds

    def _started(self) -> Machine:
        machine = Machine(_MEMORY)
        machine.load(self._image, "", self._container.modules)
        _reach(machine, self._entry)
        return machine


def _reach(machine: Machine, address: int) -> None:
    """Run until the instruction at `address` is next."""
    machine.engine.hook_code(address, lambda *_: machine.request_stop())
    stop = machine.run()
    if stop.reason is not Reason.INTERRUPTED or machine.cpu.q[RIP] != address:
        raise RuntimeError(f"the program's first instruction was not reached: {stop.reason}")
