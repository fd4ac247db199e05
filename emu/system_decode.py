"""The instructions that a kernel's start and its crossings need, decoded without Capstone: a short run never imports it.

Sources: SDM volume 2, "ModR/M and SIB Bytes" and the instructions' own pages.
"""

from __future__ import annotations

from typing import Final

from .insn import Insn, Operand

_FIXED: Final = {
    b"\x0f\x01\xef": "wrpkru", b"\x0f\x01\xee": "rdpkru", b"\x48\x0f\x07": "sysretq", b"\x48\xcf": "iretq",
    b"\x0f\x01\xf8": "swapgs", b"\xfa": "cli", b"\xfb": "sti", b"\xf4": "hlt", b"\x0f\x31": "rdtsc",
    b"\x0f\x01\xf9": "rdtscp", b"\x0f\x32": "rdmsr", b"\x0f\x30": "wrmsr", b"\x0f\x01\xca": "clac",
    b"\x0f\x01\xcb": "stac", b"\x0f\x06": "clts", b"\x0f\x01\xd0": "xgetbv", b"\x0f\x01\xd1": "xsetbv",
    b"\xdb\xe2": "fnclex", b"\xdb\xe3": "fninit", b"\x0f\x05": "syscall", b"\x48\xcb": "retf", b"\x0f\xa2": "cpuid",
    b"\x9c": "pushf", b"\x9d": "popf", b"\x0f\x01\xc1": "vmcall", b"\x0f\x01\xc2": "vmlaunch", b"\x0f\x01\xc3": "vmresume",
    b"\x0f\x01\xc4": "vmxoff",
}  # fmt: skip
_WIDE: Final = frozenset({"iretq", "sysretq", "retf", "pushf", "popf"})  # of 64 bits in 64-bit code
_PORTS: Final = frozenset(b"\xe4\xe5\xe6\xe7")
_PORTS_DX: Final = frozenset(b"\xec\xed\xee\xef")
_ES, _SS, _DS = 0, 2, 3
_REX_B, _REX_X, _REX_R, _REX_W = 1, 2, 4, 8
# Opcode and ModRM.reg of instructions with one operand: mnemonic, and bytes; 0 for the limit and base of a table, and for FXSAVE's image.
_GROUPS: Final = {
    (0xF00, 2): ("lldt", 2), (0xF00, 3): ("ltr", 2), (0xF01, 0): ("sgdt", 0), (0xF01, 1): ("sidt", 0),
    (0xF01, 2): ("lgdt", 0), (0xF01, 3): ("lidt", 0), (0xF01, 7): ("invlpg", 1),
    (0xFAE, 0): ("fxsave", 0), (0xFAE, 1): ("fxrstor", 0), (0xFAE, 2): ("ldmxcsr", 4), (0xFAE, 3): ("stmxcsr", 4),
}  # fmt: skip
# VMX instructions with a memory operand: mandatory prefix, opcode behind 0FH, ModRM.reg.
_VMX: Final = {(0, 0xC7, 6): "vmptrld", (0x66, 0xC7, 6): "vmclear", (0xF3, 0xC7, 6): "vmxon", (0, 0xC7, 7): "vmptrst"}
_INVALIDATIONS: Final = {b"\x38\x80": "invept", b"\x38\x81": "invvpid", b"\x38\x82": "invpcid"}
_FIELDS: Final = {0x78: "vmread", 0x79: "vmwrite"}
_SAVE: Final = 0xFAE
_CONTROL: Final = {0xF20: "mov_from_cr", 0xF21: "mov_from_dr", 0xF22: "mov_to_cr", 0xF23: "mov_to_dr"}
_WORD: Final = 2  # bytes
_REGISTER: Final = 0xC0  # ModRM bytes from here on name a register
_SIB, _NO_BASE, _NO_INDEX = 4, 5, 4
_STACK: Final = frozenset({4, 5})  # RSP and RBP, whose segment is SS
_DEBUG_REGISTERS: Final = frozenset(range(8))
CONTROL_REGISTERS: Final = frozenset({0, 2, 3, 4, 8})
_TO_SEGMENT: Final = 0x8E
_MOVES: Final = frozenset(b"\x88\x89\x8a\x8b")
_MOVES_IMMEDIATE: Final = frozenset(b"\xc6\xc7")
_SEGMENTS: Final = {0x8C: frozenset(range(6)), 0x8E: frozenset({0, 2, 3, 4, 5})}


def decode_system(code: bytes, mode: int) -> Insn | None:
    """Decode an instruction; None where Capstone must: 15 bytes, or those up to the end of what can be fetched."""
    for length in (1, 2, 3):
        name = _FIXED.get(code[:length])
        if name is not None and (mode == 64 or length < 2 or code[0] != 0x48):
            return _insn(name, length, (), code, mode, mode if name in _WIDE else min(mode, 32))
    insn = _in_out(code, mode)
    if insn is None and mode != 16:
        insn = _string(code, mode) or _with_modrm(code, mode)
    if insn is None and mode == 64:
        insn = _vmx(code)
    return insn if insn is not None and insn.length <= len(code) else None


def _insn(
    name: str, length: int, operands: tuple[Operand, ...], code: bytes, mode: int, opsize: int, *, rep: bool = False
) -> Insn:
    return Insn(name, length, operands, opsize, mode // 8, rep, code[:length])


def _in_out(code: bytes, mode: int) -> Insn | None:
    wide = code[:1] == b"\x66"
    body = code[1:] if wide else code
    if not body:
        return None
    opcode = body[0]
    word = 2 if wide != (mode == 16) else 4
    name = "out" if opcode & 2 else "in"
    data = Operand("reg", 1 if not opcode & 1 else word, 0)
    if opcode in _PORTS and len(body) > 1:
        port = Operand("imm", 1, value=body[1])
        length = 2
    elif opcode in _PORTS_DX:
        port = Operand("reg", 2, 2)
        length = 1
    else:
        return None
    operands = (port, data) if name == "out" else (data, port)
    return _insn(name, length + wide, operands, code, mode, 8 * word)


def _string(code: bytes, mode: int) -> Insn | None:
    """REP OUTSB and REP INSB, with which kernels use a serial port."""
    if code[:2] not in {b"\xf3\x6e", b"\xf3\x6c"}:
        return None
    port, address_size = Operand("reg", 2, 2), 8 if mode == 64 else 4
    if code[1] == 0x6C:
        memory = Operand("mem", 1, segment=_DS if mode == 64 else _ES, base=7, address_size=address_size)
        return _insn("ins", 2, (memory, port), code, mode, 32, rep=True)
    return _insn("outs", 2, (port, Operand("mem", 1, base=6, address_size=address_size)), code, mode, 32, rep=True)


def _vmx(code: bytes) -> Insn | None:
    """VMREAD, VMWRITE, INVPCID, and what names a VMCS or what to invalidate; in 64-bit mode."""
    code += bytes(4)  # the caller compares lengths
    prefix = code[0] if code[0] in {0x66, 0xF3} else 0
    at = 1 if prefix else 0
    rex = code[at] if code[at] & 0xF0 == 0x40 else 0
    at += 2 if rex else 1
    if code[at - 1] != 0x0F:
        return None
    opcode, modrm = code[at], code[at + 1]
    opsize = 64 if rex & _REX_W else 16 if prefix == 0x66 else 32
    if opcode in _FIELDS and not prefix:
        operand, end = _rm(code, at + 1, rex, 64, 8, 8)
        field = Operand("reg", 8, modrm >> 3 & 7 | (rex & _REX_R) << 1)
        operands = (operand, field) if opcode == 0x78 else (field, operand)
        return _insn(_FIELDS[opcode], end, operands, code, 64, opsize)
    name = _VMX.get((prefix, opcode, modrm >> 3 & 7))
    if name is not None and modrm < _REGISTER:
        operand, end = _rm(code, at + 1, rex, 64, 8, 8)
        return _insn(name, end, (operand,), code, 64, opsize)
    name = _INVALIDATIONS.get(code[at : at + 2])
    if name is not None and prefix == 0x66 and code[at + 2] < _REGISTER:
        operand, end = _rm(code, at + 2, rex, 64, 16, 16)
        kind = Operand("reg", 8, code[at + 2] >> 3 & 7 | (rex & _REX_R) << 1)
        return _insn(name, end, (kind, operand), code, 64, opsize)
    return None


def _with_modrm(code: bytes, mode: int) -> Insn | None:
    code += bytes(2)  # the caller compares lengths
    at = 1 if mode == 64 and code[0] & 0xF0 == 0x40 else 0
    rex = code[0] if at else 0
    opcode = code[at]
    if opcode == 0xEA:
        return _far_jump(code) if mode == 32 else None
    at += 1
    if opcode == 0x0F:
        opcode = 0xF00 | code[at]
        at += 1
    modrm = code[at]
    reg = modrm >> 3 & 7
    opsize = 64 if rex & _REX_W else 32
    if opcode in _CONTROL:
        number, general = (
            reg | (rex & _REX_R) << 1,
            Operand("reg", 8 if mode == 64 else 4, modrm & 7 | (rex & _REX_B) << 3),
        )
        if number not in (_DEBUG_REGISTERS if opcode & 1 else CONTROL_REGISTERS):
            return None
        operands = Operand("dreg" if opcode & 1 else "creg", 8, number), general
        return _insn(_CONTROL[opcode], at + 1, operands if opcode & 2 else operands[::-1], code, mode, opsize)
    if opcode in _SEGMENTS and reg in _SEGMENTS[opcode]:
        operand, end = _rm(code, at, rex, mode, 2, opsize // 8)
        operands = Operand("sreg", 2, reg), operand
        if opcode == _TO_SEGMENT:
            return _insn("mov_to_sreg", end, operands, code, mode, opsize)
        return _insn("mov_from_sreg", end, operands[::-1], code, mode, opsize)
    if (opcode, reg) in _GROUPS:
        name, size = _GROUPS[opcode, reg]
        if rex & _REX_W and opcode == _SAVE and not size:
            name += "64"
        if modrm >= _REGISTER and size != _WORD:
            return None
        unsized = mode // 8 if opcode == _SAVE else 10 if mode == 64 else 6
        operand, end = _rm(code, at, rex, mode, size or unsized, _WORD)
        return _insn(name, end, (operand,), code, mode, opsize)
    if modrm < _REGISTER and (opcode in _MOVES or (opcode in _MOVES_IMMEDIATE and not reg)):
        return _move(code, at, opcode, rex, mode)
    return None


def _far_jump(code: bytes) -> Insn:
    offset, selector = int.from_bytes(code[1:5], "little"), int.from_bytes(code[5:7], "little")
    return _insn("ljmp", 7, (Operand("imm", 2, value=selector), Operand("imm", 4, value=offset)), code, 32, 32)


def _move(code: bytes, at: int, opcode: int, rex: int, mode: int) -> Insn:
    """MOV between memory and a register, or of an immediate: what drivers reach the local APIC with."""
    opsize = 64 if rex & _REX_W else 32
    size = opsize // 8 if opcode & 1 else 1
    memory, end = _rm(code, at, rex, mode, size, size)
    if opcode in _MOVES_IMMEDIATE:
        width = min(size, 4)
        value = int.from_bytes(code[end : end + width], "little", signed=True)
        immediate = Operand("imm", size, value=value & (1 << 8 * size) - 1)
        return _insn("mov", end + width, (memory, immediate), code, mode, opsize)
    number = code[at] >> 3 & 7
    high = size == 1 and not rex and number >= 4
    register = Operand("reg", size, number - 4 if high else number | (rex & _REX_R) << 1, high)
    return _insn("mov", end, (register, memory) if opcode & 2 else (memory, register), code, mode, opsize)


def _rm(code: bytes, at: int, rex: int, mode: int, in_memory: int, in_register: int) -> tuple[Operand, int]:
    """Give what the ModRM byte at `at` names in its r/m field, and where it ends; sizes in bytes for either kind."""
    modrm = code[at]
    mod, low, at = modrm >> 6, modrm & 7, at + 1
    base: int | None = low | (rex & _REX_B) << 3
    index, scale = None, 1
    if modrm >= _REGISTER:
        return Operand("reg", in_register, base or 0), at
    if low == _SIB:
        sib = code[at] if at < len(code) else 0
        at += 1
        low = sib & 7
        base, number, scale = low | (rex & _REX_B) << 3, sib >> 3 & 7 | (rex & _REX_X) << 2, 1 << (sib >> 6)
        index = None if number == _NO_INDEX else number
        relative = False
    else:
        relative = mode == 64 and low == _NO_BASE and not mod
    if low == _NO_BASE and not mod:
        base = None
    width = 1 if mod == 1 else 4 if mod or base is None else 0
    operand = Operand(
        "mem",
        in_memory,
        segment=_SS if base in _STACK else _DS,
        base=base,
        index=index,
        scale=scale,
        disp=int.from_bytes(code[at : at + width], "little", signed=True),
        rip_relative=relative,
        address_size=8 if mode == 64 else 4,
    )
    return operand, at + width
