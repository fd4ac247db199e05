"""RFLAGS.RF: it is set by IRET, holds off instruction breakpoints for one instruction, and ends with it.

SDM "Instruction-Breakpoint Exception Condition".  `expect` is a second opinion, which knows no TCG.
"""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from paracell.emu.events import Event, Kind
from paracell.emu.machine import Machine
from paracell.emu.registers import RBP, RBX, RCX, RDI, RIP, RSI, RSP
from paracell.emu.stop import Reason

from .world import CODE, HANDLER, KERNEL_CS, KERNEL_SS, STACK0, UNMAPPED, World

if TYPE_CHECKING:
    from collections.abc import Iterator

DB, BP, UD, PF, TIMER = 1, 3, 6, 14, 0x40
TF, IF, RF = 1 << 8, 1 << 9, 1 << 16
START, FRAME, DATA, FLAGS = CODE + 0x100, STACK0 - 0x400, 0x50000, 0x58000
EXIT, IRETQ = "e6f4 ebfe", "48cf"
HANDLERS: Final = {
    DB: "814c2410 00000100 48cf",  # or dword [rsp + 16], RF; iretq: goes on behind the breakpoint
    BP: IRETQ,
    UD: "48830424 02 48cf",  # add qword [rsp], 2; iretq: the flags that were pushed have RF set
    PF: "4883c408 48830424 08 48cf",  # drop the error code; add qword [rsp], 8; iretq
}


class Step(NamedTuple):
    """An instruction, and what of it matters here.

    `fault` and `trap` are vectors; `shields` that no instruction breakpoint stops the
    next instruction (SDM "Masking Exceptions and Interrupts When Switching Stacks").
    """

    code: str
    fault: int | None = None
    trap: int | None = None
    shields: bool = False


STEPS: Final = {
    "nop": Step("90"),
    "store": Step("48890425 00000500"),  # mov [DATA], rax
    "jump": Step("eb00"),
    "pushf": Step("9c"),
    "cpuid, in TCG": Step("0fa2"),
    "rdtsc, in Python": Step("0f31"),
    "cli, in Python": Step("fa"),
    "sgdt, hooked": Step("0f010425 00000500"),
    "port": Step("e680"),
    "rep movs": Step("f3a4"),
    "repe cmps": Step("f3a6"),
    "int3": Step("cc", trap=BP),
    "ud2": Step("0f0b", fault=UD),
    "page fault": Step("488b0425 00004000", fault=PF),  # mov rax, [UNMAPPED]
    "mov ss": Step("8ed5", shields=True),
}


def expect(steps: list[Step], breakpoint_at: int, *, resume: bool) -> list[tuple[int, int]]:
    """Give (vector, number of the instruction at RIP) of each exception."""
    met, shielded = [], False
    for number, step in enumerate(steps):
        if number == breakpoint_at and not resume and not shielded:
            met.append((DB, number))
        resume = shielded = False  # the handler has set RF, and with the instruction it ends
        if step.fault is not None:
            met.append((step.fault, number))
            resume = True  # a fault pushes it set, and the handler steps over the instruction
        elif step.trap is not None:
            met.append((step.trap, number + 1))
        shielded = step.shields
    return met


class Resumed:
    """A machine that begins with an IRETQ to START."""

    def __init__(self) -> None:
        self.machine = Machine(16 << 20)
        self.world = World(machine=self.machine)
        self.cpu, self.memory = self.machine.cpu, self.machine.memory
        self.met: list[tuple[int, int]] = []
        for vector, code in HANDLERS.items():
            at = HANDLER + 0x40 * vector
            self.world.gate(vector, target=at)
            self.memory.write(at, bytes.fromhex(code))
        self.machine.add_sink(self)

    def emit(self, event: Event) -> None:
        if event.kind is Kind.EXCEPTION:
            self.met.append((event.data[0], event.rip))

    def close(self) -> None:
        """Nothing is buffered."""

    def iretq(self, flags: int) -> None:
        """Put an IRETQ to START at CODE, and its frame on the stack."""
        cpu = self.cpu
        self.memory.write(CODE, bytes.fromhex(IRETQ))
        self.memory.write(FRAME, struct.pack("<5Q", START, KERNEL_CS, flags, STACK0 - 0x800, KERNEL_SS))
        cpu.q[RIP], cpu.q[RSP], cpu.q[RBP], cpu.q[RCX], cpu.q[RSI], cpu.q[RDI] = (
            CODE,
            FRAME,
            KERNEL_SS,
            3,
            DATA,
            DATA + 64,
        )
        cpu.interrupt_shadow = False

    def run(self, steps: list[Step], breakpoint_at: int, *, resume: bool) -> list[tuple[int, int]]:
        """Run the steps; give what was met, by the number of the instruction."""
        codes = [bytes.fromhex(step.code) for step in steps]
        places = [START + sum(map(len, codes[:i])) for i in range(len(codes) + 1)]
        self.memory.write(START, b"".join(codes) + bytes.fromhex(EXIT))
        self.cpu.dr[0], self.cpu.dr[7] = places[breakpoint_at], 0x402
        self.cpu.breakpoints.update()
        self.iretq(2 | (RF if resume else 0))
        self.met.clear()
        assert self.machine.run().reason is Reason.EXIT
        return [(vector, places.index(rip)) for vector, rip in self.met]


@pytest.fixture(scope="module")
def resumed() -> Iterator[Resumed]:
    made = Resumed()
    yield made
    made.machine.close()


@pytest.mark.parametrize("first", STEPS)
def test_a_breakpoint_behind_an_iretq(resumed: Resumed, first: str) -> None:
    nop, wrong = STEPS["nop"], []
    for (second, step), at, resume in itertools.product(STEPS.items(), range(3), (False, True)):
        steps = [STEPS[first], step, nop, nop]
        got, wanted = resumed.run(steps, at, resume=resume), expect(steps, at, resume=resume)
        if got != wanted:
            wrong.append(f"{second}, breakpoint at {at}, RF {resume:d}: {got}, not {wanted}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("points", [False, True], ids=["no breakpoint", "a breakpoint elsewhere"])
@pytest.mark.parametrize("before", [0, 1, 5])
def test_rf_does_not_outlive_its_instruction(resumed: Resumed, before: int, points: bool) -> None:
    """Neither RF nor the single step that ends it is in the flags that PUSHF, SYSCALL, a trap or a later interrupt stores."""
    cpu = resumed.cpu
    cpu.dr[0], cpu.dr[7] = 0x70000, 0x402 if points else 0x400
    cpu.breakpoints.update()
    resumed.memory.write(
        START, bytes.fromhex("48890425 00000500" * before + "9c 8f0425 00800500" + EXIT)
    )  # pushf; pop [FLAGS]
    resumed.iretq(2 | RF)
    assert resumed.machine.run().reason is Reason.EXIT
    assert resumed.memory.read64(FLAGS) & (TF | RF) == 0
    assert cpu.rflags & (TF | RF) == 0


@pytest.mark.parametrize("points", [False, True], ids=["no breakpoint", "a breakpoint elsewhere"])
@pytest.mark.parametrize("resume", [False, True])
def test_an_interrupt_behind_iretq_pushes_rf_as_it_is(resumed: Resumed, resume: bool, points: bool) -> None:
    """It comes before the instruction; the next interrupt, behind it, pushes 0."""
    cpu, lapic = resumed.cpu, resumed.machine.devices.lapic
    cpu.dr[0], cpu.dr[7] = 0x70000, 0x402 if points else 0x400
    cpu.breakpoints.update()
    resumed.world.gate(TIMER, target=0x13000)
    # mov rax, [rsp + 16]; mov [rbx], rax; add rbx, 8; mov dword [0x600000 + EOI], eax; iretq
    resumed.memory.write(0x13000, bytes.fromhex("488b442410 488903 4883c308 890425 b0006000 48cf"))
    resumed.memory.write(0x3018, struct.pack("<Q", 0xFEE00083))
    lapic.mmio_write(0xF0, 0x1FF)
    lapic.mmio_write(0x300, 1 << 18 | TIMER)  # to itself
    # mov dword [0x600000 + ICR], 1 << 18 | TIMER: once more, by the instruction that RF was for; jmp: behind a block it is taken
    resumed.memory.write(START, bytes.fromhex("c70425 00036000 40000400 eb00" + EXIT))
    resumed.iretq(2 | IF | (RF if resume else 0))
    cpu.q[RBX] = FLAGS
    assert resumed.machine.run().reason is Reason.EXIT
    assert cpu.q[RBX] == FLAGS + 16
    images = struct.unpack("<2Q", resumed.memory.read(FLAGS, 16))
    assert [image & (RF | TF) for image in images] == [RF if resume else 0, 0]


def test_a_page_fault_hides_the_single_step(resumed: Resumed) -> None:
    """With a breakpoint set, the instruction behind IRETQ runs under TCG's TF, and faults."""
    cpu = resumed.cpu
    cpu.dr[0], cpu.dr[7] = 0x70000, 0x402
    cpu.breakpoints.update()
    resumed.memory.write(HANDLER + 0x40 * PF, bytes.fromhex("488b442418 48890425 00800500" + HANDLERS[PF]))
    resumed.memory.write(START, bytes.fromhex(f"488b0425 {UNMAPPED.to_bytes(4, 'little').hex()}" + EXIT))
    for _ in range(2):  # the second time by the way that is known
        resumed.iretq(2 | RF)
        assert resumed.machine.run().reason is Reason.EXIT
        assert resumed.memory.read64(FLAGS) & (TF | RF) == RF
        assert cpu.rflags & (TF | RF) == 0
