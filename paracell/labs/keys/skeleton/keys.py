"""Lab 2: protection keys.  Your work begins at ``rights``."""

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


def rights(pkru: int, key: int) -> tuple[bool, bool]:
    """Tell whether PKRU lets user mode read, and write, the user pages of a key."""
    raise NotImplementedError


def pkru_for(no_access: set[int], read_only: set[int]) -> int:
    """Give the PKRU that refuses all access to some keys, writes to others, and nothing to the rest."""
    raise NotImplementedError


def error(page: Page, access: Literal["read", "write", "fetch"], user: bool, pkru: int, wp: bool) -> int | None:
    """Give the error code of the page fault, or None if the access is allowed."""
    raise NotImplementedError


def names(error: int) -> set[str]:
    """Give the names of the bits that are 1 in an error code: P, W, U, RSVD, I, PK."""
    raise NotImplementedError
