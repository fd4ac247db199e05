"""What PKRU and PKRS take away, as the two masks of keys that the page walk understands.

SDM "Protection Keys": AD refuses every data access, WD every write; for a supervisor-mode access to a user page, and for
supervisor pages, WD counts only with CR0.WP.  Instruction fetches are never refused.
"""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=4096)
def denied(register: int, *, user: bool, wp: bool) -> tuple[int, int]:
    """Give (keys that may not be accessed, keys that may not be written) as 16-bit masks.

    `register` is PKRU or PKRS; `user` says that the access is a user-mode one.
    """
    no_access = no_write = 0
    for key in range(16):
        bits = register >> 2 * key & 3
        no_access |= (bits & 1) << key
        if bits & 2 and (user or wp):
            no_write |= 1 << key
    return no_access, no_write
