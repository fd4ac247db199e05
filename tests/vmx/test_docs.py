"""The manual's tables of controls and fields are what the declarations say; `python -m tests.vmx.test_docs` prints them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from paracell.vmx.controls import DEFAULT1, NEEDS
from paracell.vmx.fields import Field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paracell.mmu.word import Bits

PAGE = Path(__file__).parents[2] / "docs" / "vmx-fields.md"
TYPES = ("control", "read-only data", "guest state", "host state")


def control_rows() -> Iterator[str]:
    yield "| word | bit | control | needs |"
    yield "|---|--:|---|---|"
    for word in DEFAULT1:
        for name, bits in word.fields.items():
            yield f"| {word.__name__} | {bits.shift} | {name} | {NEEDS.get(bits, '')} |"


def name_of(control: Bits) -> str:
    (word,) = [word for word in DEFAULT1 if control in word.fields.values()]
    return f"{word.__name__}.{control.name}"


def field_rows() -> Iterator[str]:
    yield "| encoding | field | bits | type | holds | only with |"
    yield "|--:|---|--:|---|---|---|"
    for field in sorted(Field):
        only = ", ".join(map(name_of, field.needs))
        width = "natural" if field.natural else str(field.bits)
        yield f"| {field:04X}H | {field.name} | {width} | {TYPES[field.type]} | {field.doc} | {only} |"


def test_the_manual_has_each_control() -> None:
    assert "\n".join(control_rows()) in PAGE.read_text(encoding="utf-8")


def test_the_manual_has_each_field() -> None:
    assert "\n".join(field_rows()) in PAGE.read_text(encoding="utf-8")


if __name__ == "__main__":
    print("\n".join([*control_rows(), "", *field_rows()]))  # noqa: T201  (that is its purpose)
