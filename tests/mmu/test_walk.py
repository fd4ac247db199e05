"""The walker over 4-level paging: address spaces, accessed and dirty bits, error codes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paracell.mmu import rights
from paracell.mmu.rights import EXEC, READ, WRITE, Context
from paracell.mmu.walk import attributes, error_code, walk

from .space import OPEN, PS, RW, SUPERVISOR, US, USER, XD, A, D, G, P, Tables, draw, whole

GVA = 0x7FFF_C0A0_5000
PAGE = 0x1234_5000
LEVELS = (4, 3, 2, 1)


def test_a_whole_address_space_as_user_and_supervisor_see_it() -> None:
    tables = draw("""
        400000           4K 10000      user   r-x
        401000           4K 11000      user   rw-
        402000           4K 12000      user   rw-
        403000           4K 33000      user   r--
        600000           2M 800000     user   rwx
        40000000         1G 80000000   user   r--
        7fffffffe000     4K 20000      user   rw-
        ffff800000000000 2M 0          kernel rw-
        ffff800000200000 2M 200000     kernel rw-
        ffffffffc0000000 4K 30000      kernel r-x
    """)
    assert whole(tables, tables.paging(), USER) == [
        "400000-401000 10000 r-x",
        "401000-403000 11000 rw-",
        "403000-404000 33000 r--",
        "600000-800000 800000 rwx",
        "40000000-80000000 80000000 r--",
        "7fffffffe000-7ffffffff000 20000 rw-",
    ]
    strict = Context(user=False, smep=True, smap=True)
    assert whole(tables, tables.paging(), strict) == [
        "ffff800000000000-ffff800000400000 0 rw-",
        "ffffffffc0000000-ffffffffc0001000 30000 r-x",
    ]


def test_rights_are_those_that_every_level_gives() -> None:
    tables = draw("""
        0          4K 10000 user rwx
        200000     4K 11000 user rwx
        40000000   4K 12000 user rwx
        8000000000 4K 13000 user rwx
    """)
    for gva, level, flags in ((0x200000, 2, P | US), (0x40000000, 3, P | RW | US | XD), (0x8000000000, 4, P | RW)):
        tables.put(gva, level, tables.get(gva, level) & ~0xFFF | flags)
    assert whole(tables, tables.paging(), USER) == [
        "0-1000 10000 rwx",
        "200000-201000 11000 r-x",
        "40000000-40001000 12000 rw-",
    ]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("flip", "expected"), [(0, READ | WRITE | EXEC), (RW, READ | EXEC), (US, 0), (XD, READ | WRITE)]
)
def test_any_level_can_take_a_right_away(level: int, flip: int, expected: int) -> None:
    tables = Tables()
    tables.put(GVA, 1, PAGE | OPEN | D)
    for above in LEVELS:
        tables.put(GVA, above, tables.get(GVA, above) | A)
    tables.put(GVA, level, tables.get(GVA, level) ^ flip)
    allowed = 0
    for need in (READ, WRITE, EXEC):
        if walk(tables.ram, tables.paging(), GVA, need, rights.table(USER)) >= 0:
            allowed |= need
    assert allowed == expected
    assert tables.ram.writes == []


# ---- accessed and dirty (SDM "Accessed and Dirty Flags") --------------------------------------------------------------


def flags_after(tables: Tables, need: int, context: Context = USER) -> tuple[int, list[str]]:
    """Walk, and give the answer with the A and D bits of each level."""
    found = walk(tables.ram, tables.paging(), GVA, need, rights.table(context))
    names = [("A" if e & A else "-") + ("D" if e & D else "-") for e in (tables.get(GVA, level) for level in LEVELS)]
    return found, names


@pytest.fixture
def tables() -> Tables:
    tables = Tables()
    tables.put(GVA, 1, PAGE | OPEN)
    return tables


def test_a_read_sets_accessed_at_every_level(tables: Tables) -> None:
    found, names = flags_after(tables, READ)
    assert found >> 12 << 12 == PAGE
    assert names == ["A-", "A-", "A-", "A-"]


def test_a_write_sets_dirty_in_the_leaf_only(tables: Tables) -> None:
    assert flags_after(tables, WRITE)[1] == ["A-", "A-", "A-", "AD"]


def test_a_refused_write_leaves_the_leaf_alone(tables: Tables) -> None:
    tables.put(GVA, 1, PAGE | P | US)
    assert flags_after(tables, WRITE) == (-3, ["A-", "A-", "A-", "--"])


@pytest.mark.parametrize("level", LEVELS)
def test_only_entries_above_a_missing_one_were_used(tables: Tables, level: int) -> None:
    at = tables.entry_address(GVA, level)
    entry = tables.ram.words[at >> 3]
    tables.ram.words[at >> 3] = entry & ~P
    found = walk(tables.ram, tables.paging(), GVA, READ, rights.table(USER))
    assert found == -1
    assert len(tables.ram.writes) == 4 - level
    assert tables.ram.words[at >> 3] == entry & ~P


def test_a_second_access_writes_nothing(tables: Tables) -> None:
    flags_after(tables, WRITE)
    tables.ram.writes.clear()
    for need in (READ, WRITE, EXEC):
        assert flags_after(tables, need)[0] >= 0
    assert tables.ram.writes == []


def test_write_is_not_cached_before_the_page_is_dirty(tables: Tables) -> None:
    for need, cached in ((READ, READ | EXEC), (WRITE, READ | WRITE | EXEC), (READ, READ | WRITE | EXEC)):
        found, _ = flags_after(tables, need)
        assert rights.table(USER)[found & 511] & 7 == cached


# ---- reserved bits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("bit", [40, 51, 63])
def test_a_reserved_bit_at_any_level(tables: Tables, level: int, bit: int) -> None:
    tables.put(GVA, level, tables.get(GVA, level) | 1 << bit)
    paging = tables.paging(nxe=False, maxphyaddr=40)
    assert walk(tables.ram, paging, GVA, READ, rights.table(USER)) == -2
    assert len(tables.ram.writes) == 4 - level


@pytest.mark.parametrize(
    ("level", "bit", "answer"), [(4, 7, -2), (3, 13, -2), (3, 29, -2), (3, 12, 0), (2, 13, -2), (2, 20, -2), (2, 12, 0)]
)
def test_the_low_bits_of_large_pages(level: int, bit: int, answer: int) -> None:
    tables = Tables()
    tables.put(GVA, level, OPEN | PS | 1 << bit)
    assert min(walk(tables.ram, tables.paging(), GVA, READ, rights.table(USER)), 0) == answer


def test_a_reserved_bit_below_weighs_more_than_rights_above(tables: Tables) -> None:
    tables.put(GVA, 4, tables.get(GVA, 4) & ~US)
    tables.put(GVA, 1, PAGE | OPEN | 1 << 51)
    assert walk(tables.ram, tables.paging(maxphyaddr=40), GVA, READ, rights.table(USER)) == -2


@pytest.mark.parametrize("level", [4, 3, 2])
def test_a_table_just_outside_memory_reads_as_ones(tables: Tables, level: int) -> None:
    for above in LEVELS:
        tables.put(GVA, above, tables.get(GVA, above) | A)
    tables.put(GVA, level, tables.ram.low | OPEN | A)
    trail: list[int] = []
    paging = tables.paging(maxphyaddr=46)
    assert walk(tables.ram, paging, GVA, READ, rights.table(USER), trail) == -2
    assert trail[-1] == (1 << 64) - 1
    assert walk(tables.ram, paging, GVA, READ, rights.table(USER)) == -2
    assert walk(tables.ram, paging._replace(root=tables.ram.low), GVA, READ, rights.table(USER)) == -2


# ---- error codes (SDM "Page-Fault Exceptions") ------------------------------------------------------------------------

KEYED = Context(user=True, user_keys=(1 << 3, 1 << 3))
READ_ONLY_KEY = Context(user=True, user_keys=(0, 1 << 3))
KEY3 = 3 << 59


@pytest.mark.parametrize(
    ("entry", "context", "need", "code"),
    [
        (0, USER, READ, "U"),
        (0, SUPERVISOR, WRITE, "W"),
        (0, USER, EXEC, "U|I"),
        (PAGE | P, USER, READ, "P|U"),
        (PAGE | P | US, USER, WRITE, "P|W|U"),
        (PAGE | P | US | XD, USER, EXEC, "P|U|I"),
        (PAGE | P, SUPERVISOR, WRITE, "P|W"),
        (PAGE | OPEN | 1 << 51, SUPERVISOR, READ, "P|RSVD"),
        (PAGE | OPEN | 1 << 51, USER, EXEC, "P|U|RSVD|I"),
        (PAGE | OPEN | KEY3, KEYED, READ, "P|U|PK"),
        (PAGE | OPEN | KEY3, READ_ONLY_KEY, WRITE, "P|W|U|PK"),
        (PAGE | P | US | KEY3, READ_ONLY_KEY, WRITE, "P|W|U|PK"),  # R/W refuses too, and PK is told all the same
        (PAGE | OPEN | KEY3 | XD, KEYED, EXEC, "P|U|I"),  # keys do not govern fetches
        (PAGE | P | RW | KEY3, KEYED, READ, "P|U"),  # nor PKRU supervisor pages
        (0, KEYED, READ, "U"),
    ],
)
def test_error_codes(tables: Tables, entry: int, context: Context, need: int, code: str) -> None:
    tables.put(GVA, 1, entry)
    paging = tables.paging(maxphyaddr=46)
    trail: list[int] = []
    found = walk(tables.ram, paging, GVA, need, rights.table(context), trail)
    assert found == walk(tables.ram, paging, GVA, need, rights.table(context)) < 0
    assert "|".join(error_code(paging, context, need, found, attributes(trail)).set_fields()) == code


def test_a_fetch_is_told_only_where_fetches_can_be_refused(tables: Tables) -> None:
    paging = tables.paging(fetch_bit=False)
    assert error_code(paging, USER, EXEC, -1, 0) == 4
    assert error_code(paging._replace(fetch_bit=True), USER, EXEC, -1, 0) == 0x14


# ---- addresses ---------------------------------------------------------------------------------------------------------


@given(
    gva=st.integers(0, (1 << 47) - 1),
    size=st.sampled_from([1, 2, 3]),
    frame=st.integers(0, (1 << 40) - 1),
    key=st.integers(0, 15),
    cached=st.sampled_from([0, G]),
)
def test_a_page_of_any_size_translates_every_address_in_it(
    gva: int, size: int, frame: int, key: int, cached: int
) -> None:
    shift = 12 + 9 * (size - 1)
    physical = (frame << 12) >> shift << shift
    tables = Tables()
    tables.put(gva, size, physical | OPEN | (PS if size > 1 else 0) | key << 59 | cached)
    found = walk(tables.ram, tables.paging(), gva, READ, rights.table(SUPERVISOR))
    assert found & ~0xFFF | gva & 0xFFF == physical | gva & (1 << shift) - 1
    assert found >> 9 & 7 == size
    assert found >> 5 & 15 == key
    assert bool(found & rights.G) is bool(cached)
