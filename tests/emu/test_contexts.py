"""Translation contexts: what a guest can make up takes no memory, and a forgotten context is made anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paracell.emu import contexts
from paracell.mmu import rights
from paracell.mmu.rights import READ
from paracell.mmu.tlb import KEPT
from paracell.mmu.walk import RIGHTS

from .world import CODE, SUPERVISOR, World, worlds

if TYPE_CHECKING:
    from collections.abc import Iterator

PCIDE, PKE = 1 << 17, 1 << 22


@pytest.fixture
def world() -> Iterator[World]:
    yield from worlds(long=True)


def test_address_spaces_that_a_guest_makes_up_are_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contexts, "_KEPT", 16)
    cpu, translation = world.cpu, world.cpu.translation
    cpu.set_cr4(cpu.cr4 | PCIDE | PKE)
    for number in range(100):
        translation.vpid, translation.eptp = number % 7, number << 12
        translation.configure()
        for ring in (0, 3):
            world.at_ring(ring)
            cpu.set_pkru(number)
            # Whatever was forgotten in between, the slot in use has this context's rights.
            assert translation.slots[translation.current_slot].table is translation.table
            assert translation.table == rights.table(translation.context(user=ring == 3))
            assert (translation._walk(SUPERVISOR, READ) == RIGHTS) is (ring == 3)
    assert len(translation._address_spaces) <= 16
    assert len(translation._slots_by_mode) <= 17


@pytest.mark.parametrize("what", ["invlpg", "cr3"])
def test_translations_under_another_ept_leave_tcg_too(world: World, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """What a guest invalidates is its VPID's, under every EPT: the space in use alone does not name the pages."""
    cpu, translation, engine = world.cpu, world.cpu.translation, world.cpu.engine
    flushed: list[int] = []
    monkeypatch.setattr(engine, "flush_page", flushed.append)
    monkeypatch.setattr(engine, "flush_slots", lambda _mask=7: flushed.append(SUPERVISOR))
    for vpid, eptp in ((7, 0x1000), (8, 0x1000)):
        translation.vpid, translation.eptp = vpid, eptp
        translation.configure()
        translation.locate(SUPERVISOR, write=False)
    for eptp, expected in ((0x2000, [SUPERVISOR]), (0x1000, [])):
        translation.vpid, translation.eptp = 7 if expected else 8, eptp
        translation.configure()
        flushed.clear()
        if what == "invlpg":
            translation.invlpg(SUPERVISOR + (0 if expected else 0x1000000))
        else:
            if not expected:
                translation.tlb.current.empty()
            translation.load_cr3(keep=False)
        assert flushed == expected
    assert cpu.guest is None


def test_a_space_that_the_tlb_forgets_leaves_no_fraction_of_a_large_page_in_tcg(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """INVLPG drops all of a large page from TCG's TLB only where the Python TLB knows that there is one."""
    cpu, translation, engine = world.cpu, world.cpu.translation, world.cpu.engine
    cpu.set_cr4(cpu.cr4 | PCIDE)
    flushes: list[int] = []
    flush = engine.flush_slots

    def counted(mask: int = 7) -> None:
        flushes.append(mask)
        flush(mask)

    monkeypatch.setattr(engine, "flush_slots", counted)
    for pcid in range(KEPT + 3):
        cpu.cr3 = cpu.cr3 & ~0xFFF | pcid
        translation.load_cr3(keep=True)
        translation.locate(CODE, write=False)  # through a page of 2 MiB
    assert flushes.count(7) == 3
