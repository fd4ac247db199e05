"""The capability MSRs against a list of bits written from the manual (SDM "VMX Capability Reporting Facility")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from paracell.emu.features import DEFAULT, Features, parse
from paracell.vmx.caps import REVISION, Capabilities
from paracell.vmx.controls import Entry, Exit, Pin, Primary, Secondary
from paracell.vmx.fields import Field

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paracell.mmu.word import Word

WORDS: Final[tuple[type[Word], ...]] = (Pin, Primary, Exit, Entry)
# Bits that may be 1 because they are offered; bits that must be 1; those of them that need not by the TRUE MSRs.
OFFERED: Final = {
    Pin: {0, 3, 5, 6},
    Primary: {2, 3, 7, 9, 10, 11, 12, 15, 16, 19, 20, 21, 22, 23, 24, 25, 27, 28, 29, 30, 31},
    Exit: {2, 9, 15, 18, 19, 20, 21, 22, 29},
    Entry: {2, 9, 14, 15, 22},
}
ONES: Final = {
    Pin: {1, 2, 4},
    Primary: {1, 4, 5, 6, 8, 13, 14, 15, 16, 26},
    Exit: {*range(9), 10, 11, 13, 14, 16, 17},
    Entry: {*range(9), 12},
}
TRUE: Final = {Pin: set[int](), Primary: {15, 16}, Exit: {2}, Entry: {2}}
SECONDARY: Final = {1, 2, 3, 5, 6, 7, 12, 14, 17, 20, 22}


def word(bits: Iterable[int]) -> int:
    return sum(1 << bit for bit in bits)


def offered(features: Features) -> Capabilities:
    assert features.vmx is not None
    return features.vmx


WHOLE: Final = offered(parse("pks,+vmx"))


def test_the_words_of_controls() -> None:
    for number, control in enumerate(WORDS):
        ones = word(OFFERED[control] | ONES[control]) << 32
        assert WHOLE.msrs[0x481 + number] == word(ONES[control]) | ones, control
        assert WHOLE.msrs[0x48D + number] == word(ONES[control] - TRUE[control]) | ones, control
    assert WHOLE.msrs[0x48B] == word(SECONDARY) << 32


def test_the_other_msrs() -> None:
    assert WHOLE.msrs.keys() == set(range(0x480, 0x491))
    assert WHOLE.msrs[0x480] == REVISION | 4096 << 32 | 6 << 50 | 3 << 54
    assert not REVISION >> 31
    assert WHOLE.msrs[0x485] == word({5, 6, 29, 30}) | 4 << 16
    assert WHOLE.msrs[0x486] == word({0, 5, 31})
    assert WHOLE.msrs[0x487] == 0xFFFFFFFF
    assert WHOLE.msrs[0x488] == 1 << 13
    assert WHOLE.msrs[0x489] == DEFAULT.cr4 | 1 << 13
    assert WHOLE.msrs[0x48A] == 0x17 << 1  # the index of the preemption timer's value
    assert WHOLE.msrs[0x48C] == word({0, 6, 8, 14, 16, 17, 20, 21, 22, 25, 26, 32, 40, 41, 42, 43})


@pytest.mark.parametrize("control", [*WORDS, Secondary])
def test_each_reserved_bit(control: type[Word]) -> None:
    """The least value is right; each bit turned over is right where the control is offered, and wrong elsewhere."""
    ones = ONES.get(control, set()) - TRUE.get(control, set())
    free = (OFFERED.get(control, SECONDARY) | TRUE.get(control, set())) - ones
    assert not WHOLE.reserved_wrong(control, word(ones))
    for bit in range(32):
        assert WHOLE.reserved_wrong(control, word(ones) ^ 1 << bit) == (bit not in free), bit


@pytest.mark.parametrize(
    ("name", "control", "bit", "fields"),
    [
        ("pks", Entry, 22, {Field.GUEST_PKRS}),
        ("pks", Exit, 29, {Field.HOST_PKRS}),
        ("rdtscp", Secondary, 3, set()),
        ("invpcid", Secondary, 12, set()),
        ("xsaves", Secondary, 20, {Field.XSS_EXITING_BITMAP}),
        ("pat", Entry, 14, {Field.GUEST_PAT}),
        ("pat", Exit, 19, {Field.HOST_PAT}),
    ],
)
def test_without_a_feature_its_controls_and_fields_go(
    name: str, control: type[Word], bit: int, fields: set[Field]
) -> None:
    caps = offered(parse(f"pks,+vmx,-{name}"))
    assert (WHOLE.allowed1(control) >> bit & 1, caps.allowed1(control) >> bit & 1) == (1, 0)
    assert fields <= WHOLE.fields.keys()
    assert not fields & caps.fields.keys()


def test_upper_halves_are_of_64_bit_fields_alone() -> None:
    for encoding, (field, high) in WHOLE.fields.items():
        assert encoding & ~1 == field
        assert high == bool(encoding & 1)
    assert {field for field, high in WHOLE.fields.values() if high} == {f for f in Field if int(f) >> 13 == 1}


@pytest.mark.parametrize("bit", range(64))
def test_each_bit_of_cr0_and_cr4(bit: int) -> None:
    least0, least4 = 0x80000021, 1 << 13
    assert WHOLE.cr0_supported(least0 ^ 1 << bit) == (bit < 32 and bit not in {0, 5, 31})
    assert WHOLE.cr0_supported(least0 ^ 1 << bit, unrestricted=True) == (bit < 32 and bit != 5)
    assert WHOLE.cr4_supported(least4 ^ 1 << bit) == bool(DEFAULT.cr4 >> bit & 1)


def test_no_model_has_vmx() -> None:
    assert DEFAULT.vmx is None
