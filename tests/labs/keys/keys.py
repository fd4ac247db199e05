"""Lab 2: protection keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Page:
    """What an entry says of its page.

    Attributes:
        present: P.
        writable: RW.
        user: US: a user page.
        executable: XD is 0.
        key: 0 to 15.

    """

    present: bool
    writable: bool
    user: bool
    executable: bool
    key: int


NAMES = ("P", "W", "U", "RSVD", "I", "PK")


def rights(pkru: int, key: int) -> tuple[bool, bool]:
    closed, read_only = pkru >> 2 * key & 1, pkru >> 2 * key & 2
    return not closed, not closed and not read_only


def pkru_for(no_access: set[int], read_only: set[int]) -> int:
    return sum(1 << 2 * key for key in no_access) | sum(2 << 2 * key for key in read_only)


def error(page: Page, access: Literal["read", "write", "fetch"], user: bool, pkru: int, wp: bool) -> int | None:
    code = (2 if access == "write" else 0) | (4 if user else 0) | (16 if access == "fetch" else 0)
    if not page.present:
        return code
    checked = access == "write" and (user or wp)
    by_entry = user and not page.user
    by_entry |= checked and not page.writable
    by_entry |= access == "fetch" and not page.executable
    readable, writable = rights(pkru, page.key)
    by_key = page.user and access != "fetch" and (not readable or (checked and not writable))
    if by_entry or by_key:
        return code | 1 | (32 if by_key else 0)
    return None


def names(error: int) -> set[str]:
    return {name for bit, name in enumerate(NAMES) if error >> bit & 1}
