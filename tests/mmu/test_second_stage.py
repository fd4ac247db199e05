"""A second stage behind the walker: guest-physical memory seen through an EPT, by the `Memory` protocol alone.

The adapter here is the smallest that does what SDM "EPT Translation Mechanism" says of 4 KiB pages; it offers neither RAM's words
nor how far RAM reaches.  The same tables in plain memory are the second opinion.
"""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paracell.mmu import rights
from paracell.mmu.rights import EXEC, READ, WRITE, Context
from paracell.mmu.walk import (
    MISCONFIGURATION,
    RIGHTS,
    VIOLATION,
    Memory,
    Mode,
    Paging,
    Refusal,
    SecondStageFault,
    reserved_bits,
    walk,
)

from .space import OPEN, SUPERVISOR, US, USER, A, D, P, Ram

R, W, X, EPT_A, EPT_D = 1, 2, 4, 1 << 8, 1 << 9
READS, WRITES, FINAL = 1, 2, 1 << 8  # of the exit qualification
HOST_EPT, HOST_GUEST = 0x1000, 0x20000  # the EPT's four tables; then the guest's pages, in another order
GUEST_PAGES: Final = 8
GVA: Final = 0x7FFF_C0A0_5678
TABLES: Final = (0x1000, 0x2000, 0x3000, 0x4000)  # guest-physical
DATA: Final = 0x6000


def host_page(gpa: int) -> int:
    """Where the guest's pages are: last first."""
    return HOST_GUEST + (GUEST_PAGES - 1 - (gpa >> 12)) * 0x1000


class SecondStage:
    """Guest-physical memory through an EPT of 4 KiB pages; with `dirty`, EPTP bit 6 is set."""

    def __init__(self, *, dirty: bool = False) -> None:
        self.host = Ram(0x40000)
        self.dirty = dirty
        self.used: list[int] = []
        for at in (HOST_EPT, HOST_EPT + 0x1000, HOST_EPT + 0x2000):
            self.host.words[at >> 3] = at + 0x1000 | R | W | X
        for page in range(GUEST_PAGES):
            self.host.words[(HOST_EPT + 0x3000 >> 3) + page] = host_page(page << 12) | R | W | X

    def leaf(self, gpa: int) -> int:
        """Give the word of the EPT's leaf for `gpa`."""
        return (HOST_EPT + 0x3000 >> 3) + (gpa >> 12)

    def locate(self, gpa: int, need: int, kind: int) -> int:
        """Translate one guest-physical address; `kind` goes into the qualification."""
        at, every = HOST_EPT, R | W | X
        for shift in (39, 30, 21, 12):
            at += (gpa >> shift & 511) << 3
            entry = self.host.words[at >> 3]
            if not entry & (R | W | X):
                raise SecondStageFault(VIOLATION, gpa, kind | need)
            if entry & (R | W) == W:
                raise SecondStageFault(MISCONFIGURATION, gpa)
            every &= entry
            path, at = at, entry & 0xFFFFFFFFF000
            if self.dirty:
                self.host.words[path >> 3] |= EPT_A
        if need & ~every:
            raise SecondStageFault(VIOLATION, gpa, kind | need | every << 3)
        if self.dirty and need & W:
            self.host.words[path >> 3] |= EPT_D
        return at | gpa & 0xFFF

    def read64(self, address: int) -> int:
        self.used.append(address)
        return self.host.read64(self.locate(address, R | W if self.dirty else R, 0))

    def write64(self, address: int, value: int) -> None:
        self.host.write64(self.locate(address, R | W, 0), value)

    def guest_word(self, gpa: int) -> int:
        return int(self.host.words[host_page(gpa) + (gpa & 0xFFF) >> 3])

    def put(self, gpa: int, value: int) -> None:
        self.host.words[host_page(gpa) + (gpa & 0xFFF) >> 3] = value


def paging(mode: Mode) -> Paging:
    masks = reserved_bits(mode, nxe=True, maxphyaddr=40)
    root = TABLES[0] if mode is not Mode.PAE else 0
    return Paging(mode, root, masks, True, False, (0, TABLES[0] | P, 0, 0))


SHIFTS: Final = {Mode.LEVEL4: (39, 30, 21, 12), Mode.PAE: (21, 12), Mode.BITS32: (22, 12)}
ADDRESS: Final = {Mode.LEVEL4: GVA, Mode.PAE: 0x40A0_5678, Mode.BITS32: 0x40A0_5678}


def entry_addresses(mode: Mode) -> list[int]:
    """Give the guest-physical address of each entry that the walk reads."""
    size, slots = (4, 1023) if mode is Mode.BITS32 else (8, 511)
    return [at + (ADDRESS[mode] >> s & slots) * size for at, s in zip(TABLES, SHIFTS[mode], strict=False)]


def both(mode: Mode, entries: list[int], *, dirty: bool = False) -> tuple[SecondStage, Ram]:
    """Put the same tables behind a second stage and into plain memory."""
    stage, plain = SecondStage(dirty=dirty), Ram(0x10000)
    for at, entry in zip(entry_addresses(mode), entries, strict=True):
        shifted = entry << (at & 4) * 8
        stage.put(at & ~7, shifted)
        plain.words[at >> 3] = shifted
    return stage, plain


def translate(stage: SecondStage, tables: Paging, gva: int, need: int, context: Context) -> int | Refusal:
    """Do both stages: the guest's walk, then the final address."""
    try:
        found = walk(stage, tables, gva, need, rights.table(context))
        if found < 0:
            return Refusal(found, gva, need)
        return stage.locate(found & ~0xFFF | gva & 0xFFF, {READ: R, WRITE: W, EXEC: X}[need], FINAL)
    except SecondStageFault as fault:
        return Refusal(fault.result, gva, need, fault.gpa, fault.qualification)


@given(
    mode=st.sampled_from([Mode.LEVEL4, Mode.PAE, Mode.BITS32]),
    flips=st.lists(st.sampled_from([0, 0, 0, P, US, 2, A, D, 1 << 8]), min_size=4, max_size=4),
    need=st.sampled_from([READ, WRITE, EXEC]),
    user=st.booleans(),
    trail=st.sampled_from([None, ()]),
    dirty=st.booleans(),
)
def test_a_walk_through_a_second_stage_is_the_walk_in_plain_memory(
    mode: Mode, flips: list[int], need: int, user: bool, trail: tuple[()] | None, dirty: bool
) -> None:
    depth = len(SHIFTS[mode])
    nexts = [*TABLES[1:depth], DATA]
    entries = [(at | OPEN) ^ flip for at, flip in zip(nexts, flips, strict=False)]
    stage, plain = both(mode, entries, dirty=dirty)
    table = rights.table(USER if user else SUPERVISOR)
    answers: list[int] = []
    trails: list[list[int] | None] = []
    memories: tuple[Memory, ...] = (stage, plain)
    for memory in memories:
        steps: list[int] | None = None if trail is None else []
        answers.append(walk(memory, paging(mode), ADDRESS[mode], need, table, steps))
        trails.append(steps)
    assert answers[0] == answers[1]
    assert trails[0] == trails[1]
    for at in entry_addresses(mode):
        assert stage.guest_word(at & ~7) == plain.words[at >> 3]


@pytest.mark.parametrize("mode", SHIFTS)
def test_frames_and_accessed_and_dirty_bits(mode: Mode) -> None:
    depth = len(SHIFTS[mode])
    stage, _ = both(mode, [at | OPEN for at in (*TABLES[1:depth], DATA)], dirty=True)
    gva = ADDRESS[mode]
    assert translate(stage, paging(mode), gva, WRITE, USER) == host_page(DATA) | gva & 0xFFF
    *upper, leaf = (stage.guest_word(at & ~7) >> (at & 4) * 8 & 0xFFFFFFFF for at in entry_addresses(mode))
    assert [e & (A | D) for e in upper] == [A] * (depth - 1)
    assert leaf & (A | D) == A | D
    # With EPT A/D bits, every use of a guest's table is a write (SDM "Accessed and Dirty Flags for EPT").
    for gpa in (*TABLES[:depth], DATA):
        assert stage.host.words[stage.leaf(gpa)] & (EPT_A | EPT_D) == EPT_A | EPT_D
    assert not any(stage.host.words[stage.leaf(gpa)] & (EPT_A | EPT_D) for gpa in (0, 0x5000, 0x7000))


def test_four_levels_use_each_table_once() -> None:
    """Each of the 4 + 1 guest-physical addresses takes a walk of its own: 24 reads with 4 + 1 walks of four."""
    stage, _ = both(Mode.LEVEL4, [at | OPEN | A for at in (*TABLES[1:], DATA)])
    assert translate(stage, paging(Mode.LEVEL4), GVA, READ, USER) == host_page(DATA) | GVA & 0xFFF
    assert stage.used == entry_addresses(Mode.LEVEL4)


@pytest.mark.parametrize("mode", SHIFTS)
@pytest.mark.parametrize("accessed", [0, A])
def test_the_second_stage_refuses_a_table(mode: Mode, accessed: int) -> None:
    depth = len(SHIFTS[mode])
    entries = [at | OPEN | accessed for at in (*TABLES[1:depth], DATA)]
    gva = ADDRESS[mode]
    for at in entry_addresses(mode):
        word = at & ~7  # an entry of 4 bytes is asked for by the word that holds it, and told of by its own address
        cases = (
            (0, Refusal(VIOLATION, gva, READ, at, READS)),
            (W, Refusal(MISCONFIGURATION, gva, READ, at)),
            # Reading is allowed; an entry that was not accessed before must be written.
            (R | X, Refusal(VIOLATION, gva, READ, at, READS | WRITES | (R | X) << 3)),
        )
        for allowed, refusal in cases:
            stage, _ = both(mode, entries)
            leaf = stage.leaf(at)
            stage.host.words[leaf] = stage.host.words[leaf] & ~0xFFF | allowed
            got = translate(stage, paging(mode), gva, READ, USER)
            if allowed == R | X and accessed:
                assert got == host_page(DATA) | gva & 0xFFF
            else:
                assert got == refusal
                assert stage.guest_word(word) >> (at & 4) * 8 & A == accessed


@pytest.mark.parametrize(("need", "lacks", "kind"), [(READ, R | W, READS), (WRITE, W, WRITES), (EXEC, X, 4)])
def test_the_second_stage_refuses_the_final_address(need: int, lacks: int, kind: int) -> None:
    stage, _ = both(Mode.LEVEL4, [at | OPEN for at in (*TABLES[1:], DATA)])
    leaf = stage.leaf(DATA)
    stage.host.words[leaf] &= ~lacks
    gpa, left = DATA | GVA & 0xFFF, stage.host.words[leaf] & 7
    assert translate(stage, paging(Mode.LEVEL4), GVA, need, USER) == Refusal(
        VIOLATION, GVA, need, gpa, FINAL | kind | left << 3
    )


def test_a_refusal_by_the_guests_own_tables_comes_first() -> None:
    """SDM "EPT-Induced VM Exits": the final address is translated only if the guest's tables allow the access."""
    stage, _ = both(Mode.LEVEL4, [*(at | OPEN for at in TABLES[1:]), DATA | P])
    stage.host.words[stage.leaf(DATA)] = 0
    assert translate(stage, paging(Mode.LEVEL4), GVA, READ, USER) == Refusal(RIGHTS, GVA, READ)
