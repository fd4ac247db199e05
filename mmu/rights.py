"""Which accesses a translation allows: the one definition, as a table over attribute indexes.

A cached translation keeps nine attribute bits; everything else (CR0.WP, SMEP, SMAP, keys …) belongs to the context that asks::

      8      5  4   3   2   1   0
    ┌──────────┬───┬───┬───┬───┬───┐
    │ key      │ G │ D │ X │ U │ W │      X: no level has XD.  D: the leaf is dirty.
    └──────────┴───┴───┴───┴───┴───┘
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

READ: Final = 1
WRITE: Final = 2
EXEC: Final = 4

W, U, X, D, G = 1, 2, 4, 8, 16
KEY_SHIFT: Final = 5
INDEX_BITS: Final = 9


class Context(NamedTuple):
    """Everything besides the tables that decides an access (SDM "Access Rights").

    Attributes:
        user: a user-mode access (CPL 3, and not implicit).
        wp: CR0.WP.
        smep: CR4.SMEP.
        smap: CR4.SMAP is set and this access is subject to it (implicit, or RFLAGS.AC clear).
        user_keys: (keys whose data may not be accessed, keys that may not be written) for user pages.
        supervisor_keys: the same for supervisor pages.

    """

    user: bool
    wp: bool = True
    smep: bool = False
    smap: bool = False
    user_keys: tuple[int, int] = (0, 0)
    supervisor_keys: tuple[int, int] = (0, 0)


def allowed(context: Context, index: int) -> int:
    """Give the READ, WRITE and EXEC bits that `context` has on a page with attributes `index`, D aside."""
    user_page, writable = index & U, index & W
    if context.user:
        if not user_page:
            return 0
        rights = READ | (WRITE if writable else 0) | (EXEC if index & X else 0)
    else:
        rights = READ | (WRITE if writable or not context.wp else 0)
        if index & X and not (user_page and context.smep):
            rights |= EXEC
        if user_page and context.smap:
            rights &= EXEC
    return rights & ~key_denied(context, index)


def key_denied(context: Context, index: int) -> int:
    """Give the READ and WRITE bits that the page's protection key takes away; keys never stop a fetch."""
    no_access, no_write = context.user_keys if index & U else context.supervisor_keys
    key = 1 << (index >> KEY_SHIFT)
    if no_access & key:
        return READ | WRITE
    return WRITE if no_write & key else 0


_TABLES: Final[dict[bytes, bytes]] = {}


@lru_cache(maxsize=4096)
def table(context: Context) -> bytes:
    """Give the rights of every attribute index.  Bits 2:0 are what may be cached: WRITE only with D; bits 6:4 all.

    Contexts with the same rights get the same object.
    """
    out = bytearray(1 << INDEX_BITS)
    for index in range(1 << INDEX_BITS):
        rights = allowed(context, index)
        out[index] = rights << 4 | (rights if index & D else rights & ~WRITE)
    made = bytes(out)
    return _TABLES.setdefault(made, made)
