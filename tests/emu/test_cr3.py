"""MOV to CR3 as TCG feels it: global pages stay in its slots, all others are looked up anew."""

from __future__ import annotations

import random
import struct
from functools import partial

import pytest

from paracell.emu.machine import Machine
from paracell.emu.registers import RAX, RBX, RCX, RDX, RIP, RSI
from paracell.emu.stop import Reason

from .world import CODE, World

PAGES, OTHER_ROOT = 0x4000, 0x6000
FIRST, MOST = 0x100000, 64  # pages of test data, each with its number in it
MOVED = 0x80000  # where they lie after a change of the tables
PGE = 1 << 7
# 1: mov rax, [rbx]; add rsi, rax; add rbx, 4096; dec rcx; jnz 1b; then mov cr3, rdx, or nothing; again; hlt
READ = "488b03" + "4801c6" + "4881c300100000" + "48ffc9" + "75ee"
LOAD = "0f22da"


def world(pages: int, *, marked: set[int]) -> World:
    """Map `pages` pages at FIRST; those in `marked` are marked global."""
    made = World(machine=Machine(16 << 20))
    entries = [page << 12 | 0x63 for page in range(512)]
    for page in range(pages):
        entries[(FIRST >> 12) + page] |= 0x100 if page in marked else 0
        made.memory.write(FIRST + 4096 * page, struct.pack("<Q", 1))
        made.memory.write(MOVED + 4096 * page, struct.pack("<Q", 1000))
    made.memory.write(PAGES, struct.pack("<512Q", *entries))
    made.memory.write(0x3000, struct.pack("<Q", PAGES | 0x27))
    made.memory.write(OTHER_ROOT, struct.pack("<Q", 0x2007))
    made.cpu.translation.flush_all()
    return made


def run(made: World, code: str, pages: int, root: int = OTHER_ROOT) -> int:
    """Run code that reads `pages` pages; what the words in them add up to."""
    cpu = made.cpu
    assert made.machine is not None
    made.memory.write(CODE, bytes.fromhex(code + "f4"))
    made.memory.drop_stale_code()
    cpu.halted = False
    cpu.q[RIP], cpu.q[RBX], cpu.q[RCX], cpu.q[RDX], cpu.q[RSI], cpu.q[RAX] = CODE, FIRST, pages, root, 0, 0
    assert made.machine.run().reason is Reason.HALTED
    return cpu.q[RSI]


def move(made: World, pages: int) -> None:
    """Have the tables map other frames, without a word to the processor."""
    for page in range(pages):
        at = PAGES + 8 * ((FIRST >> 12) + page)
        made.memory.write(at, struct.pack("<Q", made.memory.read64(at) - FIRST + MOVED))


@pytest.mark.parametrize("pages", [3, 39, 40, 41, MOST])
@pytest.mark.parametrize("enabled", [True, False])
def test_only_global_pages_stay(pages: int, *, enabled: bool) -> None:
    marked = set(range(0, pages, 3))
    made = world(pages, marked=marked)
    made.cpu.set_cr4(0x20 | (PGE if enabled else 0))
    assert run(made, READ, pages) == pages
    move(made, pages)
    assert run(made, READ, pages) == pages  # nothing has been invalidated
    stale = len(marked) if enabled else 0
    assert run(made, LOAD + READ, pages) == stale + 1000 * (pages - stale)
    made.cpu.translation.flush_all()
    assert run(made, READ, pages) == 1000 * pages
    made.cpu.engine.close()


def test_a_space_that_has_overflowed_is_emptied_whole() -> None:
    """Translations that went for want of room may still be in TCG's slots."""
    made = world(3, marked=set())
    assert run(made, READ, 3) == 3
    made.cpu.translation.tlb.current.clear()
    made.cpu.translation.tlb.current.overflowed = True
    move(made, 3)
    assert run(made, LOAD + READ, 3) == 3000
    made.cpu.engine.close()


ROOTS = (0x1000, OTHER_ROOT)
NO_FLUSH, PCIDE = 1 << 63, 1 << 17


def toggle(made: World, pages: int) -> None:
    """Have the tables map the other frames of some pages, without a word to the processor."""
    for page in range(pages):
        at = PAGES + 8 * ((FIRST >> 12) + page)
        made.memory.write(at, struct.pack("<Q", made.memory.read64(at) ^ FIRST ^ MOVED))


def forget_all(made: World, *, keep: bool) -> None:
    """What MOV to CR3 does, with everything worked out anew and every slot emptied."""
    translation = made.cpu.translation
    translation.configure()
    if not keep:
        translation.tlb.flush_current()
    made.cpu.engine.flush_slots()


@pytest.mark.parametrize("seed", range(12))
def test_pcids_as_with_everything_worked_out_anew(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loads of CR3 with three PCIDs, two roots and bit 63, among changes of the tables, INVLPG and reads; a twin forgets all."""
    pages = 8 if seed % 2 else MOST
    twins = [world(pages, marked=set(range(0, pages, 3))) for _ in range(2)]
    monkeypatch.setattr(twins[1].cpu.translation, "load_cr3", partial(forget_all, twins[1]))
    chance = random.Random(seed)
    for made in twins:
        made.cpu.set_cr4(0x20 | PGE | PCIDE)
        made.cpu.translation.flush_all()
    seen = set()
    for _ in range(40):
        what = chance.random()
        number = chance.randrange(1, pages + 1)
        value = chance.choice(ROOTS) | chance.randrange(3) | (NO_FLUSH if chance.random() < 0.6 else 0)
        if what < 0.25:
            for made in twins:
                toggle(made, number)
        elif what < 0.35:
            for made in twins:
                made.cpu.translation.invlpg(FIRST + 4096 * (number - 1))
        else:
            ours, theirs = (run(made, LOAD + READ, pages, value) for made in twins)
            assert ours == theirs
            seen.add(ours)
    assert len(seen) > 1  # translations that were kept, and others
    for made in twins:
        made.cpu.engine.close()


@pytest.mark.parametrize("every", [True, False])
def test_a_supervisor_of_global_pages_has_one_slot_for_all_pcids(
    monkeypatch: pytest.MonkeyPatch, *, every: bool
) -> None:
    """A switcher in ring 0 goes from PCID to PCID: it loses nothing, but where one page is not global."""
    made = world(MOST, marked=set(range(MOST)))
    kept = [page << 12 | 0x163 for page in range(512)]
    kept[FIRST >> 12] &= ~(0 if every else 0x100)
    made.memory.write(PAGES, struct.pack("<512Q", *kept))
    made.cpu.set_cr4(0x20 | PGE | PCIDE)
    made.cpu.translation.flush_all()
    for pcid in (1, 2):
        run(made, LOAD + READ, MOST, OTHER_ROOT | pcid | NO_FLUSH)
    flushed: list[tuple[int, ...]] = []
    flush = made.cpu.engine.flush_slots

    def note(*which: int) -> None:
        flushed.append(which)
        flush(*which)

    monkeypatch.setattr(made.cpu.engine, "flush_slots", note)
    for pcid in (1, 2, 1, 2):
        assert run(made, LOAD + READ, MOST, OTHER_ROOT | pcid | NO_FLUSH) == MOST
    assert bool(flushed) is not every
    made.cpu.engine.close()
