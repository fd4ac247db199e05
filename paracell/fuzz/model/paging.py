"""A second opinion on paging, written from the manual alone: what one access does, stated as plainly as the manual states it.

It shares nothing with `paracell.mmu`: no tables, no caches, no packed results.  Slow and obvious on purpose.
Source: SDM volume 3, chapter "Paging".  The title of the section stands at each rule.
"""

from __future__ import annotations

from typing import NamedTuple

P, RW, US, A, D, PS = 1 << 0, 1 << 1, 1 << 2, 1 << 5, 1 << 6, 1 << 7
XD = 1 << 63

PF_P, PF_W, PF_U, PF_RSVD, PF_I, PF_PK = 1, 2, 4, 8, 16, 32

BITS32, PAE, LEVEL4 = "32-bit", "PAE", "4-level"

SHIFTS = {BITS32: (22, 12), PAE: (30, 21, 12), LEVEL4: (39, 30, 21, 12)}
"""The lowest bit of the linear address that each level, from the top, takes as its index."""


class State(NamedTuple):
    """The registers that decide; a name is the manual's own."""

    mode: str = LEVEL4
    wp: bool = True
    smep: bool = False
    smap: bool = False
    pke: bool = False
    pks: bool = False
    nxe: bool = True
    pse: bool = True
    ac: bool = False
    pkru: int = 0
    pkrs: int = 0
    maxphyaddr: int = 52


class Access(NamedTuple):
    """One access to memory: neither write nor fetch is a read.  Implicit ones are the processor's own, for its tables."""

    write: bool = False
    fetch: bool = False
    user: bool = False
    implicit: bool = False


class Outcome(NamedTuple):
    """What an access did.

    Attributes:
        address: the physical address, or None.
        error: the page fault's error code, or None.
        entries: the paging-structure entries afterwards, top first.

    """

    address: int | None
    error: int | None
    entries: tuple[int, ...]


def translate(state: State, access: Access, linear: int, entries: tuple[int, ...]) -> Outcome:
    """Say what `access` to `linear` does when the walk meets `entries`, top first (PAE: the PDPTE register first)."""
    after = list(entries)
    shifts = SHIFTS[state.mode]
    controlling: list[int] = []
    register = state.mode == PAE  # a PDPTE register gives no rights, and is checked when CR3 is loaded
    for at, shift in enumerate(shifts):
        entry = entries[at]
        if not entry & P:
            return Outcome(None, error_code(state, access), tuple(after))
        if register:
            register = False
            continue
        page = is_page(state, shift, entry)
        if entry & reserved(state, shift, page=page):
            return Outcome(None, error_code(state, access) | PF_P | PF_RSVD, tuple(after))
        controlling.append(entry)
        if page:
            break
        after[at] |= A  # "Accessed and Dirty Flags": the entry was used, whatever comes of it
    else:
        raise AssertionError
    if not permitted(state, access, controlling):
        key = PF_PK if key_refuses(state, access, controlling) else 0
        return Outcome(None, error_code(state, access) | PF_P | key, tuple(after))
    after[at] |= A | (D if access.write else 0)
    offset = linear & ((1 << shift) - 1)
    return Outcome(page_address(state, shift, entry) | offset, None, tuple(after))


def is_page(state: State, shift: int, entry: int) -> bool:
    """Tell whether the entry maps a page ("Hierarchical Paging Structures: an Overview")."""
    if shift == 12:
        return True
    if state.mode == BITS32:
        return state.pse and bool(entry & PS)
    return shift in (21, 30) and bool(entry & PS)


def page_address(state: State, shift: int, entry: int) -> int:
    """Give the page's physical address from the entry that maps it."""
    if state.mode == BITS32 and shift == 22:  # PSE-36: bits 20:13 are bits 39:32 of the address
        return entry & 0xFFC00000 | (entry >> 13 & 0xFF) << 32
    return entry & bits(51, shift)


def reserved(state: State, shift: int, *, page: bool) -> int:
    """Give the bits that must be 0 in a present entry (tables of the formats in "4-Level Paging", "PAE Paging", "32-Bit Paging")."""
    if state.mode == BITS32:
        reach = min(state.maxphyaddr, 40)
        return bits(21, reach - 19) if page and shift == 22 else 0
    mask = bits(51, state.maxphyaddr)
    if state.mode == PAE:
        mask |= bits(62, 52)
    if not state.nxe:
        mask |= XD
    if shift == 39:
        mask |= PS
    if page and shift > 12:
        mask |= bits(shift - 1, 13)  # bit 12 is the PAT bit
    return mask


def permitted(state: State, access: Access, controlling: list[int]) -> bool:
    """Follow "Determination of Access Rights": first the mode of the address, then the kind of access."""
    user_page = all(e & US for e in controlling)
    writable = all(e & RW for e in controlling)
    executable = state.mode == BITS32 or not state.nxe or not any(e & XD for e in controlling)
    if access.user:
        if not user_page:
            return False
        if access.fetch:
            return executable
        return (writable or not access.write) and not key_refuses(state, access, controlling)
    if access.fetch:
        return executable and not (user_page and state.smep)
    if user_page and state.smap and (access.implicit or not state.ac):
        return False
    return (writable or not access.write or not state.wp) and not key_refuses(state, access, controlling)


def key_refuses(state: State, access: Access, controlling: list[int]) -> bool:
    """Follow "Protection Keys": AD refuses every data access, WD a write by user mode or with CR0.WP."""
    if state.mode != LEVEL4 or access.fetch:
        return False
    key = controlling[-1] >> 59 & 15  # of the entry that maps the page
    if all(e & US for e in controlling):
        if not state.pke:
            return False
        rights, write_counts = state.pkru >> 2 * key & 3, access.user or state.wp
    else:
        if not state.pks:
            return False
        rights, write_counts = state.pkrs >> 2 * key & 3, state.wp
    return bool(rights & 1) or bool(rights & 2 and access.write and write_counts)


def error_code(state: State, access: Access) -> int:
    """Give the bits that describe the access ("Page-Fault Exceptions")."""
    fetch_shows = state.smep or (state.mode != BITS32 and state.nxe)
    return access.write * PF_W | access.user * PF_U | (access.fetch and fetch_shows) * PF_I


def bits(high: int, low: int) -> int:
    """Give a mask of bits high:low; nothing if high < low."""
    return max(0, (2 << high) - (1 << low))
