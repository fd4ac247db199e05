"""EPT02 against a model: what it maps is what EPT12 and EPT01 say, whatever L1 writes to its tables and in whatever order L2 comes.

The model translates by EPT12 afresh each time, and knows of no table of L0's.
"""

from __future__ import annotations

import random
import struct
from typing import Final, NamedTuple

import pytest

from paracell.mmu.ept import Root, descend, reserved
from paracell.mmu.walk import MISCONFIGURATION, VIOLATION, SecondStageFault
from paracell.vmx.ept01 import Ept01
from paracell.vmx.l1_memory import L1Memory
from paracell.vmx.pool import Pool
from paracell.vmx.shadow_ept import Shadow, changed_slots

from .memory import Words

R, W, X, A, D, PS, WB, PAGE = 1, 2, 4, 1 << 8, 1 << 9, 1 << 7, 6 << 3, 4096
RAM, L0S, NOTHING, WIDTH = 8 << 20, 1 << 20, 0xFFFFF000, 46
FRAME: Final = 0xFFFFFFFFFF000
ROOT, TABLES = 0x100000, tuple(0x101000 + PAGE * i for i in range(7))
SLOTS: Final = (0, 1)
FRAMES: Final = (0x300000, 0x301000, 0x7FF000, TABLES[3], ROOT, RAM, RAM + 0x5000, 0x1000000, 0x40000000)


class PageWords(Words):
    def write(self, address: int, data: bytes) -> None:
        for offset, (word,) in enumerate(struct.iter_unpack("<Q", data)):
            self.write64(address + 8 * offset, word)

    def page(self, address: int) -> bytes:
        return struct.pack("<512Q", *(self.read64(address + 8 * i) for i in range(512)))


class Refused(NamedTuple):
    """EPT12 refuses: why, and the rights of the exit qualification."""

    result: int
    rights: int


class Mapped(NamedTuple):
    """EPT12 allows the access: L1's page, the entries used, and the rights of all of them."""

    page: int
    entries: tuple[int, ...]
    rights: int


def translate(memory: Words, gpa: int, need: int) -> Refused | Mapped:
    """SDM "EPT Translation Mechanism", "EPT Misconfigurations", level by level from the text."""
    table, rights, used = ROOT, R | W | X, []
    for level in (4, 3, 2, 1):
        at = table + 8 * (gpa >> 12 + 9 * (level - 1) & 511)
        entry = memory.read64(at) if table < RAM else (1 << 64) - 1
        used.append(at)
        if not entry & 7:
            return Refused(VIOLATION, 0)
        leaf = level == 1 or bool(entry & PS and level < 4)
        bad = entry & 3 == 2 or entry & FRAME & ~((1 << WIDTH) - 1)
        if leaf:
            bad |= (entry >> 3 & 7) in {2, 3, 7} or (entry & FRAME & (1 << 12 + 9 * (level - 1)) - 1)
        else:
            bad |= entry & 0x78 or (level == 4 and entry & PS)
        if bad:
            return Refused(MISCONFIGURATION, 0)
        rights &= entry
        if leaf:
            if need & ~rights:
                return Refused(VIOLATION, rights)
            offset = (1 << 12 + 9 * (level - 1)) - 1
            return Mapped(entry & FRAME & ~offset | gpa & offset & -PAGE, tuple(used), rights)
        table = entry & FRAME
    raise AssertionError


class World:
    """L1's memory with an EPT12, and L0's with its tables."""

    def __init__(self, *, eager: bool, pages: int) -> None:
        self.memory = memory = PageWords(RAM + L0S)
        pool = Pool(memory, range(RAM + L0S - PAGE * pages, RAM + L0S, PAGE))
        self.ept01 = Ept01(memory, pool, [(0, RAM)], NOTHING, lambda _root: None)
        l1 = L1Memory(memory, lambda address: address < RAM)
        self.shadow = Shadow(memory, l1, pool, self.ept01, lambda a: RAM <= a < RAM + L0S, eager=eager)
        self.roots = {dirty: Root(ROOT, reserved(WIDTH), dirty=dirty) for dirty in (False, True)}

    def store(self, at: int, entry: int) -> None:
        """L1 writes an entry; what is no table yet is written without L0."""
        page = at & -PAGE
        before = self.memory.page(page)
        self.memory.write64(at, entry)
        if self.shadow.is_table(page):
            assert page in self.ept01.protected
            self.shadow.stored(page, changed_slots(before, self.memory.page(page)))

    def access(self, gpa: int, need: int, *, dirty: bool) -> None:
        """L2 makes an access: by EPT02 as it stands, or L0 fills it."""
        expected = translate(self.memory, gpa, need)
        try:
            found = descend(self.memory, self.shadow.root(self.roots[dirty]), gpa, need, 0)
        except SecondStageFault as fault:
            refused = fault
        else:
            assert isinstance(expected, Mapped), "EPT02 allows what EPT12 refuses"
            assert found.frame == self.physical(expected.page)
            return
        assert refused.result == VIOLATION, "L0 made a misconfigured entry"
        if isinstance(expected, Refused):
            with pytest.raises(SecondStageFault) as caught:
                self.shadow.fill(self.roots[dirty], gpa, need, 0)
            told = need | expected.rights << 3 if expected.result == VIOLATION else 0
            assert (caught.value.result, caught.value.qualification) == (expected.result, told)
            return
        filled = self.shadow.fill(self.roots[dirty], gpa, need, 0)
        assert filled.level > 1 or filled.page == self.physical(expected.page)
        protected = expected.page in self.ept01.protected
        assert filled.allowed == (not (need & W and protected))
        if dirty:
            assert all(self.memory.read64(at) & A for at in expected.entries)
            assert not need & W or self.memory.read64(expected.entries[-1]) & D
        if filled.allowed:
            again = descend(self.memory, self.shadow.root(self.roots[dirty]), gpa, need, 0)
            assert again.frame == self.physical(expected.page)

    @staticmethod
    def physical(page: int) -> int:
        return NOTHING if RAM <= page < RAM + L0S else page

    def check(self) -> None:
        """Look through EPT02: no page of L0's, no writable table of EPT12's, nothing written that is not dirty."""
        for dirty, root12 in self.roots.items():
            self._check(self.shadow.root(root12).address, 4, 0, dirty=dirty)

    def _check(self, table: int, level: int, gpa: int, *, dirty: bool) -> None:
        assert table >= RAM, "a table of EPT02 in L1's memory"
        for slot in range(512):
            entry = self.memory.words.get(table + 8 * slot, 0)
            if not entry & 7:
                continue
            at = gpa | slot << 12 + 9 * (level - 1)
            if level > 1 and not entry & PS:
                self._check(entry & FRAME, level - 1, at, dirty=dirty)
                continue
            size = 1 << 12 + 9 * (level - 1)
            page = entry & FRAME
            assert page + size <= RAM or page >= RAM + L0S, "a page of L0's in EPT02"
            if entry & W:
                assert not any(page <= held < page + size for held in self.ept01.protected)
                if dirty:
                    expected = translate(self.memory, at, R)
                    assert isinstance(expected, Refused) or self.memory.read64(expected.entries[-1]) & D


def entry_of(choose: random.Random, level: int) -> int:
    rights = choose.choice((R | W | X, R | W | X, R | W | X, R, R | W, R | X, X, W))
    if choose.random() < 0.15:
        return 0
    if level > 1 and choose.random() < 0.75:
        return choose.choice(TABLES) | rights
    kind = choose.choice((WB, WB, WB, 0, 2 << 3))
    large = PS if level in {2, 3} and choose.random() < 0.8 else 0
    frame = choose.choice(FRAMES)
    if large and choose.random() < 0.8:
        frame &= -(1 << 12 + 9 * (level - 1))
    return frame | rights | kind | large | choose.choice((0, 0, A, A | D))


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("pages", [200, 30])
@pytest.mark.parametrize("seed", range(12))
def test_ept02_is_what_ept12_and_ept01_say(seed: int, pages: int, eager: bool) -> None:
    """Tables are linked at any level, shared, and point to each other; with 30 pages L0 has no room for all."""
    choose = random.Random(f"{seed} {pages} {eager}")
    world = World(eager=eager, pages=pages)
    for step in range(400):
        if choose.random() < 0.4:
            table, level = choose.choice(((ROOT, 4), *((table, choose.randrange(1, 4)) for table in TABLES)))
            world.store(table + 8 * choose.choice(SLOTS), entry_of(choose, level))
        else:
            slots = [choose.choice(SLOTS) for _ in range(4)]
            gpa = sum(slot << 12 + 9 * level for level, slot in enumerate(slots))
            world.access(gpa, choose.choice((R, W, X)), dirty=choose.random() < 0.5)
        if not step % 20:
            world.check()
    world.check()
