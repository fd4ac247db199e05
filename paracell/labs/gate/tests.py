"""Tests of lab 4: gates and attacks in machine code, run at ring 3 of the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..assembler import BadAssembly, Code, assemble
from ..bench import LANDING, Bench
from ..grade import Student, Wrong, expect, test

if TYPE_CHECKING:
    from ..bench import Outcome

NAMES: Final = {
    "program": 0x10000,
    "stack": 0x20000,
    "stack_top": 0x21000,
    "gate": 0x30000,
    "kernel": 0x40000,
    "secret": 0x50000,
    "counter": 0x50100,
    "kernel_stack": 0x51000,
}
CLOSED: Final = 4  # PKRU while the program runs
FRAMES: Final = 0x100000  # page number n of NAMES is this plus n pages
P, RW, US, A, D = 1, 2, 4, 1 << 5, 1 << 6
WRPKRU: Final = b"\x0f\x01\xef"
SECRET: Final = 8  # bytes
SWEEP: Final = 1024  # tries, spread over the bytes of a gate; each byte gets one at least
KEPT: Final = 0x100  # bytes of the kernel's page that nothing of ours changes
KERNEL: Final = """
        mov rax, counter
        mov rax, [rax]
        add rax, rdi
        push rbx
        mov rbx, counter
        mov [rbx], rax
        pop rbx
        ret
"""
FLAWED: Final = """
gate:   xor ecx, ecx
        xor edx, edx
        mov eax, 0
open:   wrpkru
        call kernel
        mov r8, rax
        xor ecx, ecx
        xor edx, edx
        mov eax, 4
close:  wrpkru
        mov rax, r8
        ret
"""


class Place:
    """The address space of the hand-out, with a gate in it."""

    def __init__(self, student: Student, gate: str, called: str) -> None:
        self.bench, self.random = Bench(), student.random
        self.gate = self._assemble(gate, "gate", NAMES, called)
        self.secret = self.random.randbytes(KEPT)
        for name in ("program", "stack", "gate", "kernel", "secret"):
            entry = self.frame(name) | P | US | A | D | (RW if name in {"stack", "secret"} else 0)
            self.bench.map(NAMES[name], entry | (1 << 59 if name == "secret" else 0))
        self._put("kernel", assemble(KERNEL, NAMES["kernel"], NAMES).data)
        self._put("gate", self.gate.data)
        self.reset()

    @staticmethod
    def frame(name: str) -> int:
        """Give the physical address of a page."""
        return FRAMES + (NAMES[name] >> 4)

    def _assemble(self, text: Any, where: str, names: dict[str, int], called: str) -> Code:
        expect(isinstance(text, str), f"{called} is no text for the assembler, but {text!r}")
        try:
            code = assemble(text, NAMES[where], names)
        except BadAssembly as error:
            raise Wrong(f"{called}, in its text: {error}") from None
        expect(
            0 < len(code.data) <= 4096, f"{called} has {len(code.data)} bytes; it must have some, and no more than 4096"
        )
        return code

    def _put(self, where: str, data: bytes, fill: bytes = LANDING) -> None:
        self.bench.memory.write(self.frame(where), data + fill * (4096 - len(data)))
        self.bench.memory.drop_stale_code()

    def reset(self) -> None:
        """Make the data pages as they are at first; a `ret` from the program's stack comes to the program."""
        self.bench.memory.write(self.frame("stack"), NAMES["program"].to_bytes(8, "little") * 512)
        self.bench.memory.write(self.frame("secret"), self.secret + bytes(4096 - KEPT))

    def load(self, text: Any, called: str) -> int:
        """Put a program into its page; gives its size."""
        code = self._assemble(text, "program", {**NAMES, **self.gate.labels}, called).data
        expect(
            WRPKRU not in code,
            f"{called} has a WRPKRU of its own at byte {code.find(WRPKRU)}: the scanner lets no such program in",
        )
        self._put("program", code)
        return len(code)

    def named(self, at: int) -> str:
        """Say where an address of the gate is: by the label before it, as a student's text has it."""
        before = [(place, name) for name, place in self.gate.labels.items() if place <= at]
        byte = at - NAMES["gate"]
        if not before:
            return f"byte {byte} of your gate"
        place, name = max(before)
        return f"{name} + {at - place}, byte {byte} of your gate" if at > place else f"{name}, byte {byte} of your gate"

    def run(self, at: int, **registers: int) -> Outcome:
        """Let the program run from an address on, with PKRU closed."""
        cpu = self.bench.machine.cpu
        self.bench.stand(user=True)
        cpu.pkru, cpu.rip, cpu.rsp = CLOSED, at, NAMES["stack_top"] - 0x200
        for name, value in registers.items():
            setattr(cpu, name, value)
        return self.bench.go()

    @property
    def kept(self) -> bool:
        """The kernel's data are as they were."""
        return self.bench.memory.read(self.frame("secret"), KEPT) == self.secret

    @property
    def counter(self) -> int:
        """What the kernel has counted."""
        at = self.frame("secret") + NAMES["counter"] - NAMES["secret"]
        word: int = self.bench.memory.read64(at)
        return word

    def broken(self, out: Outcome) -> str | None:
        """Say what is wrong after a run, if anything is."""
        cpu = self.bench.machine.cpu
        if not self.kept:
            return "the secret has changed"
        inside = out.rip & ~0xFFF in {NAMES["gate"], NAMES["kernel"]}
        if not inside and not cpu.pkru & CLOSED:
            return f"the program runs at {out.rip:#x} with PKRU {int(cpu.pkru):#x}: key 1 is open"
        return None


def _ended(out: Outcome) -> str:
    """Say how a program ended."""
    if out.vector is None:
        return f"ended by an int3 at {out.rip - 1:#x}"
    error = "" if out.error is None else f", error code {out.error:#x}"
    address = "" if out.address is None else f", CR2 {out.address:#x}"
    return f"ended by exception {out.vector} at {out.rip:#x}{error}{address}"


@test(20, "attack: read the secret")
def attack_read(student: Student) -> None:
    for _ in range(3):
        place = Place(student, FLAWED, "the gate")
        size = place.load(student.get("gate", "ATTACK_READ"), "ATTACK_READ")
        out = place.run(NAMES["program"])
        cpu, secret = place.bench.machine.cpu, int.from_bytes(place.secret[:8], "little")
        expect(
            out.vector is None,
            f"ATTACK_READ {_ended(out)}, PKRU {int(cpu.pkru):#x}",
        )
        own = NAMES["program"] < out.rip <= NAMES["program"] + size
        expect(own, f"ATTACK_READ ended at {out.rip:#x}, and not by an int3 of its own")
        expect(cpu.rax == secret, f"ATTACK_READ ended with RAX {int(cpu.rax):#x}; the secret is another number")


@test(20, "attack: change the secret")
def attack_write(student: Student) -> None:
    place = Place(student, FLAWED, "the gate")
    place.load(student.get("gate", "ATTACK_WRITE"), "ATTACK_WRITE")
    out = place.run(NAMES["program"])
    secret = place.bench.memory.read(place.frame("secret"), SECRET)
    cpu = place.bench.machine.cpu
    expect(
        secret != place.secret[:SECRET],
        f"ATTACK_WRITE {_ended(out)}, PKRU {int(cpu.pkru):#x}, and the {SECRET} bytes of the secret are what they were",
    )


@test(15, "gate: it serves")
def serves(student: Student) -> None:
    place = Place(student, student.get("gate", "GATE"), "GATE")
    place.load("call gate\nint3", "the caller")
    cpu, total = place.bench.machine.cpu, 0
    kept = ("rbx", "rsi", "rbp", "r12", "r13", "r14", "r15")
    for _ in range(40):
        before = {name: student.random.getrandbits(64) for name in kept}
        argument = student.random.getrandbits(32)
        out = place.run(NAMES["program"], rdi=argument, **before)
        total += argument
        where = f"call {argument:#x} of the gate"
        expect(
            out.vector is None,
            f"{where} {_ended(out)}",
        )
        expect(cpu.rax == total, f"{where} gave {int(cpu.rax):#x}, and not {total:#x}")
        expect(int(cpu.pkru) == CLOSED, f"{where} came back with PKRU {int(cpu.pkru):#x}, and not {CLOSED}")
        expect(
            out.rsp == NAMES["stack_top"] - 0x200,
            f"{where} came back with RSP {out.rsp:#x}, and went with {NAMES['stack_top'] - 0x200:#x}",
        )
        before["rdi"] = argument
        lost = [name for name in before if getattr(cpu, name) != before[name]]
        expect(not lost, f"{where} changed {', '.join(lost)}")
    expect(place.kept, "the secret has changed")


def attacked(place: Place, at: int, **registers: int) -> None:
    """Start somewhere, and raise if the gate is broken by it."""
    place.reset()
    out = place.run(at, **registers)
    shown = ", ".join(f"{name} {value:#x}" for name, value in registers.items())
    wrong = place.broken(out)
    expect(wrong is None, f"a jump to {place.named(at)}, with {shown}:\n  {wrong}")


def wrpkrus(place: Place) -> list[int]:
    """Find each WRPKRU of a gate."""
    code = place.gate.data
    return [NAMES["gate"] + at for at in range(len(code)) if code[at : at + 3] == WRPKRU]


@test(15, "gate: a jump to WRPKRU")
def to_wrpkru(student: Student) -> None:
    place = Place(student, student.get("gate", "GATE"), "GATE")
    serves.run(student)
    place.load("int3", "the attacker")
    for at in wrpkrus(place):
        for value in (*range(16), 0xFFFFFFFB, 0x10, 0x80000000, 0x80000002, 0xFFFFFFF0):
            attacked(place, at, rax=value, rcx=0, rdx=0, r9=NAMES["stack"] + 0x800)


@test(10, "gate: a stack in the kernel's data")
def stacks(student: Student) -> None:
    place = Place(student, student.get("gate", "GATE"), "GATE")
    serves.run(student)
    place.load("int3", "the attacker")
    for at in (NAMES["gate"], *wrpkrus(place)):
        near, far = (
            range(NAMES["secret"], NAMES["counter"] + 24, 8),
            range(NAMES["counter"] + 24, NAMES["kernel_stack"] + 16, 8),
        )
        for rsp in (*near, *student.random.sample(far, 30)):
            argument = student.random.getrandbits(16)
            attacked(place, at, rsp=rsp, rax=0, rcx=0, rdx=0, rdi=argument)
            shown = f"RSP {rsp:#x}, at {place.named(at)}: the kernel's counter is {place.counter:#x}"
            expect(place.counter in {0, argument}, f"{shown}, which is neither 0 nor RDI, {argument:#x}")


@test(20, "gate: every byte, anything in the registers", seconds=20)
def anywhere(student: Student) -> None:
    place = Place(student, student.get("gate", "GATE"), "GATE")
    serves.run(student)
    place.load("int3", "the attacker")
    random = student.random
    pool = [
        0,
        4,
        8,
        1,
        *NAMES.values(),
        *place.gate.starts,
        NAMES["secret"] + 8,
        NAMES["secret"] + 0x40,
        NAMES["stack"] + 0x800,
    ]
    names = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)))
    size = len(place.gate.data)
    for offset in range(size):
        for _ in range(max(1, SWEEP // size)):
            registers = {name: random.choice(pool) for name in names}
            if random.random() < 0.7:
                registers |= {"rcx": 0, "rdx": 0}
            attacked(place, NAMES["gate"] + offset, **registers)
