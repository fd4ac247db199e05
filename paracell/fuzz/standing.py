"""A target that is a machine, which stands where an input begins to count and goes back there behind each."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Final

from ..emu.checkpoint import Checkpoint
from ..emu.events import Event, Kind
from ..emu.registers import RIP
from ..emu.sinks import Listener
from ..emu.stop import Reason
from ..oracle import Rule, Watch
from ..signals import stopping
from .target import BadTarget, Found, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..emu.machine import Machine
    from ..emu.stop import Stop
    from .target import Options, Tell

_STEP: Final = 200_000  # instructions; between two such runs somebody may stop us
_WARM_UP: Final = 400  # such runs, at most


class StandingTarget(Target):
    """Its class boots `machine`, calls `go_to` and `stand`, and says in `place` how an input comes into the machine.

    Attributes:
        budget: instructions of one run.
        machine: the machine.
        checkpoint: where it goes back to.
        rules: what must hold.

    """

    takes_rules = True
    budget: int = 100_000
    machine: Machine

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.rules: list[Rule] = []
        self._tell: Tell | None = None

    # ---- what a target says -------------------------------------------------------------------------------------

    @abstractmethod
    def place(self, data: bytes) -> bool:
        """Put an input into the machine, which stands at the checkpoint; False for one that cannot be run."""

    def judge(self, stop: Stop) -> Found | None:
        """Say what was wrong with a run that has stopped, beyond what the rules have seen."""
        del stop
        return None

    def told(self, event: Event) -> str | None:
        """Give the line that `replay` prints for an event; None for none: walks are many."""
        if event.kind is Kind.PAGE_WALK:
            return None
        where = self.machine.symbols.name(event.rip) or ""
        data = " ".join(f"{d:#x}" for d in event.data)
        return f"{event.at:>9} {event.who.name.lower():<7}{event.kind.name.lower():<10} {event.rip:#x} {where}  {data}"

    # ---- set-up ---------------------------------------------------------------------------------------------------

    def go_to(self, there: Callable[[Machine], bool]) -> None:
        """Run until `there` says so; looked at every 200,000 instructions, so what is waited for must last."""
        machine = self.machine
        for _ in range(_WARM_UP):
            with stopping(machine.request_stop):
                stop = machine.run(_STEP)
            if there(machine):
                return
            if stop.reason is not Reason.LIMIT:
                break
        raise BadTarget(f"{self.name}: the guest never came to where it waits")

    def stand(self, rules: Sequence[Rule], *, exact: bool = True) -> None:
        """Let inputs begin here, and these rules look at them from now on."""
        from .python import load

        self.rules = [*rules, *(load(spec, Rule) for spec in self.options.oracle)]
        self.checkpoint = Checkpoint(self.machine, exact=exact)
        self.watch = Watch(self.machine, self.rules)
        self._teller = Listener(self._listen)
        self.listen()

    def listen(self) -> None:
        """Put the rules behind all other sinks."""
        self.watch.attach()

    def deaf(self) -> None:
        """Let the rules see no event any more."""
        self.watch.detach()

    # ---- running --------------------------------------------------------------------------------------------------

    def run(self, data: bytes, tell: Tell | None = None) -> Found | None:
        """Run one input from the checkpoint, and go back there."""
        machine = self.machine
        self.watch.again()
        self._tell = tell
        if tell:
            machine.add_sink(self._teller)
        try:
            if not self.place(data):
                return None
            stop = machine.run(self.budget)
            self.watch.end(stop)
            found = Found(*self.watch.found) if self.watch.found else self.judge(stop)
        finally:
            if tell:
                machine.remove_sink(self._teller)
            self.checkpoint.restore()
        if found is not None and not self.checkpoint.exact:
            machine.cpu.translation.flush_all()  # the TLBs may hold what was reached
        return found

    def _listen(self, event: Event) -> None:
        line = self.told(event)
        if line is not None and self._tell:
            self._tell(line)

    def prepare(self, data: bytes) -> Machine:
        """Give the machine at the first instruction of this input's run, and let the rules be deaf."""
        self.deaf()
        self.place(data)
        return self.machine

    def stands_in(self, places: range, machine: Machine) -> bool:
        """Tell whether ring 3 runs in these linear addresses."""
        return machine.cpu.q[RIP] in places and machine.cpu.cpl == 3

    def close(self) -> None:
        """Free the machine."""
        self.machine.close()
