"""A random container kernel: requests to Pager, and uses of pages, that a host must answer rightly or end the container for.

A hostile kernel (guest/attacks/host/random.c) waits with a container beside it; a try is the script that it then runs.  Most steps are such
as an honest kernel makes, so that a try comes far; some are not.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from ..attacks import symbols_of
from ..emu.checkpoint import Checkpoint
from ..emu.devices import NoConsole
from ..emu.events import Event, Kind
from ..emu.registers import RIP
from ..emu.sinks import Listener
from ..guest.rootfs import init_block
from ..machine import Machine
from ..mmu.address import PAGE
from ..runtimes import PARACELL
from ..signals import stopping
from .bindings import BindingWatch
from .finding import HOSTILE, REGISTERS, Finding, Try
from .generator import Chance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_STOP, WORD, ASK, WRITE, MAP, READ, UNMAP, GIVE = range(8)
STEPS: Final = 64
BUDGET: Final = 60_000  # instructions of one try
_PAGES: Final = 24  # of the 64 that the kernel knows
_HONEST: Final = 0.97
_MEMORY: Final = 32 << 20
_WARM_UP: Final = 400
_STEP: Final = 200_000
_WAIT: Final = 16  # bytes of the loop


class PagerAttacker:
    """A machine that stands where the hostile kernel waits for its script, and can be sent there again.

    Attributes:
        off: the defences that are switched off.
        machine: the machine.
        watch: the oracle's.

    """

    def __init__(self, off: Sequence[str] = ()) -> None:
        self.off = tuple(off)
        symbols = symbols_of(HOSTILE)
        booted = Machine.boot(
            PARACELL.load(),
            modules=[
                module
                for case in ("random-requests", "random-neighbour")
                for module in PARACELL.modules(bytes(PAGE), init_block([case], []), kernel=HOSTILE)
            ],
            append=" ".join(f"off={d}" for d in off),
            memory=_MEMORY,
            runtime=PARACELL,
            console=NoConsole(),
        )
        self.machine = machine = booted.inner
        self.watch = BindingWatch(machine)
        self._tell: Callable[[str], None] | None = None
        self._found: tuple[str, int] | None = None
        self._meet = Listener(self.watch.meet)
        self._oracle = Listener(self._listen)
        machine.add_sink(self._meet)
        self._wait_for(symbols["random_wait"])
        machine.remove_sink(self._meet)
        at = machine.cpu.translation.physical(symbols["random_script"])
        if at is None:
            raise RuntimeError("the hostile kernel has no script")
        self._script = at
        self.watch.begin()
        self._checkpoint = Checkpoint(machine, exact=False)
        self.listen()

    def _wait_for(self, loop: int) -> None:
        machine = self.machine
        for _ in range(_WARM_UP):
            with stopping(machine.request_stop):
                machine.run(_STEP)
            if loop <= machine.cpu.q[RIP] < loop + _WAIT and machine.cpu.cpl == 3:
                return
        raise RuntimeError("the hostile kernel never came to where it waits")

    def listen(self) -> None:
        """Put the oracle behind all other sinks."""
        self.machine.add_sink(self._oracle)

    def deaf(self) -> None:
        """Listen to no event any more."""
        self.machine.remove_sink(self._oracle)

    def _listen(self, event: Event) -> None:
        if self._tell and event.kind is not Kind.PAGE_WALK:
            data = " ".join(f"{d:#x}" for d in event.data)
            self._tell(f"{event.at:>9} {event.who.name.lower():<7}{event.kind.name.lower():<10} {event.rip:#x}  {data}")
        wrong = self.watch.listen(event)
        if event.kind is Kind.EXCEPTION and not self.machine.cpu.cpl:
            wrong = "the host took an exception"
        if wrong and self._found is None:
            self._found = wrong, event.rip

    def attempt(self, what: Try, tell: Callable[[str], None] | None = None) -> tuple[str, int] | None:
        """Make one try; what came of it and where, or None.  `tell` gets a line for each event."""
        self._found, self._tell = None, tell
        self.watch.again()
        self.machine.memory.write(self._script, what.code)
        self.machine.run(BUDGET)
        self._checkpoint.restore()
        return self._result()

    def _result(self) -> tuple[str, int] | None:
        if self._found is not None:
            self.machine.cpu.translation.flush_all()
        return self._found

    def search(self, seed: int, number: int) -> Finding | None:
        """Make the try of this seed and number."""
        what = script(seed, number)
        found = self.attempt(what)
        return Finding(*found, seed, number, self.off, what, "pager") if found else None

    def close(self) -> None:
        """Free the machine."""
        self.machine.close()


def script(seed: int, number: int) -> Try:
    """Make the script of this seed and number."""
    chance = Chance(f"pager:{seed}:{number}")
    bound: set[int] = set()
    mapped: set[int] = set()
    steps: list[int] = []
    while len(steps) < STEPS - 9:
        steps += _some(chance, bound, mapped)
    steps += [_STOP] * (STEPS - len(steps))
    return Try(struct.pack(f"<{STEPS}Q", *steps), (0,) * len(REGISTERS), 0)


def _some(chance: Chance, bound: set[int], mapped: set[int]) -> list[int]:
    """Give a few steps that go together, and note what comes of them if they are honest."""
    kind, page = chance.below(6), chance.below(_PAGES)
    if chance.random() > _HONEST:
        return _dishonest(chance, chance.pick(sorted(mapped or bound or {page})), page)
    free, spare = sorted({*range(_PAGES)} - bound), sorted(bound - mapped)
    if kind < 3:
        gone, come = spare[: chance.below(3)], [p for p in free if chance.random() < 0.3][:4]
        bound.difference_update(gone)
        bound.update(come)
        return [*(WORD | p << 4 for p in (*gone, *come)), ASK | len(gone) << 4]
    if page not in bound:
        return []
    if kind == 3:
        return [WRITE | page << 4]
    if page not in mapped:
        mapped.add(page)
        return [MAP | page << 4, *[READ | page << 4] * chance.below(2)]
    mapped.discard(page)
    return [READ | page << 4, UNMAP | page << 4]


def _dishonest(chance: Chance, taken: int, page: int) -> list[int]:
    """Give what a host refuses, or may refuse: a page that is taken is bound, or goes and is used; anything with any page."""
    kind = chance.below(4)
    if kind == 0:
        return [WORD | taken << 4, ASK]
    if kind == 1:
        return [WORD | taken << 4, ASK | 1 << 4, READ | taken << 4]
    if kind == 2:
        return [GIVE | taken << 4, READ | taken << 4]
    step = chance.pick((WRITE, MAP, READ, UNMAP, WORD)) | page << 4
    return [step | chance.below(16) << 12 if step & 15 == WORD else step, ASK | chance.below(2) << 4]
