"""What the page tables map, as QEMU's monitor shows it: ``info mem`` and ``info tlb``."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from ..mmu.address import PAGE
from ..mmu.entry import Entry
from ..mmu.walk import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..machine import Machine

_MOST: Final = 100_000  # pages
_FRAME: Final = 0x000F_FFFF_FFFF_F000
_P, _RW, _US, _PS, _XD = (field.mask for field in (Entry.P, Entry.RW, Entry.US, Entry.PS, Entry.XD))
_BITS: Final = (
    (_XD, "X"), (Entry.G.mask, "G"), (_PS, "P"), (Entry.D.mask, "D"), (Entry.A.mask, "A"),
    (Entry.PCD.mask, "C"), (Entry.PWT.mask, "T"), (_US, "U"), (_RW, "W"),
)  # fmt: skip


class Mapped(NamedTuple):
    """One page: its linear address, its size, its entry, and the rights that all levels leave: XD, US and RW."""

    address: int
    size: int
    entry: int
    rights: int


def mapped(machine: Machine) -> Iterator[Mapped]:
    """Give each page that 4-level tables map, by address; ``ValueError`` where the processor reads none of that kind."""
    paging = machine.inner.cpu.translation.paging
    if paging.mode is Mode.NONE:
        raise ValueError("PG disabled")
    if paging.mode is not Mode.LEVEL4:
        raise ValueError("only 4-level tables are listed; walk ADDRESS explains one address of any")
    yield from _below(machine, paging.root, 4, 0, _RW | _US)


def _below(machine: Machine, table: int, level: int, base: int, rights: int) -> Iterator[Mapped]:
    """Go through one table."""
    read = _reader(machine)
    span = PAGE << 9 * (level - 1)
    for number in range(512):
        entry = read(table + 8 * number)
        if not entry & _P:
            continue
        address = base + number * span
        if level == 4 and number >= 256:
            address += -1 << 48 & (1 << 64) - 1
        left = rights & entry & (_RW | _US) | (rights | entry) & _XD
        if level == 1 or (level < 4 and entry & _PS):
            yield Mapped(address, span, entry, left)
        else:
            yield from _below(machine, entry & _FRAME, level - 1, address, left)


def _reader(machine: Machine) -> Callable[[int], int]:
    """Give what reads an entry: through the EPT, in a virtual machine."""
    second = machine.inner.cpu.translation.second
    return machine.memory.read64 if second is None else second.still().read64


def ranges(machine: Machine) -> list[str]:
    """Give the lines of ``info mem``: first and end, size, and the rights of ring 3 and of writes."""
    lines, first, end, rights = [], 0, 0, -1
    for page in (*_some(machine), None):
        now = -1 if page is None else page.rights & (_RW | _US)
        if page is not None and page.address == end and now == rights:
            end += page.size
            continue
        if rights >= 0:
            letters = f"{'u' if rights & _US else '-'}r{'w' if rights & _RW else '-'}"
            lines.append(f"{first:016x}-{end:016x} {end - first:016x} {letters}")
        if page is not None:
            first, end, rights = page.address, page.address + page.size, now
    return lines


def pages(machine: Machine) -> list[str]:
    """Give the lines of ``info tlb``: the page, its frame, the bits of its entry, and a protection key that is not 0."""
    return [
        f"{page.address:016x}: {page.entry & _FRAME & -page.size:016x} "
        + "".join(letter if page.entry & bit and (bit != _PS or page.size > PAGE) else "-" for bit, letter in _BITS)
        + (f" key {key}" if (key := page.entry >> Entry.PKEY.shift & 15) else "")
        for page in _some(machine)
    ]


def _some(machine: Machine) -> Iterator[Mapped]:
    """Give the pages, unless they are too many."""
    return islice(mapped(machine), _MOST)


def entry_of(machine: Machine, address: int) -> int:
    """Give where in physical memory the last entry of an address's walk is; `NoWalk`, or ``ValueError`` where an EPT has no page for it."""
    walk = machine.walk(address)
    if not walk.steps:
        raise ValueError(f"no table has an entry for {address:#x}")
    at, number = walk.steps[-1].address, len(walk.steps) - 1
    if not walk.stages:
        return at
    if walk.exit is not None and walk.exit.gpa == at:
        raise ValueError(f"the EPT has no page for the entry at guest-physical {at:#x}")
    last = walk.stages[number].steps[-1]
    size = PAGE << 9 * (last.level - 1)
    return int(last.entry) & _FRAME & -size | at & size - 1
