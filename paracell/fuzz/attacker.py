"""A random attacker: container user with code and registers that are aimed at the gates.

Each try writes some machine code into a page of the program's, gives its registers values that mean something, and lets the machine
run a few hundred instructions.  The oracle listens to the events: nobody may hold the container kernel's rights outside of its
code, the host takes no exception of its own, nobody may reach a secret's page, to read, write or run it, and pages are bound and used
as Pager's rules say.  Then everything is as before, for the next try.

A try is its seed and its number: the same two give the same bytes, on any machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..attacks import HOST, KERNEL, PREFIXES, container_modules, symbols_of
from ..emu.checkpoint import Checkpoint
from ..emu.devices import NoConsole
from ..emu.events import Event, Kind
from ..emu.registers import RIP
from ..emu.sinks import Listener
from ..machine import Machine
from ..mmu.address import U64
from ..mmu.rights import EXEC, READ, WRITE
from ..runtimes import PARACELL
from ..signals import stopping
from .bindings import BindingWatch
from .finding import PROGRAM, Finding, Try
from .generator import Generator, Targets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..emu.devices import ConsolePorts

BUDGET: Final = 600  # instructions of one try
_MEMORY: Final = 32 << 20
_WARM_UP: Final = 40_000_000  # instructions until the program waits, and many more
_STEP: Final = 200_000
_KERNEL_KEY: Final = 1 << 2  # PKRU.AD1
_WAYS: Final = {READ: "read", WRITE: "written", EXEC: "run"}


class Attacker:
    """A machine that stands where the program gives itself up, and can be sent there again.

    Attributes:
        off: the defences that are switched off.
        machine: the machine.
        code: the linear address of the page whose code a try gives.
        checkpoint: where it goes back to.
        watch: the oracle's, over who has which page.
        generator: makes tries for it.

    """

    def __init__(self, off: Sequence[str] = (), console: ConsolePorts | None = None) -> None:
        self.off = tuple(off)
        kernel, host = symbols_of(KERNEL), symbols_of(HOST)
        program = symbols_of(f"attacks/{PROGRAM}")
        booted = Machine.boot(
            PARACELL.load(),
            modules=container_modules(PROGRAM, ()),
            append=" ".join(f"off={d}" for d in off if d != PREFIXES),
            memory=_MEMORY,
            runtime=PARACELL,
            console=console or NoConsole(),
        )
        self.machine = machine = booted.inner
        if PREFIXES in off:
            machine.traps.plant_flaw()
        self._text = range(kernel["kernel_text"], kernel["kernel_rodata"])
        self.code = program["fuzz_code"]
        self._wait_for(self.code)
        self._code_at = self._physical(self.code)
        secrets = [(kernel["gk_secret"], "the container kernel's secret"), (host["host_secret"], "the host's secret")]
        self._secrets = {self._physical(a) >> 12: name for a, name in secrets}
        gate = [a for n, a in kernel.items() if n.startswith("xgate_")]
        points = (*gate, *gate, kernel["gk_event_entry"], kernel["plat_enter_user"], kernel["trap"], kernel["memset"],
                  kernel["gk_secret"], host["host_secret"])  # fmt: skip
        self.generator = Generator(Targets(self.code, program["fuzz_data"], points, self._text))
        self.watch = BindingWatch(machine)
        self.watch.begin()
        self.checkpoint = Checkpoint(machine, exact=False)
        self._found: tuple[str, int] | None = None
        self._tell: Callable[[str], None] | None = None
        self._oracle = Listener(self._listen)
        machine.add_sink(self._oracle)

    def _physical(self, address: int) -> int:
        found = self.machine.cpu.translation.physical(address)
        assert found is not None
        return found

    def deaf(self) -> None:
        """Listen to no event any more."""
        self.machine.remove_sink(self._oracle)

    def _wait_for(self, rip: int) -> None:
        machine = self.machine
        for _ in range(_WARM_UP // _STEP):
            with stopping(machine.request_stop):
                machine.run(_STEP)
            if machine.cpu.q[RIP] == rip and machine.cpu.cpl == 3:
                return
        raise RuntimeError(f"{PROGRAM} never came to where it waits")

    def _listen(self, event: Event) -> None:
        cpu = self.machine.cpu
        if event.kind is Kind.PAGE_WALK:
            self._reached(event)
        elif self._tell:
            where = self.machine.symbols.name(event.rip) or ""
            data = " ".join(f"{d:#x}" for d in event.data)
            self._tell(
                f"{event.at:>9} {event.who.name.lower():<7}{event.kind.name.lower():<10} {event.rip:#x} {where}  {data}"
            )
        if event.kind is Kind.EXCEPTION and not cpu.cpl and self._found is None:
            self._found = "the host took an exception", event.rip
        wrong = self.watch.listen(event)
        if wrong and self._found is None:
            self._found = wrong, event.rip
        self._look(event.rip)

    def _reached(self, walk: Event) -> None:
        """Note a translation to a secret's page: no TLB holds one from before, so that there is no other way to it."""
        _, need, frame, refused, *_ = walk.data
        name = self._secrets.get(frame >> 12)
        if name is not None and not refused and self._found is None:
            self._found = f"{name} was {_WAYS[need]}", walk.rip

    def _look(self, rip: int) -> None:
        """Note the container kernel's rights where its code does not run."""
        cpu = self.machine.cpu
        if cpu.cpl == 3 and not cpu.pkru & _KERNEL_KEY and rip not in self._text and self._found is None:
            self._found = ("the container kernel's rights outside of its code", rip)

    def prepare(self, what: Try) -> None:
        """Put the code in its place and the registers to their values."""
        cpu = self.machine.cpu
        self.machine.memory.write(self._code_at, what.code)
        self.machine.memory.drop_stale_code()
        for number, value in enumerate(what.registers):
            cpu.q[number] = value & U64
        cpu.rflags = what.flags | 0x202

    def attempt(self, what: Try, tell: Callable[[str], None] | None = None) -> tuple[str, int] | None:
        """Make one try; what it reached and where, or None.  `tell` gets a line for each event."""
        machine, cpu = self.machine, self.machine.cpu
        self._found = None
        self._tell = tell
        self.prepare(what)
        machine.run(BUDGET)
        self._look(cpu.q[RIP])
        self.checkpoint.restore()
        self.watch.again()
        return self._result()

    def _result(self) -> tuple[str, int] | None:
        if self._found is not None:
            self.machine.cpu.translation.flush_all()  # the page that was reached is in the TLBs
        return self._found

    def search(self, seed: int, number: int) -> Finding | None:
        """Make the try of this seed and number."""
        what = self.generator.make(seed, number)
        found = self.attempt(what)
        return Finding(*found, seed, number, self.off, what) if found else None

    def close(self) -> None:
        """Free the machine."""
        self.machine.close()
