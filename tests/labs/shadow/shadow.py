"""Lab 6: shadow paging.  A solution."""

from __future__ import annotations

from typing import Final, Protocol


class Host(Protocol):
    """What the host offers you."""

    def table(self) -> int:
        """Give a page of host-physical memory that is all zeros: its address."""

    def read64(self, address: int) -> int:
        """Read 8 bytes of host-physical memory: your shadow tables."""

    def write64(self, address: int, value: int) -> None:
        """Write 8 bytes of host-physical memory."""

    def guest_read64(self, address: int) -> int:
        """Read 8 bytes of guest-physical memory: the guest's tables."""

    def guest_write64(self, address: int, value: int) -> None:
        """Write 8 bytes of guest-physical memory."""

    def frame(self, page: int) -> int:
        """Give the host-physical address of a guest-physical page; `page` is a multiple of 4096."""


P, RW, US, A, D, XD = 1, 2, 4, 1 << 5, 1 << 6, 1 << 63
WRITE, USER, FETCH = 2, 4, 16
FRAME: Final = 0xF_FFFF_FFFF_F000
SHIFTS: Final = (39, 30, 21, 12)


class Shadow:
    """The shadow tables of one guest: upper entries are open, the last one has what the guest's four allow together."""

    def __init__(self, host: Host) -> None:
        """Make an empty root."""
        self.host = host
        self.root = host.table()
        self.cr3 = 0

    def load_cr3(self, cr3: int) -> int:
        """Forget everything."""
        self.cr3 = cr3 & FRAME
        for slot in range(511):
            self.host.write64(self.root + 8 * slot, 0)
        return self.root

    def fault(self, address: int, error: int) -> int | None:
        """Walk the guest's tables; fill the shadow, or give the guest its fault."""
        host, table, every, never = self.host, self.cr3, RW | US, 0
        said = error & (WRITE | USER | FETCH)
        for shift in SHIFTS:
            at = table + 8 * (address >> shift & 511)
            entry = host.guest_read64(at)
            if not entry & P:
                return said
            every, never = every & entry, never | entry & XD
            if shift > 12:
                host.guest_write64(at, entry | A)
            table = entry & FRAME
        if (error & USER and not every & US) or (error & WRITE and not every & RW) or (error & FETCH and never):
            return said | P
        entry |= A | (D if error & WRITE else 0)
        host.guest_write64(at, entry)
        rights = every & US | never | (every & RW if entry & D else 0)
        self._fill(address, host.frame(entry & FRAME) | rights | P | A | D)
        return None

    def _fill(self, address: int, entry: int) -> None:
        table = self.root
        for shift in SHIFTS[:3]:
            at = table + 8 * (address >> shift & 511)
            if not self.host.read64(at):
                self.host.write64(at, self.host.table() | P | RW | US | A)
            table = self.host.read64(at) & FRAME
        self.host.write64(table + 8 * (address >> 12 & 511), entry)

    def invlpg(self, address: int) -> None:
        """Empty the last entry, if there is one."""
        table = self.root
        for shift in SHIFTS[:3]:
            table = self.host.read64(table + 8 * (address >> shift & 511)) & FRAME
            if not table:
                return
        self.host.write64(table + 8 * (address >> 12 & 511), 0)
