"""Code that is written through one linear page and run through another: what runs is what was written last.

One frame at four linear pages; it holds ``mov eax, imm32; ret``.  Every sequence of stores and calls through them, up to a
length, is part of one guest program, which lists what each call gave.
"""

from __future__ import annotations

import struct
from itertools import product
from typing import TYPE_CHECKING, Final

import pytest

from paracell.emu.machine import Machine
from paracell.emu.registers import RDI, RIP
from paracell.emu.stop import Reason
from paracell.mmu.registers import CR4, EFER

from .world import World

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FRAME, TABLE, PROGRAM, RESULTS = 0x60000, 0x5000, 0x80000, 0x300000
ALIASES: Final = 0x400000  # linear: one page after the other
P, W, U, NX = 1, 2, 4, 1 << 63
ALL, DATA, MORE_DATA, TEXT = range(4)
RIGHTS: Final = {ALL: P | W | U, DATA: P | W | U | NX, MORE_DATA: P | W | U | NX, TEXT: P | U}
STORES: Final = tuple(("store", page) for page in (ALL, DATA, MORE_DATA))
CALLS: Final = tuple(("call", page) for page in (ALL, TEXT))
LENGTH: Final = 5
STOSD, EXIT = bytes.fromhex("ab"), bytes.fromhex("e6f4")
WITHOUT_KEY_1: Final = 0xC


@pytest.fixture
def world() -> Iterator[World]:
    machine = Machine(16 << 20)
    made = World(machine=machine)
    write = made.memory.write
    write(0x3010, struct.pack("<Q", TABLE | P | W | U))
    for page, rights in RIGHTS.items():
        write(TABLE + 8 * page, struct.pack("<Q", FRAME | rights))
    write(FRAME, bytes.fromhex("b800000000 c3"))
    made.cpu.efer |= EFER.NXE.mask
    made.cpu.cr4 |= CR4.PKE.mask
    made.cpu.sync_control()
    yield made
    machine.close()


def wrpkru(value: int) -> bytes:
    return b"\xb8" + struct.pack("<I", value) + bytes.fromhex("31c9 31d2 0f01ef")


def assemble(sequences: Sequence[Sequence[tuple[str, int]]], *, keys: bool) -> tuple[bytes, list[int]]:
    """Give the program, and what its calls give; with `keys`, PKRU changes before every step."""
    code, expected, now, turn = bytearray(), list[int](), 0, 0
    for sequence in sequences:
        for what, page in sequence:
            turn += 1
            if keys:
                code += wrpkru(WITHOUT_KEY_1 * (turn & 1))
            place = ALIASES + 0x1000 * page
            if what == "store":
                now = turn & 0xFF
                code += bytes.fromhex("c60425") + struct.pack("<IB", place + 1, now)  # mov byte [place + 1], now
            else:
                code += b"\xe8" + struct.pack("<i", place - (PROGRAM + len(code) + 5)) + STOSD
                expected.append(now)
    return bytes(code) + EXIT, expected


@pytest.mark.parametrize("keys", [False, True])
def test_what_runs_is_what_was_written_last(world: World, *, keys: bool) -> None:
    """With `keys`, stores and calls are made from two of TCG's slots in turn."""
    program, expected = assemble(list(product(STORES + CALLS, repeat=LENGTH)), keys=keys)
    assert PROGRAM + len(program) < RESULTS
    world.memory.write(PROGRAM, program)
    world.cpu.q[RIP], world.cpu.q[RDI] = PROGRAM, RESULTS
    assert world.machine is not None
    assert world.machine.run().reason is Reason.EXIT
    assert list(world.words(RESULTS, len(expected), 4)) == expected


def test_a_frame_at_more_pages_than_are_kept_in_mind(world: World) -> None:
    """Written through 40 pages, run, and written through each of them once more."""
    pages = range(8, 48)
    for page in pages:
        world.memory.write(TABLE + 8 * page, struct.pack("<Q", FRAME | P | W | U | NX))
    stores = [("store", page) for page in pages]
    again = [step for store in stores for step in (store, ("call", TEXT))]
    program, expected = assemble([stores, again, again], keys=False)
    world.memory.write(PROGRAM, program)
    world.cpu.q[RIP], world.cpu.q[RDI] = PROGRAM, RESULTS
    assert world.machine is not None
    assert world.machine.run().reason is Reason.EXIT
    assert list(world.words(RESULTS, len(expected), 4)) == expected
