"""Tests of lab 7: guests in machine code on the machine's VMX, and the student's handler as their host."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from ...emu.registers import GENERAL
from ...vmx.fields import Field
from ..grade import Student, Wrong, expect, test
from ..vm import Vm

if TYPE_CHECKING:
    from random import Random

REASONS: Final = {10: "CPUID", 12: "HLT", 18: "VMCALL", 28: "CR access", 30: "I/O", 31: "RDMSR", 32: "WRMSR"}
UNKNOWN: Final = {13: "INVD"}
HLT, CPUID, VMCALL, INVD, CLTS, OUTSB, REP = "f4", "0fa2", "0f01c1", "0f08", "0f06", "6e", "f3"
RDMSR, WRMSR, RDTSC = "0f32", "0f30", "0f31"
OUT_FAULT: Final = 0xE9  # where the guest's own handlers send the vector of an exception
GP: Final = 1 << 31 | 1 << 11 | 3 << 8 | 13
VALID: Final = 1 << 31
OWNED: Final = 1 << 3 | 1 << 18 | 1 << 5  # TS, AM and NE of CR0
MOST: Final = 500  # exits of one guest
ONES: Final = (1 << 64) - 1


class Left:
    """The guest as the student's handler sees it."""

    _vm: Vm

    def __init__(self, vm: Vm) -> None:
        object.__setattr__(self, "_vm", vm)

    def __getattr__(self, name: str) -> int:
        """Give a general register."""
        expect(name in GENERAL, f"vm.{name}: there is no such thing; general registers are rax, rcx … r15")
        if name == "rsp":
            return self.read("GUEST_RSP")
        return int(getattr(self._vm.bench.machine.cpu, name))

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a general register."""
        expect(name in GENERAL, f"vm.{name} = …: there is no such thing; general registers are rax, rcx … r15")
        expect(isinstance(value, int) and 0 <= value <= ONES, f"vm.{name} = {value!r}: no number of 64 bits")
        if name == "rsp":
            self.write("GUEST_RSP", value)
        else:
            setattr(self._vm.bench.machine.cpu, name, value)

    def read(self, field: str) -> int:
        """Read a field."""
        expect(field in Field.__members__, f"read({field!r}): the VMCS has no such field")
        return self._vm.vmcs[Field[field]]

    def write(self, field: str, value: Any) -> None:
        """Write a field."""
        expect(field in Field.__members__, f"write({field!r}, …): the VMCS has no such field")
        expect(isinstance(value, int) and 0 <= value <= ONES, f"write({field!r}, {value!r}): no number of 64 bits")
        self._vm.vmcs[Field[field]] = value


class Run:
    """A guest and the student's handler, run to the end.

    Attributes:
        faults: the vectors of exceptions that the guest's own handlers got.
        after: GUEST_CR0 and CR0_READ_SHADOW as the handler left them at each exit for CR0.

    """

    def __init__(self, student: Student, code: str, *, refused: str = "", **registers: int) -> None:
        self.vm, self.handler = Vm(bytes.fromhex(code)), student.function("handler", "Handler")()
        self.left, self.faults, self.after = Left(self.vm), list[int](), list[tuple[int, int]]()
        self._says = "the first VM entry"
        vmcs = self.vm.vmcs
        vmcs[Field.CR0_MASK], vmcs[Field.CR0_READ_SHADOW] = OWNED, vmcs[Field.GUEST_CR0] & ~OWNED
        for name, value in registers.items():
            setattr(self.left, name, value)
        for _ in range(MOST):
            reason = self._enter()
            vmcs[Field.ENTRY_INTERRUPTION_INFO] &= ~VALID  # as every VM exit does
            if self._is_fault(reason):
                continue
            at = vmcs[Field.GUEST_RIP]
            self._says = f"exit reason {reason} ({(REASONS | UNKNOWN).get(reason, '')}) at {at:#x}"
            on = self.handler.handle(self.left)
            expect(isinstance(on, bool), f"handle gave {on!r} for {self._says}, and not True or False")
            if not on:
                expect(reason == 12 or bool(refused), f"handle gave False for {self._says}: {self.handler.why}")
                expect(
                    reason != 12 or not refused, f"the guest has come to its HLT; its end should have been {refused}"
                )
                return
            expect(reason != 12, "handle gave True for HLT, which is the guest's end")
            expect(reason in REASONS, f"handle gave True for {self._says}, which the table does not have")
            self._look(reason, at)
        expect(False, f"{MOST} exits, and no end; the last was {self._says}")

    def _enter(self) -> int:
        """Enter the guest; gives the exit reason."""
        try:
            return self.vm.enter()
        except RuntimeError as error:
            info = self.vm.vmcs[Field.ENTRY_INTERRUPTION_INFO]
            raise Wrong(
                f"{error}, behind {self._says}: the processor refuses what is in the VMCS (ENTRY_INTERRUPTION_INFO is {info:#x})"
            ) from error

    def _look(self, reason: int, at: int) -> None:
        """Look at what the handler has left in the VMCS."""
        vmcs = self.vm.vmcs
        rip, info = vmcs[Field.GUEST_RIP], vmcs[Field.ENTRY_INTERRUPTION_INFO]
        if reason == 28:
            self.after.append((vmcs[Field.GUEST_CR0], vmcs[Field.CR0_READ_SHADOW]))
        if info & VALID:
            expect(info == GP, f"behind {self._says} ENTRY_INTERRUPTION_INFO is {info:#x}, and not {GP:#x}")
            error = vmcs[Field.ENTRY_ERROR_CODE]
            expect(error == 0, f"behind {self._says} ENTRY_ERROR_CODE is {error:#x}, and not 0")
            expect(rip == at, f"behind {self._says} GUEST_RIP is {rip:#x}: a fault is of its instruction")
        else:
            on = at + vmcs[Field.EXIT_INSTRUCTION_LENGTH]
            expect(rip == on, f"behind {self._says} GUEST_RIP is {rip:#x}; the next instruction is at {on:#x}")

    def _is_fault(self, reason: int) -> bool:
        """Take what the guest's own exception handlers send, so that the student's handler need not."""
        vmcs = self.vm.vmcs
        if reason != 30 or vmcs[Field.EXIT_QUALIFICATION] >> 16 != OUT_FAULT:
            return False
        self.faults.append(self.left.rax & 0xFF)
        vmcs[Field.GUEST_RIP] += vmcs[Field.EXIT_INSTRUCTION_LENGTH]
        return True


def mov(register: int, value: int) -> str:
    """Encode MOV of 64 bits into a register."""
    return f"{0x48 | register >> 3:02x}{0xB8 | register & 7:02x}" + struct.pack("<Q", value).hex()


def keep(register: int, place: int) -> str:
    """Encode ``mov %register, place``, a store of 64 bits to guest memory by one of the first eight registers."""
    return f"4889{0x04 | register << 3:02x}25" + struct.pack("<I", place).hex()


def refused(student: Student, code: str, what: str, **registers: int) -> None:
    """See that the guest is ended for an instruction that the hand-out does not have."""
    run = Run(student, f"{code}{HLT}", refused=what, **registers)
    expect(bool(run.handler.why), f"a guest was ended for {what}, and `why` is empty")
    expect(not run.handler.console, f"{what} has sent {bytes(run.handler.console)!r} to the console")
    run.vm.close()


def kept(run: Run, place: int, count: int = 1) -> tuple[int, ...]:
    """Read what the guest has stored at a place and behind it."""
    data = run.vm.bench.memory.read(0x80_0000 + place, 8 * count)
    return struct.unpack(f"<{count}Q", data)


def number(random: Random) -> int:
    """Choose 64 bits, none of whose bytes is 0."""
    return int.from_bytes(bytes(random.randrange(1, 256) for _ in range(8)), "little")


@test(20, "HLT, CPUID, and what nobody knows")
def ends(student: Student) -> None:
    leaves = student.get("handler", "LEAVES")
    run = Run(student, HLT)
    run.vm.close()
    for leaf in (0, 0x40000000, 0x1234):
        run = Run(
            student,
            f"{CPUID}{keep(0, 0x6000)}{keep(3, 0x6008)}{keep(1, 0x6010)}{keep(2, 0x6018)}{HLT}",
            rax=leaf | number(student.random) & ~0xFFFFFFFF,
            rbx=ONES,
            rcx=ONES << 32 & ONES,
            rdx=ONES,
        )
        got, wanted = kept(run, 0x6000, 4), leaves.get(leaf, (0, 0, 0, 0))
        expect(
            got == wanted,
            f"CPUID with EAX {leaf:#x}: RAX, RBX, RCX, RDX are {[hex(g) for g in got]}, and not {[hex(w) for w in wanted]}",
        )
        run.vm.close()
    refused(student, INVD, "exit reason 13 (INVD)")


@test(20, "the console")
def console(student: Student) -> None:
    said = bytes(student.random.randrange(32, 127) for _ in range(12))
    code = "66baf803" + "".join(f"b0{byte:02x}ee" for byte in said)  # mov $0x3f8, %dx; mov $byte, %al; out %al, %dx
    # Nothing of this comes: out %eax, $0x80; out %al, $0x80; out %ax, %dx; out %eax, %dx; in %dx, %al; out %al, %dx with DX 380H
    run = Run(student, f"{code}e780e68066efefec66ba8003ee{HLT}")
    got = run.handler.console
    expect(isinstance(got, bytearray), f"`console` is {got!r}, and no bytearray any more")
    expect(
        bytes(got) == said,
        f"the guest sent {said!r} to port 3F8H, and none of one byte more; the console has {bytes(got)!r}",
    )
    run.vm.close()
    before = number(student.random)
    for out, port in (("ee", 0x3F8), ("ee", 0x380), ("66ef", 0x380), ("ef", 0x3F8)):
        run = Run(student, f"{out}{keep(0, 0x6000)}{HLT}", rax=before, rdx=port)
        (left,) = kept(run, 0x6000)
        expect(left == before, f"an OUT to port {port:#x} made RAX {left:#x} from {before:#x}")
        run.vm.close()
    for code in (OUTSB, REP + OUTSB):
        refused(student, code, "OUTSB", rdx=0x3F8, rsi=0x6000, rcx=2)


@test(15, "IN, and the parts of RAX")
def inputs(student: Student) -> None:
    for code, dx, port, size in (
        ("ec", 0x3FD, 0x3FD, 1), ("ec", 0x60, 0x60, 1), ("66ed", 0x60, 0x60, 2), ("ed", 0x60, 0x60, 4), ("66ed", 0x3FD, 0x3FD, 2),
        ("ec", 0x3F8, 0x3F8, 1), ("e460", 0x3FD, 0x60, 1), ("e4f8", 0x60, 0xF8, 1),
    ):  # fmt: skip
        before = number(student.random) & ~0x8080
        run = Run(student, f"{code}{keep(0, 0x6000)}{HLT}", rax=before, rdx=dx)
        mask = (1 << 8 * size) - 1
        value = 0x20 if (port, size) == (0x3FD, 1) else mask
        wanted = value if size == 4 else before & ~mask | value
        (got,) = kept(run, 0x6000)
        expect(
            got == wanted,
            f"IN of {size} bytes from port {port:#x} made RAX {got:#x} from {before:#x}, and not {wanted:#x}",
        )
        run.vm.close()


@test(20, "MSRs, and #GP for the guest")
def msrs(student: Student) -> None:
    low, high = (student.random.getrandbits(32) for _ in range(2))
    dirty = 7 << 32
    which = mov(1, 0xC0000103 | dirty)
    first = f"{which}{mov(0, ONES)}{mov(2, ONES)}{RDMSR}{keep(0, 0x6010)}{keep(2, 0x6018)}"
    known = f"{mov(0, low | dirty)}{mov(2, high | dirty)}{WRMSR}{mov(0, ONES)}{mov(2, ONES)}{RDMSR}"
    run = Run(student, f"{first}{known}{keep(0, 0x6000)}{keep(2, 0x6008)}{HLT}")
    got = kept(run, 0x6010, 2)
    expect(got == (0, 0), f"the first RDMSR of MSR C0000103H gave RAX {got[0]:#x} and RDX {got[1]:#x}, and not 0")
    got = kept(run, 0x6000, 2)
    expect(
        got == (low, high),
        f"WRMSR of {high << 32 | low:#x} to MSR C0000103H, then RDMSR: RAX is {got[0]:#x} and RDX {got[1]:#x}",
    )
    expect(run.handler.msrs.get(0xC0000103) == high << 32 | low, "`msrs` does not hold what was written")
    run.vm.close()
    for name, code in (("RDMSR", RDMSR), ("WRMSR", WRMSR)):
        before = number(student.random), number(student.random)
        run = Run(student, f"{mov(1, 0x1B)}{code}{keep(2, 0x6008)}{HLT}", rax=before[0], rdx=before[1])
        expect(
            run.faults == [13],
            f"{name} of MSR 1BH: the guest got the exceptions {run.faults}, and not one of vector 13",
        )
        expect(0x1B not in run.handler.msrs, f"{name} of an MSR that is not there has made one")
        (left,) = kept(run, 0x6008)
        text = f"{name} of an MSR that is not there changed a register"
        expect((run.left.rax & ~0xFF, left) == (before[0] & ~0xFF, before[1]), text)  # the guest's handler has used AL
        run.vm.close()


@test(15, "CR0: what the guest believes, and what is")
def cr0(student: Student) -> None:
    real = 0x80000031
    shadow = real & ~OWNED
    for register, name in enumerate(GENERAL):
        wanted = real | student.random.choice([1 << 3, 1 << 18]) | student.random.choice([0, 1 << 1]) | 1 << 16
        code = f"{'41' if register > 7 else ''}0f22{0xC0 | register & 7:02x}"
        read = "0f20c2"  # mov %cr0, %rdx
        run = Run(student, f"{mov(register, wanted)}{code}{read}{keep(2, 0x6000)}{HLT}")
        (got,) = kept(run, 0x6000)
        text = f"MOV of {wanted:#x} to CR0 from {name.upper()}, read shadow {shadow:#x}, mask {OWNED:#x}"
        should = real & OWNED | wanted & ~OWNED
        expect(len(run.after) == 1, f"{text}: {len(run.after)} exits, and not one")
        mine, shown = run.after[0]
        expect(mine == should, f"{text}: GUEST_CR0 is {mine:#x}, and not {should:#x}")
        expect(shown == wanted, f"{text}: CR0_READ_SHADOW is {shown:#x}, and not {wanted:#x}")
        expect(got == wanted, f"{text}: the guest reads {got:#x}, and not what it wrote")
        run.vm.close()
    refused(student, f"{mov(0, real | 1 << 3)}0f22c0{CLTS}", "CLTS")


@test(10, "VMCALL")
def calls(student: Student) -> None:
    one, two = number(student.random), number(student.random)
    for function in (1, 2):
        run = Run(student, f"{VMCALL}{keep(0, 0x6000)}{HLT}", rax=function, rbx=one, rcx=two)
        wanted = (one + two if function == 1 else -1000) & ONES
        (got,) = kept(run, 0x6000)
        expect(
            got == wanted, f"VMCALL with RAX {function}, RBX {one:#x}, RCX {two:#x} gave {got:#x}, and not {wanted:#x}"
        )
        run.vm.close()
