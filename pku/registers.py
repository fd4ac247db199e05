"""PKRU and IA32_PKRS as declared words (SDM "Protection Keys")."""

from __future__ import annotations

from ..mmu.word import Bits, Word


def _key_fields() -> dict[str, Bits]:
    fields: dict[str, Bits] = {}
    for key in range(16):
        fields[f"AD{key}"] = Bits(2 * key)
        fields[f"WD{key}"] = Bits(2 * key + 1)
    return fields


class _Keys(Word):
    """Two bits for each of sixteen keys: AD (access disable) and WD (write disable)."""

    def denies_access(self, key: int) -> bool:
        """Tell whether data on pages with `key` may not be accessed at all."""
        return bool(int(self) >> 2 * key & 1)

    def denies_write(self, key: int) -> bool:
        """Tell whether data on pages with `key` may not be written."""
        return bool(int(self) >> 2 * key & 2)


PKRU = type("PKRU", (_Keys,), {"__doc__": "The user-page key rights register.", **_key_fields()})
PKRS = type("PKRS", (_Keys,), {"__doc__": "IA32_PKRS: key rights for supervisor pages.", **_key_fields()})
