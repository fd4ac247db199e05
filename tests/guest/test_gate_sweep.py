"""An interrupt, and an exception, at every instruction of the gate: on the way in, in the kernel, and on the way out."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from paracell.attacks import KERNEL, KERNEL_SECRET, symbols_of
from paracell.emu.exceptions import deliver
from paracell.emu.faults import DB
from paracell.emu.registers import RAX, RIP
from paracell.emu.stop import Reason
from paracell.fuzz import Options, Try
from paracell.fuzz.gates import GatesTarget

from .kernels import Typed

if TYPE_CHECKING:
    from collections.abc import Iterator

GETPID = 39
LONG = 400  # instructions: more than a system call by the gate takes
ENOUGH = 60_000
KEPT = (2, 3, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15)  # all but RAX, RCX, RSP, R11


class Patient(Typed):
    """A console on which a byte arrives when it is told so."""

    def __init__(self) -> None:
        super().__init__(b"")
        self.ended = False

    def type(self) -> None:
        self._left = b"x"

    def read(self, count: int) -> bytes:
        data, self._left = self._left[:count], self._left[count:]
        return data


class Sweep:
    """A program that is about to call getpid through the gate, with a value in each register that must be there afterwards."""

    def __init__(self, off: tuple[str, ...] = ()) -> None:
        self.console = Patient()
        self.attacker = GatesTarget(Options(off), self.console)
        self.machine = self.attacker.machine
        self.attacker.deaf()
        known = symbols_of(KERNEL)
        targets = self.attacker.generator.targets
        self.gate = range(known["xgate_entry"], known["xgate_refused"])
        secret = self.machine.cpu.translation.physical(known["gk_secret"])
        assert secret is not None
        self.secret = secret
        # movabs $xgate_entry, %r11; lea back(%rip), %rcx; mov $39, %eax; jmp *%r11; syscall; back: jmp back
        code = b"\x49\xbb" + struct.pack("<Q", known["xgate_entry"]) + b"\x48\x8d\x0d\x0a\0\0\0"
        code += b"\xb8" + struct.pack("<I", GETPID) + b"\x41\xff\xe3\x0f\x05"
        self.take_iret = targets.code + len(code)
        registers = [0x1111 * (i + 1) for i in range(16)]
        registers[4] = targets.data + 8192
        self.attempt = Try(code + b"\xeb\xfe", tuple(registers), 0)

    def start(self) -> None:
        assert self.attacker.place(self.attempt.to_bytes())

    def check(self) -> None:
        """The call is over, its result is there, and nothing else has changed."""
        cpu = self.machine.cpu
        stop = self.machine.run(ENOUGH)
        assert stop.reason is Reason.LIMIT, stop
        assert (cpu.q[RIP], cpu.cpl, cpu.pkru & 0xC) == (self.take_iret, 3, 0xC)
        assert cpu.q[RAX] == 1
        assert [cpu.q[i] for i in KEPT] == [self.attempt.registers[i] for i in KEPT]
        assert self.machine.memory.read64(self.secret) == KERNEL_SECRET

    def places(self) -> list[int]:
        """How many instructions have run when the next one is the gate's."""
        found = []
        for count in range(1, LONG):
            self.start()
            self.machine.run(count)
            if self.machine.cpu.q[RIP] in self.gate:
                found.append(count)
            self.attacker.checkpoint.restore()
        return found


@pytest.fixture(scope="module")
def sweep() -> Iterator[Sweep]:
    made = Sweep()
    yield made
    made.attacker.close()


def test_the_gate_is_swept(sweep: Sweep) -> None:
    places = sweep.places()
    assert len(places) > 60  # both ways
    sweep.start()
    sweep.check()
    sweep.attacker.checkpoint.restore()


def test_an_interrupt_at_every_instruction(sweep: Sweep) -> None:
    for count in sweep.places():
        sweep.start()
        sweep.machine.run(count)
        sweep.console.type()
        sweep.machine.poll_console()
        sweep.check()
        sweep.attacker.checkpoint.restore()


def test_an_interrupt_that_is_not_held_back_does_harm() -> None:
    weak, failed = Sweep(("hold",)), 0
    for count in weak.places():
        weak.start()
        weak.machine.run(count)
        weak.console.type()
        weak.machine.poll_console()
        try:
            weak.check()
        except AssertionError:
            failed += 1
        weak.attacker.checkpoint.restore()
    weak.attacker.close()
    assert failed


def test_an_exception_at_every_instruction(sweep: Sweep) -> None:
    """A debug exception: in the kernel's part it is nothing, in the program's part it is the program's."""
    for count in sweep.places():
        sweep.start()
        sweep.machine.run(count)
        kernel = not sweep.machine.cpu.pkru & 0xC
        deliver(sweep.machine.cpu, DB(1 << 14))
        if kernel:
            sweep.check()
        else:
            stop = sweep.machine.run(ENOUGH)
            assert stop.reason is Reason.EXIT
            assert stop.value == 128 + 5  # SIGTRAP
            assert sweep.machine.memory.read64(sweep.secret) == KERNEL_SECRET
        sweep.attacker.checkpoint.restore()
