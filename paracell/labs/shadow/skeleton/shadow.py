"""Lab 6: shadow paging.  You write the class ``Shadow``."""

from __future__ import annotations

from typing import Protocol


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


class Shadow:
    """The shadow tables of one guest."""

    def __init__(self, host: Host) -> None:
        """Keep `host`; `load_cr3` comes before anything else."""
        self.host = host

    def load_cr3(self, cr3: int) -> int:
        """The guest loads CR3: give the host-physical root of the tables that the processor shall use."""
        raise NotImplementedError

    def fault(self, address: int, error: int) -> int | None:
        """Handle a page fault of the processor's at `address`, with its error code.

        Give None if the shadow now allows the access, or the error code of the page fault that the guest must get.
        """
        raise NotImplementedError

    def invlpg(self, address: int) -> None:
        """The guest invalidates one page."""
        raise NotImplementedError
