"""What a host and a container kernel say of a container's pages, read from physical memory by symbol.

A set of pages is an integer with a byte for each page, 1 or 0: so Python's arithmetic on long integers deals with all pages of a
container at once.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ..guest import shipped
from ..guest.elf import parse
from ..guest.files import read_regular
from ..host_variables import HOST_DIRECT, RUNNING, HostVariables
from .shared_frames import shared_frames

if TYPE_CHECKING:
    from ..container import Container
    from ..emu.memory import Memory
    from ..guest.elf import Elf

PAGE: Final = 4096
_GUEST_DIRECT: Final = 0xFFFF_8880_0000_0000  # … of each container kernel: all guest-physical memory
_LENT: Final = 1  # guest/host/core/binding.c
_STRUCT_PAGE: Final = struct.calcsize(
    "<IBBHII"
)  # guest/kernel/mm/page.h: refs; order, is_clear; state; waits; next; previous
_ORDER: Final = slice(4, None, _STRUCT_PAGE)
_STATE: Final = slice(5, None, _STRUCT_PAGE)
_ORDER_BITS: Final = 0x7F
_FREE, _LISTED = 1, 2  # PAGE_FREE, PAGE_LISTED
_IS_LISTED: Final = bytes(value == _LISTED for value in range(256))
_IS_LENT: Final = bytes(value & _LENT for value in range(256))
_IS_ANY: Final = bytes(value > 0 for value in range(256))


@frozen
class Pages:
    """A container's pages at one moment.

    Attributes:
        count: how many there may be.
        bound: those with a page of the host's pool behind them.
        held: pages of that pool which the container is charged for: those that are bound, and page tables.
        addresses: the host-physical address behind each, with flags, or 0; 8 bytes each.
        memory: physical memory.
        place: the guest-physical address of variables of the container kernel's, by name.

    """

    count: int
    bound: int
    held: int
    addresses: bytes
    memory: Memory
    place: dict[str, int]

    def as_bytes(self, pages: int) -> bytes:
        """Give a set of pages as a byte for each."""
        return pages.to_bytes(self.count, "little")

    def read(self, gpa: int, size: int) -> bytes:
        """Read guest-physical memory; zeroes where nothing is behind it."""
        pieces, ram = [], self.memory.ram
        first, last = gpa // PAGE, -(-(gpa + size) // PAGE)
        for hpa in memoryview(self.addresses).cast("Q")[first:last]:
            at = hpa & -PAGE
            pieces.append(ram[at : at + PAGE] if at else bytes(PAGE))
        skip = gpa - first * PAGE
        return b"".join(pieces)[skip : skip + size]

    def word(self, symbol: str) -> int:
        """Read a 64-bit variable of the container kernel's."""
        return int.from_bytes(self.read(self.place[symbol], 8), "little")


def free_pages(pages: Pages) -> tuple[int, int]:
    """Ask the container kernel which pages its allocator has free, and which are on the processor's list.

    This is the one place that knows allocators: one more is one more function like `_free_of_buddy`.
    """
    array = pages.word("pages")
    if not array:
        return 0, 0  # it has not begun
    shared = shared_frames(pages)
    free = int.from_bytes(shared.free()[: pages.count], "little") if shared else _free_of_buddy(pages, array)
    states = pages.read(array - _GUEST_DIRECT, pages.count * _STRUCT_PAGE)[_STATE]
    lists = int.from_bytes(states.translate(_IS_LISTED), "little")
    return free, lists & ~free


def _free_of_buddy(pages: Pages, array: int) -> int:
    """Mark free blocks, by the struct page of the first page, and all that has not joined yet (`guest/kernel/mm/buddy.c`)."""
    frontier = min(pages.word("frontier"), pages.count)
    if not frontier:
        return 0
    told = pages.read(array - _GUEST_DIRECT, frontier * _STRUCT_PAGE)
    states, orders = told[_STATE], told[_ORDER]
    free = bytearray(pages.count)
    free[frontier:] = b"\1" * (pages.count - frontier)
    page = states.find(_FREE)
    while page >= 0:
        behind = page + (1 << (orders[page] & _ORDER_BITS))
        free[page:behind] = b"\1" * (behind - page)
        page = states.find(_FREE, behind)
    return int.from_bytes(free, "little")


class Host:
    """The host of a container that has one."""

    def __init__(self, container: Container) -> None:
        """Look its variables up.

        Raises:
            NotBuilt: an image is missing.
            KeyError: an image has no such symbol.

        """
        runtime = container.runtime
        assert runtime.kernel is not None
        self._memory = container.memory
        host = HostVariables.of(container.inner)
        if host is None:
            raise KeyError(f"{runtime.boots} is no host: it has no containers")
        self._host = host
        kernel = parse(read_regular(shipped.image(runtime.kernel)), runtime.kernel)
        self._guest = {name: _place(kernel, name) for name in ("pages", "frontier", "llfree")}

    def pages(self) -> Pages | None:
        """Give the pages of its first container; None while that does not run."""
        read = self._memory.read
        _, _, state, _, held, _, _, count, array, _ = self._host.container(0)
        if state not in RUNNING:
            return None
        addresses = read(array - HOST_DIRECT, 8 * count)
        return Pages(count, bound_pages(addresses), held, addresses, self._memory, self._guest)


def bound_pages(addresses: bytes) -> int:
    """Give the set of pages that have memory of their own behind them, from words as `Pages.addresses` has them."""
    bound = 0
    for byte in range(1, 6):  # physical addresses have 48 bits here
        bound |= int.from_bytes(addresses[byte::8].translate(_IS_ANY), "little")
    return bound & ~int.from_bytes(addresses[0::8].translate(_IS_LENT), "little")


def _place(image: Elf, name: str) -> int:
    """Give the physical address at which a variable of an image is loaded."""
    address = next((symbol.address for symbol in image.symbols() if symbol.name == name and symbol.size), None)
    if address is None:
        raise KeyError(f"no such symbol: {image.path}!{name}")
    segment = next(s for s in image.segments if s.vaddr <= address < s.vaddr + s.memsz)
    return address - segment.vaddr + segment.paddr
