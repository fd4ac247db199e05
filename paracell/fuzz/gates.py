"""The target `gates`: container user with code and registers that are aimed at the gates.

Each try writes some machine code into a page of the program's, gives its registers values that mean something, and lets the machine
run a few hundred instructions.  Nobody may hold the container kernel's rights outside of its code, the host takes no exception of its
own, nobody may reach a secret's page, to read, write or run it, and pages are bound and used as Pager's rules say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..attacks import ATTACKS, HOST, KERNEL, PREFIXES, container_modules, symbols_of
from ..emu.devices import NoConsole
from ..emu.registers import GENERAL
from ..machine import Machine
from ..mmu.address import PAGE, U64
from ..oracle import Bindings, HostException, KernelRights, Secrets
from ..pku.scan import scan
from ..runtimes import PARACELL
from .chance import Chance
from .encodings import ENCODINGS
from .generator import FLAGS, JUMP_HERE, Generator, Targets
from .images import images_digest
from .mutate import mutate_bytes
from .standing import StandingTarget
from .target import Options
from .tries import LONGEST, Try

if TYPE_CHECKING:
    from ..emu.devices import ConsolePorts

PROGRAM: Final = "fuzzee"
_MEMORY: Final = 32 << 20
_SWITCHES: Final = {"hold": "the host holds interrupts back while the gate's code runs"} | {
    d: f"the defence {d}: see docs/attacks.md" for a in ATTACKS if a.runtime is PARACELL for d in a.off
}


class GatesTarget(StandingTarget):
    """A machine that stands where the program gives itself up.

    Attributes:
        code: the linear address of the page whose code a try gives.
        generator: makes tries.

    """

    name = "gates"
    switches = _SWITCHES
    runtimes = ()
    budget = 600
    max_len = LONGEST
    generating = 0.5

    def __init__(self, options: Options = Options(), console: ConsolePorts | None = None) -> None:  # noqa: B008
        super().__init__(options)
        kernel, host = symbols_of(KERNEL), symbols_of(HOST)
        program = symbols_of(f"attacks/{PROGRAM}")
        self.machine = machine = Machine.boot(
            PARACELL.load(),
            modules=container_modules(PROGRAM, ()),
            append=" ".join(f"off={d}" for d in options.off if d != PREFIXES),
            memory=_MEMORY,
            runtime=PARACELL,
            console=console or NoConsole(),
        ).inner
        if PREFIXES in options.off:
            machine.traps.plant_flaw()
        text = range(kernel["kernel_text"], kernel["kernel_rodata"])
        self.code = program["fuzz_code"]
        self.own_code = range(self.code, self.code + PAGE)
        self.go_to(lambda machine: self.stands_in(range(self.code, self.code + 1), machine))
        self._code_at = self._physical(self.code)
        secrets = [(kernel["gk_secret"], "the container kernel's secret"), (host["host_secret"], "the host's secret")]
        gate = [a for n, a in kernel.items() if n.startswith("xgate_")]
        points = (*gate, *gate, kernel["gk_event_entry"], kernel["plat_enter_user"], kernel["trap"], kernel["memset"],
                  kernel["gk_secret"], host["host_secret"])  # fmt: skip
        self.generator = Generator(Targets(self.code, program["fuzz_data"], points, text))
        reached = Secrets({self._physical(a) >> 12: name for a, name in secrets})
        self.stand([reached, HostException(), Bindings(), KernelRights(text)], exact=False)

    def _physical(self, address: int) -> int:
        found = self.machine.cpu.translation.physical(address)
        assert found is not None
        return found

    # ---- inputs -----------------------------------------------------------------------------------------------------

    def generate(self, chance: Chance) -> bytes:
        """Make code and registers that are aimed at the gates."""
        return self.generator.make(chance).to_bytes()

    def listed(self, number: int) -> bytes | None:
        """Give the encodings in their order, each with registers of its own."""
        if number >= len(ENCODINGS):
            return None
        return self.generator.make(Chance(number), ENCODINGS[number]).to_bytes()

    def mutate(self, data: bytes, other: bytes, chance: Chance) -> bytes:
        """Change registers, flags, or steps of the code, or put the code of another try before it."""
        what, kind = Try.from_bytes(data), chance.below(8)
        registers, code, flags = list(what.registers), what.code, what.flags
        if kind < 3:
            for _ in range(1 + chance.below(3)):
                registers[chance.below(len(GENERAL))] = self.generator.value(chance) & U64
        elif kind == 3:
            flags = self.generator.flags(chance)
        elif kind == 4:
            code = self.generator.move(chance) + code
        elif kind == 5:
            code = code.removesuffix(JUMP_HERE) + self.generator.move(chance) + JUMP_HERE
        elif kind == 6:
            code = Try.from_bytes(other).code.removesuffix(JUMP_HERE) + code
        else:
            code = mutate_bytes(code, Try.from_bytes(other).code, (), 256, chance)
        made = Try(code[:PAGE], tuple(registers), flags)
        return self.generator.make(chance).to_bytes() if any(scan(0, made.code)) else made.to_bytes()

    def describe(self, data: bytes) -> str:
        """Give the registers and the code."""
        what = Try.from_bytes(data)
        values = "\n".join(f"{n} {v:#x}" for n, v in zip(GENERAL, what.registers, strict=True) if v)
        return f"{values}\nrflags {what.flags:#x}\ncode {what.code.hex(' ')}"

    def digest(self) -> str:
        """Name the guest images."""
        return images_digest(HOST, KERNEL, f"attacks/{PROGRAM}")

    # ---- running ----------------------------------------------------------------------------------------------------

    def place(self, data: bytes) -> bool:
        """Put the code in its place and the registers to their values; what the scanner refuses cannot be in memory."""
        what, cpu = Try.from_bytes(data), self.machine.cpu
        if any(scan(0, what.code)):
            return False
        self.machine.memory.write(self._code_at, what.code)
        self.machine.memory.drop_stale_code()
        for number, value in enumerate(what.registers):
            cpu.q[number] = value
        cpu.rflags = what.flags & FLAGS | 0x202
        return True
