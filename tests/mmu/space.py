"""Small physical memories, page tables written into them, and whole address spaces read back through the walker."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from paracell.mmu import rights
from paracell.mmu.rights import EXEC, READ, WRITE, Context
from paracell.mmu.walk import Mode, Paging, reserved_bits, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

P, RW, US, A, D, PS, G = 1, 2, 4, 0x20, 0x40, 0x80, 0x100
XD = 1 << 63
OPEN = P | RW | US
SHIFTS = {4: 39, 3: 30, 2: 21, 1: 12}
SIZES = {"4K": 1, "2M": 2, "1G": 3}
USER = Context(user=True)
SUPERVISOR = Context(user=False)


class Ram:
    """Physical memory of `size` bytes that notes every write."""

    def __init__(self, size: int = 1 << 18) -> None:
        self.words = memoryview(array("Q", bytes(size)))
        self.low = size
        self.writes: list[int] = []
        self._next = 0x1000

    def read64(self, address: int) -> int:
        return self.words[address >> 3] if address < self.low else (1 << 64) - 1

    def write64(self, address: int, value: int) -> None:
        self.writes.append(address)
        if address < self.low:
            self.words[address >> 3] = value

    def table(self) -> int:
        """Take a fresh page for a table."""
        at, self._next = self._next, self._next + 0x1000
        return at


class Tables:
    """4-level tables in a `Ram`."""

    def __init__(self, ram: Ram | None = None) -> None:
        self.ram = ram or Ram()
        self.root = self.ram.table()

    def entry_address(self, gva: int, level: int) -> int:
        """Where the entry for `gva` at `level` is; makes open tables on the way."""
        at = self.root
        for above in range(4, level - 1, -1):
            at += (gva >> SHIFTS[above] & 511) << 3
            if above == level:
                break
            if not self.ram.words[at >> 3]:
                self.ram.words[at >> 3] = self.ram.table() | OPEN
            at = self.ram.words[at >> 3] & 0xFFFFFFFFFF000
        return at

    def put(self, gva: int, level: int, entry: int) -> int:
        """Write the entry for `gva` at `level`; gives its address."""
        at = self.entry_address(gva, level)
        self.ram.words[at >> 3] = entry
        return at

    def get(self, gva: int, level: int) -> int:
        return int(self.ram.words[self.entry_address(gva, level) >> 3])

    def paging(self, *, nxe: bool = True, maxphyaddr: int = 52, fetch_bit: bool = True) -> Paging:
        masks = reserved_bits(Mode.LEVEL4, nxe=nxe, maxphyaddr=maxphyaddr)
        return Paging(Mode.LEVEL4, self.root, masks, fetch_bit)


def draw(text: str) -> Tables:
    """Make tables from lines ``400000 2M 200000 user rwx``: address, size, physical address, whose, rights."""
    tables = Tables()
    for line in text.split("\n"):
        if line.strip():
            gva, size, physical, who, letters = line.split()
            level = SIZES[size]
            flags = P | (PS if level > 1 else 0) | (US if who == "user" else 0)
            flags |= (RW if "w" in letters else 0) | (0 if "x" in letters else XD)
            tables.put(int(gva, 16), level, int(physical, 16) | flags)
    return tables


def whole(tables: Tables, paging: Paging, context: Context) -> list[str]:
    """Give all that `context` can reach, as runs ``400000-402000 10000 rw-``: every slot of every table is tried."""
    table = rights.table(context)
    runs: list[tuple[int, int, int, str]] = []
    for gva, size in _slots(tables, tables.root, 4, 0):
        letters, physical = "", 0
        for need, letter in ((READ, "r"), (WRITE, "w"), (EXEC, "x")):
            found = walk(tables.ram, paging, gva, need, table)
            letters += letter if found >= 0 else "-"
            physical = found & ~0xFFF if found >= 0 else physical
        if letters == "---":
            continue
        if runs and runs[-1][1] == gva and runs[-1][2] + gva - runs[-1][0] == physical and runs[-1][3] == letters:
            runs[-1] = (runs[-1][0], gva + size, runs[-1][2], letters)
        else:
            runs.append((gva, gva + size, physical, letters))
    return [f"{a:x}-{b:x} {p:x} {letters}" for a, b, p, letters in runs]


def _slots(tables: Tables, at: int, level: int, base: int) -> Iterator[tuple[int, int]]:
    for i in range(512):
        gva = base + (i << SHIFTS[level])
        gva |= 0xFFFF << 48 if gva >> 47 else 0
        entry = tables.ram.words[(at >> 3) + i]
        if entry & P and level > 1 and not entry & PS:
            yield from _slots(tables, entry & 0xFFFFFFFFFF000, level - 1, gva)
        else:
            yield gva, 1 << SHIFTS[level]
