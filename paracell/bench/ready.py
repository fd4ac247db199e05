"""How long a container takes until its program runs: from nothing, and from a snapshot."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from ..container import Container
from ..emu.stop import Reason
from ..guest import shipped
from ..guest.elf import parse
from ..guest.files import read_regular
from ..machine import Machine

if TYPE_CHECKING:
    from pathlib import Path

    from ..runtimes import Runtime

_FIRST: Final = 2  # bytes of XOR EBP, EBP, with which each of our programs begins


class Readiness:
    """A container that is to run `program`; `snapshot` is where the machine is kept that stands at its first instruction."""

    def __init__(self, runtime: Runtime, program: str, snapshot: Path) -> None:
        self._runtime, self._program = runtime, program
        path = shipped.program(program)
        assert path is not None
        self._entry = parse(read_regular(path), program).entry
        self._snapshot = snapshot
        with self._started() as machine:
            machine.save(snapshot)

    def from_nothing(self) -> float:
        """Seconds from the making of a container until its program's first instruction is next."""
        start = time.perf_counter()
        machine = self._started()
        seconds = time.perf_counter() - start
        machine.close()
        return seconds

    def from_snapshot(self) -> float:
        """Seconds from the opening of the snapshot until its program's first instruction has run."""
        start = time.perf_counter()
        machine = Machine.restore(self._snapshot)
        _reach(machine, self._entry + _FIRST)
        seconds = time.perf_counter() - start
        machine.close()
        return seconds

    def _started(self) -> Container:
        container = Container(self._program, runtime=self._runtime)
        _reach(container, self._entry)
        return container


def _reach(machine: Machine, address: int) -> None:
    """Run until the instruction at `address` is next."""
    end = machine.run_until(address)
    if end.reason is not Reason.REACHED:
        raise RuntimeError(f"the program's first instruction was not reached: {end.reason}")
