"""Prefixes: which bytes they are, and with which instructions they are legal (SDM "Instruction Prefixes").

Capstone decodes what a processor would refuse; `legal` says no where the manual does.
"""

from __future__ import annotations

from typing import Final

_LEGACY: Final = frozenset(b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3")
_LOCK: Final = 0xF0
_REPEAT: Final = frozenset(b"\xf2\xf3")
_CHOOSE: Final = frozenset(b"\x66\xf2\xf3")  # those that choose another instruction, where the manual says NP
# SDM "LOCK—Assert LOCK# Signal Prefix", all with a memory operand as their destination.
_LOCKABLE: Final = frozenset({
    "adc", "add", "and", "btc", "btr", "bts", "cmpxchg", "cmpxchg8b", "cmpxchg16b", "dec", "inc", "neg", "not", "or", "sbb", "sub",
    "xadd", "xchg", "xor",
})  # fmt: skip
# Instructions whose pages say NP in front of the opcode.
_NO_PREFIX: Final = frozenset({
    "clac", "fxrstor", "fxrstor64", "fxsave", "fxsave64", "rdpkru", "stac", "vmfunc", "vmptrst", "vmread", "vmwrite", "wrpkru",
    "xgetbv", "xrstor", "xrstor64", "xrstors", "xrstors64", "xsave", "xsave64", "xsavec", "xsavec64", "xsaveopt", "xsaveopt64",
    "xsaves", "xsaves64", "xsetbv",
})  # fmt: skip
_ONLY_66: Final = frozenset({"invept", "invpcid", "invvpid"})
# SSE4a, which TCG runs; UD0 and UD1, whose ModRM byte Capstone leaves out.
_UNDEFINED: Final = frozenset({"extrq", "insertq", "ud0", "ud1"})


def legacy_prefixes(code: bytes) -> int:
    """Count the legacy prefixes that `code` begins with."""
    return next((at for at, byte in enumerate(code) if byte not in _LEGACY), len(code))


def prefixes(code: bytes, mode: int) -> int:
    """Count the prefixes that an instruction begins with, REX ones too."""
    count = legacy_prefixes(code)
    while mode == 64 and count < len(code) and code[count] & 0xF0 == 0x40:
        count += 1 + legacy_prefixes(code[count + 1 :])
    return count


def _is_prefix(byte: int) -> bool:
    return byte in _LEGACY or byte & 0xF0 == 0x40


def legal(code: bytes, mode: int, mnemonic: str, operands: str) -> bool:
    """Tell whether an instruction may have its prefixes: `code` begins with it, Capstone gave its text."""
    if mnemonic in _UNDEFINED:
        return False
    if code[0] not in _LEGACY and (mode != 64 or code[0] & 0xF0 != 0x40 or not _is_prefix(code[1])):
        return True  # the usual case: no prefix, or REX alone
    before = code[: prefixes(code, mode)]
    name = mnemonic.rpartition(" ")[2]
    if _LOCK in before and not (name in _LOCKABLE and operands.partition(",")[0].endswith("]")):
        return False
    if name in _ONLY_66:
        return _REPEAT.isdisjoint(before)
    return name not in _NO_PREFIX or _CHOOSE.isdisjoint(before)
