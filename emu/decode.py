"""Instruction bytes to an `Insn`: Capstone decodes, once for each sequence of bytes; the hottest need not even that."""

from __future__ import annotations

import re
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve

from .insn import Insn, Operand
from .prefixes import legacy_prefixes, legal, prefixes
from .system_decode import decode_system

if TYPE_CHECKING:
    from collections.abc import Iterator

_SEGMENTS: Final = {"es": 0, "cs": 1, "ss": 2, "ds": 3, "fs": 4, "gs": 5}
_NAMES: Final = (
    ("rax", "eax", "ax", "al"), ("rcx", "ecx", "cx", "cl"), ("rdx", "edx", "dx", "dl"), ("rbx", "ebx", "bx", "bl"),
    ("rsp", "esp", "sp", "spl"), ("rbp", "ebp", "bp", "bpl"), ("rsi", "esi", "si", "sil"), ("rdi", "edi", "di", "dil"),
)  # fmt: skip


@cache
def _registers() -> dict[str, tuple[int, int, bool]]:
    """Map each general register's name to (number, size in bytes, high byte)."""
    table: dict[str, tuple[int, int, bool]] = {}
    for number, names in enumerate(_NAMES):
        for name, size in zip(names, (8, 4, 2, 1), strict=True):
            table[name] = (number, size, False)
    for number in range(8, 16):
        for suffix, size in (("", 8), ("d", 4), ("w", 2), ("b", 1)):
            table[f"r{number}{suffix}"] = (number, size, False)
    for number, name in enumerate(("ah", "ch", "dh", "bh")):
        table[name] = (number, 1, True)
    return table


_RENAMED: Final = {
    "iretd": "iret", "iretq": "iretq", "retfq": "retf", "sysretq": "sysretq", "sysexitq": "sysexitq", "popfq": "popf",
    "popfd": "popf", "pushfq": "pushf", "pushfd": "pushf", "insb": "ins", "insw": "ins", "insd": "ins", "outsb": "outs",
    "outsw": "outs", "outsd": "outs", "rep insb": "ins", "rep outsb": "outs", "xsave64": "xsave", "xrstor64": "xrstor",
    "xsaveopt64": "xsaveopt", "xsavec64": "xsavec", "xsaves64": "xsaves", "xrstors64": "xrstors",
}  # fmt: skip
# What Capstone calls so may have another name in the table of handlers.
NAMED_BY_OPERANDS: Final = frozenset({*_RENAMED, "mov", "pop", "push", "movsd", "call", "jmp", "invalid", "undecided"})


_LONGEST: Final = 15  # bytes of an instruction
_THREE_BYTE_MAPS: Final = frozenset({b"\x0f\x38", b"\x0f\x3a"})
# Opcodes that want a further byte whatever it is: of a map, or the ModRM byte of a group, of UD0 and of UD1.
_NEED_MORE: Final = frozenset(
    bytes.fromhex(code)
    for code in ("", "0f", "0f38", "0f3a", "0f00", "0f01", "0f78", "0f79", "0fae", "0fc7", "0fb9", "0fff")
)
_WRITTEN: Final = 2  # Capstone's CS_AC_WRITE, and instructions for which it says read
_STORES_TOO: Final = frozenset(
    {"cmpxchg8b", "fst", "fstp", "fist", "fistp", "fisttp", "fbstp", "fnstcw", "fnstsw", "fnstenv", "fnsave"}
)
_CHECK_THEMSELVES: Final = frozenset(
    {"sgdt", "sidt", "sldt", "str", "smsw", "xsave", "xsaveopt", "xsavec", "xsaves", "vmptrst", "vmread"}
)
_CHOSEN: Final = frozenset({"rdfsbase", "rdgsbase", "wrfsbase", "wrgsbase", "rdpid", "wbnoinvd"})
_SEGMENT_PREFIXES: Final = frozenset(b"\x26\x2e\x36\x3e\x64\x65")
_REPEATS: Final = frozenset(b"\xf2\xf3")
_INVALIDATIONS: Final = {
    bytes((0x0F, 0x38, 0x80 + number)): name for number, name in enumerate(("invept", "invvpid", "invpcid"))
}
_FAR_DIRECT: Final = frozenset({b"\x9a", b"\xea"})
_PADDING: Final = (b"\x00", b"\xc0", b"\x08", b"\x18", b"\x38")  # ModRM bytes that some instruction takes


def disassemble(code: bytes, address: int, mode: int) -> Iterator[tuple[int, int, str, str]]:
    """Give (address, size, mnemonic, operands) of each instruction, by Capstone.

    The mnemonic ``undecided`` stands for one that only `decode` knows; ``invalid`` ends it where bytes are no instruction.
    """
    at = address
    while at < address + len(code):
        for at, size, mnemonic, text in _disassembler(mode).disasm_lite(code[at - address :], at):  # noqa: B020
            first = at - address
            if not legal(code[first : first + _LONGEST], mode, mnemonic, text):
                yield at, size, "invalid", ""
                return
            yield at, size, mnemonic, text
            at += size  # noqa: PLW2901
        if at < address + len(code):
            insn = decode(code[at - address : at - address + _LONGEST], mode)
            yield at, insn.length, "invalid" if insn.mnemonic == "invalid" else "undecided", ""
            if insn.mnemonic == "invalid":
                return
            at += insn.length


def decode(code: bytes, mode: int, *, in_8086: bool = False) -> Insn:
    """Decode the instruction at the start of `code` for a 64-, 32- or 16-bit code segment.

    Bytes that are no instruction give the mnemonic ``invalid``.  In real and virtual-8086 mode (`in_8086`) CS may be written.
    """
    return decode_system(code, mode) or _capstone_decode(code, mode, in_8086=in_8086)


@cache
def _disassembler(mode: int) -> Any:
    import capstone  # noqa: PLC0415  (35 ms that many runs never need)

    md = capstone.Cs(
        capstone.CS_ARCH_X86, {64: capstone.CS_MODE_64, 32: capstone.CS_MODE_32, 16: capstone.CS_MODE_16}[mode]
    )
    md.detail = True
    return md


def _capstone_decode(code: bytes, mode: int, *, in_8086: bool = False) -> Insn:
    if mode == 16 and (insn := _invalidation16(code)) is not None:
        return insn
    found = next(_disassembler(mode).disasm(code, 0, 1), None)
    if found is None and (insn := _in_order(code, mode, in_8086=in_8086)) is not None:
        return insn
    if found is None or not legal(code, mode, found.mnemonic, found.op_str):
        name = "too_long" if _too_long(code, mode) else "invalid"
        return Insn(name, 1, (), 32, 8 if mode == 64 else 4, rep=False, bytes=code[:1])
    operands = tuple(_operand(found, o, mode) for o in found.operands)
    before, _, name = found.mnemonic.rpartition(" ")
    if mode != 64 and not in_8086 and name not in _CHECK_THEMSELVES and _stores_through_cs(found, name):
        return Insn("store_through_cs", found.size, operands, 32, found.addr_size, rep=False, bytes=bytes(found.bytes))
    rep = before.startswith("rep")
    opsize = _opsize(found, mode)
    return Insn(
        _mnemonic(name, operands, found), found.size, operands, opsize, found.addr_size, rep, bytes(found.bytes)
    )


def _stores_through_cs(found: Any, name: str) -> bool:
    for o, operand in zip(found.operands, map(partial(_operand, found, mode=32), found.operands), strict=True):
        if operand.kind == "mem" and operand.segment == 1 and (o.access & _WRITTEN or name in _STORES_TOO):
            return True
    return False


def _in_order(code: bytes, mode: int, *, in_8086: bool) -> Insn | None:
    """Decode an instruction whose prefixes stand in an order that Capstone does not know: a processor knows no order.

    66 means nothing beside F2 or F3 where these choose the instruction.
    """
    count = prefixes(code, mode)
    before, rest = code[:count], code[count:]
    rex = before[-1:] if mode == 64 and before[-1:] and before[-1] & 0xF0 == 0x40 else b""
    segments = [byte for byte in before if byte in _SEGMENT_PREFIXES]
    repeats = [byte for byte in before if byte in _REPEATS]
    others = [byte for byte in (0x67, 0x66, 0xF0) if byte in before]
    for kept in (others, [byte for byte in others if byte != 0x66]):
        ordered = bytes((*segments[-1:], *kept, *repeats[-1:])) + rex
        if ordered == before:
            continue
        found = next(_disassembler(mode).disasm(ordered + rest, 0, 1), None)
        if found is None or not legal(code, mode, found.mnemonic, found.op_str):
            continue
        insn = _capstone_decode(ordered + rest, mode, in_8086=in_8086)
        if kept is others or insn.mnemonic in _CHOSEN:
            length = insn.length + count - len(ordered)
            return evolve(insn, length=length, bytes=code[:length]) if length <= _LONGEST else None
    return None


def _invalidation16(code: bytes) -> Insn | None:
    """Decode INVEPT, INVVPID or INVPCID in 16-bit code, as MOVZX with the same operands: Capstone takes 66 for an operand size."""
    at = legacy_prefixes(code)
    name = _INVALIDATIONS.get(code[at : at + 3])
    if name is None or 0x66 not in code[:at] or 0xF2 in code[:at] or 0xF3 in code[:at]:
        return None
    insn = _capstone_decode(code[:at] + b"\x0f\xb6" + code[at + 3 :], 16)
    if insn.mnemonic != "movzx":
        return None
    length = insn.length + 1
    operands = insn.operands[0], evolve(insn.operands[1], size=16)
    return evolve(insn, mnemonic=name, length=length, operands=operands, bytes=code[:length])


def incomplete(code: bytes, mode: int) -> bool:
    """Tell whether `code`, which ends early, is the beginning of an instruction only."""
    before = prefixes(code, mode)
    opcode = code[before:]
    if opcode in _NEED_MORE or (len(opcode) == 3 and opcode[:2] in _THREE_BYTE_MAPS):
        return True
    code = code[:before].replace(b"\xf0", b"\x3e") + opcode  # a LOCK that is undefined is so once all bytes are there
    if decode(code, mode).mnemonic != "invalid":
        return False
    if mode == 64 and opcode[:1] in _FAR_DIRECT:  # undefined, but read to their end before that is found
        return len(opcode) < (5 if 0x66 in code[:before] else 7)
    longer = (decode(code + pad * _LONGEST, mode) for pad in _PADDING)
    return any(insn.mnemonic not in {"invalid", "too_long"} and insn.length > len(code) for insn in longer)


def _too_long(code: bytes, mode: int) -> bool:
    """Tell whether fifteen bytes are the beginning of an instruction that is longer (SDM "Instruction Prefixes": #GP)."""
    if len(code) < _LONGEST:
        return False
    before = legacy_prefixes(code)
    shorter = bytes(dict.fromkeys(code[:before])) + code[before:]
    return before == _LONGEST or (len(shorter) < _LONGEST and incomplete(shorter, mode))


def _opsize(found: Any, mode: int) -> int:
    if found.rex & 8:
        return 64
    small = 0x66 in bytes(found.prefix)
    if mode == 16:
        return 32 if small else 16
    if small:
        return 16
    if mode == 64 and found.mnemonic in {"popfq", "pushfq", "iretq"}:
        return 64
    return 32


def _mnemonic(name: str, operands: tuple[Operand, ...], found: Any) -> str:
    kinds = [o.kind for o in operands]
    if name in {"mov", "pop", "push"}:
        for kind, label in (("creg", "cr"), ("dreg", "dr"), ("sreg", "sreg")):
            if kinds and kinds[0] == kind:
                return "pop_sreg" if name == "pop" else f"{name}_to_{label}" if name == "mov" else f"push_{label}"
            if len(kinds) > 1 and kinds[1] == kind:
                return f"mov_from_{label}"
    if name == "vmptrld" and 0x66 in bytes(found.prefix):
        return "vmclear"  # Capstone takes 66 for an operand size in 16-bit code
    if name == "movsd" and found.opcode[0] == 0xA5:
        return "movs"
    if name in {"call", "jmp"} and found.opcode[0] == 0xFF and found.modrm >> 3 & 7 in {3, 5}:
        return "l" + name  # Capstone tells a far branch through memory by its operand's size alone
    return _RENAMED.get(name, name)


def _operand(found: Any, o: Any, mode: int) -> Operand:
    if o.type == 1:
        name = found.reg_name(o.reg)
        known = _registers().get(name)
        if known:
            return Operand("reg", known[1], known[0], known[2])
        if name in _SEGMENTS:
            return Operand("sreg", 2, _SEGMENTS[name])
        digits = re.fullmatch(r"([cd])r(\d+)", name)
        if digits:
            return Operand(digits[1] + "reg", 8, int(digits[2]))
        return Operand("other", o.size)
    if o.type == 2:
        return Operand("imm", o.size, value=o.imm & (1 << 64) - 1)
    return _memory(found, o, mode)


def _memory(found: Any, o: Any, mode: int) -> Operand:
    mem, registers = o.mem, _registers()
    base = found.reg_name(mem.base) if mem.base else None
    index = found.reg_name(mem.index) if mem.index else None
    segment = found.reg_name(mem.segment) if mem.segment else None
    number = 2 if base in {"rsp", "esp", "rbp", "ebp", "bp"} else 3
    if segment and (
        mode != 64 or segment in {"fs", "gs"}
    ):  # 64-bit mode ignores the other overrides (SDM "Instruction Prefixes")
        number = _SEGMENTS[segment]
    relative = base in {"rip", "eip"}
    return Operand(
        "mem",
        o.size,
        segment=number,
        base=None if relative or base is None else registers[base][0],
        index=registers[index][0] if index in registers else None,
        scale=mem.scale,
        disp=mem.disp,
        rip_relative=relative,
        address_size=found.addr_size,
    )
