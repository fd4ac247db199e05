from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paracell.mmu import registers
from paracell.mmu.entry import Entry, Entry32
from paracell.mmu.registers import CR0, CR4, DR7, EFER, RFLAGS, PFErr
from paracell.mmu.word import Bits, Word

WORDS = [
    Entry,
    Entry32,
    *(w for w in vars(registers).values() if isinstance(w, type) and issubclass(w, Word) and w is not Word),
]


def test_a_field_read_from_the_class_is_its_declaration() -> None:
    assert CR4.PKE.mask == 1 << 22
    assert (RFLAGS.IOPL.mask, RFLAGS.IOPL.shift, RFLAGS.IOPL.width) == (0x3000, 12, 2)
    assert Entry.PKEY.name == "PKEY"


def test_a_field_read_from_a_word_is_its_value() -> None:
    assert CR0(0x80000011).PG == 1
    assert CR0(0x80000011).WP == 0
    assert RFLAGS(0x3000).IOPL == 3
    assert Entry(0x7800000000000000).PKEY == 15


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (CR4(1 << 5 | 1 << 7 | 1 << 22), "CR4(PAE|PGE|PKE)"),
        (RFLAGS(0x3002), "RFLAGS(IOPL=0x3|0x2)"),
        (EFER(0), "EFER(0)"),
        (PFErr(0x25), "PFErr(P|U|PK)"),
    ],
)
def test_repr_names_what_is_set(word: Word, text: str) -> None:
    assert repr(word) == text


def test_replace_refuses_a_value_that_does_not_fit() -> None:
    assert DR7(0).replace(LEN3=3, G3=1) == 0xC0000080
    with pytest.raises(ValueError, match=r"RFLAGS\.IOPL has 2 bits; 0x4 does not fit"):
        RFLAGS(0).replace(IOPL=4)
    with pytest.raises(ValueError, match="does not fit"):
        CR0(0).replace(PE=-1)


def test_a_subclass_keeps_the_fields_of_its_base() -> None:
    class Base(Word):
        LOW = Bits(3, 0)

    class Derived(Base):
        HIGH = Bits(7, 4)

    assert Derived(0x5A).as_dict() == {"LOW": 0xA, "HIGH": 5}
    assert Base.fields.keys() == {"LOW"}


@pytest.mark.parametrize("word", WORDS, ids=lambda w: w.__name__)
def test_no_two_fields_of_a_word_share_a_bit(word: type[Word]) -> None:
    assert word.mask() == sum(bits.mask for bits in word.fields.values())


@given(st.sampled_from(WORDS), st.integers(0, (1 << 64) - 1))
def test_fields_and_the_rest_make_the_word_again(word: type[Word], value: int) -> None:
    rest = value & ~word.mask()
    assert word(rest).replace(**word(value).as_dict()) == value
