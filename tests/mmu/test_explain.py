"""A walk explained: which entry decided, by which bit, and how it is shown."""

from __future__ import annotations

import json

import pytest

from paracell.mmu.explain import look
from paracell.mmu.render import lines, record
from paracell.mmu.rights import EXEC, READ, WRITE, Context
from paracell.mmu.walk import Mode, Paging, reserved_bits

from .space import OPEN, PS, RW, SUPERVISOR, US, USER, XD, A, D, P, Ram, Tables

GVA = 0x405123


@pytest.fixture
def tables() -> Tables:
    tables = Tables()
    tables.put(GVA, 1, 0x5000 | OPEN)
    return tables


def test_looking_leaves_no_trace(tables: Tables) -> None:
    before = bytes(tables.ram.words)
    for need in (READ, WRITE, EXEC):
        assert look(tables.ram, tables.paging(), USER, GVA, need).physical == 0x5123
    assert bytes(tables.ram.words) == before
    assert tables.ram.writes == []


def test_a_walk_tells_its_steps_and_the_rights(tables: Tables) -> None:
    walk = look(tables.ram, tables.paging(), USER, GVA, READ)
    assert [(s.level, s.address, s.entry) for s in walk.steps] == [
        (level, tables.entry_address(GVA, level), tables.get(GVA, level)) for level in (4, 3, 2, 1)
    ]
    assert walk.rights == READ | WRITE | EXEC
    tables.put(GVA, 1, 0x5000 | P | US | XD)
    assert look(tables.ram, tables.paging(), USER, GVA, WRITE).rights == READ
    tables.put(GVA, 1, 0)
    assert look(tables.ram, tables.paging(), USER, GVA, WRITE).rights == 0


KEY = Context(user=True, user_keys=(1 << 3, 1 << 4))


@pytest.mark.parametrize(
    ("level", "flip", "context", "need", "decider", "bit", "reason"),
    [
        (3, P, USER, READ, 3, P, "PDPTE.P is 0"),
        (4, US, USER, READ, 4, US, "PML4E.US is 0: a supervisor page"),
        (2, RW, USER, WRITE, 2, RW, "PDE.RW is 0"),
        (2, RW, SUPERVISOR, WRITE, 2, RW, "PDE.RW is 0 and CR0.WP is 1"),
        (3, XD, USER, EXEC, 3, XD, "PDPTE.XD is 1"),
        (4, PS, USER, READ, 4, PS, "PML4E has reserved bits set: 7"),
        (1, 1 << 46 | 1 << 51, USER, READ, 1, 1 << 46 | 1 << 51, "PTE has reserved bits set: 46, 51"),
        (1, 3 << 59, KEY, READ, 1, 15 << 59, "PTE.PKEY is 3 and PKRU.AD3 is 1"),
        (1, 4 << 59, KEY, WRITE, 1, 15 << 59, "PTE.PKEY is 4 and PKRU.WD4 is 1"),
        (1, US | 4 << 59, Context(user=False, supervisor_keys=(0, 1 << 4)), WRITE, 1, 15 << 59,
         "PTE.PKEY is 4 and PKRS.WD4 is 1"),
        (1, 0, Context(user=False, smep=True), EXEC, 1, US, "CR4.SMEP is 1: a supervisor fetches from a user page"),
        (1, 0, Context(user=False, smap=True), READ, 1, US,
         "CR4.SMAP is 1: a supervisor access to a user page, not opened by RFLAGS.AC"),
    ],
)  # fmt: skip
def test_the_entry_and_the_bit_that_decided(
    tables: Tables, level: int, flip: int, context: Context, need: int, decider: int, bit: int, reason: str
) -> None:
    tables.put(GVA, level, tables.get(GVA, level) ^ flip)
    fault = look(tables.ram, tables.paging(maxphyaddr=46), context, GVA, need).fault
    assert fault is not None
    assert (fault.level, fault.mask, fault.reason) == (decider, bit, reason)


def test_a_walk_in_lines_with_carets_under_what_decided(tables: Tables) -> None:
    tables.put(GVA, 1, 0x5000 | P | US | A | D | 9 << 59)
    assert lines(look(tables.ram, tables.paging(), USER, GVA, WRITE)) == [
        "0x0000000000405123, user write",
        "  level  entry at        entry               XD KEY G PS D A PCD PWT US RW P  leads to",
        "  PML4E  0x000000001000  0x0000000000002007  --   0 - -- - - --- --- US RW P  table 0x2000",
        "  PDPTE  0x000000002000  0x0000000000003007  --   0 - -- - - --- --- US RW P  table 0x3000",
        "  PDE    0x000000003010  0x0000000000004007  --   0 - -- - - --- --- US RW P  table 0x4000",
        "  PTE    0x000000004028  0x4800000000005065  --   9 - -- D A --- --- US -- P  4 KiB page",
        "                                                                        ^^",
        "  #PF, error code 0x7 (P|W|U): PTE.RW is 0",
    ]


def test_a_reserved_bit_is_marked_among_the_digits(tables: Tables) -> None:
    tables.put(GVA, 2, 0x200000 | OPEN | PS | 1 << 13)
    assert lines(look(tables.ram, tables.paging(), SUPERVISOR, GVA, READ))[-3:] == [
        "  PDE    0x000000003010  0x0000000000202087  --   0 - PS - - --- --- US RW P  nothing",
        "                                       ^",
        "  #PF, error code 0x9 (P|RSVD): PDE has reserved bits set: 13",
    ]


def test_a_translation_in_lines(tables: Tables) -> None:
    tables.put(GVA, 2, 0x200000 | P | US | PS)
    assert lines(look(tables.ram, tables.paging(), SUPERVISOR._replace(smep=True), GVA, READ))[-2:] == [
        "  PDE    0x000000003010  0x0000000000200085  --   0 - PS - - --- --- US -- P  2 MiB page at 0x200000",
        "  physical 0x205123; supervisor may read",
    ]


def test_pae_begins_with_a_register() -> None:
    ram = Ram()
    ram.words[0x1000 >> 3] = 0x200000 | OPEN | PS
    masks = reserved_bits(Mode.PAE, nxe=True, maxphyaddr=36)
    paging = Paging(Mode.PAE, 0, masks, pdptes=(0x1001, 0, 0, 0))
    assert lines(look(ram, paging, USER, 0x1FF000, READ))[2:] == [
        "  PDPTE  in a register   0x0000000000001001",
        "  PDE    0x000000001000  0x0000000000200087  --   0 - PS - - --- --- US RW P  2 MiB page at 0x200000",
        "  physical 0x3ff000; user may read, write, fetch",
    ]
    assert lines(look(ram, paging, USER, 0x40000000, READ))[1:] == [
        "  PDPTE  in a register   0x0000000000000000",
        "                                          ^",
        "  #PF, error code 0x4 (U): PDPTE.P is 0",
    ]


def test_32_bit_paging_has_4_mib_pages() -> None:
    ram = Ram()
    ram.words[0x1000 >> 3] = 0x400000 | OPEN | PS
    walk = look(
        ram,
        Paging(Mode.BITS32, 0x1000, reserved_bits(Mode.BITS32, nxe=False, maxphyaddr=52), pse=True),
        SUPERVISOR,
        0x1234,
        READ,
    )
    assert lines(walk)[2].endswith("4 MiB page at 0x400000")
    assert walk.steps[0].level == 2


def test_the_record_says_the_same_in_json(tables: Tables) -> None:
    tables.put(GVA, 1, 0x5000 | P | US)
    told = json.loads(json.dumps(record(look(tables.ram, tables.paging(), USER, GVA, WRITE))))
    assert told["access"] == "user write"
    assert told["physical"] is None
    assert told["allowed"] == ["read", "fetch"]
    assert told["steps"][3]["level"] == "PTE"
    assert told["steps"][3]["entry"] == 0x5005
    assert told["steps"][3]["fields"]["US"] == 1
    fault = told["fault"]
    assert (fault["error"], fault["level"], fault["mask"], fault["reason"]) == (7, "PTE", 2, "PTE.RW is 0")
    assert record(look(tables.ram, tables.paging(), USER, GVA, READ))["fault"] is None
