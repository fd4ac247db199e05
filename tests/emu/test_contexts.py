"""Translation contexts: what a guest can make up takes no memory, and a forgotten context is made anew."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING, Final

import pytest

from paracell.emu import contexts
from paracell.emu.features import parse
from paracell.emu.invalidation import Invalidation
from paracell.emu.registers import AC, EFLAGS, RIP
from paracell.mmu import rights
from paracell.mmu.rights import READ
from paracell.mmu.tlb import KEPT
from paracell.mmu.walk import RIGHTS

from .guest import GP, PF, Guest
from .world import CODE, HANDLER, SUPERVISOR, USER_CS, USER_SS, World, worlds

if TYPE_CHECKING:
    from collections.abc import Iterator

PCIDE, PKE = 1 << 17, 1 << 22
STACK: Final = 0x400000  # with key 1
DENIED: Final = 0b1100  # AD and WD of key 1


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


def test_where_a_context_may_live(world: World) -> None:
    """TCG's helpers read an IRET's frame as a supervisor, from slot 0 by slot 1's index; and TCG leaves slot 2 where AC is set."""
    cpu, translation, chance = world.cpu, world.cpu.translation, random.Random(1)
    cpu.set_cr4(cpu.cr4 | PKE)
    seen = set()
    for _ in range(300):
        ring = chance.choice((0, 3))
        world.at_ring(ring)
        cpu.q[EFLAGS] = chance.choice((2, 2 | AC))
        cpu.set_pkru(chance.randrange(4) << 2)
        translation.switch()
        assert translation.current_slot or ring == 3
        assert translation.current_slot != contexts.SMAP_SLOT or not cpu.q[EFLAGS] & AC
        seen.add((ring, translation.current_slot))
    assert seen == {(0, 1), (0, 2), (3, 0), (3, 1), (3, 2)}


@pytest.mark.parametrize("dropped", [True, False], ids=["", "control"])
def test_what_an_iretq_reads_is_read_with_its_own_rights_alone(dropped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in slot 0 returns to itself from a stack with key 1; that key is denied then, in slot 1: the control still reads it."""
    if not dropped:
        monkeypatch.setattr(Invalidation, "popped", lambda *_: None)
    guest = Guest(parse("pks"))
    guest.memory.write(0x3000, struct.pack("<3Q", 0x87, 0, 0x600000 | 0x87 | 1 << 59))
    guest.cpu.set_cr4(guest.cr4)

    def wrpkru(value: int) -> bytes:
        return bytes.fromhex("31c9 31d2 b8") + struct.pack("<I", value) + bytes.fromhex("0f01ef")

    frame = b"".join((
        wrpkru(0),
        b"\x48\xc7\xc4" + struct.pack("<i", STACK + 0x100),  # MOV RSP
        b"\x6a" + bytes([USER_SS]) + b"\x68" + struct.pack("<i", STACK + 0x100) + b"\x9c\x6a" + bytes([USER_CS]),
    ))  # fmt: skip
    behind = CODE + len(frame) + 7
    read = b"\x48\x8b\x04\x25" + struct.pack("<i", STACK)
    code = frame + b"\x68" + struct.pack("<i", behind) + b"\x48\xcf" + wrpkru(DENIED) + read + b"\xf4"
    guest.at_ring(3)
    guest.cpu.set_pkru(DENIED)
    guest.memory.write(CODE, code)
    assert guest.machine is not None
    guest.machine.run()
    slots = [slot.pkrus for slot in guest.cpu.translation.slots]
    vector = guest.cpu.q[RIP] - 1 - HANDLER
    guest.close()
    assert slots[:2] == [[0], [DENIED]], "the case that this is about"
    assert vector == (PF if dropped else GP)
