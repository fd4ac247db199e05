"""PKRU and IA32_PKRS as declared words (SDM "Protection Keys").

::

     31  30 29  28        5   4   3   2   1   0
    ┌────┬────┬────┬─   ─┬───┬───┬───┬───┬───┬───┐
    │WD15│AD15│WD14│ ... │WD2│AD2│WD1│AD1│WD0│AD0│
    └────┴────┴────┴─   ─┴───┴───┴───┴───┴───┴───┘
"""

from __future__ import annotations

from ..mmu.word import Bits, Word


class Keys(Word):
    """Two bits for each of sixteen keys: AD (access disable) and WD (write disable)."""

    AD0 = Bits(0)
    WD0 = Bits(1)
    AD1 = Bits(2)
    WD1 = Bits(3)
    AD2 = Bits(4)
    WD2 = Bits(5)
    AD3 = Bits(6)
    WD3 = Bits(7)
    AD4 = Bits(8)
    WD4 = Bits(9)
    AD5 = Bits(10)
    WD5 = Bits(11)
    AD6 = Bits(12)
    WD6 = Bits(13)
    AD7 = Bits(14)
    WD7 = Bits(15)
    AD8 = Bits(16)
    WD8 = Bits(17)
    AD9 = Bits(18)
    WD9 = Bits(19)
    AD10 = Bits(20)
    WD10 = Bits(21)
    AD11 = Bits(22)
    WD11 = Bits(23)
    AD12 = Bits(24)
    WD12 = Bits(25)
    AD13 = Bits(26)
    WD13 = Bits(27)
    AD14 = Bits(28)
    WD14 = Bits(29)
    AD15 = Bits(30)
    WD15 = Bits(31)

    def denies_access(self, key: int) -> bool:
        """Tell whether data on pages with `key` may not be accessed at all."""
        return bool(int(self) >> 2 * key & 1)

    def denies_write(self, key: int) -> bool:
        """Tell whether data on pages with `key` may not be written."""
        return bool(int(self) >> 2 * key & 3)

    def lines(self) -> list[str]:
        """Say for a reader what each key with a bit set takes away."""
        return [
            f"key {key}: {'no access' if self.denies_access(key) else 'read only'}"
            for key in range(16)
            if self.denies_write(key)
        ]


class PKRU(Keys):
    """The key rights register of user pages: RDPKRU and WRPKRU."""


class PKRS(Keys):
    """IA32_PKRS (MSR 6E1H): key rights of supervisor pages."""
