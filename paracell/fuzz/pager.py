"""The target `pager`: a container kernel with a script of requests to Pager, which a host must answer rightly or end the container.

A hostile kernel (guest/attacks/host/random.c) waits with a container beside it; an input is the script that it then runs, a step in
8 bytes.  Most steps are such as an honest kernel makes, so that a try comes far; some are not.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from ..attacks import ATTACKS, HOST, symbols_of
from ..emu.devices import NoConsole
from ..emu.sinks import Listener
from ..guest.rootfs import init_block
from ..machine import Machine
from ..mmu.address import PAGE
from ..oracle import Bindings, BindingWatch, HostException
from ..runtimes import PARACELL
from .images import images_digest
from .planted import PLANTED, PlantedMistake
from .standing import StandingTarget
from .target import Options

if TYPE_CHECKING:
    from .chance import Chance

_STOP, WORD, ASK, WRITE, MAP, READ, UNMAP, GIVE = range(8)
_NAMES: Final = ("stop", "word", "ask", "write", "map", "read", "unmap", "give")
STEPS: Final = 64
HOSTILE: Final = "hostile.elf"
_PAGES: Final = 24  # of the 64 that the kernel knows
_HONEST: Final = 0.97
_MEMORY: Final = 32 << 20
_WAIT: Final = 16  # bytes of the loop
_SIZE: Final = 8 * STEPS
_SWITCHES: Final = PLANTED | {
    d: f"the defence {d}: see docs/attacks.md" for a in ATTACKS if a.runtime is PARACELL and a.on_host for d in a.off
}


class PagerTarget(StandingTarget):
    """A machine that stands where the hostile kernel waits for its script.

    Attributes:
        bindings: who has which page.

    """

    name = "pager"
    switches = _SWITCHES
    runtimes = ()
    budget = 60_000
    max_len = _SIZE
    generating = 0.3

    def __init__(self, options: Options = Options()) -> None:  # noqa: B008
        super().__init__(options)
        symbols = symbols_of(HOSTILE)
        self.machine = machine = Machine.boot(
            PARACELL.load(),
            modules=[
                module
                for case in ("random-requests", "random-neighbour")
                for module in PARACELL.modules(bytes(PAGE), init_block([case], []), kernel=HOSTILE)
            ],
            append=" ".join(f"off={d}" for d in options.off if d not in PLANTED),
            memory=_MEMORY,
            runtime=PARACELL,
            console=NoConsole(),
        ).inner
        self.bindings = BindingWatch(machine)
        meet = Listener(self.bindings.meet)
        machine.add_sink(meet)
        loop = symbols["random_wait"]
        self.go_to(lambda machine: self.stands_in(range(loop, loop + _WAIT), machine))
        machine.remove_sink(meet)
        at = machine.cpu.translation.physical(symbols["random_script"])
        if at is None:
            raise RuntimeError("the hostile kernel has no script")
        self._script = at
        self._planted = [PlantedMistake(machine, mistake) for mistake in options.off if mistake in PLANTED]
        for each in self._planted:
            machine.add_sink(each)
        self.stand([HostException(), Bindings(self.bindings)])

    def place(self, data: bytes) -> bool:
        """Write the script; what is missing is zero, which ends it."""
        for each in self._planted:
            each.again()
        self.machine.memory.write(self._script, data[:_SIZE].ljust(_SIZE, b"\0"))
        return True

    # ---- inputs -----------------------------------------------------------------------------------------------------

    def generate(self, chance: Chance) -> bytes:
        """Make a script that is honest for the most part."""
        bound: set[int] = set()
        mapped: set[int] = set()
        steps: list[int] = []
        while len(steps) < STEPS - 9:
            steps += _some(chance, bound, mapped)
        return _pack(steps)

    def mutate(self, data: bytes, other: bytes, chance: Chance) -> bytes:
        """Take steps out, put some in, do some again, or go on as another script does."""
        steps, others = _unpack(data), _unpack(other)
        for _ in range(1 + chance.below(3)):
            kind, at = chance.below(6), chance.below(len(steps) + 1)
            if kind == 0:
                del steps[at : at + 1 + chance.below(4)]
            elif kind == 1:
                page = chance.below(_PAGES)
                steps[at:at] = _dishonest(chance, page, page)
            elif kind == 2:
                page = chance.below(_PAGES)
                steps[at:at] = [WORD | page << 4, ASK, chance.pick((MAP, WRITE)) | page << 4, READ | page << 4]
            elif kind == 3 and steps:
                again = chance.below(len(steps))
                steps[at:at] = steps[again : again + 1 + chance.below(6)]
            elif kind == 4:
                steps[at:] = others[chance.below(len(others) + 1) :]
            elif at < len(steps):
                steps[at] = steps[at] & ~0x3F0 | chance.below(_PAGES) << 4
        return _pack(steps)

    def describe(self, data: bytes) -> str:
        """Give the steps by their names."""
        return "\n".join(
            f"{_NAMES[s & 7]} {s >> 4 & 63}{f' order {s >> 12 & 15}' if s >> 12 & 15 else ''}" for s in _unpack(data)
        )

    def digest(self) -> str:
        """Name the guest images."""
        return images_digest(HOST, HOSTILE)


def _pack(steps: list[int]) -> bytes:
    return struct.pack(f"<{len(steps[:STEPS])}Q", *steps[:STEPS])


def _unpack(data: bytes) -> list[int]:
    """Give the steps before the first that ends the script."""
    count = min(len(data), _SIZE) // 8
    steps = list(struct.unpack(f"<{count}Q", data[: 8 * count]))
    return steps[: next((i for i, s in enumerate(steps) if s & 15 == _STOP), count)]


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
