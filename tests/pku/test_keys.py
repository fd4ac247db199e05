"""PKRU and PKRS: what the bits take away (SDM "Protection Keys")."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paracell.pku.registers import PKRS, PKRU
from paracell.pku.rights import denied

REGISTERS = st.integers(0, (1 << 32) - 1)


def test_a_register_names_its_bits() -> None:
    assert PKRU.WD15.mask == 1 << 31
    assert PKRU(0x55555554).AD0 == 0
    assert repr(PKRU(0b1001_0100)) == "PKRU(AD1|AD2|WD3)"
    assert repr(PKRS(0)) == "PKRS(0)"
    assert PKRU.mask() == PKRS.mask() == (1 << 32) - 1


def test_a_register_in_words() -> None:
    assert PKRU(0b11_1000_0100).lines() == ["key 1: no access", "key 3: read only", "key 4: no access"]


@pytest.mark.parametrize(("ad", "wd", "user", "wp"), list(product((0, 1), (0, 1), (False, True), (False, True))))
@pytest.mark.parametrize("key", [0, 1, 7, 15])
def test_every_combination_for_one_key(key: int, ad: int, wd: int, user: bool, wp: bool) -> None:
    no_access, no_write = denied((ad | wd << 1) << 2 * key, user=user, wp=wp)
    assert no_access == (1 << key if ad else 0)
    assert no_write == (1 << key if wd and (user or wp) else 0)


@given(REGISTERS, st.booleans(), st.booleans())
def test_keys_do_not_influence_each_other(register: int, user: bool, wp: bool) -> None:
    parts = [denied(register & 3 << 2 * key, user=user, wp=wp) for key in range(16)]
    assert denied(register, user=user, wp=wp) == (sum(p[0] for p in parts), sum(p[1] for p in parts))


@given(REGISTERS)
def test_the_register_and_its_masks_agree(register: int) -> None:
    no_access, no_write = denied(register, user=True, wp=True)
    for key in range(16):
        assert PKRU(register).denies_access(key) is bool(no_access >> key & 1)
        assert PKRU(register).denies_write(key) is bool((no_access | no_write) >> key & 1)
