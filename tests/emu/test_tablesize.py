"""TCG's tables of translations grow for a guest that reaches for many pages, and stay where that would not help."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from paracell.emu.engine import SLOTS
from paracell.emu.machine import Machine
from paracell.emu.registers import RCX, RDI, RDX, RIP, RSI
from paracell.emu.stop import Reason
from paracell.emu.tablesize import TableSizes

from .world import CODE, World

if TYPE_CHECKING:
    from collections.abc import Iterator

# 1: mov rsi, rdi; 2: mov al, [rsi]; add rsi, rdx; cmp rsi, 4 MiB; jb 2b; dec ecx; jnz 1b; out 0xf4, al
LOOP = "4889fe 8a06 4801d6 4881fe00004000 72f2 ffc9 75eb e6f4"
PAGE, PAGES = 4096, 1024


@pytest.fixture
def world() -> Iterator[World]:
    machine = Machine(16 << 20)
    yield World(machine=machine)
    machine.close()


def read_all(world: World, turns: int, step: int = PAGE, first: int = 0) -> None:
    cpu = world.cpu
    world.memory.write(CODE, bytes.fromhex(LOOP))
    cpu.q[RIP], cpu.q[RCX], cpu.q[RDX], cpu.q[RDI], cpu.q[RSI] = CODE, turns, step, first, 0
    assert world.machine is not None
    assert world.machine.run().reason is Reason.EXIT


def test_a_table_grows_until_the_pages_have_room(world: World) -> None:
    slot, sizes = world.cpu.translation.current_slot, TableSizes(world.cpu.engine, SLOTS)
    before = sizes.entries(slot)
    assert before < PAGES
    read_all(world, 20)
    assert sizes.entries(slot) >= PAGES
    assert all(sizes.entries(other) <= before for other in range(3) if other != slot)


def test_few_pages_need_no_larger_table(world: World) -> None:
    slot, sizes = world.cpu.translation.current_slot, TableSizes(world.cpu.engine, SLOTS)
    before = sizes.entries(slot)
    read_all(world, 2000, step=16 * PAGE, first=PAGE)
    assert sizes.entries(slot) <= before


def test_a_table_that_does_not_grow_is_left_alone_for_longer_and_longer(world: World) -> None:
    slot, sizes = world.cpu.translation.current_slot, TableSizes(world.cpu.engine, SLOTS)
    waits = [sizes.outgrown(slot) for _ in range(20)]  # empty each time
    assert all(b >= a for a, b in pairwise(waits[1:]))
    assert waits[-1] >= 1 << 16
