"""Trapped instructions are known by their addresses, and found out when other bytes stand there, wherever these lie in their words."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Final

import pytest

from paracell.emu import sensitive
from paracell.emu.machine import Machine
from paracell.emu.registers import RAX, RCX, RDX, RIP
from paracell.mmu.registers import CR4

from .world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

AT: Final = 0x40000
PKRU, CR3, CR4_BITS = 0x0000_5550, 0x1000, CR4.PAE.mask | CR4.PKE.mask
# Instructions of three bytes, and what each leaves in RAX, or in PKRU, where RAX was 0x1230.
RDPKRU, WRPKRU, FROM_CR3, FROM_CR4, ADD = "0f01ee", "0f01ef", "0f20d8", "0f20e0", "83c001"
STMXCSR: Final = "0fae1f"  # stmxcsr [rdi], which sees exception flags: something is done before TCG runs it
BEFORE: Final = 0x1230
LEAVES: Final = {
    RDPKRU: (PKRU, PKRU),
    WRPKRU: (BEFORE, BEFORE),
    FROM_CR3: (CR3, PKRU),
    FROM_CR4: (CR4_BITS, PKRU),
    ADD: (BEFORE + 1, PKRU),  # TCG runs it without a trap
}


@pytest.fixture
def world() -> Iterator[World]:
    machine = Machine(16 << 20)
    made = World(machine=machine)
    made.cpu.set_cr4(CR4_BITS)
    yield made
    machine.close()


def step(world: World, at: int) -> tuple[int, int]:
    """Run the instruction at `at`: RAX and PKRU afterwards."""
    cpu, machine = world.cpu, world.machine
    assert machine is not None
    cpu.set_pkru(PKRU)
    cpu.q[RAX], cpu.q[RCX], cpu.q[RDX], cpu.q[RIP] = BEFORE, 0, 0, at
    machine.run(1)
    assert cpu.q[RIP] == at + 3
    return cpu.q[RAX], cpu.pkru


@pytest.mark.parametrize("offset", range(10))
def test_an_instruction_that_was_written_anew(world: World, offset: int) -> None:
    """At every place in a word, and across two of them."""
    at = AT + 16 * offset + offset
    for first, second in permutations(LEAVES, 2):
        for code in (first, second, first):
            world.memory.write(at, bytes.fromhex(code))
            world.memory.drop_stale_code()
            assert [step(world, at) for _ in range(3)] == [LEAVES[code]] * 3


@pytest.mark.parametrize("offset", range(10))
def test_its_neighbours_do_not_matter(world: World, offset: int) -> None:
    """Bytes of the same words change: the instruction stays what it is, and is known again afterwards."""
    at = AT + 16 * offset + offset
    sites = world.cpu.translation.sites
    for code in (WRPKRU, FROM_CR3):
        world.memory.write(at, bytes.fromhex(code))
        for turn in range(4):
            for place in (at - 1, at + 3):
                world.memory.write(place, bytes((0x90 + turn,)))
                world.memory.drop_stale_code()
                assert [step(world, at) for _ in range(3)] == [LEAVES[code]] * 3
                assert at in sites
    where = world.cpu.translation.where_pages[at >> 12]
    assert len(where) == 1


def test_hooks_that_were_taken_back_keep_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that makes up addresses without end has the same few callbacks alive."""
    monkeypatch.setattr(sensitive, "_MOST", 8)
    engine, kept = world.cpu.engine, set()
    world.cpu.set_cr4(world.cpu.cr4 | CR4.OSFXSR.mask)
    for at in range(AT, AT + 16 * 200, 16):
        world.memory.write(at, bytes.fromhex(STMXCSR))
        world.memory.drop_stale_code()
        assert step(world, at) == (BEFORE, PKRU)
        kept.add(len(engine._callbacks) + len(engine._unhooked))
    assert max(kept) < min(kept) + 20
    for turn in range(50):
        world.cpu.dr[0], world.cpu.dr[7] = AT + 16 * turn, 1
        world.cpu.breakpoints.update()
        kept.add(len(engine._callbacks) + len(engine._unhooked))
    assert max(kept) < min(kept) + 20
