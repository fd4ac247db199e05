"""Tests of lab 7: guests in machine code on the machine's VMX, and the student's handler as their host."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from ...emu.registers import GENERAL
from ...vmx.fields import Field
from ..grade import Student, expect, test
from ..vm import Vm

if TYPE_CHECKING:
    from random import Random

REASONS: Final = {10: "CPUID", 12: "HLT", 18: "VMCALL", 28: "CR access", 30: "I/O", 31: "RDMSR", 32: "WRMSR"}
HLT, CPUID, VMCALL = "f4", "0fa2", "0f01c1"
RDMSR, WRMSR, RDTSC = "0f32", "0f30", "0f31"
OUT_FAULT: Final = 0xE9  # where the guest's own handlers send the vector of an exception
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
    """A guest and the student's handler, run to the end."""

    def __init__(self, student: Student, code: str, *, ends: bool = True, **registers: int) -> None:
        self.vm, self.handler = Vm(bytes.fromhex(code)), student.function("handler", "Handler")()
        self.left, self.faults = Left(self.vm), list[int]()
        vmcs = self.vm.vmcs
        vmcs[Field.CR0_MASK], vmcs[Field.CR0_READ_SHADOW] = OWNED, vmcs[Field.GUEST_CR0] & ~OWNED
        for name, value in registers.items():
            setattr(self.left, name, value)
        for _ in range(MOST):
            reason = self.vm.enter()
            vmcs[Field.ENTRY_INTERRUPTION_INFO] &= ~(1 << 31)  # as every VM exit does
            if self._is_fault(reason):
                continue
            at, name = vmcs[Field.GUEST_RIP], REASONS.get(reason, "")
            on = self.handler.handle(self.left)
            expect(isinstance(on, bool), f"handle gave {on!r} for exit reason {reason} ({name}), and not True or False")
            if not on:
                right = (reason == 12) == ends
                expect(right, f"handle gave False for exit reason {reason} ({name}) at {at:#x}: {self.handler.why}")
                return
            expect(reason != 12, "handle gave True for HLT, which is the guest's end")
        at, reason = vmcs[Field.GUEST_RIP], vmcs[Field.EXIT_REASON]
        expect(
            False,
            f"{MOST} exits, and no end: the guest is at {at:#x}, exit reason {reason} ({REASONS.get(reason, '')})",
        )

    def _is_fault(self, reason: int) -> bool:
        """Take what the guest's own exception handlers send, so that the student's handler need not."""
        vmcs = self.vm.vmcs
        if reason != 30 or vmcs[Field.EXIT_QUALIFICATION] >> 16 != OUT_FAULT:
            return False
        self.faults.append(self.left.rax & 0xFF)
        vmcs[Field.GUEST_RIP] += vmcs[Field.EXIT_INSTRUCTION_LENGTH]
        return True


def mov(register: int, value: int) -> str:
    """Encode MOV of 64 bits into one of the first eight registers."""
    return f"48{0xB8 + register:02x}" + struct.pack("<Q", value).hex()


def keep(register: int, place: int) -> str:
    """Encode ``mov %register, place``, a store of 64 bits to guest memory."""
    return f"4889{0x04 | register << 3:02x}25" + struct.pack("<I", place).hex()


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
            rax=leaf,
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
    run = Run(student, f"0f08{HLT}", ends=False)  # INVD, reason 13
    expect(bool(run.handler.why), "a guest was ended for exit reason 13 (INVD), and `why` is empty")
    run.vm.close()


@test(20, "the console")
def console(student: Student) -> None:
    said = bytes(student.random.randrange(32, 127) for _ in range(12))
    code = "66baf803" + "".join(f"b0{byte:02x}ee" for byte in said)  # mov $0x3f8, %dx; mov $byte, %al; out %al, %dx
    other = "b02aba80030000ee" + "e780"  # out %al, %dx with DX 380H; out %eax, $0x80
    run = Run(student, code + other + HLT)
    expect(
        bytes(run.handler.console) == said,
        f"the guest sent {said!r} to port 3F8H; the console has {bytes(run.handler.console)!r}",
    )
    run.vm.close()


@test(15, "IN, and the parts of RAX")
def inputs(student: Student) -> None:
    for code, port, size in (("ec", 0x3FD, 1), ("ec", 0x60, 1), ("66ed", 0x60, 2), ("ed", 0x60, 4), ("66ed", 0x3FD, 2)):
        before = number(student.random) & ~0x8080
        run = Run(student, f"{code}{keep(0, 0x6000)}{HLT}", rax=before, rdx=port)
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
    known = f"{mov(1, 0xC0000103)}{mov(0, low | 7 << 32)}{mov(2, high)}{WRMSR}{mov(0, ONES)}{mov(2, ONES)}{RDMSR}"
    run = Run(student, f"{known}{keep(0, 0x6000)}{keep(2, 0x6008)}{HLT}")
    got = kept(run, 0x6000, 2)
    expect(
        got == (low, high),
        f"WRMSR of {high << 32 | low:#x} to MSR C0000103H, then RDMSR: RAX is {got[0]:#x} and RDX {got[1]:#x}",
    )
    expect(run.handler.msrs.get(0xC0000103) == high << 32 | low, "`msrs` does not hold what was written")
    run.vm.close()
    for name, code in (("RDMSR", RDMSR), ("WRMSR", WRMSR)):
        run = Run(student, f"{mov(1, 0x1B)}{code}{keep(0, 0x6000)}{HLT}", rax=0x77)
        expect(
            run.faults == [13],
            f"{name} of MSR 1BH: the guest got the exceptions {run.faults}, and not one of vector 13",
        )
        expect(0x1B not in run.handler.msrs, f"{name} of an MSR that is not there has made one")
        run.vm.close()


@test(15, "CR0: what the guest believes, and what is")
def cr0(student: Student) -> None:
    numbers = {0: "0f22c0", 1: "0f22c1", 3: "0f22c3", 6: "0f22c6"}
    for register, code in numbers.items():
        base, real = 0x80000031, 0x80000031
        shadow = base & ~OWNED
        wanted = base | student.random.choice([1 << 3, 1 << 18]) | student.random.choice([0, 1 << 1]) | 1 << 16
        read = "0f20c2"  # mov %cr0, %rdx
        run = Run(student, f"{mov(register, wanted)}{code}{read}{keep(2, 0x6000)}{HLT}")
        vmcs = run.vm.vmcs
        (got,) = kept(run, 0x6000)
        text = f"MOV of {wanted:#x} to CR0 from {GENERAL[register]}, read shadow {shadow:#x}, mask {OWNED:#x}"
        expect(got == wanted, f"{text}: the guest reads {got:#x}, and not what it wrote")
        should = real & OWNED | wanted & ~OWNED
        expect(vmcs[Field.GUEST_CR0] == should, f"{text}: GUEST_CR0 is {vmcs[Field.GUEST_CR0]:#x}, and not {should:#x}")
        run.vm.close()


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
