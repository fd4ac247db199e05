"""Alignment checking: each size and kind of access, and what an instruction that faults leaves behind (SDM "Alignment Check …")."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import pytest

from paracell.emu.machine import Machine
from paracell.emu.registers import R8, RAX, RBX, RCX, RDI, RDX, RIP, RSI, RSP
from paracell.emu.stop import Reason

from .world import CODE, HANDLER, STACK3, UNMAPPED, World

if TYPE_CHECKING:
    from collections.abc import Iterator

AC, DATA = 1 << 18, 0x25000
AM: Final = 1 << 18  # of CR0
POPF_AC: Final = "9c810c24000004009d"  # pushfq; or dword [rsp], AC; popfq
EXCEPTIONS: Final = (0, 6, 13, 14, 17)


class User(World):
    """A machine that runs code of ring 3, and halts at an exception or at INT 80H."""

    def __init__(self) -> None:
        super().__init__(machine=Machine(16 << 20))
        self.memory.write(0x3000, struct.pack("<Q", 0x87))
        self.cpu.set_cr4(self.cpu.cr4 | 1 << 9)  # OSFXSR
        for vector in (*EXCEPTIONS, 0x80):
            self.gate(vector, target=HANDLER + vector, kind=0xEE)
            self.memory.write(HANDLER + vector, b"\xf4")

    def start(self, code: str, *, am: bool = True, ac: bool = True, cpl: int = 3, **registers: int) -> None:
        cpu = self.cpu
        self.memory.write(CODE, bytes.fromhex(code) + b"\xcd\x80")
        self.memory.drop_stale_code()
        self.at_ring(cpl)
        cpu.halted = False
        cpu.set_cr0(0x80000031 | (AM if am else 0))
        cpu.rflags = 2 | (AC if ac else 0)
        cpu.q[RSP] = STACK3
        cpu.q[RBX], cpu.q[RSI], cpu.q[RDI] = DATA, DATA, DATA + 0x100
        for number, name in (
            (RAX, "rax"),
            (RCX, "rcx"),
            (RDX, "rdx"),
            (RBX, "rbx"),
            (RSI, "rsi"),
            (RDI, "rdi"),
            (RSP, "rsp"),
        ):
            cpu.q[number] = registers.get(name, cpu.q[number] if name in {"rbx", "rsi", "rdi", "rsp"} else 0)

    def vector(self, code: str, *, am: bool = True, ac: bool = True, cpl: int = 3, **registers: int) -> int:
        """Run code; the vector that ends it, 80H if nothing went wrong."""
        self.start(code, am=am, ac=ac, cpl=cpl, **registers)
        assert self.machine is not None
        stop = self.machine.run()
        assert stop.reason is Reason.HALTED, stop.report[:1]
        return self.cpu.q[RIP] - 1 - HANDLER

    def frame(self) -> tuple[int, ...]:
        """Give error code, RIP, CS, RFLAGS and RSP of the exception."""
        return self.words(self.cpu.q[RSP], 5)


@pytest.fixture(scope="module")
def module_user() -> Iterator[User]:
    user = User()
    yield user
    user.cpu.engine.close()


@pytest.fixture
def user(module_user: User) -> User:
    module_user.memory.write(DATA, bytes(range(256)) * 2)
    return module_user


def away(code: str, by: int) -> str:
    """An instruction whose last byte is the displacement from RBX."""
    return code[:-2] + f"{by:02x}"


# An instruction with [rbx + disp8], its displacement last; the alignment that it needs.
ACCESSES: Final = [
    ("8a4300", 1),  # mov al, [rbx]
    ("668b4300", 2),
    ("8b4300", 4),
    ("488b4300", 8),
    ("884300", 1),
    ("66894300", 2),
    ("894300", 4),
    ("48894300", 8),
    ("034300", 4),  # add eax, [rbx]
    ("014300", 4),  # add [rbx], eax
    ("f0014300", 4),  # lock add
    ("ff4300", 4),  # inc dword [rbx]
    ("ff7300", 8),  # push qword [rbx]
    ("8f4300", 8),  # pop qword [rbx]
    ("480fb64300", 1),  # movzx rax, byte
    ("0fb74300", 2),  # movzx eax, word
    ("0fc74b00", 8),  # cmpxchg8b
    ("d94300", 4),  # fld dword
    ("dd4300", 8),  # fld qword
    ("db6b00", 8),  # fld tbyte
    ("df4300", 2),  # fild word
    ("f30f104300", 4),  # movss
    ("f20f104300", 8),  # movsd
    ("0f104300", 8),  # movups
    ("0f114300", 8),
    ("f30f6f4300", 8),  # movdqu
    ("8d4300", 1),  # lea
    ("0f1f4300", 1),  # nop [rbx]
    ("0f184b00", 1),  # prefetcht0
    ("d97300", 4),  # fnstenv
    ("8c5b00", 2),  # mov [rbx], ds
]


@pytest.mark.parametrize(("code", "needs"), ACCESSES)
def test_what_each_access_needs(user: User, code: str, needs: int) -> None:
    for by in range(9):
        vector = user.vector(away(code, by))
        assert vector == (17 if by % needs else 0x80), by
        if vector == 17:
            assert user.frame() == (0, CODE, 0x33, 2 | AC | 1 << 16, STACK3)


def test_other_conditions(user: User) -> None:
    for am, ac, cpl in ((False, True, 3), (True, False, 3), (True, True, 0), (False, False, 3)):
        assert user.vector("488b4301", am=am, ac=ac, cpl=cpl) == 0x80
    assert user.vector("488b4301") == 17


def test_a_program_that_sets_ac_itself(user: User) -> None:
    """By POPF, which TCG runs without a trap: the next instruction is the first that is checked."""
    for _ in range(3):
        assert user.vector("8b4301" + POPF_AC + "8b4301", ac=False) == 17
        assert user.frame()[1] == CODE + 3 + len(POPF_AC) // 2
        assert user.vector("8b4301" + POPF_AC + "8b4301", ac=False, am=False) == 0x80


def test_a_program_that_clears_ac(user: User) -> None:
    assert user.vector("9c8124" + "24fffffbff" + "9d" + "8b4301") == 0x80


@pytest.mark.parametrize(
    ("code", "registers"),
    [
        ("c3", {"rsp": STACK3 - 15}),  # ret
        ("50", {"rsp": STACK3 - 15}),  # push rax
        ("58", {"rsp": STACK3 - 15}),
        ("e800000000", {"rsp": STACK3 - 15}),
        ("9c", {"rsp": STACK3 - 15}),
        ("9d", {"rsp": STACK3 - 15}),
        ("48cf", {"rsp": STACK3 - 47}),  # iretq
        ("48cb", {"rsp": STACK3 - 31}),  # retfq
        ("48ff2b", {"rbx": DATA + 2}),  # jmp far m16:64
        ("ff2b", {"rbx": DATA + 2}),  # jmp far m16:32
        ("48ab", {"rdi": DATA + 1}),  # stosq
        ("f348a5", {"rdi": DATA + 1, "rcx": 2}),  # rep movsq
        ("0f0103", {"rbx": DATA + 1}),  # sgdt: the limit
        ("0f0103", {"rbx": DATA}),  # the base
        ("0f000b", {"rbx": DATA + 1}),  # str
        ("0f0203", {"rbx": DATA + 1}),  # lar
        ("0fb20b", {"rbx": DATA + 2}),  # lss
    ],
)  # fmt: skip
def test_stacks_strings_and_pointers(user: User, code: str, registers: dict[str, int]) -> None:
    assert user.vector(code, am=True, ac=True, cpl=3, **registers) == 17
    assert user.vector(code, am=True, ac=False, cpl=3, **registers) != 17


def test_tables_want_an_odd_word(user: User) -> None:
    assert user.vector("0f0103", rbx=DATA + 6) == 0x80


def test_a_page_fault_comes_first(user: User) -> None:
    for code in ("48a1" + struct.pack("<Q", UNMAPPED + 1).hex(), "9d"):
        assert user.vector(code, rsp=UNMAPPED + 1 if code == "9d" else STACK3) == 14


def test_what_was_done_before_is_undone(user: User) -> None:
    """MOVS reads, then stores: nothing moves; PUSH [mem] has written nothing; registers and flags are as they were."""
    before = user.memory.read(DATA, 512)
    assert user.vector("48a5", rdi=DATA + 0x101) == 17
    assert (user.cpu.q[RSI], user.cpu.q[RDI]) == (DATA, DATA + 0x101)
    assert user.vector("ff33", rsp=STACK3 - 7) == 17
    assert user.frame()[4] == STACK3 - 7
    assert user.vector("014301", rax=0x1234) == 17
    assert user.frame()[3] == 2 | AC | 1 << 16
    assert user.memory.read(DATA, 512) == before


def test_stores_before_the_one_that_faults_are_undone(user: User) -> None:
    """ENTER pushes RBP before it reads through it."""
    user.memory.write(STACK3 - 64, b"\xaa" * 64)
    user.start("c8000002")  # enter 0, 2: pushes RBP, reads at RBP-8, pushes that
    user.cpu.q[5] = DATA + 17
    assert user.machine is not None
    user.machine.run()
    assert user.cpu.q[RIP] - 1 == HANDLER + 17
    assert user.memory.read(STACK3 - 64, 64) == b"\xaa" * 64
    assert user.cpu.q[5] == DATA + 17


def test_a_string_stops_where_it_is(user: User) -> None:
    assert user.vector("f3a4", rcx=5, rsi=DATA + 1) == 0x80  # bytes
    assert user.cpu.q[RCX] == 0


def test_an_exception_of_the_same_instruction_is_not_delivered(user: User) -> None:
    """DIV by an operand that is not aligned, and 0."""
    user.memory.write(DATA + 1, bytes(4))
    assert user.vector("f77301", rax=1) == 17
    assert user.vector("f77301", rax=1, ac=False) == 0


def test_a_loop_and_a_system_call(user: User) -> None:
    """A hundred aligned accesses, one after the other, and then one that is not."""
    loop = "488b03" + "ffc9" + "75f9" + "488b4304"
    assert user.vector(loop, rcx=100) == 17
    assert (user.cpu.q[RCX], user.frame()[1]) == (0, CODE + 7)


def test_instructions_that_python_runs(user: User) -> None:
    assert user.vector("0f0123", rbx=DATA + 1) == 17  # smsw [rbx]
    assert user.vector("0f0123", rbx=DATA + 2) == 0x80


def test_the_kernel_is_not_checked_and_the_way_back_is(user: User) -> None:
    """INT 80H goes to a handler that reads what is not aligned, and IRETs to code that does."""
    user.memory.write(HANDLER + 0x100, bytes.fromhex("4c8b0425" + struct.pack("<I", DATA + 1).hex() + "48cf"))
    user.gate(0x81, target=HANDLER + 0x100, kind=0xEE)
    user.memory.drop_stale_code()
    assert user.vector("cd81" * 20 + "488b4301") == 17
    assert user.cpu.q[R8] == int.from_bytes(bytes(range(1, 9)), "little")
    assert user.frame()[1] == CODE + 40


def test_a_run_of_so_many_instructions(user: User) -> None:
    user.start("90909090488b4301")
    assert user.machine is not None
    assert user.machine.run(3).reason is Reason.LIMIT
    assert user.cpu.q[RIP] == CODE + 3
    assert user.machine.run().reason is Reason.HALTED
    assert user.cpu.q[RIP] - 1 - HANDLER == 17
