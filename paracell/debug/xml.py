"""The target description as gdb wants it, and the types of its registers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.registers import CR0, CR4, EFER, RFLAGS
from ..pku.registers import PKRS, PKRU
from ..vmx.exits import ExitReason
from .state import DOMAINS, NO_EXIT, VMX

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..mmu.word import Word
    from .registers import Register


def _flags(name: str, size: int, fields: Iterable[tuple[str, int, int]]) -> str:
    """Declare a word of flags: names with their first and last bits."""
    lines = [
        f'<field name="{field}" start="{first}" end="{last}" type="{"bool" if first == last else "uint64"}"/>'
        for field, first, last in fields
    ]
    return f'<flags id="{name}" size="{size}">{"".join(lines)}</flags>'


def _word(name: str, size: int, word: type[Word]) -> str:
    """Declare one of our words of the manual."""
    return _flags(name, size, [(n, bits.shift, bits.high) for n, bits in word.fields.items()])


def _enum(name: str, values: Iterable[tuple[str, int]]) -> str:
    lines = [f'<evalue name="{value}" value="{number}"/>' for value, number in values]
    return f'<enum id="{name}" size="4">{"".join(lines)}</enum>'


_VECTORS: Final = (
    ("v4f", "ieee_single", 4, "v4_float"),
    ("v2d", "ieee_double", 2, "v2_double"),
    ("v16i8", "int8", 16, "v16_int8"),
    ("v8i16", "int16", 8, "v8_int16"),
    ("v4i32", "int32", 4, "v4_int32"),
    ("v2i64", "int64", 2, "v2_int64"),
)
_MXCSR: Final = ("IE", "DE", "ZE", "OE", "UE", "PE", "DAZ", "IM", "DM", "ZM", "OM", "UM", "PM")
_CR3: Final = (("PCID", 0, 11), ("PDBR", 12, 63))  # as QEMU has it
_VEC128: Final = "".join(f'<vector id="{name}" type="{item}" count="{count}"/>' for name, item, count, _ in _VECTORS)
_UNION: Final = "".join(f'<field name="{field}" type="{name}"/>' for name, _, _, field in _VECTORS)

CORE_TYPES: Final = (
    _word("x64_eflags", 4, RFLAGS)
    + _word("x64_cr0", 8, CR0)
    + _flags("x64_cr3", 8, _CR3)
    + _word("x64_cr4", 8, CR4)
    + _word("x64_efer", 8, EFER)
)
SSE_TYPES: Final = f'{_VEC128}<union id="vec128">{_UNION}<field name="uint128" type="uint128"/></union>' + _flags(
    "x64_mxcsr", 4, [(name, i, i) for i, name in enumerate(_MXCSR)] + [("FZ", 15, 15)]
)
PKRU_TYPES: Final = _word("x64_pkru", 4, PKRU)
OWN_TYPES: Final = (
    _enum("domain", [(name, i) for i, name in enumerate(DOMAINS)])
    + _enum("vmx_operation", [(name, i) for i, name in enumerate(VMX)])
    + _enum("exit_reason", [*((reason.name, int(reason)) for reason in ExitReason), ("none", NO_EXIT)])
    + _word("x64_pkrs", 4, PKRS)
)


def document(features: Iterable[tuple[str, str, Sequence[Register]]]) -> str:
    """Give the description of features: each has a name, its types, and its registers."""
    parts = [
        f'<feature name="{name}">{types}{"".join(map(_register, registers))}</feature>'
        for name, types, registers in features
    ]
    head = '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd">'
    return f'{head}<target version="1.0"><architecture>i386:x86-64</architecture>{"".join(parts)}</target>'


def _register(register: Register) -> str:
    group = f' group="{register.group}"' if register.group else ""
    return f'<reg name="{register.name}" bitsize="{register.bits}" type="{register.type}"{group}/>'
