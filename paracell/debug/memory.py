"""Memory as a debugger reads and writes it: by linear address, whatever its pages allow, or by physical address.

Where the present tables map nothing, those of who sleeps beneath are asked: `beneath`; of a container that does not run, its own alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..mmu.address import PAGE, U64
from . import beneath

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..machine import Machine
    from .threads import Asleep


def read(machine: Machine, address: int, size: int, *, physical: bool = False, asleep: Asleep | None = None) -> bytes:
    """Give up to `size` bytes: fewer, or none, where no memory is from there on.  This leaves no trace in the machine."""
    pieces = _pieces(machine, address, size, asleep, physical=physical)
    return b"".join(machine.memory.read(at, count) for at, count in pieces)


def write(machine: Machine, address: int, data: bytes, *, physical: bool = False, asleep: Asleep | None = None) -> bool:
    """Write all of it, read-only pages too, or nothing; tells whether there is memory everywhere."""
    pieces = list(_pieces(machine, address, len(data), asleep, physical=physical))
    if sum(count for _, count in pieces) < len(data):
        return False
    done = 0
    for at, count in pieces:
        machine.memory.write(at, data[done : done + count])
        done += count
    return True


def _pieces(
    machine: Machine, address: int, size: int, asleep: Asleep | None, *, physical: bool
) -> Iterator[tuple[int, int]]:
    """Translate a range page by page into physical (address, size), up to the first page that is not memory."""
    while size > 0 and address <= U64:
        count = min(size, PAGE - address % PAGE)
        at = address if physical else _translate(machine, address, asleep)
        if at is None or not machine.memory.is_ram(at) or not machine.memory.is_ram(at + count - 1):
            return
        yield int(at), count
        address, size = address + count, size - count


def _translate(machine: Machine, address: int, asleep: Asleep | None) -> int | None:
    at = machine.translate(address) if asleep is None else None
    return beneath.translate(machine, address, asleep) if at is None else at
