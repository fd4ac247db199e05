"""The target `syscalls`: sequences of Linux system calls with types, resources and dependencies, under any runtime.

A child of a container's first process makes the calls of a script (guest/attacks/caller.c); results of earlier calls are arguments of
later ones.  Whatever they are, the kernel goes on: files, pipes, memory and processes work for the first process, nothing of the kernel's
memory has come into the program's, no secret was reached, a container beside it (where the runtime has a host) goes on.  Under two
runtimes (`-differential`), each call answers the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..attacks import container_modules, symbols_of
from ..emu.devices import NoConsole
from ..emu.events import Event, Kind
from ..machine import Machine
from ..runtimes import RUNTIMES
from .beside import NEIGHBOUR, Neighbour, lived, physical, rules_beside
from .call_arguments import AREA, BASE, KINDS, argument
from .call_table import BY_NUMBER, CALLS
from .images import images_digest
from .scripts import SIZE, Step, changed, in_memory, pack, unpack
from .standing import StandingTarget
from .target import BadTarget, Found, Options

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

    from ..emu.stop import Stop
    from ..oracle import Rule
    from .call_table import Call
    from .chance import Chance
    from .target import Tell

PROGRAM: Final = "caller"
_MEMORY: Final = 48 << 20
_SPINS: Final = 2_000_000  # of the neighbour's, before it naps: long enough to be found
_WAIT: Final = 16  # bytes of the loop
_SLICES: Final = 300
_GIVES: Final = {kind: [c for c in CALLS if c.gives in kinds] for kind, kinds in KINDS.items()}
# Their answers are times, or addresses and numbers that are the runtime's own.
_UNLIKE: Final = frozenset({
    "time", "times", "sysinfo", "getcpu", "sched_getaffinity", "mmap", "brk", "mremap", "shmat", "mincore", "statfs", "fstatfs",
    "getrandom", "pkey_alloc", "arch_prctl", "uname",
})  # fmt: skip
_PRLIMIT64, _RLIMIT_CPU = 302, 0
_SWITCHES: Final = {
    "usercopy": "the defence usercopy of paracell: a pointer from a program is followed in its own half only",
    "range": "the defence range of paracell: a program maps its own half only",
}


class SyscallsTarget(StandingTarget):
    """A machine that stands where the program waits for its calls."""

    name = "syscalls"
    switches = _SWITCHES
    budget = 100_000
    max_len = SIZE

    def __init__(self, options: Options = Options()) -> None:  # noqa: B008
        super().__init__(options)
        name = options.runtime or "paracell"
        if name not in RUNTIMES:
            raise BadTarget(f"syscalls: no such runtime: {name}; there are {', '.join(RUNTIMES)}")
        runtime = RUNTIMES[name]
        if options.off and name != "paracell":
            raise BadTarget(f"syscalls: these defences are paracell's, not {name}'s: {', '.join(options.off)}")
        self.console = NoConsole()
        modules = [*container_modules(PROGRAM, (), runtime=runtime)]
        has_host = runtime.kernel is not None
        if has_host:
            modules += container_modules(NEIGHBOUR, (str(_SPINS),), runtime=runtime)
        self.machine = machine = Machine.boot(
            runtime.load(),
            modules=modules,
            append=" ".join(f"off={d}" for d in options.off),
            memory=_MEMORY * (1 + (name == "runv")),
            runtime=runtime,
            nested=options.nested,
            console=self.console,
        ).inner
        self._images = tuple(
            n for n in (runtime.boots, runtime.kernel, f"attacks/{PROGRAM}", f"attacks/{NEIGHBOUR}") if n
        )
        rules: list[Rule] = []
        self._beats = 0
        if has_host:
            neighbour = Neighbour()
            self.go_to(neighbour.runs)
            self._beats = neighbour.beats
            rules = rules_beside(machine, runtime, neighbour)
        self._find_program()
        self.stand(rules)
        self._begun, self._said = self._beat(), len(self.console.sent[0])
        self._answers: list[int] = []
        self._shown: list[Hashable] = []
        self._may_end = False
        self._outcome: tuple[Hashable, ...] = ()

    def _find_program(self) -> None:
        """Go to where the program waits, and find its script and its area in memory."""
        symbols = symbols_of(f"attacks/{PROGRAM}")
        loop = symbols["script_wait"]
        waits = range(loop, loop + _WAIT)
        self.go_to(lambda machine: self.stands_in(waits, machine))
        pages = (symbols["script"], *(BASE + at for at in range(0, len(AREA), 4096)))
        found = [physical(self.machine, at) for at in pages]
        if None in found:
            raise RuntimeError("syscalls: the program's pages are not there")
        self._script, *self._area = (at for at in found if at is not None)
        # The kernel keeps what is behind the first page of the script where it likes.
        assert SIZE + 16 < 4096

    def _beat(self) -> int:
        return self.machine.memory.read64(self._beats) if self._beats else 0

    def place(self, data: bytes) -> bool:
        """Write the script and the area."""
        memory = self.machine.memory
        memory.write(self._script, in_memory(data))
        for number, at in enumerate(self._area):
            memory.write(at, AREA[4096 * number : 4096 * (number + 1)])
        return bool(unpack(data))

    # ---- what comes of it ---------------------------------------------------------------------------------------------

    def judge(self, stop: Stop) -> Found | None:
        """Wait for the program's last line, and look at what it says."""
        for _ in range(_SLICES):
            wrong = lived(stop)
            if wrong:
                return None if self._may_end else Found(wrong)
            told = bytes(self.console.sent[0][self._said :]).decode("ascii", "replace")
            if told.endswith(("end\r\n", "end\n")):
                break
            if self.watch.found:
                return Found(*self.watch.found)
            stop = self.machine.run(self.budget)
        else:
            return self._neighbour_goes_on() if self._may_end else Found("the first process came to no end")
        lines = told.rpartition("\nanswers ")[2].split("\n")  # what the calls have written stands before it
        if len(lines) < 4:
            return Found(f"the program says {told!r}")
        self._answers = [int(word) for word in lines[0].split()]
        for line, right, what in (
            (lines[1], "broken nothing", "does not work any more"),
            (lines[2], "leaked 0", "came to the program"),
        ):
            if line.strip() != right:
                return Found(f"{line.split(maxsplit=1)[-1].strip()} {what}")
        return self._neighbour_goes_on()

    def _neighbour_goes_on(self) -> Found | None:
        for _ in range(_SLICES * bool(self._beats)):
            if self.watch.found:
                return Found(*self.watch.found)
            if self._beat() != self._begun:
                return None
            wrong = lived(self.machine.run(self.budget))
            if wrong:
                return Found(wrong)
        return Found("the neighbour came to run no more") if self._beats else None

    def run(self, data: bytes, tell: Tell | None = None) -> Found | None:
        """Make the calls."""
        self._answers = []
        steps = unpack(data)
        self._may_end = any(map(_may_end, steps))
        found = super().run(data, tell)
        del self.console.sent[0][self._said :]
        self._shown = [(s.what, min(a, 0)) for s, a in zip(steps, self._answers, strict=False)]
        self._outcome = tuple(self._alike(steps))
        return found

    def _alike(self, steps: list[Step]) -> Iterator[str]:
        """Give what each call has answered, as far as it must be the same under any runtime."""
        unlike: set[int] = set()
        for n, (step, answer) in enumerate(zip(steps, self._answers, strict=False)):
            call = BY_NUMBER.get(step.what)
            if (
                call is None
                or call.name in _UNLIKE
                or any(step.names >> i & 1 and a in unlike for i, a in enumerate(step.arguments))
            ):
                unlike.add(n)
            else:
                yield f"{n}: {call.name} {answer}"

    def outcome(self) -> Hashable:
        """Give the answers of the last run, but for times, and addresses that are a runtime's own."""
        return self._outcome

    def features(self) -> Iterable[Hashable]:
        """Give each call with the error that it answered, which says how far it came."""
        return self._shown

    def told(self, event: Event) -> str | None:
        """Leave the walks out: there are many."""
        return None if event.kind is Kind.PAGE_WALK else super().told(event)

    # ---- inputs -----------------------------------------------------------------------------------------------------

    def generate(self, chance: Chance) -> bytes:
        """Make a sequence in which calls are given what earlier ones have made."""
        steps: list[Step] = []
        while len(steps) < 4 + chance.below(16):
            steps += call_steps(chance, steps)
        return pack(steps)

    def mutate(self, data: bytes, other: bytes, chance: Chance) -> bytes:
        """Put calls in, take them out, change an argument, or go on as another sequence does."""
        steps = unpack(data)
        return changed(
            data,
            other,
            lambda at: call_steps(chance, steps[:at]),
            lambda: argument(chance.pick(("any", "room", "size", "path")), chance),
            chance,
        )

    def describe(self, data: bytes) -> str:
        """Give the calls by their names."""
        lines = []
        for n, step in enumerate(unpack(data)):
            call = BY_NUMBER.get(step.what)
            lines.append(f"{n:2} {call.name if call else step.what}{str(step)[len(hex(step.what)) :]}")
        return "\n".join(lines)

    def digest(self) -> str:
        """Name the guest images."""
        return images_digest(*self._images)


def call_steps(chance: Chance, before: list[Step]) -> list[Step]:
    """Make a call to stand behind others, and before it, now and then, one that makes what it needs."""
    call = chance.pick(CALLS)
    made: list[Step] = []
    needs = [word for word in call.arguments if _GIVES.get(word)]
    if needs and chance.random() < 0.5 and not _makers(needs[0], before):
        made.append(_step(chance, chance.pick(_GIVES[needs[0]]), before))
    return [*made, _step(chance, call, [*before, *made])]


def _step(chance: Chance, call: Call, before: list[Step]) -> Step:
    arguments, names = [], 0
    for i, word in enumerate(call.arguments):
        makers = _makers(word, before) if word in _GIVES else []
        if makers and chance.random() < 0.85:
            arguments.append(chance.pick(makers[-4:]))
            names |= 1 << i
        else:
            arguments.append(argument(word, chance))
    return Step(call.number, tuple(arguments), names)


def _makers(word: str, before: list[Step]) -> list[int]:
    """Give the numbers of the steps whose result is such a resource."""
    return [n for n, step in enumerate(before) if step.what in BY_NUMBER and BY_NUMBER[step.what].gives in KINDS[word]]


def _may_end(step: Step) -> bool:
    """Tell whether a call may take the processor time of the container's first process: the kernel kills that then, as Linux does."""
    arguments = (*step.arguments, 0, 0)
    return step.what == _PRLIMIT64 and (arguments[1] & 0xFFFFFFFF == _RLIMIT_CPU or bool(step.names >> 1 & 1))
