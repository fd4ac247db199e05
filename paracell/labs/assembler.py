"""A small assembler for labs, where no compiler is: the few instructions that a gate or an exit handler is written in.

::

    mov rax, 5        mov rax, rbx      mov rax, [rbx + 8]    mov [rbx + 8], rax
    add sub and or xor cmp REGISTER, REGISTER or NUMBER       test REGISTER, REGISTER
    push pop REGISTER         jmp call LABEL or REGISTER      je jne jb jae LABEL
    ret syscall sysret int3 ud2 hlt nop wrpkru rdpkru vmcall  NAME: a label     ; or # a comment

Registers are those of 64 bits, or of 32 (``eax``, ``r8d``); a number is decimal or ``0x…``, or a name that the caller gives.
Encodings: SDM volume 2, "Instruction Format"; a test compares them with Capstone's reading.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOW: Final = ("ax", "cx", "dx", "bx", "sp", "bp", "si", "di")
_REGISTERS: Final = (
    {f"r{name}": (number, 1) for number, name in enumerate(_LOW)}
    | {f"e{name}": (number, 0) for number, name in enumerate(_LOW)}
    | {f"r{number}": (number, 1) for number in range(8, 16)}
    | {f"r{number}d": (number, 0) for number in range(8, 16)}
)
_PLAIN: Final = {
    "ret": "c3", "syscall": "0f05", "sysret": "480f07", "int3": "cc", "ud2": "0f0b", "hlt": "f4", "nop": "90",
    "wrpkru": "0f01ef", "rdpkru": "0f01ee", "vmcall": "0f01c1",
}  # fmt: skip
_ARITHMETIC: Final = {"add": 0, "or": 1, "and": 4, "sub": 5, "xor": 6, "cmp": 7}
_JUMPS: Final = {"jmp": "e9", "call": "e8", "je": "0f84", "jne": "0f85", "jb": "0f82", "jae": "0f83"}
_MEMORY: Final = re.compile(r"\[\s*(\w+)\s*(?:([+-])\s*(\w+)\s*)?\]")


class BadAssembly(ValueError):
    """A line that is no instruction of this assembler's; the text says which."""


@frozen
class Code:
    """What came of a text.

    Attributes:
        data: the machine code.
        labels: addresses by name.
        starts: the address of each instruction.

    """

    data: bytes
    labels: dict[str, int]
    starts: tuple[int, ...]


def assemble(text: str, at: int = 0, names: Mapping[str, int] | None = None) -> Code:
    """Assemble a text that will stand at the address `at`; `names` are numbers that it may use, labels elsewhere among them.

    Raises:
        BadAssembly: with the number of the line and what is wrong.

    """
    lines = [
        (number, line.split(";")[0].split("#")[0].strip()) for number, line in enumerate(text.splitlines(), start=1)
    ]
    found_labels = [(found, number) for number, line in lines for found in re.findall(r"(\w+):", line)]
    labels = {found: at for found, _ in found_labels}
    if len(labels) < len(found_labels):
        name, number = next(each for i, each in enumerate(found_labels) if each[0] in {n for n, _ in found_labels[:i]})
        raise BadAssembly(f"line {number}: there are two labels {name}")
    for _ in range(
        2
    ):  # sizes do not depend on what a label is, so the second pass finds each where the first has put it
        data, starts = bytearray(), []
        for number, line in lines:
            body = line
            while found := re.match(r"(\w+):\s*", body):
                labels[found[1]] = at + len(data)
                body = body[found.end() :]
            if body:
                starts.append(at + len(data))
                try:
                    data += _instruction(body, at + len(data), {**(names or {}), **labels})
                except BadAssembly as error:
                    raise BadAssembly(f"line {number}: {error}: {line}") from None
    return Code(bytes(data), labels, tuple(starts))


def _instruction(body: str, at: int, names: Mapping[str, int]) -> bytes:
    name, _, rest = body.partition(" ")
    name, operands = name.lower(), [part.strip() for part in rest.split(",")] if rest.strip() else []
    if name in _PLAIN and not operands:
        return bytes.fromhex(_PLAIN[name])
    if name in {"push", "pop"} and len(operands) == 1:
        number, wide = _register(operands[0])
        if not wide:
            raise BadAssembly("push and pop take registers of 64 bits")
        return (b"\x41" if number > 7 else b"") + bytes([(0x50 if name == "push" else 0x58) + (number & 7)])
    if name in _JUMPS and len(operands) == 1:
        return _jump(name, operands[0], at, names)
    if name == "mov" and len(operands) == 2:
        return _mov(operands[0], operands[1], names)
    if name == "test" and len(operands) == 2:
        return _two(0x85, _register(operands[1]), _register(operands[0]))
    if name in _ARITHMETIC and len(operands) == 2:
        target, which = _register(operands[0]), _ARITHMETIC[name]
        if operands[1].lower() in _REGISTERS:
            return _two(which << 3 | 1, _register(operands[1]), target)
        return _two(0x81, (which, target[1]), target) + _signed(_number(operands[1], names), target[1])
    raise BadAssembly("no instruction of this assembler's")


def _mov(target: str, source: str, names: Mapping[str, int]) -> bytes:
    for memory, register, opcode in ((target, source, 0x89), (source, target, 0x8B)):
        if found := _MEMORY.fullmatch(memory):
            base, offset = _register(found[1]), _number(found[3], names) if found[3] else 0
            if not base[1]:
                raise BadAssembly("an address is in a register of 64 bits")
            return _two(opcode, _register(register), base, -offset if found[2] == "-" else offset)
    number, wide = _register(target)
    if source.lower() in _REGISTERS:
        return _two(0x89, _register(source), (number, wide))
    value = _number(source, names)
    size = 8 if wide else 4
    if not -(1 << 8 * size - 1) <= value < 1 << 8 * size:
        raise BadAssembly(f"{source} does not fit into {8 * size} bits")
    prefix = 0x40 | wide << 3 | number >> 3
    head = (bytes([prefix]) if prefix != 0x40 else b"") + bytes([0xB8 | number & 7])
    return head + (value & (1 << 8 * size) - 1).to_bytes(size, "little")


def _two(opcode: int, register: tuple[int, int], other: tuple[int, int], offset: int | None = None) -> bytes:
    """Encode an operation on a register (or opcode extension) and another, or memory at the other plus `offset`."""
    if offset is None and register[1] != other[1]:
        raise BadAssembly("one register has 64 bits and the other 32")
    prefix = 0x40 | register[1] << 3 | register[0] >> 3 << 2 | other[0] >> 3
    head = (bytes([prefix]) if prefix != 0x40 else b"") + bytes([opcode])
    fields = (register[0] & 7) << 3 | other[0] & 7
    if offset is None:
        return head + bytes([0xC0 | fields])
    return head + bytes([0x80 | fields]) + (b"\x24" if other[0] & 7 == 4 else b"") + _signed(offset, 1)


def _jump(name: str, target: str, at: int, names: Mapping[str, int]) -> bytes:
    if name in {"jmp", "call"} and target.lower() in _REGISTERS:
        number, wide = _register(target)
        if not wide:
            raise BadAssembly("an address is in a register of 64 bits")
        return (b"\x41" if number > 7 else b"") + bytes([0xFF, (0xE0 if name == "jmp" else 0xD0) | number & 7])
    opcode = bytes.fromhex(_JUMPS[name])
    return opcode + _signed(_number(target, names) - at - len(opcode) - 4, 1)


def _register(text: str) -> tuple[int, int]:
    found = _REGISTERS.get(text.lower())
    if found is None:
        raise BadAssembly(f"{text} is no register")
    return found


def _number(text: str, names: Mapping[str, int]) -> int:
    if text in names:
        return names[text]
    try:
        return int(text, 0)
    except ValueError:
        raise BadAssembly(f"{text} is no number and no name") from None


def _signed(value: int, wide: int) -> bytes:
    """Encode a 32-bit immediate, which a 64-bit operation extends by its sign."""
    if not -(1 << 31) <= value < (1 << 31 if wide else 1 << 32):
        raise BadAssembly(f"{value:#x} does not fit into 32 bits; put it into a register first")
    return (value & 0xFFFFFFFF).to_bytes(4, "little")
