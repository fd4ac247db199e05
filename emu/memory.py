"""Guest-physical memory: one sparse block of host memory that Python and TCG share.

::

    0 ───────────── below ──────────── 3 GiB ── hole (APIC, nothing else) ── 4 GiB ──── above ────
    one anonymous mapping covers it all; the hole is never touched, and untouched pages cost nothing

"""

from __future__ import annotations

import ctypes
import mmap
import weakref
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .engine import Engine

PAGE: Final = 4096
HOLE: Final = 3 << 30
FOUR_GIB: Final = 1 << 32
APIC_PAGE: Final = 0xFEE00000
IO_APIC_PAGE: Final = 0xFEC00000
HPET_PAGE: Final = 0xFED00000
NOTHING: Final = 0xFFFFF000  # where a fill points for an address that nobody answers: reads give ones
_MAP_NORESERVE: Final = 0x4000


class OutOfRange(IndexError):
    """A physical address that is not RAM.

    Attributes:
        address: the physical address.

    """

    def __init__(self, address: int) -> None:
        super().__init__(f"physical address {address:#x} is not RAM")
        self.address = address


class Memory:
    """RAM of `size` bytes (a multiple of 4 KiB), and `kept` bytes more that the machine's software is not offered.

    Attributes:
        words: all of it as 64-bit words; ``words[pa >> 3]``.
        ram: the mapping itself, for slices and ``struct``.
        code: physical page number → linear pages, for those that hold translated code; Python's writes there must drop it.
        dirty: physical page numbers written since `spread` last emptied it.
        stale: (address, size) of writes to translated code that `drop_stale_code` has yet to deal with.
        on_stale: called when `stale` grows.

    """

    def __init__(self, size: int, kept: int = 0) -> None:
        if size <= 0 or size % PAGE:
            raise ValueError(f"memory size {size} is not a positive multiple of {PAGE} bytes")
        self.offered, self.size = size, size + kept
        size += kept
        self.low = min(size, HOLE)
        self.limit = self.low if size <= HOLE else FOUR_GIB + size - HOLE
        self.ram = mmap.mmap(-1, self.limit, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE)
        self.words = memoryview(self.ram).cast("B").cast("Q")
        self.code: dict[int, int | set[int]] = {}
        self.dirty: set[int] = set()
        self._before: set[int] = set()
        self._marks: list[weakref.ref[set[int]]] = []
        self.stale: list[tuple[int, int]] = []
        self.on_stale: Callable[[], None] = lambda: None
        self._engine: Engine | None = None

    def attach(self, engine: Engine) -> None:
        """Give the engine this memory as its RAM."""
        self._engine = engine
        base = ctypes.addressof(ctypes.c_char.from_buffer(self.ram))
        engine.map_ram(0, self.low, base)
        if self.limit > FOUR_GIB:
            engine.map_ram(FOUR_GIB, self.limit - FOUR_GIB, base + FOUR_GIB)

    def is_ram(self, address: int) -> bool:
        """Tell whether `address` is RAM."""
        return address < self.low or FOUR_GIB <= address < self.limit

    def is_offered(self, address: int) -> bool:
        """Tell whether `address` is RAM that the machine's software is offered."""
        return self.is_ram(address) and self.ram_offset(address) < self.offered

    def kept_pages(self) -> Iterator[int]:
        """Give the addresses of the pages that it is not offered."""
        for offset in range(self.offered, self.size, PAGE):
            yield offset if offset < self.low else offset - self.low + FOUR_GIB

    def regions(self) -> list[tuple[int, int]]:
        """Give the RAM ranges that the machine's software is offered as (address, size), for the boot information."""
        low = min(self.offered, HOLE)
        ranges = [(0, low)]
        if self.offered > low:
            ranges.append((FOUR_GIB, self.offered - low))
        return ranges

    def read64(self, address: int) -> int:
        """Read an aligned word; ones where there is no RAM, as a floating bus gives."""
        if address < self.low or FOUR_GIB <= address < self.limit:  # as `is_ram`: walks call this for each level
            return self.words[address >> 3]
        return (1 << 64) - 1

    def write64(self, address: int, value: int) -> None:
        """Write an aligned word, as the processor does for accessed and dirty bits."""
        if self.is_ram(address):
            self.words[address >> 3] = value
            self.written(address, 8)

    def read(self, address: int, size: int) -> bytes:
        """Read bytes; `OutOfRange` where there is no RAM."""
        if size and not (self.is_ram(address) and self.is_ram(address + size - 1)):
            raise OutOfRange(address)
        return self.ram[address : address + size]

    def write(self, address: int, data: bytes) -> None:
        """Write bytes; `OutOfRange` where there is no RAM."""
        size = len(data)
        if size and not (self.is_ram(address) and self.is_ram(address + size - 1)):
            raise OutOfRange(address)
        self.ram[address : address + size] = data
        self.written(address, size)

    def __getitem__(self, where: slice) -> bytes:
        """Give the bytes of ``memory[first:end]``; `OutOfRange` where there is no RAM.

        Example:
            >>> memory = Memory(1 << 20)
            >>> memory[0x1000:0x1004] = b"page"
            >>> memory[0x1002:0x1004]
            b'ge'

        """
        first, end = _bounds(where)
        return self.read(first, end - first)

    def __setitem__(self, where: slice, data: bytes) -> None:
        """Write ``memory[first:end] = data``; ``ValueError`` where the sizes differ, `OutOfRange` where there is no RAM."""
        first, end = _bounds(where)
        if end - first != len(data):
            raise ValueError(f"{len(data)} bytes do not fill the {end - first} from {first:#x} to {end:#x}")
        self.write(first, data)

    def written(self, address: int, size: int) -> None:
        """Note that Python has written here: the pages are dirty, and code translated from them is void."""
        first, last = address >> 12, (address + size - 1) >> 12
        if first == last:
            self.dirty.add(first)
            if first not in self.code:
                return
        else:
            self.dirty.update(range(first, last + 1))
            if self.code.keys().isdisjoint(range(first, last + 1)):
                return
        # Not at once: this may be the very block that runs, in the middle of a fill.
        self.stale.append((address, size))
        self.on_stale()

    @property
    def used(self) -> set[int]:
        """The physical page numbers ever written: all others are zero."""
        return self._before | self.dirty

    def mark(self) -> set[int]:
        """Give a set that is told, when `spread` empties `dirty`, of what is written from now on.

        TCG's slots must be flushed, so that it asks before it writes again.
        """
        self.spread()
        mark: set[int] = set()
        self._marks.append(weakref.ref(mark))
        return mark

    def tell(self, frames: Iterable[int]) -> None:
        """Have every mark hold these pages."""
        alive = [(ref, mark) for ref in self._marks if (mark := ref()) is not None]
        for _, mark in alive:
            mark.update(frames)
        self._marks = [ref for ref, _ in alive]

    def spread(self) -> None:
        """Empty `dirty`, and tell every mark of it; TCG's slots must be flushed."""
        self.tell(self.dirty)
        self._before |= self.dirty
        self.dirty.clear()

    def drop_stale_code(self) -> None:
        """Drop the translated code that writes since the last call have made stale."""
        if self._engine is not None:
            for address, size in self.stale:
                offset = self.ram_offset(address)
                self._engine.drop_code(offset, offset + size)
        self.stale.clear()

    def ram_offset(self, address: int) -> int:
        """Where Unicorn keeps this byte in its list of RAM blocks, which knows no hole."""
        return address if address < FOUR_GIB else address - FOUR_GIB + self.low


def _bounds(where: slice) -> tuple[int, int]:
    """Check a slice of physical addresses."""
    first, end = where.start, where.stop
    if where.step is not None or first is None or end is None or not 0 <= first <= end:
        raise ValueError("physical memory is read and written as memory[first:end]")
    return first, end
