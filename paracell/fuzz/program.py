"""A target that is a Linux program: a static ELF that calls ``LLVMFuzzerTestOneInput`` with a buffer.

The program runs in a container up to that call.  There it stands; an input is written to the *end* of its buffer, and the function runs
until it returns.  A program that dies of a signal, ends, or never comes back is a finding.

How the program uses its own code is coverage: each edge from one block to the next.
"""

from __future__ import annotations

import hashlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from .. import runtimes
from ..capture import Capture
from ..container import Container
from ..emu.events import Event, Kind, Who
from ..emu.registers import RDI, RIP, RSI, RSP
from ..emu.stop import Reason
from ..guest import shipped
from ..guest.elf import Elf, Type, parse
from ..mmu.address import PAGE
from ..oracle import HostException, Rule
from .standing import StandingTarget
from .target import BadTarget, Found, Options

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from ..emu.machine import Machine
    from ..emu.stop import Stop

FUNCTION: Final = "LLVMFuzzerTestOneInput"
_MEMORY: Final = "64M"
_MOST_BLOCKS: Final = 1_000_000  # of one input
_EXECUTE: Final = 1  # PF_X
_LONGEST: Final = 4096  # libFuzzer's, where nobody says anything else
_SIGNALLED: Final = 128


class _LastFault(Rule):
    """Remembers where the program's last exception was."""

    def __init__(self) -> None:
        self.at = 0

    def again(self) -> None:
        self.at = 0

    def event(self, machine: Machine, event: Event) -> str | None:
        del machine
        if event.kind is Kind.EXCEPTION and event.who is Who.USER:
            self.at = event.rip
        return None


class ProgramTarget(StandingTarget):
    """A container whose program stands where it calls the function.

    Attributes:
        most_blocks: how many of its blocks may run for an input.

    """

    name = "program"
    runtimes: ClassVar[tuple[str, ...] | None] = tuple(runtimes.RUNTIMES)

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._path = str(shipped.program(options.argument) or Path(options.argument).resolve())
        data = Path(self._path).read_bytes()
        self._digest = hashlib.sha256(data).hexdigest()
        elf = parse(data, self._path)
        function = _function(elf)
        self._console = Capture()
        runtime = options.runtime or runtimes.DEFAULT.name
        container = Container(self._path, runtime=runtime, nested=options.nested, memory=_MEMORY, console=self._console)
        self.machine = machine = container.inner
        self.most_blocks = 1 << 62  # up to the function
        # Where each edge is told of, the code must be translated with the hook.
        self._edges: set[tuple[int, int]] = set()
        self._last_block = self._blocks = 0
        machine.engine.hook_blocks(_code(elf), self._block())
        machine.pause_at([function])
        self._arrive(function)
        cpu = machine.cpu
        self._back = machine.memory.read64(self._physical(cpu.q[RSP]))
        self._buffer, self._room = cpu.q[RDI], cpu.q[RSI]
        self._pages = {
            page: self._physical(page << 12)
            for page in range(self._buffer >> 12, (self._buffer + self._room - 1 >> 12) + 1)
        }
        self.max_len = min(self._room, _LONGEST)
        machine.pause_at([self._back])
        self._fault = _LastFault()
        ours = [HostException()] if runtime == runtimes.PARACELL.name else []
        self._written = self._console.save()
        self._outcome: Hashable = None
        self.most_blocks = _MOST_BLOCKS
        self.stand([*ours, self._fault])

    def _arrive(self, function: int) -> None:
        from ..signals import stopping

        with stopping(self.machine.request_stop):
            stop = self.machine.run()
        if stop.reason is not Reason.REACHED or self.machine.cpu.q[RIP] != function:
            said = "".join(self._console.text(n) for n in (0, 1)).strip().splitlines()
            more = f"; it says: {said[-1]}" if said else ""
            raise BadTarget(
                f"{self._path}: it ends without calling {FUNCTION} ({stop.reason.value} {stop.value}){more}"
            )

    def _physical(self, address: int) -> int:
        found = self.machine.cpu.translation.physical(address)
        if found is None:
            raise BadTarget(
                f"{self._path}: the buffer that it gives {FUNCTION} is not all there: write to all of it first"
            )
        return found

    def _block(self) -> Callable[[], None]:
        """Make what is called before each block of the program's."""
        q, edges = self.machine.cpu.q, self._edges

        def block() -> None:
            at = q[RIP]
            edges.add((self._last_block, at))
            self._last_block = at
            self._blocks += 1
            if self._blocks > self.most_blocks:
                self.machine.request_stop(Reason.LIMIT)

        return block

    # ---- running ----------------------------------------------------------------------------------------------------

    budget = 0  # blocks of the program are counted instead: instructions would cost six times as much

    def place(self, data: bytes) -> bool:
        """Write the input to the end of the buffer, and its place and size to the registers."""
        cpu, memory = self.machine.cpu, self.machine.memory
        data = data[: self._room]
        at = address = self._buffer + self._room - len(data)
        while data:
            part = data[: PAGE - at % PAGE]
            memory.write(self._pages[at >> 12] + at % PAGE, part)
            data, at = data[len(part) :], at + len(part)
        cpu.q[RDI], cpu.q[RSI] = address, self._buffer + self._room - address
        self._edges.clear()
        self._last_block = self._blocks = 0
        return True

    def judge(self, stop: Stop) -> Found | None:
        """See how the function ended."""
        cpu = self.machine.cpu
        returned = stop.reason is Reason.REACHED and cpu.q[RIP] == self._back
        said = tuple(bytes(stream[size:]) for stream, size in zip(self._console.sent, self._written[1:], strict=True))
        self._outcome = (stop.reason.value, cpu.q[0] & 0xFFFF_FFFF if returned else stop.value, said)
        self._console.load(self._written)
        if returned:
            return None
        if stop.reason is Reason.EXIT:
            return Found(_death(stop.value), self._fault.at)
        if stop.reason is Reason.LIMIT:
            return Found(f"it has not returned after {self.most_blocks} blocks")
        return Found(f"the machine stopped: {stop.reason.value}", cpu.q[RIP])

    def features(self) -> Iterable[Hashable]:
        """Give the edges of the last run."""
        return self._edges

    def outcome(self) -> Hashable:
        """Give how the last run ended, what it returned, and what it wrote."""
        return self._outcome

    def digest(self) -> str:
        """Name the program by its content."""
        return self._digest


def _death(status: int) -> str:
    """Say what an exit status means."""
    if status > _SIGNALLED:
        try:
            return f"the program died of {signal.Signals(status - _SIGNALLED).name}"
        except ValueError:
            pass
    return f"the program ended with status {status}"


def _function(elf: Elf) -> int:
    if elf.type is not Type.EXEC or elf.interpreter:
        raise BadTarget(f"{elf.path}: not a static program at a fixed address: link it with -static -no-pie")
    found = [s.address for s in elf.symbols() if s.name == FUNCTION and s.address]
    if not found:
        raise BadTarget(f"{elf.path}: has no symbol {FUNCTION}")
    return found[0]


def _code(elf: Elf) -> range:
    """Give the addresses of the program's code, from its first to its last byte."""
    code = [s for s in elf.segments if s.flags & _EXECUTE]
    return range(min(s.vaddr for s in code), max(s.vaddr + s.memsz for s in code))
