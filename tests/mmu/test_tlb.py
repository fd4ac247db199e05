"""The TLB beside a model that keeps a plain list of translations (SDM "Invalidation of TLBs …")."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from paracell.mmu import tlb
from paracell.mmu.rights import G
from paracell.mmu.tlb import NO_EPT, Tlb
from paracell.mmu.walk import LEVEL_SHIFT

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

SPAN = {1: 1, 2: 512, 3: 512 * 512}
# Few pages, near each other and near the borders of large pages, so that they meet.
VPNS = st.sampled_from([0, 1, 511, 512, 513, 1024, 512 * 512 - 1, 512 * 512, 512 * 512 + 1, (1 << 52) - 1])
PCIDS = st.sampled_from([0, 1, 4095])
VPIDS = st.sampled_from([0, 1, 65535])
GPAS = st.sampled_from([0, 0x1000, 0x200000])
EPTPS = st.sampled_from([NO_EPT, 0, 0x1000])
Key = tuple[int, int, int | None, int]


def entry(frame: int, level: int = 1, *, g: bool = False) -> int:
    return frame << 12 | level << LEVEL_SHIFT | (G if g else 0)


def lookup(cache: Tlb, vpn: int) -> int | None:
    found = cache.current.get(vpn)
    return cache.shared.get(vpn) if found is None else found


class Kept(NamedTuple):
    """A translation as the model keeps it; `pcid` is None for a global one."""

    vpid: int
    eptp: int
    pcid: int | None
    vpn: int
    entry: int
    level: int

    @property
    def key(self) -> Key:
        return self[:4]

    def maps(self, vpn: int) -> bool:
        return vpn // SPAN[self.level] == self.vpn // SPAN[self.level]


class Comparison(RuleBasedStateMachine):
    """An invalidation must drop what the manual says.  It may drop more only where a large page has been."""

    def __init__(self) -> None:
        super().__init__()
        self.tlb = Tlb()
        self.vpid, self.eptp, self.pcid = 0, NO_EPT, 0
        self.kept: list[Kept] = []
        self.large: list[Kept] = []
        self.pages: dict[tuple[int, int], int] = {}  # (EPT, guest-physical page) → what is found there

    @rule(pcid=PCIDS, vpid=VPIDS, eptp=EPTPS)
    def select(self, pcid: int, vpid: int, eptp: int) -> None:
        assert self.tlb.select(pcid, vpid, eptp) is False
        self.vpid, self.eptp, self.pcid = vpid, eptp, pcid

    @rule(
        vpn=VPNS,
        level=st.sampled_from([1, 1, 2, 3]),
        frame=st.integers(1, 9),
        g=st.booleans(),
        use_global=st.booleans(),
    )
    def insert(self, vpn: int, level: int, frame: int, g: bool, use_global: bool) -> None:
        value = entry(frame, level, g=g)
        self.tlb.insert(vpn, value, use_global=use_global)
        new = Kept(self.vpid, self.eptp, None if g and use_global else self.pcid, vpn, value, level)
        self.kept = [k for k in self.kept if k.key != new.key] + [new]
        if level > 1:
            self.large.append(new)

    def drop(self, vpn: int, concerned: Callable[[Kept], bool]) -> bool:
        """Drop the page at `vpn` among the translations that are `concerned`; give whether one was large."""

        def swept(k: Kept) -> bool:
            return any(page[:3] == k[:3] and page.maps(vpn) and page.maps(k.vpn) for page in self.large)

        must = [k for k in self.kept if concerned(k) and k.maps(vpn)]
        may = [k for k in self.kept if concerned(k) and swept(k)]
        present = self.held()
        assert not any(k.key in present for k in must)
        self.kept = [k for k in self.kept if k not in must and (k not in may or k.key in present)]
        return any(k.level > 1 for k in must)

    def flush(self, concerned: Callable[[Kept], bool]) -> None:
        self.kept = [k for k in self.kept if not concerned(k)]

    # Guest-physical mappings: what a guest invalidates, or INVVPID, leaves them.

    @rule(eptp=st.sampled_from([0, 0x1000]), gpa=GPAS, frame=st.integers(1, 9))
    def keep_guest_physical(self, eptp: int, gpa: int, frame: int) -> None:
        self.tlb.guest_physical(eptp).keep(gpa, frame << 12)
        self.pages[eptp, gpa] = frame << 12

    @rule(eptp=st.sampled_from([0, 0x1000]), gpa=GPAS)
    def drop_guest_physical(self, eptp: int, gpa: int) -> None:
        self.tlb.guest_physical(eptp).drop(gpa)
        self.pages.pop((eptp, gpa), None)

    # What a guest invalidates is its own VPID's, under all EPTs.

    @rule(vpn=VPNS)
    def invlpg(self, vpn: int) -> None:
        was_large = self.tlb.invalidate(vpn)
        must_tell = self.drop(vpn, lambda k: k.vpid == self.vpid and k.pcid in {self.pcid, None})
        assert was_large or not must_tell

    @rule(vpn=VPNS, pcid=PCIDS)
    def invpcid_address(self, vpn: int, pcid: int) -> None:
        self.tlb.invalidate(vpn, pcid)
        self.drop(vpn, lambda k: (k.vpid, k.pcid) == (self.vpid, pcid))

    @rule()
    def mov_cr3(self) -> None:
        self.tlb.flush_current()
        self.flush(lambda k: (k.vpid, k.pcid) == (self.vpid, self.pcid))

    @rule(pcid=PCIDS)
    def invpcid_context(self, pcid: int) -> None:
        self.tlb.flush_pcid(pcid)
        self.flush(lambda k: (k.vpid, k.pcid) == (self.vpid, pcid))

    @rule()
    def invpcid_all(self) -> None:
        self.tlb.flush_all()
        self.flush(lambda k: k.vpid == self.vpid)

    @rule()
    def invpcid_but_global(self) -> None:
        self.tlb.flush_nonglobal()
        self.flush(lambda k: k.vpid == self.vpid and k.pcid is not None)

    # What a hypervisor invalidates.

    @rule(vpn=VPNS, vpid=VPIDS)
    def invvpid_address(self, vpn: int, vpid: int) -> None:
        was_large = self.tlb.invalidate_vpid(vpn, vpid)
        must_tell = self.drop(vpn, lambda k: k.vpid == vpid)
        assert was_large or not must_tell

    @rule(vpid=VPIDS, keep_global=st.booleans())
    def invvpid_context(self, vpid: int, keep_global: bool) -> None:
        self.tlb.flush_vpid(vpid, keep_global=keep_global)
        self.flush(lambda k: k.vpid == vpid and not (keep_global and k.pcid is None))

    @rule()
    def invvpid_all(self) -> None:
        self.tlb.flush_vpids()
        self.flush(lambda k: k.vpid != 0)

    @rule(eptp=st.sampled_from([0, 0x1000, 0x2000]))
    def invept_context(self, eptp: int) -> None:
        self.tlb.flush_ept(eptp)
        self.flush(lambda k: k.eptp == eptp)
        self.pages = {key: page for key, page in self.pages.items() if key[0] != eptp}

    @rule()
    def invept_all(self) -> None:
        self.tlb.flush_ept()
        self.flush(lambda k: k.eptp != NO_EPT)
        self.pages.clear()

    @rule(vpn=VPNS)
    def violation(self, vpn: int) -> None:
        was_large = self.tlb.drop_used(vpn)
        here = (self.vpid, self.eptp)
        must_tell = self.drop(vpn, lambda k: k[:2] == here and k.pcid in {self.pcid, None})
        assert was_large or not must_tell

    @rule()
    def reset(self) -> None:
        self.tlb.empty()
        self.kept = []
        self.pages.clear()

    def held(self) -> dict[Key, int]:
        """Give what the TLB holds, by going through its address spaces."""
        out: dict[Key, int] = {}
        for vpid, eptp, pcid in product((0, 1, 65535), (NO_EPT, 0, 0x1000), (0, 1, 4095)):
            self.tlb.select(pcid, vpid, eptp)
            out |= {(vpid, eptp, None, vpn): e for vpn, e in self.tlb.shared.items()}
            out |= {(vpid, eptp, pcid, vpn): e for vpn, e in self.tlb.current.items()}
        self.tlb.select(self.pcid, self.vpid, self.eptp)
        return out

    @invariant()
    def guest_physical_mappings_are_those_of_the_model(self) -> None:
        found = {(root, gpa): page for root in (0, 0x1000) for gpa, page in self.tlb.guest_physical(root).pages.items()}
        assert found == self.pages

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        assert self.held() == {k.key: k.entry for k in self.kept}


Comparison.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestComparison = Comparison.TestCase


def test_a_stale_translation_stays_until_it_is_invalidated() -> None:
    cache = Tlb()
    cache.insert(5, entry(7), use_global=True)
    cache.invalidate(6)
    assert lookup(cache, 5) == entry(7)
    cache.invalidate(5)
    assert lookup(cache, 5) is None


def test_invlpg_drops_every_fraction_of_a_large_page_and_tells_so() -> None:
    cache = Tlb()
    for vpn in (512, 600, 1023, 1024):
        cache.insert(vpn, entry(vpn, 2), use_global=True)
    assert cache.invalidate(777) is True
    assert [lookup(cache, vpn) for vpn in (512, 600, 1023)] == [None] * 3
    assert lookup(cache, 1024) == entry(1024, 2)
    assert cache.invalidate(777) is False


def test_global_pages_outlive_a_change_of_address_space() -> None:
    cache = Tlb()
    cache.insert(1, entry(1), use_global=True)
    cache.insert(2, entry(2, g=True), use_global=True)
    cache.select(3)
    cache.flush_current()
    assert (lookup(cache, 1), lookup(cache, 2)) == (None, entry(2, g=True))
    cache.select(0)
    assert lookup(cache, 1) == entry(1)


def test_the_oldest_translation_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tlb, "CAPACITY", 3)
    cache = Tlb()
    for vpn in range(5):
        cache.insert(vpn, entry(vpn), use_global=False)
    assert list(cache.current) == [2, 3, 4]


def test_the_address_space_unused_longest_loses_its_translations() -> None:
    cache = Tlb()
    for pcid in range(tlb.KEPT):
        assert cache.select(pcid) is False
        cache.insert(9, entry(pcid, 2), use_global=False)
    cache.select(0)
    assert cache.select(tlb.KEPT) is True  # the one that goes had large pages: their fractions must go, too
    held = []
    for pcid in (0, 2):
        cache.select(pcid)
        held.append(lookup(cache, 9))
    cache.select(1)
    assert held == [entry(0, 2), entry(2, 2)]
    assert lookup(cache, 9) is None


def test_a_guest_that_makes_up_address_spaces_takes_no_memory() -> None:
    """SDM "VPID": there are 65,535; a guest hypervisor may choose any root for an EPT."""
    cache = Tlb()
    for number in range(1000):
        cache.select(number % 4096, number % 65536, number << 12)
        cache.insert(9, entry(number), use_global=True)
        cache.insert(10, entry(number, g=True), use_global=True)
    assert len(cache._spaces) == len(cache._globals) == tlb.KEPT


def test_global_pages_belong_to_one_vpid_and_one_ept() -> None:
    cache = Tlb()
    cache.insert(2, entry(2, g=True), use_global=True)
    for vpid, eptp in ((1, NO_EPT), (0, 0), (1, 0)):
        cache.select(0, vpid, eptp)
        assert lookup(cache, 2) is None
    cache.select(7)
    assert lookup(cache, 2) == entry(2, g=True)
