"""The model of prefixes against this computer: each encoding runs at ring 3, in 64-bit and in 32-bit code (`native.c`).

The model is of an Intel processor.  What this computer may have and the machine has not (PTWRITE, CLWB, the rest of 0F 01), what Linux
knows or stands for (SYSCALL, SYSENTER, INT 80h, UMIP's instructions), and FS and GS, whose bases are the program's own, is left out.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attrs import evolve

from .encodings import ADDRESS_SIZE, DB, LEGACY, OPERAND_SIZE, REP, REX, Encoding, Mode, Outcome, Scene, expect
from .instructions import INSTRUCTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .encodings import Instruction

CPUINFO = Path("/proc/cpuinfo")
pytestmark = [
    pytest.mark.sweep,
    pytest.mark.skipif(
        sys.platform != "linux" or platform.machine() != "x86_64" or "GenuineIntel" not in CPUINFO.read_text(),
        reason="this is no Linux on an Intel processor",
    ),
]
LINUX = (
    "sysenter",
    "syscall",
    "int 0x80",
    "int 0x82",
    "smsw",
    "sgdt",
    "sidt",
    "sldt",
    "str ",
    "0f 01",
    "rd",
    "wr",
    "x",
)
KEPT = ("rdtsc", "rdpmc", "rdmsr", "wrmsr", "xsave", "xrstor")  # of these
CODE, STACK, NEW_STACK, OPERAND, HIGH = 0x10000000, 0x20000800, 0x30000400, 0x40000000, 0xE0 << 39
WITH_ERROR = {8, 10, 11, 12, 13, 14, 17}
REGISTERS = ("rax", "rcx", "rdx", "rbx", "rsi", "rdi", "r8", "r9", "r15")
DATA_SELECTOR, CS = 0x2B, {64: 0x33, 32: 0x23}


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("ziglang")
    program: Path = tmp_path_factory.mktemp("native") / "native"
    source = Path(__file__).with_name("native.c")
    flags = ("-target", "x86_64-linux-musl", "-static", "-O1", "-fno-stack-protector", "-fno-sanitize=all")
    subprocess.run([sys.executable, "-m", "ziglang", "cc", *flags, "-o", str(program), str(source)], check=True)
    return program


def comparable(instruction: Instruction, prefixes: Encoding, bits: int) -> bool:
    name = instruction.name
    if name.startswith(LINUX) and not name.startswith(KEPT):
        return False
    if (name == "xsave" and prefixes.repeat == REP) or (name == "xsaveopt" and OPERAND_SIZE in prefixes.legacy):
        return False
    unusual = {ADDRESS_SIZE} if bits == 32 else {ADDRESS_SIZE, 0x64, 0x65}
    return not unusual & set(prefixes.legacy)


def laid_out(kind: str, bits: int, target: int, new_rsp: int) -> bytes:
    if kind[:-1] in {"far", "iret", "data"}:
        size = int(kind[-1])
        values = {
            "far": (target, CS[bits]), "iret": (target, CS[bits], 2, new_rsp, DATA_SELECTOR), "data": (0, DATA_SELECTOR),
        }[kind[:-1]]  # fmt: skip
        data = b"".join((v & (1 << 8 * size) - 1).to_bytes(size, "little") for v in values)
    else:
        data = {"flags": 2, "data": DATA_SELECTOR}.get(kind, 0).to_bytes(8, "little")
    return data.ljust(64, b"\0")


def trials(bits: int, prefixes: list[bytes], *, ends: bool) -> Iterator[tuple[str, str, Outcome, Instruction]]:
    """Give the line for `native`, a name, what the model says, and the instruction."""
    mode, high = Mode(bits, 3), HIGH if bits == 64 else 0
    target, new_rsp, address = high + CODE + 0x800, high + NEW_STACK, high + OPERAND
    for instruction in INSTRUCTIONS:
        stack, operand = (laid_out(k, bits, target, new_rsp) for k in (instruction.stack, instruction.operand))
        for before in prefixes:
            code = instruction.encode(before, mode, target, CS[bits])
            if not comparable(instruction, Encoding.parse(code, bits), bits):
                continue
            for edge in range(1, min(len(code), 15) + 1) if ends else (0,):
                start = high + CODE + (4096 - edge if edge else 0)
                scene = Scene(
                    start=start, there=4096 - (start & 4095), target=target, rsp=high + STACK, new_rsp=new_rsp, system=0,
                    system_stack=0, cs=CS[bits], ss=DATA_SELECTOR, stack=stack, operand=operand,
                )  # fmt: skip
                values = dict.fromkeys(REGISTERS, 0) | dict.fromkeys(("rbx", "rsi", "rdi", "r15"), address)
                known = {"target": target, "new_rsp": new_rsp, "data": DATA_SELECTOR, "ones": (1 << 64) - 1, "one": 1}
                values |= {name: known.get(value, 0) for name, value in instruction.registers.items()}
                fill = 0xF1 if instruction.code[0] in {0xCC, 0xCD} else 0xCC
                numbers = " ".join(f"{values[r]:x}" for r in REGISTERS)
                line = (
                    f"{bits} {start:x} {scene.there:x} {scene.rsp:x} {fill:x} {code.hex()} {stack.hex()} {address:x} "
                    f"{operand.hex()} {numbers}"
                )
                yield line, f"{code.hex(' ')} ({instruction.name})", expect(instruction, mode, scene, code), instruction


def wrong(native: Path, bits: int, prefixes: list[bytes], *, ends: bool = False) -> list[str]:
    all_trials = list(trials(bits, prefixes, ends=ends))
    done = subprocess.run(
        [native], input="".join(t[0] + "\n" for t in all_trials), capture_output=True, text=True, check=True
    )
    found = []
    for (_, name, model, _), answer in zip(all_trials, done.stdout.splitlines(), strict=True):
        vector, *rest = answer.split()
        error, rip, rsp, cs, cr2 = (int(word, 16) for word in rest[:5])
        number = int(vector)
        got = Outcome(number, rip, rsp, cs, error if number in WITH_ERROR else None, cr2 if number == 14 else None)
        wanted = evolve(model, link=None, result=None)
        # A target that was cut to 32 or 16 bits is not mapped here.
        cut = number == 14 and rip == cr2 == wanted.rip - 1 and wanted.vector in {DB, 3}
        if got != wanted and not (cut and (rsp, cs) == (wanted.rsp, wanted.cs)):
            found.append(f"{name}: the model says {wanted}, the processor {got}")
    return found


def sequences(bits: int, count: int) -> list[bytes]:
    pool = (*LEGACY, *REX) if bits == 64 else LEGACY
    return [
        bytes(s)
        for s in ([[]] if not count else [[p] for p in pool] if count == 1 else [[p, q] for p in pool for q in pool])
    ]


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("bits", [64, 32])
def test_as_on_this_processor(native: Path, bits: int, count: int) -> None:
    assert wrong(native, bits, sequences(bits, count))[:20] == []


@pytest.mark.parametrize("bits", [64, 32])
def test_at_a_pages_end(native: Path, bits: int) -> None:
    assert wrong(native, bits, [*sequences(bits, 0), *sequences(bits, 1)], ends=True)[:20] == []
