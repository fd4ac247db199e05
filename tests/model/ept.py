"""What the manual says of one access through both stages, from the conditions alone: nothing here walks.

Guest tables are 4-level and open but for the last entry; the EPT is open but for the last entry behind that guest table (``of_table``)
and the last entry behind the page (``of_page``).  SDM "EPT Translation Mechanism", "EPT-Induced VM Exits", "Accessed and Dirty Flags
for EPT", "Exit Qualification for EPT Violations".
"""

from __future__ import annotations

from typing import Final, NamedTuple

R, W, X, XU = 1, 2, 4, 1 << 10  # of an EPT entry
EPT_A, EPT_D = 1 << 8, 1 << 9
P, RW, US, A, D, XD = 1, 2, 4, 0x20, 0x40, 1 << 63  # of a guest's
READ, WRITE, FETCH = "read", "write", "fetch"


class Case(NamedTuple):
    """One access.

    Attributes:
        leaf: the guest's last entry: P, RW, US, A, D, XD.
        of_table, of_page: the two last entries of the EPT: R, W, X, XU, A, D.
        dirty: accessed and dirty flags for EPT.
        mode_based: mode-based execute control.
        access: READ, WRITE or FETCH.
        user: at CPL 3.
        wp: CR0.WP.

    """

    leaf: int
    of_table: int
    of_page: int
    dirty: bool
    mode_based: bool
    access: str
    user: bool
    wp: bool


class Outcome(NamedTuple):
    """What comes of it.

    Attributes:
        what: "done", "#PF", "violation" or "misconfiguration".
        number: the error code of #PF, the exit qualification of a violation, else 0.
        at_table: it is the guest's last entry whose guest-physical address is refused.
        leaf, of_table, of_page: the three entries afterwards.

    """

    what: str
    number: int
    at_table: bool
    leaf: int
    of_table: int
    of_page: int


def second(entry: int, wanted: int, *, mode_based: bool) -> str:
    """Say what an EPT whose last entry this is, and which is open above it, makes of an access."""
    present = entry & (R | W | X) or (mode_based and entry & XU)
    if not present:
        return "violation"
    if entry & W and not entry & R:
        return "misconfiguration"
    return "done" if entry & wanted == wanted else "violation"


def bits(entry: int, *, mode_based: bool) -> int:
    """Give bits 6:3 of an exit qualification."""
    return (entry & 7) << 3 | (1 << 6 if mode_based and entry & XU else 0)


def page_fault(case: Case) -> int | None:
    """Give the error code of the guest's own refusal."""
    leaf = case.leaf
    code = (2 if case.access == WRITE else 0) | (4 if case.user else 0) | (0x10 if case.access == FETCH else 0)
    if not leaf & P:
        return code
    if case.user and not leaf & US:
        return code | 1
    if case.access == WRITE and not leaf & RW and (case.user or case.wp):
        return code | 1
    return code | 1 if case.access == FETCH and leaf & XD else None


def outcome(case: Case) -> Outcome:
    """Say what comes of an access."""
    leaf, of_table, of_page, dirty, mode_based, access, _, _ = case
    linear = 1 << 7

    def refused(what: str, number: int, *, at_table: bool) -> Outcome:
        return Outcome(what, number if what != "misconfiguration" else 0, at_table, leaf, of_table, of_page)

    # The guest's last entry is read; with accessed and dirty flags that is a write, too.
    use = R | W if dirty else R
    got = second(of_table, use, mode_based=mode_based)
    if got != "done":
        return refused(got, use | bits(of_table, mode_based=mode_based) | linear, at_table=True)
    of_table |= EPT_A | EPT_D if dirty else 0
    code = page_fault(case)
    if code is not None:
        return refused("#PF", code, at_table=False)
    # Its accessed and dirty flags are set, by a read and a write.
    after = leaf | A | (D if access == WRITE else 0)
    if after != leaf:
        got = second(of_table, R | W, mode_based=mode_based)
        if got != "done":
            return refused(got, R | W | bits(of_table, mode_based=mode_based) | linear, at_table=True)
    leaf = after
    # The page's own address.
    kind = {READ: R, WRITE: W, FETCH: X}[access]
    wanted = XU if access == FETCH and mode_based and leaf & US else kind
    got = second(of_page, wanted, mode_based=mode_based)
    if got != "done":
        advanced = (1 << 9 if leaf & US else 0) | (1 << 10 if leaf & RW else 0) | (1 << 11 if leaf & XD else 0)
        return refused(got, kind | bits(of_page, mode_based=mode_based) | linear | 1 << 8 | advanced, at_table=False)
    if dirty:
        of_page |= EPT_A | (EPT_D if access == WRITE else 0)
    return Outcome("done", 0, False, leaf, of_table, of_page)


EPT_RIGHTS: Final = tuple(x for x in range(8)) + tuple(x | XU for x in range(8))
