"""Addresses that are not canonical: #SS through SS, else #GP (SDM "Stack Fault Exception (#SS)", "Segmentation in IA-32e Mode").

The rule: RSP or RBP as the base makes it SS, and so does what an instruction does to the stack by itself; 64-bit mode ignores
overrides but FS and GS.  An Intel processor gave the same answers where ring 3 may ask.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import pytest

from paracell.emu.machine import Machine
from paracell.emu.registers import RCX, RIP
from paracell.emu.stop import Reason

from .world import CODE, DATA, HANDLER, NONCANONICAL, SPARE, STACK0, TSS_AT, World

if TYPE_CHECKING:
    from collections.abc import Iterator

SS, GP = 12, 13
VECTORS = (6, 7, 8, 10, 11, SS, GP, 14)
BAD = 0x1234567800000000

# Opcode and /digit of instructions with an operand in memory: TCG's first, then Python's.
OPERANDS: Final = {
    "mov r, m": ("8b", 0), "mov m, r": ("89", 0), "add m, r": ("01", 0), "lock inc": ("f0ff", 0), "cmpxchg16b": ("480fc7", 1),
    "movups x, m": ("0f10", 0), "movups m, x": ("0f11", 0), "movq mm, m": ("0f6f", 0), "fld": ("dd", 0), "fstp": ("dd", 3),
    "fxsave": ("0fae", 0), "fxrstor": ("0fae", 1), "ldmxcsr": ("0fae", 2), "push m": ("ff", 6), "pop m": ("8f", 0), "call m": ("ff", 2),
    "jmp m": ("ff", 4), "bt": ("0fa3", 0), "movbe": ("0f38f0", 0), "xchg": ("87", 0), "div": ("f7", 6), "setz": ("0f94", 0),
    "call far m": ("ff", 3), "jmp far m": ("ff", 5), "sgdt": ("0f01", 0), "sidt": ("0f01", 1), "lgdt": ("0f01", 2), "lidt": ("0f01", 3),
    "smsw": ("0f01", 4), "lmsw": ("0f01", 6), "sldt": ("0f00", 0), "str": ("0f00", 1), "lldt": ("0f00", 2), "ltr": ("0f00", 3),
    "verr": ("0f00", 4), "verw": ("0f00", 5), "lar": ("0f02", 0), "lsl": ("0f03", 0), "invpcid": ("660f3882", 0), "xsave": ("0fae", 4),
    "xrstor": ("0fae", 5), "xsaveopt": ("0fae", 6), "xsavec": ("0fc7", 4), "xsaves": ("0fc7", 5), "xrstors": ("0fc7", 3),
    "mov ds, m": ("8e", 3), "mov m, ds": ("8c", 3), "lss": ("0fb2", 0), "lfs": ("0fb4", 0), "lgs": ("0fb5", 0),
}  # fmt: skip
# How the operand is addressed: prefixes, REX bits, mod and r/m, bytes behind; and through which segment that is.
PLACES: Final = (
    ("[rsi]", "", 0, 0x06, "", GP), ("[rbp]", "", 0, 0x45, "00", SS), ("[rsp]", "", 0, 0x04, "24", SS),
    ("[r12]", "", 1, 0x04, "24", GP), ("[r13]", "", 1, 0x45, "00", GP), ("[rbp + rax]", "", 0, 0x44, "0500", SS),
    ("[rax + rbp]", "", 0, 0x04, "28", GP), ("[rsp + 64]", "", 0, 0x44, "2440", SS),
    ("ss:[rsi]", "36", 0, 0x06, "", GP), ("ds:[rbp]", "3e", 0, 0x45, "00", SS), ("es:[rbp]", "26", 0, 0x45, "00", SS),
    ("cs:[rsp]", "2e", 0, 0x04, "24", SS), ("fs:[rbp]", "64", 0, 0x45, "00", GP), ("gs:[rsp]", "65", 0, 0x04, "24", GP),
)  # fmt: skip
IMPLICIT: Final = {
    "push": ("50", SS), "push imm": ("6a00", SS), "push fs": ("0fa0", SS), "pop": ("58", SS), "pop fs": ("0fa1", SS), "ret": ("c3", SS),
    "ret n": ("c20800", SS), "call": ("e800000000", SS), "call r": ("ffd1", SS), "pushf": ("9c", SS), "popf": ("9d", SS),
    "enter": ("c8100000", SS), "enter, nested": ("c8100002", SS), "leave": ("c9", SS), "iretq": ("48cf", SS), "iretd": ("cf", SS),
    "retf": ("cb", SS), "push [rsi]": ("ff36", GP), "pop [rsi]": ("8f06", SS), "call [rsi]": ("ff16", GP), "movs": ("a4", GP),
    "stos": ("aa", GP), "lods": ("ac", GP), "cmps": ("a6", GP), "scas": ("ae", GP), "rep movs": ("f3a4", GP), "xlat": ("d7", GP),
}  # fmt: skip


class Bad:
    """A machine that says which exception a few bytes at ring 0 raise, when every register that addresses memory is bad."""

    def __init__(self) -> None:
        self.machine = Machine(16 << 20)
        self.world = world = World(machine=self.machine)
        self.cpu = world.cpu
        world.memory.write(TSS_AT + 36, struct.pack("<Q", STACK0))
        for vector in VECTORS:
            world.gate(vector, target=HANDLER + vector, ist=1)
            world.memory.write(HANDLER + vector, b"\xf4")
        world.describe(SPARE, DATA)
        self.cpu.set_cr4(self.cpu.cr4 | 1 << 9 | 1 << 18)
        self.next = CODE

    def vector(self, code: str, address: int = BAD) -> int:
        """Run the code at an address where none was before."""
        cpu, memory = self.cpu, self.world.memory
        if self.next > CODE + 0x1F00:
            self.next = CODE
        self.world.at_ring(0)
        memory.write(self.next, bytes.fromhex(code) + b"\xf4")
        memory.drop_stale_code()
        for register in range(16):
            cpu.q[register] = address
        cpu.q[0], cpu.q[RCX], cpu.q[2], cpu.q[RIP], cpu.halted = 0, 1, 0x80, self.next, False
        self.next += 32
        assert self.machine.run().reason is Reason.HALTED
        at = cpu.q[RIP] - 1
        return at - HANDLER if HANDLER <= at < HANDLER + 32 else -1


@pytest.fixture(scope="module")
def bad() -> Iterator[Bad]:
    made = Bad()
    yield made
    made.machine.close()


@pytest.mark.parametrize("name", OPERANDS)
def test_operands(bad: Bad, name: str) -> None:
    opcode, digit = OPERANDS[name]
    code = bytes.fromhex(opcode)
    at = 1 if code[0] in {0x66, 0xF0} else 0
    wrong = []
    for place, prefix, rex, modrm, behind, expected in PLACES:
        if code[at] == 0x48:
            start = code[:at] + bytes([0x48 | rex]) + code[at + 1 :]
        else:
            start = code[:at] + (bytes([0x40 | rex]) if rex else b"") + code[at:]
        got = bad.vector(prefix + start.hex() + bytes([modrm | digit << 3]).hex() + behind)
        wanted = SS if name == "pop m" else expected  # for it reads the stack first, which is as bad
        if got != wanted:
            wrong.append(f"{name} {place}: vector {got}, not {wanted}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", IMPLICIT)
def test_what_an_instruction_does_by_itself(bad: Bad, name: str) -> None:
    code, expected = IMPLICIT[name]
    assert bad.vector(code) == expected


@pytest.mark.parametrize(
    ("code", "expected"), [("8b06", GP), ("8b4500", SS), ("58", SS), ("0f0106", GP), ("0f014500", SS)]
)
def test_at_the_end_of_the_canonical_addresses(bad: Bad, code: str, expected: int) -> None:
    assert bad.vector(code, NONCANONICAL) == expected
    assert bad.vector(code, NONCANONICAL - 16) == 14
