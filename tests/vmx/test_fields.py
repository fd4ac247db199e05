"""The VMCS's fields against a second reading of the manual (SDM "Field Encoding in VMCS")."""

from __future__ import annotations

from typing import Final

import pytest

from paracell.vmx.controls import Entry, Pin, Primary, Secondary
from paracell.vmx.fields import Field

# (width, type) → indexes that this processor has; width 0: 16, 1: 64, 2: 32, 3: natural; type 0: control, 1: read-only, 2: guest, 3: host.
INDEXES: Final = {
    (0, 0): {0}, (0, 2): {*range(8), 9}, (0, 3): {*range(7)},
    (1, 0): {*range(10), 0xD, 0x13, 0x14, 0x16}, (1, 1): {0}, (1, 2): {0, 1, 2, 3, 5, 6, 7, 8, 0xC}, (1, 3): {0, 1, 3},
    (2, 0): {*range(16)}, (2, 1): {*range(8)}, (2, 2): {*range(0x16), 0x17}, (2, 3): {0},
    (3, 0): {*range(8)}, (3, 1): {*range(6)}, (3, 2): {*range(0x14)}, (3, 3): {*range(12)},
}  # fmt: skip


def test_encodings() -> None:
    wanted = {width << 13 | kind << 10 | index << 1 for (width, kind), all_ in INDEXES.items() for index in all_}
    assert {int(field) for field in Field} == wanted
    assert len(Field.__members__) == len(wanted)  # no alias


@pytest.mark.parametrize(
    ("field", "bits", "kind", "index", "needs"),
    [
        (Field.VPID, 16, 0, 0, (Secondary.VPID,)),
        (Field.TSC_OFFSET, 64, 0, 8, (Primary.TSC_OFFSETTING,)),
        (Field.PREEMPTION_TIMER_VALUE, 32, 2, 0x17, (Pin.PREEMPTION_TIMER,)),
        (Field.GUEST_PKRS, 64, 2, 12, (Entry.LOAD_PKRS,)),
        (Field.EXIT_REASON, 32, 1, 1, ()),
        (Field.HOST_RIP, 64, 3, 11, ()),
    ],
)
def test_what_an_encoding_says(field: Field, bits: int, kind: int, index: int, needs: object) -> None:
    assert (field.bits, field.type, field.index, field.needs) == (bits, kind, index, needs)
    assert field.natural == (field == Field.HOST_RIP)


def test_every_field_says_what_it_holds() -> None:
    assert all(field.doc for field in Field)
