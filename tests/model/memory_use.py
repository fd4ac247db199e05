"""A second opinion on which pages of a container are bound, used and free: not from the arrays that the meter reads.

- Bound is what the container kernel can reach: a leaf of its direct map under ParaCell, of its EPT under RunV, that leads into the
  host's pool.  The host's record of it is not looked at.
- Free is what the buddy allocator's lists hold, from head to tail, and what has not joined them; on the processor's list is what that
  list's array holds.  The states in the pages' structures are not looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import define

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paracell.container import Container

PAGE: Final = 4096
FRAME: Final = 512
PRESENT, LARGE, ADDRESS = 1, 1 << 7, 0x000F_FFFF_FFFF_F000
HOST_BASE: Final = 0xFFFF_FFFF_C000_0000
HOST_DIRECT: Final = 0xFFFF_9000_0000_0000
KERNEL_BASE: Final = 0xFFFF_FFFF_8000_0000
KERNEL_DIRECT: Final = 0xFFFF_8880_0000_0000
DIRECT_SLOT: Final = 273
ORDERS: Final = 11
STRUCT_PAGE, NEXT = 16, 8  # bytes


@define
class Use:
    """Sets of guest-physical page numbers."""

    bound: set[int]
    free: set[int]
    listed: set[int]

    def counts(self) -> tuple[int, int, int, int, int]:
        """Give bound, used, inner, lag and lists, in pages."""
        whole = {
            frame
            for frame in {page // FRAME for page in self.bound}
            if all(page in self.free for page in range(frame * FRAME, (frame + 1) * FRAME))
        }
        idle = self.bound & self.free
        lag = sum(page // FRAME in whole for page in idle)
        lists = len(self.bound & self.listed)
        return len(self.bound), len(self.bound) - len(idle) - lists, len(idle) - lag, lag, lists


def look(container: Container) -> Use:
    """Look at a container that runs."""
    leaves = dict(_leaves(container))
    memory, symbols, kernel = container.memory, container.symbols, container.runtime.kernel

    def word(gpa: int, size: int = 8) -> int:
        at = leaves[gpa // PAGE] + gpa % PAGE
        return int.from_bytes(memory[at : at + size], "little")

    def place(name: str) -> int:
        return symbols[f"{kernel}!{name}"] - KERNEL_BASE

    array, frontier, heads, mine = (place(name) for name in ("pages", "frontier", "free_list", "boot_cpu"))
    free = {*range(word(frontier), container.memory.size // PAGE)}
    for order in range(ORDERS):
        page = word(heads + 4 * order, 4)
        while page:
            free.update(range(page, page + (1 << order)))
            page = word(word(array) - KERNEL_DIRECT + STRUCT_PAGE * page + NEXT, 4)
    listed = {(word(mine + 24 + 8 * i) - KERNEL_DIRECT) // PAGE for i in range(word(mine + 8, 4))}
    uses = symbols[f"{container.runtime.boots}!uses"] - HOST_BASE
    pool = int.from_bytes(memory[uses : uses + 8], "little") - HOST_DIRECT
    return Use({page for page, hpa in leaves.items() if hpa >= pool}, free, listed)


def _leaves(container: Container) -> Iterator[tuple[int, int]]:
    """Give each page that the container kernel can reach, and what is behind it."""
    read = container.memory.read64
    if container.runtime.name == "runv":
        yield from _below(container, container.symbols["runv-host.elf!roots"] - HOST_BASE, 4, 0)
    else:
        root = read((container.cpu.cr3 & ADDRESS) + 8 * DIRECT_SLOT)
        yield from _below(container, root & ADDRESS, 3, 0)


def _below(container: Container, table: int, level: int, page: int) -> Iterator[tuple[int, int]]:
    for index in range(512):
        entry, at = container.memory.read64(table + 8 * index), page + (index << 9 * (level - 1))
        if not entry & PRESENT:
            continue
        if level == 1:
            yield at, entry & ADDRESS
        elif entry & LARGE:
            yield from ((at + i, (entry & ADDRESS & -(FRAME * PAGE)) + i * PAGE) for i in range(512))
        else:
            yield from _below(container, entry & ADDRESS, level - 1, at)
