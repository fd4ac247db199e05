"""LLFree beside a model, over random sequences; the host evicts between any two instructions that look at shared words.

The allocator's C is compiled for this computer.  Each compare-and-swap first calls the test, which then does what a host
does; so a change that is none would lose what the host has changed, and the model finds it: planted bugs show that.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from random import Random
from typing import TYPE_CHECKING, Final

import pytest
from attrs import define, field
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from paracell.guest.build import DECLARED, ROOT

from ..model.llfree import ALLOCATED, CHILD, EVICTED, FREE, RESERVED, TREE, Frames, WrongFrame, wrong_counts

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("ziglang")

KINDS: Final = 3
NONE: Final = 2**64 - 1
SOURCES: Final = ("pager/kernel/lower.c", "pager/kernel/trees.c", "pager/kernel/llfree.h", "pager/hyperalloc.h")
HOOK: Final = "void (*host)(void);\nvoid host_runs(void) { if (host) host(); }\n"
SHAPES: Final = (
    (1, 4096),
    (700, 2048 + 300),
    (1300, 3 * 4096),
    (4096, 2 * 4096 + 700),
    (5, 513),
    (900, 1000),
)  # first, end


class Reserved(ctypes.Structure):
    _fields_ = (("tree", ctypes.c_uint64), ("free", ctypes.c_uint32))


INSTALL: Final = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_uint64)
HOST: Final = ctypes.CFUNCTYPE(None)


class LLFree(ctypes.Structure):
    """As pager/kernel/llfree.h says."""

    _fields_ = (
        ("first", ctypes.c_uint64),
        ("end", ctypes.c_uint64),
        ("trees", ctypes.c_uint64),
        ("children", ctypes.POINTER(ctypes.c_uint16)),
        ("tree", ctypes.POINTER(ctypes.c_uint16)),
        ("fields", ctypes.POINTER(ctypes.c_uint64)),
        ("reserved", Reserved * KINDS),
        ("last_tree", ctypes.c_uint64),
        ("in_a_row", ctypes.c_uint32),
        ("install", INSTALL),
    )


def compiled(folder: Path, *changes: tuple[str, str]) -> ctypes.CDLL:
    """Compile a copy, with the host's turn before each compare-and-swap, and with `changes`: each old text becomes a new one."""
    for name in SOURCES:
        text = (ROOT / name).read_text()
        if name.endswith("hyperalloc.h"):
            text = re.sub(r"(#define SWAP\(.*?\)) (.*)", r"void host_runs(void);\n\1 (host_runs(), \2)", text)
        for old, new in changes:
            text = text.replace(old, new)
        (folder / name.rpartition("/")[2]).write_text(text)
    (folder / "hook.c").write_text(HOOK)
    includes = next(image.includes for image in DECLARED if image.name == "paracell-kernel.elf")
    subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", "-shared", "-fPIC", "-O1", "-std=gnu11", f"-I{folder}", *(f"-I{i}" for i in includes),
         "-o", str(folder / "llfree.so"), *(str(folder / f) for f in ("lower.c", "trees.c", "hook.c"))],
        cwd=ROOT, check=True,
    )  # fmt: skip
    library = ctypes.CDLL(str(folder / "llfree.so"))
    library.llfree_take.restype = library.llfree_size.restype = library.llfree_free.restype = ctypes.c_uint64
    library.llfree_give.restype = ctypes.c_bool
    return library


@define
class Allocator:
    """The C beside the model, with a host that runs between two instructions.

    Attributes:
        turns: what the host does, and to which of the children that it can do it to, at each of its turns to come.
        full: the host has no memory to install.
        chance: what the host does where `turns` says nothing.

    """

    library: ctypes.CDLL
    model: Frames
    state: LLFree = field(factory=LLFree)
    memory: ctypes.Array[ctypes.c_char] = field(init=False)
    keep: list[object] = field(factory=list)
    turns: list[tuple[str, int]] = field(factory=list)
    full: bool = False
    chance: Random | None = None

    def __attrs_post_init__(self) -> None:
        self.memory = ctypes.create_string_buffer(self.library.llfree_size(ctypes.c_uint64(self.model.end)) + 64)
        at = (ctypes.addressof(self.memory) + 63) & ~63
        self.library.llfree_init(
            ctypes.byref(self.state),
            ctypes.c_void_p(at),
            ctypes.c_uint64(self.model.first),
            ctypes.c_uint64(self.model.end),
        )
        install, turn = INSTALL(self._install), HOST(self._turn)
        self.keep = [install, turn]
        self.state.install = install
        ctypes.c_void_p.in_dll(self.library, "host").value = ctypes.cast(turn, ctypes.c_void_p).value

    # ---- the host ----

    def _install(self, child: int) -> bool:
        if self.full:
            return False
        self.model.evicted.discard(child)
        self.state.children[child] &= ~EVICTED
        return True

    def _turn(self) -> None:
        if not self.turns and self.chance and self.chance.random() < 0.3:
            self.turns = [(self.chance.choice(("soft", "late", "late", "hard", "return")), self.chance.randrange(60))]
        if self.turns:
            what, which = self.turns.pop(0)
            whole = [n for n in range(TREE * self.state.trees) if self.state.children[n] == CHILD]
            if children := sorted(self.model.away) if what == "return" else whole:
                hosts = {"soft": self._soft, "late": self._late, "hard": self._hard, "return": self._return}
                hosts[what](children[which % len(children)])

    def _soft(self, child: int) -> None:
        if not self.state.tree[child // TREE] & RESERVED:
            self._late(child)

    def _late(self, child: int) -> None:
        """The host looked at the tree before that was reserved."""
        if self.state.children[child] == CHILD:
            self.state.children[child] |= EVICTED
            self.model.evicted.add(child)

    def _hard(self, child: int) -> None:
        tree = self.state.tree[child // TREE]
        if self.state.children[child] & ~EVICTED == CHILD and not tree & RESERVED and tree >= CHILD:
            self.state.tree[child // TREE] -= CHILD
            self.state.children[child] = ALLOCATED | EVICTED
            self.model.free -= set(range(child * CHILD, child * CHILD + CHILD))
            self.model.evicted.add(child)
            self.model.away.add(child)

    def _return(self, child: int) -> None:
        if child in self.model.away:
            self.state.children[child] = CHILD | EVICTED
            self.state.tree[child // TREE] += CHILD
            self.model.free |= set(range(child * CHILD, child * CHILD + CHILD))
            self.model.away.remove(child)

    def return_all(self) -> None:
        """The host gives back what it has taken, with memory behind it."""
        for child in [*self.model.away]:
            self._return(child)
        for child in [*self.model.evicted]:
            self._install(child)

    # ---- the container ----

    def take(self, order: int, *, movable: bool = False) -> int:
        frame: int = self.library.llfree_take(ctypes.byref(self.state), ctypes.c_uint32(order), ctypes.c_bool(movable))
        if frame:
            self.model.took(frame, order)
        elif not self.model.away:  # what came back while it looked elsewhere may have been missed
            self.model.refused(order, host_full=self.full)
        return frame

    def give(self, frame: int, order: int) -> bool:
        if known := self.model.blocks.get(frame) == order:
            self.model.gave(frame)  # first: the host may take it before the allocator is done
        done: bool = self.library.llfree_give(ctypes.byref(self.state), ctypes.c_uint64(frame), ctypes.c_uint32(order))
        if done != known:
            raise WrongFrame(f"{frame:#x} of order {order} was given back: {done}")
        return done

    def check(self) -> None:
        state, trees = self.state, self.state.trees
        reserved = {r.tree: r.free for r in state.reserved if r.tree != NONE}
        children = state.children[: TREE * trees]
        for line in wrong_counts(
            (self.model.first, self.model.end), children, state.tree[:trees], state.fields[: 8 * TREE * trees], reserved
        ):
            raise WrongFrame(line)
        if {n for n, child in enumerate(children) if child & EVICTED} != self.model.evicted:
            raise WrongFrame("an evicted child has lost its mark, or another one has it")
        counted = self.library.llfree_free(ctypes.byref(state))
        if not counted == len(self.model.free) == sum(child & FREE for child in children):
            raise WrongFrame(f"{counted} frames are free, and {len(self.model.free)} should be")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return compiled(tmp_path_factory.mktemp("llfree"))


TURNS: Final = st.lists(st.tuples(st.sampled_from(("soft", "late", "hard", "return")), st.integers(0, 5)), max_size=4)
ORDERS: Final = st.one_of(st.just(0), st.integers(0, 10))
STEPS: Final = st.lists(
    st.tuples(
        st.sampled_from(("take", "take", "give", "many", "wrong")), ORDERS, st.integers(0, 999), TURNS, st.booleans()
    ),
    max_size=40,
)


def follow(
    library: ctypes.CDLL, shape: tuple[int, int], steps: list[tuple[str, int, int, list[tuple[str, int]], bool]]
) -> None:
    """Do what the steps say, and check everything after each."""
    allocator = Allocator(library, Frames(*shape))
    allocator.check()
    for what, order, which, turns, full in steps:
        allocator.turns, allocator.full = list(turns), full and which % 3 == 0
        blocks = sorted(allocator.model.blocks.items())
        if what == "give" and blocks:
            allocator.give(*blocks[which % len(blocks)])
        elif what == "wrong":
            frame = which * (shape[1] + 512) // 1000
            if allocator.model.blocks.get(frame >> order << order) != order and allocator.model.free.issuperset(
                [frame]
            ):
                allocator.give(frame, 0)
        else:
            for _ in range(which // 8 if what == "many" else 1):
                allocator.take(order, movable=which % 2 > 0)
        allocator.turns = []
        allocator.check()


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(shape=st.sampled_from(SHAPES), steps=STEPS)
def test_llfree_and_the_model_agree(
    library: ctypes.CDLL, shape: tuple[int, int], steps: list[tuple[str, int, int, list[tuple[str, int]], bool]]
) -> None:
    follow(library, shape, steps)


def use_everything(library: ctypes.CDLL, shape: tuple[int, int] = (700, 2 * 4096 + 300)) -> None:
    """Take all there is by blocks of each order, and give it back; at each turn the host does something at random."""
    allocator = Allocator(library, Frames(*shape), chance=Random(7))
    for order in range(10, -1, -1):
        frames = []
        while frame := allocator.take(order):
            frames.append(frame)
        allocator.check()
        for frame in frames[::2]:
            assert allocator.give(frame, order)
        allocator.check()
        others = [(frame, size) for size in (6, 1, 2, 0, 8, 3, 7, 4) if (frame := allocator.take(size))]
        allocator.check()
        for frame, size in [(frame, order) for frame in frames[1::2]] + others:
            assert allocator.give(frame, size)
        allocator.check()
        allocator.return_all()
        allocator.check()
    assert len(allocator.model.free) == shape[1] - shape[0]


def test_all_of_it_can_be_had_at_each_order(library: ctypes.CDLL) -> None:
    use_everything(library)


def test_it_takes_from_few_trees_and_prefers_what_has_memory(library: ctypes.CDLL) -> None:
    """A whole child is evicted: blocks come from the others of its tree, until there are none; then it is installed."""
    allocator = Allocator(library, Frames(4096, 5 * 4096))
    first = allocator.take(0)
    tree = first // 4096
    keep = allocator.give(first, 0)  # its tree stays the processor's own, so the host has to wait
    assert keep
    allocator._soft(TREE * tree)
    assert not allocator.model.evicted
    allocator.take(9)  # another tree, for whole children
    assert allocator.take(0, movable=True)  # and another one for what the kernel does not keep for itself
    assert len({r.tree for r in allocator.state.reserved}) == KINDS
    allocator = Allocator(library, Frames(4096, 3 * 4096))
    for child in range(8, 23):
        allocator._soft(child)
    assert allocator.take(0) // CHILD == 8  # of the fullest tree, and nearly all of it is evicted: it is installed
    frames = [allocator.take(0) for _ in range(600)]
    assert {frame // CHILD for frame in frames} == {8, 9}
    assert not allocator.model.evicted.intersection({8, 9})


def test_four_frees_in_a_row_reserve_their_tree(library: ctypes.CDLL) -> None:
    allocator = Allocator(library, Frames(4096, 4 * 4096))
    frames = [allocator.take(6) for _ in range(100)]
    tree = allocator.state.reserved[0].tree
    before = [f for f in frames if f // 4096 != tree]
    assert len(before) > 4
    for number, frame in enumerate(before[:4]):
        assert allocator.state.reserved[0].tree == tree, number
        allocator.give(frame, 6)
    assert allocator.state.reserved[0].tree == before[0] // 4096
    allocator.check()


_RESERVES: Final = "while (!SWAP(&l->tree[tree], &old, (u16)(TREE_RESERVED | kind << TREE_KIND_SHIFT)));"
_TURNS: Final = ", ".join(["host_runs()"] * 4)
PLANTED: Final = {
    "a tree is stored where a compare-and-swap is wanted": (
        _RESERVES,
        "while (host_runs(), l->tree[tree] = (u16)(TREE_RESERVED | kind << TREE_KIND_SHIFT), 0);",
    ),
    "a child is stored where a compare-and-swap is wanted": (
        "while (!SWAP(child, &old, (u16)(old - frames)));",
        f"while ({_TURNS}, *child = (u16)(old - frames), 0);",
    ),
    "an evicted child is used at once": ("if (LOAD(&l->children[child]) & CHILD_EVICTED && ", "if (false && "),
    "only the first child of two is installed": (
        "child << CHILD_ORDER < frame + (1UL << order); child++",
        "child == frame >> CHILD_ORDER; child++",
    ),
    "the count is not put back": ("count_up(&l->children[child], 1u << order);         /*", "/*"),
    "a block that is half free": ("free &= starts[order];", "free |= 0;"),
    "a tree is released without what is free": ("tree_add(l, tree, free + (before", "tree_add(l, tree, 0 + (before"),
    "a bit too few": ("free &= free >> (1u << i);", "free &= free >> i;"),
    "given back twice": ("if ((used & mask) != mask)", "if (false)"),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found(bug: str, tmp_path: Path) -> None:
    old, new = PLANTED[bug]
    assert any(old in (ROOT / name).read_text() for name in SOURCES)
    library = compiled(tmp_path, (old, new))

    @settings(max_examples=150, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
    @given(shape=st.sampled_from(SHAPES), steps=STEPS)
    def search(shape: tuple[int, int], steps: list[tuple[str, int, int, list[tuple[str, int]], bool]]) -> None:
        follow(library, shape, steps)

    def both() -> None:
        use_everything(library)
        search()

    with pytest.raises(AssertionError):
        both()
