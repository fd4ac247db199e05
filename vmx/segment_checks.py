"""The checks of VM entry on the guest's segment registers (SDM "Checks on Guest Segment Registers")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.address import U32, canonical
from ..mmu.registers import CR0, RFLAGS
from .fields import Field
from .rule import Entered, Rule

if TYPE_CHECKING:
    from collections.abc import Callable

_SECTION: Final = "Checks on Guest Segment Registers"
_DATA: Final = ("DS", "ES", "FS", "GS")
_SIX: Final = ("CS", "SS", *_DATA)
_ALL: Final = (*_SIX, "TR", "LDTR")
_SELECTOR: Final = {name: Field[f"GUEST_{name}_SELECTOR"] for name in _ALL}
_BASE: Final = {name: Field[f"GUEST_{name}_BASE"] for name in _ALL}
_LIMIT: Final = {name: Field[f"GUEST_{name}_LIMIT"] for name in _ALL}
_VM: Final = RFLAGS.VM.mask
_V86_ACCESS, _V86_LIMIT = 0xF3, 0xFFFF
_READ_WRITE, _CODE, _CONFORMING = 3, frozenset({9, 11, 13, 15}), frozenset({13, 15})
_STACKS: Final = frozenset({3, 7})
_LDT, _TSS16, _TSS = 2, 3, 11  # types: LDT, busy TSS
_RESERVED_LOW, _RESERVED_HIGH = 0xF00, 0xFFFE0000


def _selector(e: Entered, name: str) -> int:
    return e[_SELECTOR[name]]


def _base(e: Entered, name: str) -> int:
    return e[_BASE[name]]


def _limit(e: Entered, name: str) -> int:
    return e[_LIMIT[name]]


def _v86(e: Entered) -> bool:
    return bool(e[Field.GUEST_RFLAGS] & _VM)


def _counts(e: Entered, name: str) -> bool:
    """Tell whether the access rights of one of the six count: CS always, another where it is usable, none in virtual-8086 mode."""
    return not _v86(e) and (name == "CS" or e.usable(name))


def _granularity_wrong(e: Entered, name: str) -> bool:
    limit = _limit(e, name)
    return limit & 0xFFF != 0xFFF if e.access(name).G else bool(limit >> 20)


def _any(names: tuple[str, ...], broken: Callable[[Entered, str], bool]) -> Callable[[Entered], bool]:
    """Make the condition that one of some registers, whose access rights count, breaks a rule."""
    return lambda e: any(_counts(e, name) and broken(e, name) for name in names)


def _rule(text: str, broken: Callable[[Entered], bool]) -> Rule:
    return Rule(_SECTION, text, broken)


def _cs_type_wrong(e: Entered) -> bool:
    kind = e.access("CS").TYPE
    return not _v86(e) and kind not in _CODE and not (kind == _READ_WRITE and e.secondary.UNRESTRICTED_GUEST)


def _cs_dpl_wrong(e: Entered) -> bool:
    if _v86(e):
        return False
    kind, dpl, stack = e.access("CS").TYPE, e.access("CS").DPL, e.access("SS").DPL
    if kind == _READ_WRITE:
        return dpl != 0
    return dpl > stack if kind in _CONFORMING else dpl != stack


def _ss_dpl_wrong(e: Entered) -> bool:
    if _v86(e):
        return False
    dpl = e.access("SS").DPL
    if not e.secondary.UNRESTRICTED_GUEST and dpl != _selector(e, "SS") & 3:
        return True
    return dpl != 0 and (e.access("CS").TYPE == _READ_WRITE or not e[Field.GUEST_CR0] & CR0.PE.mask)


def _data_dpl_wrong(e: Entered, name: str) -> bool:
    access = e.access(name)
    return not e.secondary.UNRESTRICTED_GUEST and access.TYPE < 12 and _selector(e, name) & 3 > access.DPL


def _data_type_wrong(e: Entered, name: str) -> bool:
    kind = e.access(name).TYPE
    return not kind & 1 or kind & 0xA == 8


def _system(name: str, broken: Callable[[Entered], bool]) -> Callable[[Entered], bool]:
    """Make a condition on TR, or on LDTR where it is usable."""
    return broken if name == "TR" else lambda e: e.usable("LDTR") and broken(e)


def _system_rules(name: str) -> tuple[Rule, ...]:
    """Give the rules that TR and a usable LDTR share."""
    return (
        _rule(f"TI of {name} is 0", _system(name, lambda e: bool(_selector(e, name) & 4))),
        _rule(f"the base of {name} is canonical", _system(name, lambda e: not canonical(_base(e, name)))),
        _rule(f"{name} is a system segment", _system(name, lambda e: bool(e.access(name).S))),
        _rule(f"{name} is present", _system(name, lambda e: not e.access(name).P)),
        _rule(
            f"the reserved bits of the access rights of {name} are 0",
            _system(name, lambda e: bool(e.access(name) & (_RESERVED_LOW | _RESERVED_HIGH))),
        ),
        _rule(f"the granularity of {name} goes with its limit", _system(name, lambda e: _granularity_wrong(e, name))),
    )


SEGMENTS: Final = (
    _rule(
        "the RPLs of CS and SS are the same",
        lambda e: (
            not _v86(e) and not e.secondary.UNRESTRICTED_GUEST and bool((_selector(e, "SS") ^ _selector(e, "CS")) & 3)
        ),
    ),
    _rule(
        "in virtual-8086 mode a base is the selector × 16",
        lambda e: _v86(e) and any(_base(e, name) != _selector(e, name) << 4 for name in _SIX),
    ),
    _rule(
        "the bases of FS and GS are canonical", lambda e: not (canonical(_base(e, "FS")) and canonical(_base(e, "GS")))
    ),
    _rule("bits 63:32 of the base of CS are 0", lambda e: _base(e, "CS") > U32),
    _rule(
        "bits 63:32 of the bases of SS, DS and ES are 0",
        lambda e: any(e.usable(name) and _base(e, name) > U32 for name in ("SS", "DS", "ES")),
    ),
    _rule(
        "in virtual-8086 mode a limit is FFFFH",
        lambda e: _v86(e) and any(_limit(e, name) != _V86_LIMIT for name in _SIX),
    ),
    _rule(
        "in virtual-8086 mode access rights are F3H",
        lambda e: _v86(e) and any(e.access(name) != _V86_ACCESS for name in _SIX),
    ),
    _rule("CS is accessed code, or, in an unrestricted guest, data", _cs_type_wrong),
    _rule("SS is accessed, writable data", _any(("SS",), lambda e, name: e.access(name).TYPE not in _STACKS)),
    _rule("DS, ES, FS and GS are accessed, and code among them is readable", _any(_DATA, _data_type_wrong)),
    _rule("S of code and data is 1", _any(_SIX, lambda e, name: not e.access(name).S)),
    _rule("the DPL of CS goes with that of SS", _cs_dpl_wrong),
    _rule("the DPL of SS is its RPL, and 0 in real mode", _ss_dpl_wrong),
    _rule("the DPLs of DS, ES, FS and GS are not below their RPLs", _any(_DATA, _data_dpl_wrong)),
    _rule("code and data are present", _any(_SIX, lambda e, name: not e.access(name).P)),
    _rule(
        "the reserved bits of access rights are 0",
        _any(_SIX, lambda e, name: bool(e.access(name) & (_RESERVED_LOW | _RESERVED_HIGH))),
    ),
    _rule(
        "64-bit code has D clear",
        lambda e: not _v86(e) and bool(e.entry.IA32E_MODE_GUEST and e.access("CS").L and e.access("CS").DB),
    ),
    _rule("granularity goes with the limit", _any(_SIX, _granularity_wrong)),
    _rule(
        "TR is a busy TSS of the right size",
        lambda e: e.access("TR").TYPE != _TSS and (bool(e.entry.IA32E_MODE_GUEST) or e.access("TR").TYPE != _TSS16),
    ),
    _rule("TR is usable", lambda e: not e.usable("TR")),
    *_system_rules("TR"),
    _rule("LDTR is an LDT", _system("LDTR", lambda e: e.access("LDTR").TYPE != _LDT)),
    *_system_rules("LDTR"),
)
