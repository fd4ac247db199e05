"""A random attacker: container user with code and registers that are aimed at the gates.

Each try writes some machine code into a page of the program's, gives its registers values that mean something, and lets the machine
run a few hundred instructions.  The oracle listens to the events: nobody may hold the container kernel's rights outside of its
code, and no secret's page may be written or read.  Then everything is as before, for the next try.

A try is its seed and its number: the same two give the same bytes, on any machine.
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from .attacks import container_modules, symbols_of
from .container import HOST, KERNEL
from .emu.checkpoint import Checkpoint
from .emu.devices import NoConsole
from .emu.events import Event, Kind
from .emu.machine import Machine
from .emu.registers import RIP
from .gates import who_is
from .guest import image, shipped
from .guest.elf import parse
from .mmu.entry import FRAME
from .mmu.rights import READ
from .pku.scan import scan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .emu.devices import ConsolePorts

PROGRAM: Final = "fuzzee"
BUDGET: Final = 600  # instructions of one try
_MEMORY: Final = 32 << 20
_WARM_UP: Final = 40_000_000  # instructions until the program waits, and many more
_STEP: Final = 200_000
_PAGE: Final = 4096
_U64: Final = (1 << 64) - 1
_KERNEL_KEY: Final = 1 << 2  # PKRU.AD1
_RIGHTS: Final = (0, 0, 1, 4, 0xC, 0x55555554, 0x5555555C, 0xFFFFFFFF)  # of PKRU
_LIKE_A_GATE: Final = 0.4  # of all tries
_STRAIGHT: Final = 0.5
_REGISTERS: Final = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{i}" for i in range(8, 16)))


class BadFinding(ValueError):
    """A file that is no finding, or that was made with other images."""


@frozen
class Try:
    """What one try does: the code, the registers by number, RFLAGS.

    Attributes:
        code: at the beginning of the page; what is behind it does not count.
        registers: RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 … R15.
        flags: what of RFLAGS a program can set.

    """

    code: bytes
    registers: tuple[int, ...]
    flags: int


@frozen
class Finding:
    """A try that got through.

    Attributes:
        what: what it reached.
        rip: where.
        seed, number: of the try.
        off: the defences that were switched off.
        attempt: the try itself.

    """

    what: str
    rip: int
    seed: int
    number: int
    off: tuple[str, ...]
    attempt: Try

    def to_json(self) -> str:
        """Write it as a file's text."""
        record = {
            "what": self.what, "rip": f"{self.rip:#x}", "seed": self.seed, "number": self.number, "off": list(self.off),
            "code": self.attempt.code.hex(), "flags": f"{self.attempt.flags:#x}",
            "registers": {n: f"{v:#x}" for n, v in zip(_REGISTERS, self.attempt.registers, strict=True)},
            "images": images_digest(),
        }  # fmt: skip
        return json.dumps(record, indent=1) + "\n"


def finding_of(text: str) -> Finding:
    """Read what `to_json` wrote; `BadFinding` for anything else."""
    try:
        record: dict[str, Any] = json.loads(text)
        registers = tuple(int(record["registers"][n], 16) & _U64 for n in _REGISTERS)
        attempt = Try(bytes.fromhex(record["code"]), registers, int(record["flags"], 16))
        off = tuple(str(d) for d in record["off"])
        finding = Finding(
            str(record["what"]), int(record["rip"], 16), int(record["seed"]), int(record["number"]), off, attempt
        )
        images = record["images"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadFinding(f"no finding of the random attacker: {type(error).__name__} {error}") from error
    if len(attempt.code) > _PAGE:
        raise BadFinding(f"no finding of the random attacker: {len(attempt.code)} bytes of code")
    if images != images_digest():
        raise BadFinding(f"found with other guest images ({str(images)[:12]}, here are {images_digest()[:12]})")
    return finding


def images_digest() -> str:
    """Name the guest images that a finding depends on."""
    names = (HOST, KERNEL, f"attacks/{PROGRAM}")
    return hashlib.sha256(b"".join(shipped.image(n).read_bytes() for n in names)).hexdigest()


@frozen
class Targets:
    """Addresses that a try may like."""

    code: int
    data: int
    points: tuple[int, ...]
    text: range = field(repr=False)


class Generator:
    """Makes tries."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets

    def make(self, seed: int, number: int) -> Try:
        """Make the try of this seed and number."""
        chance = random.Random(f"{seed}:{number}")  # noqa: S311  (repeatable, not secret)
        while True:
            first = self._jump(chance) if chance.random() < _STRAIGHT else b""
            code = first + b"".join(self._move(chance) for _ in range(chance.randint(not first, 5))) + b"\xeb\xfe"
            if not any(scan(0, code)):  # as the scanner would have it
                break
        registers = [self._value(chance) for _ in _REGISTERS]
        if chance.random() < _LIKE_A_GATE:  # what WRPKRU wants
            registers[:3] = chance.choice(_RIGHTS), 0, 0
        return Try(
            code, tuple(registers), chance.choice((0, 0, 0x400, 0x100, 0x40000, chance.getrandbits(32))) & 0x240DD5
        )

    def _value(self, chance: random.Random) -> int:
        t, kind = self._targets, chance.randrange(12)
        if kind < 3:
            return chance.choice(t.points) + chance.choice((0, 0, 0, 2, 3, 8, -8, 2048))
        if kind < 5:
            return t.data + chance.randrange(16 * _PAGE)
        if kind == 5:
            return t.code + chance.randrange(64)
        if kind == 6:
            return chance.randrange(t.text.start, t.text.stop)
        if kind == 7:
            return chance.choice(_RIGHTS)
        if kind == 8:
            return chance.choice((1 << 47, (1 << 47) - 1, 1 << 63, _U64, 0xFFFF_8880_0000_0000, 0xFFFF_9000_0000_0000))
        if kind == 9:
            return chance.randrange(512)
        return chance.getrandbits(64)

    def _jump(self, chance: random.Random) -> bytes:
        """Go to one of the points, or close by: JMP, CALL or RET."""
        point = chance.choice(self._targets.points) + chance.choice((*[0] * 12, 1, 2, 3, 5, 6, 8, 9))
        way = chance.choice((b"\x41\xff\xe3", b"\x41\xff\xe3", b"\x41\xff\xd3", b"\x41\x53\xc3"))
        return b"\x49\xbb" + struct.pack("<Q", point) + way

    def _move(self, chance: random.Random) -> bytes:
        """Give the code of one step: most lead to the gates."""
        kind, register = chance.randrange(20), chance.randrange(8)
        load = bytes((0x48, 0xB8 + register)) + struct.pack("<Q", self._value(chance) & _U64)
        if kind < 5:  # jump there, or call
            return self._jump(chance)
        if kind < 8:
            return load if register else b"\x31\xc9\x31\xd2\xb8" + struct.pack("<I", chance.choice(_RIGHTS))
        if kind < 10:  # a raw system call, of either kernel's
            return (
                b"\xb8" + struct.pack("<I", chance.choice((chance.randrange(12), chance.randrange(460)))) + b"\x0f\x05"
            )
        if kind == 10:  # memory, read or written, or a stack
            return load + chance.choice(
                (bytes((0x48, 0x8B, register)), bytes((0x48, 0x89, register)), bytes((0x50 + register,)))
            )
        if kind == 11:  # flags: TF, DF, AC, NT, IOPL
            return b"\x68" + struct.pack("<I", chance.getrandbits(22)) + b"\x9d"
        if kind == 12:  # bases: WRFSBASE, WRGSBASE
            return load + b"\xf3\x48\x0f\xae" + bytes((chance.choice((0xD0, 0xD8)) + register,))
        if kind == 13:
            return chance.choice(
                (
                    b"\xcd\x80",
                    b"\xcc",
                    b"\x0f\x0b",
                    b"\xf4",
                    b"\xfa",
                    b"\xfb",
                    b"\x0f\x01\xee",
                    b"\x48\xcf",
                    b"\x48\xcb",
                )
            )
        if kind == 14:
            return chance.choice(
                (b"\x48\x0f\x07", b"\x0f\x34", b"\x0f\x35", b"\x0f\x30", b"\x0f\x32", b"\x0f\x01\xf8", b"\xec", b"\xee")
            )
        if kind == 15:  # the stack, elsewhere
            return b"\x48\xbc" + struct.pack("<Q", self._value(chance) & _U64)
        if kind == 16:
            return chance.choice(
                (b"\x48\x0f\xae\x27", b"\x48\x0f\xae\x07", b"\x48\x0f\xae\x0f", b"\xf3\x48\xa4", b"\xf3\x48\xab")
            )
        return chance.randbytes(chance.randint(1, 8))


class Attacker:
    """A machine that stands where the program gives itself up, and can be sent there again.

    Attributes:
        off: the defences that are switched off.
        machine: the machine.
        checkpoint: where it goes back to.
        generator: makes tries for it.

    """

    def __init__(self, off: Sequence[str] = (), console: ConsolePorts | None = None) -> None:
        self.off = tuple(off)
        kernel, host = symbols_of(KERNEL), symbols_of(HOST)
        program = symbols_of(f"attacks/{PROGRAM}")
        self.machine = machine = Machine(_MEMORY, console or NoConsole())
        machine.load(
            image.load(shipped.image(HOST)),
            " ".join(f"off={d}" for d in off),
            container_modules(KERNEL, PROGRAM, ()),
        )
        machine.symbols.add(KERNEL, lambda: parse(shipped.image(KERNEL).read_bytes(), KERNEL).symbols())
        self._text = range(kernel["kernel_text"], kernel["kernel_rodata"])
        self._wait_for(program["fuzz_code"])
        walk = machine.cpu.translation.explain
        self._code = walk(program["fuzz_code"], READ).steps[-1].entry & FRAME
        secrets = [(kernel["gk_secret"], "the container kernel's secret"), (host["host_secret"], "the host's secret")]
        self._secrets = {(walk(a, READ, user=False).steps[-1].entry & FRAME) >> 12: name for a, name in secrets}
        gate = [a for n, a in kernel.items() if n.startswith("xgate_")]
        points = (*gate, *gate, kernel["gk_event_entry"], kernel["plat_enter_user"], kernel["trap"], kernel["memset"],
                  kernel["gk_secret"], host["host_secret"])  # fmt: skip
        self.generator = Generator(Targets(program["fuzz_code"], program["fuzz_data"], points, self._text))
        self.checkpoint = Checkpoint(machine)
        self._found: tuple[str, int] | None = None
        self._tell: Callable[[str], None] | None = None
        machine.cpu.emit = self._listen

    def _wait_for(self, rip: int) -> None:
        machine = self.machine
        for _ in range(_WARM_UP // _STEP):
            machine.run(_STEP)
            if machine.cpu.q[RIP] == rip and machine.cpu.cpl == 3:
                return
        raise RuntimeError(f"{PROGRAM} never came to where it waits")

    def _listen(self, event: Event) -> None:
        cpu = self.machine.cpu
        if self._tell and event.kind is not Kind.PAGE_WALK:
            where = self.machine.symbols.name(event.rip) or ""
            data = " ".join(f"{d:#x}" for d in event.data)
            self._tell(
                f"{event.at:>9} {who_is(cpu).name.lower():<7}{event.kind.name.lower():<10} {event.rip:#x} {where}  {data}"
            )
        self._look(event.rip)

    def _look(self, rip: int) -> None:
        """Note the container kernel's rights where its code does not run."""
        cpu = self.machine.cpu
        if cpu.cpl == 3 and not cpu.pkru & _KERNEL_KEY and rip not in self._text and self._found is None:
            self._found = ("the container kernel's rights outside of its code", rip)

    def prepare(self, what: Try) -> None:
        """Put the code in its place and the registers to their values."""
        cpu = self.machine.cpu
        self.machine.memory.write(self._code, what.code)
        self.machine.memory.drop_stale_code()
        for number, value in enumerate(what.registers):
            cpu.q[number] = value & _U64
        cpu.rflags = what.flags | 0x202

    def attempt(self, what: Try, tell: Callable[[str], None] | None = None) -> tuple[str, int] | None:
        """Make one try; what it reached and where, or None.  `tell` gets a line for each event."""
        machine, cpu = self.machine, self.machine.cpu
        self._found = None
        self._tell = tell
        self.prepare(what)
        machine.run(BUDGET)
        self._look(cpu.q[RIP])
        written = self.checkpoint.restore()
        for frame, name in self._secrets.items():
            if frame in written and self._found is None:
                self._found = (f"{name} was written", 0)
                self.checkpoint.watch([frame])
        return self._found

    def search(self, seed: int, number: int) -> Finding | None:
        """Make the try of this seed and number."""
        what = self.generator.make(seed, number)
        found = self.attempt(what)
        return Finding(*found, seed, number, self.off, what) if found else None

    def close(self) -> None:
        """Free the machine."""
        self.machine.close()
