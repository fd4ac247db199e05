"""The target `hypercalls`: a hostile kernel that makes requests to its host by a script, beside a container that must live.

The host of each runtime has a kernel of its own for it (guest/attacks/host/script.c, …).  Whatever the script does, the host takes no
exception and does not end; no access reaches its secret, or the neighbour's; both are unchanged; and the neighbour goes on.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from ..attacks import ATTACKS, container_modules, symbols_of
from ..emu.devices import NoConsole
from ..emu.events import Event, Kind
from ..guest.rootfs import init_block
from ..machine import Machine
from ..mmu.address import PAGE
from ..runtimes import RUNTIMES
from .beside import NEIGHBOUR, Neighbour, NoHostFlags, lived, physical, rules_beside
from .images import images_digest
from .script_hosts import KERNELS
from .scripts import SIZE, changed, in_memory, pack, unpack
from .standing import StandingTarget
from .target import BadTarget, Found, Options

if TYPE_CHECKING:
    from ..emu.stop import Stop
    from .chance import Chance
    from .scripts import Step

_WAIT: Final = 16  # bytes of the loop
_PATIENT: Final = 16  # one input in so many waits until the neighbour has had its turn, whatever the script still does
_FEW: Final = 8
_SLICES: Final = 800  # times the budget: more than a slice of the scheduler's
# Without these, no honest kernel comes up beside the hostile one.
_NEEDED: Final = {"paracell": {"gpa"}, "pvm": {"pvcs"}}
_SWITCHES: Final = {
    d: f"the defence {d} of {', '.join(sorted({a.runtime.name for a in ATTACKS if d in a.off}))}: see docs/attacks.md"
    for attack in ATTACKS
    if attack.on_host
    for d in attack.off
    if d not in _NEEDED.get(attack.runtime.name, ())
}


class HypercallsTarget(StandingTarget):
    """A machine that stands where the hostile kernel waits for its script."""

    name = "hypercalls"
    switches = _SWITCHES
    budget = 60_000
    max_len = SIZE

    def __init__(self, options: Options = Options()) -> None:  # noqa: B008
        super().__init__(options)
        name = options.runtime or "paracell"
        if name not in KERNELS:
            raise BadTarget(f"hypercalls: {name} has no host; there are {', '.join(KERNELS)}")
        runtime = RUNTIMES[name]
        known = {d for a in ATTACKS if a.runtime is runtime and a.on_host for d in a.off} - _NEEDED.get(name, set())
        for defence in options.off:
            if defence not in known:
                raise BadTarget(
                    f"hypercalls: the host of {name} has no defence {defence}; it has {', '.join(sorted(known))}"
                )
        self.kernel = KERNELS[name]()
        image = self.kernel.image
        symbols, host = symbols_of(image), symbols_of(runtime.boots)
        self.kernel.know(symbols, host["host_secret"])
        hostile = runtime.modules(bytes(PAGE), init_block(["script"], []), kernel=image)
        self.machine = machine = Machine.boot(
            runtime.load(),
            modules=[*hostile, *container_modules(NEIGHBOUR, (), runtime=runtime)],
            append=" ".join((*(f"off={d}" for d in options.off), *self.kernel.line)),
            memory=self.kernel.memory,
            runtime=runtime,
            nested=options.nested,
            console=NoConsole(),
        ).inner
        self._images = runtime.boots, image, runtime.kernel or "", f"attacks/{NEIGHBOUR}"
        neighbour = Neighbour()
        self.go_to(neighbour.runs)
        self._beats = neighbour.beats
        loop = symbols["script_wait"]
        self.go_to(lambda machine: self.kernel.waits(range(loop, loop + _WAIT), machine))
        at = physical(machine, symbols["script"])
        assert at is not None
        self._script = at
        rules = rules_beside(machine, runtime, neighbour)
        if name != "runv":  # there, ring 3 has what its own kernel gives it
            rules.append(NoHostFlags())
        self.stand(rules)
        self._begun = self._beat()

    def _beat(self) -> int:
        return self.machine.memory.read64(self._beats)

    def place(self, data: bytes) -> bool:
        """Write the script."""
        self._slices = _FEW if zlib.crc32(data) % _PATIENT else _SLICES
        self.machine.memory.write(self._script, in_memory(data))
        return bool(data)

    def judge(self, stop: Stop) -> Found | None:
        """Say whether the neighbour goes on; it may have to wait for its slice."""
        for _ in range(self._slices):
            wrong = lived(stop)
            if wrong:
                return Found(wrong)
            if self.watch.found or self._beat() != self._begun:
                break
            stop = self.machine.run(self.budget)
        else:
            return Found("the neighbour came to run no more") if self._slices == _SLICES else None
        return Found(*self.watch.found) if self.watch.found else None

    def told(self, event: Event) -> str | None:
        """Leave the walks out: there are many."""
        return None if event.kind is Kind.PAGE_WALK else super().told(event)

    # ---- inputs -----------------------------------------------------------------------------------------------------

    def generate(self, chance: Chance) -> bytes:
        """Make a script of a few steps, most of which go together."""
        steps: list[Step] = []
        for _ in range(1 + chance.below(8)):
            steps += self.kernel.some(chance, len(steps))
        return pack(steps)

    def mutate(self, data: bytes, other: bytes, chance: Chance) -> bytes:
        """Put steps in, take them out, change an argument, or go on as another script does."""
        return changed(data, other, lambda at: self.kernel.some(chance, at), lambda: self.kernel.value(chance), chance)

    def describe(self, data: bytes) -> str:
        """Give the steps by their names."""
        return "\n".join(f"{n:2} {self.kernel.named(step)}" for n, step in enumerate(unpack(data)))

    def digest(self) -> str:
        """Name the guest images."""
        return images_digest(*(name for name in self._images if name))
