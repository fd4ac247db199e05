"""EPT01: what is mapped when, and in pages of which size."""

from __future__ import annotations

import pytest

from paracell import Container, NestedOptions, runtimes
from paracell.emu.events import Kind
from paracell.vmx.ept01 import Ept01
from paracell.vmx.pool import Pool

LARGE, PAGE = 2 << 20, 4096
RAM = [(0, 0x9F000), (0x100000, 3 * LARGE - 0x100000)]  # a hole below 1 MiB, as a PC has
TABLES = range(16 * LARGE, 16 * LARGE + 64 * PAGE, PAGE)
RIGHTS = 7


class Words:
    def __init__(self) -> None:
        self.words: dict[int, int] = {}

    def read64(self, address: int) -> int:
        return self.words.get(address, 0)

    def write64(self, address: int, value: int) -> None:
        self.words[address] = value

    def write(self, address: int, data: bytes) -> None:
        raise NotImplementedError


def tables(*, large: bool, backed: bool) -> Ept01:
    memory = Words()
    return Ept01(memory, Pool(memory, TABLES), RAM, 0, lambda _root: None, large=large, backed=backed)


def maps(ept01: Ept01) -> dict[int, tuple[int, int]]:
    """Each page of RAM that is mapped → what to, with its rights, and the level."""
    pages = {}
    for first, size in RAM:
        for page in range(first, first + size, PAGE):
            leaf = ept01.leaf(page)
            if leaf is not None:
                within = page % LARGE if leaf.level > 1 else 0
                pages[page] = (leaf.entry & ~0xFFF & (1 << 52) - 1) + within | leaf.entry & RIGHTS, leaf.level
    return pages


@pytest.mark.parametrize("large", [False, True])
def test_backed_from_the_start(large: bool) -> None:
    found = maps(tables(large=large, backed=True))
    assert len(found) == sum(size for _, size in RAM) // PAGE
    for page, (to, level) in found.items():
        assert to == page | RIGHTS
        assert level == (2 if large and page >= LARGE else 1)


@pytest.mark.parametrize("large", [False, True])
def test_backed_when_touched(large: bool) -> None:
    ept01 = tables(large=large, backed=False)
    assert not maps(ept01)
    touched = [0x3000, 0x101000, LARGE + 0x5000]
    for page in touched:
        assert ept01.fill(page + 8, is_l0s=False) == ept01.leaf(page)
    wanted = {*touched, *(range(LARGE, 2 * LARGE, PAGE) if large else ())}
    found = maps(ept01)
    assert found.keys() == wanted
    assert all(to == page | RIGHTS for page, (to, _) in found.items())


@pytest.mark.parametrize("large", [False, True])
def test_a_page_is_protected_before_it_is_touched(large: bool) -> None:
    ept01 = tables(large=large, backed=False)
    ept01.protect(LARGE + PAGE)
    found = maps(ept01)
    assert found[LARGE + PAGE] == (LARGE + PAGE | RIGHTS & ~2, 1)
    assert len(found) == (512 if large else 1)


@pytest.mark.parametrize("runtime", runtimes.RUNTIMES)
def test_a_container_whose_memory_nobody_has_backed(runtime: str) -> None:
    """It prints the same; each page costs L0 one fill, once, and what costs it none is what it had before."""
    said = []
    for options in (NestedOptions(), NestedOptions(backed=False, large_pages=False)):
        with Container("touch", "2", runtime=runtime, nested=options, memory="64M") as c:
            fills = c.record(Kind.EPT_FILL)
            end = c.run()
        assert end.status == 0
        said.append((end.stdout, fills))
    (warm, before), (cold, after) = said
    assert warm == cold
    assert all(fill.level == 1 for fill in after)
    if runtime == "runv":  # the same fills of EPT02, and L1's own pages besides
        assert len(after) > len(before) >= 512
    else:
        pages = [fill.page for fill in after]
        assert not before
        assert len(pages) == len(set(pages)) > 512
        assert all(fill.gpa // PAGE * PAGE == fill.page for fill in after)
