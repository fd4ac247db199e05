"""The call stack of a machine that stands still, by frame pointers.

::

    RBP ──▶ │ caller's RBP ──▶ …
            │ return address      behind a CALL, or the chain ends here

The container kernels and hosts keep frame pointers.  A function without a frame has its return address on top of the stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .mmu.address import PAGE, U64, canonical

if TYPE_CHECKING:
    from collections.abc import Callable

    from .emu.machine import Machine

MOST: Final = 24  # frames
_LONGEST_CALL: Final = 7
_NEAR, _INDIRECT = 0xE8, 0xFF  # opcodes of CALL; the second with 2 in its ModR/M byte's reg field


def frames(machine: Machine, rip: int, rsp: int, rbp: int) -> list[int]:
    """Give the addresses of the call stack, innermost first: `rip`, then return addresses; at most `MOST`."""
    read = _reader(machine)
    found = [rip]
    if not machine.cpu.code64:
        return found
    top = read(rsp, 8)
    if top is not None and _follows_call(read, top):
        found.append(top)
    while len(found) < MOST and rbp and not rbp & 7:
        pair = read(rbp, 16)
        if pair is None:
            break
        above, back = pair & U64, pair >> 64
        if not _follows_call(read, back):
            break
        if back != found[-1]:
            found.append(back)
        if above <= rbp:
            break
        rbp = above
    return found


def _reader(machine: Machine) -> Callable[[int, int], int | None]:
    """Give what reads linear memory, or None where nothing is mapped; each page is translated once."""
    pages: dict[int, int | None] = {}
    physical, memory = machine.cpu.translation.physical, machine.memory

    def place(address: int) -> int | None:
        page = address & -PAGE
        if page not in pages:
            at = physical(page) if canonical(page) else None
            pages[page] = at if at is not None and memory.is_ram(at) else None
        base = pages[page]
        return None if base is None else base | address & PAGE - 1

    def read(address: int, size: int) -> int | None:
        data = b""
        while size:
            at, count = place(address & U64), min(size, PAGE - address % PAGE)
            if at is None:
                return None
            data += memory.read(at, count)
            address, size = address + count, size - count
        return int.from_bytes(data, "little")

    return read


def _follows_call(read: Callable[[int, int], int | None], address: int) -> bool:
    """Tell whether the instruction before an address may be a CALL (SDM "CALL—Call Procedure")."""
    if address < PAGE or not canonical(address):
        return False
    before = read(address - _LONGEST_CALL, _LONGEST_CALL)
    if before is None:
        return False
    code = before.to_bytes(_LONGEST_CALL, "little")
    if code[2] == _NEAR:
        return True
    return any(code[-n] == _INDIRECT and code[-n + 1] >> 3 & 7 == 2 for n in (2, 3, 4, 6, 7))
