"""One declaration for each architectural word: an ``int`` with named bit fields.

    class CR0(Word):
        PE = Bits(0)
        MP = Bits(1)

`CR0(3).PE` is 1, `CR0.PE.mask` is the raw mask, and ``repr``, JSON and test strategies derive from the declaration.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self, overload


class Bits:
    """A field of a `Word`: bits `high` down to `low`, or one bit.

    Attributes:
        mask: the field's bits in place.
        shift: its lowest bit.
        name: set by the class body.

    """

    def __init__(self, high: int, low: int | None = None) -> None:
        self.high = high
        self.shift = high if low is None else low
        self.width = high - self.shift + 1
        self.mask = ((1 << self.width) - 1) << self.shift
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, word: None, owner: type) -> Bits: ...
    @overload
    def __get__(self, word: int, owner: type) -> int: ...
    def __get__(self, word: int | None, owner: type) -> Bits | int:
        """Give the field's value in `word`, or the field itself from the class."""
        if word is None:
            return self
        return int(word) >> self.shift & ((1 << self.width) - 1)


class Word(int):
    """An architectural word; subclasses declare fields as `Bits`."""

    fields: ClassVar[dict[str, Bits]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = {name: bits for name, bits in vars(cls).items() if isinstance(bits, Bits)}
        cls.fields = {**cls.fields, **own}

    @classmethod
    def mask(cls) -> int:
        """Give every declared bit."""
        total = 0
        for bits in cls.fields.values():
            total |= bits.mask
        return total

    def replace(self, **values: int) -> Self:
        """Give the word with some fields changed; ``ValueError`` where a value does not fit."""
        word = int(self)
        for name, value in values.items():
            bits = self.fields[name]
            if value >> bits.width:
                raise ValueError(f"{type(self).__name__}.{name} has {bits.width} bits; {value:#x} does not fit")
            word = word & ~bits.mask | value << bits.shift
        return type(self)(word)

    def set_fields(self) -> list[str]:
        """Name the fields that are not zero, as ``NAME`` or ``NAME=value``."""
        out = []
        for name, bits in self.fields.items():
            value = int(self) >> bits.shift & ((1 << bits.width) - 1)
            if value:
                out.append(name if bits.width == 1 else f"{name}={value:#x}")
        rest = int(self) & ~self.mask()
        if rest:
            out.append(f"{rest:#x}")
        return out

    def as_dict(self) -> dict[str, int]:
        """Give every field by name, for JSON."""
        return {name: int(self) >> b.shift & ((1 << b.width) - 1) for name, b in self.fields.items()}

    def __repr__(self) -> str:
        """Show the class and the fields that are set: ``CR0(PE|PG)``."""
        return f"{type(self).__name__}({'|'.join(self.set_fields()) or '0'})"

    def _repr_html_(self) -> str:
        """Show it in a notebook: the value, and a table of the fields that are set."""
        fields = [(n, b, v) for n, b in self.fields.items() if (v := int(self) >> b.shift & (1 << b.width) - 1)]
        names = "".join(f"<th>{name}</th>" for name, _, _ in fields)
        bits = "".join(f"<td>{b.shift if b.width == 1 else f'{b.high}:{b.shift}'}</td>" for _, b, _ in fields)
        values = "".join(f"<td>{value:#x}</td>" for _, _, value in fields)
        rows = "".join(f"<tr>{row}</tr>" for row in (names, bits, values))
        return f"{type(self).__name__} = <code>{int(self):#x}</code><table>{rows}</table>"
