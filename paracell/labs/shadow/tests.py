"""Tests of lab 6: each access on a machine that uses the guest's tables, and on one that uses the student's shadow of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..bench import LANDING, PAGE_FAULT, Bench
from ..grade import Student, expect, test

if TYPE_CHECKING:
    from ..bench import Access, Outcome

P, RW, US, A, D, XD = 1, 2, 4, 1 << 5, 1 << 6, 1 << 63
OPEN: Final = P | RW | US | A | D
NAMES: Final = ("PML4E", "PDPTE", "PDE", "PTE")
SHIFTS: Final = (39, 30, 21, 12)
FRAME: Final = 0xF_FFFF_FFFF_F000
ACCESSES: Final[tuple[Access, ...]] = ("read", "write", "fetch")
ORDERS: Final[tuple[tuple[Access, ...], ...]] = (("read", "write", "read"), ("write",), ("fetch", "read", "write"))
GUEST, PAGES = 0x10_0000, 512  # guest-physical memory: where it begins, and how many pages it has
HOST: Final = 0x100_0000  # where its pages are, in the host's order
SHADOWS: Final = 0x200_0000  # what `table` gives
HOSTS_SLOT: Final = 511  # of the shadow's root
IGNORED: Final = 0x7F << 52 | 7 << 9  # bits of an entry that mean nothing without protection keys in use
CR3_BITS: Final = 3 << 3  # PWT and PCD


class Pair:
    """A guest without a host, and the same guest on the student's shadow tables.  It is the host that the student is given.

    On the first machine guest-physical addresses are physical; on the second page number n of the guest lies at a place of its own.
    """

    def __init__(self, student: Student) -> None:
        self.random = student.random
        self.bare, self.host = Bench(), Bench()
        self._order = self.random.sample(range(PAGES), PAGES)
        self._next, self._page = SHADOWS, GUEST
        self.shadow = student.function("shadow", "Shadow")(self)
        self.faults = 0
        self._slots = self.random.sample(range(HOSTS_SLOT), HOSTS_SLOT)  # of the guest's top table
        self._roots: set[int] = set()

    # ---- what the student is given ----------------------------------------------------------------------------

    def table(self) -> int:
        """Give a page of zeros."""
        expect(self._next < SHADOWS + (16 << 20), "table() was called more than 4096 times: are tables used again?")
        at, self._next = self._next, self._next + 0x1000
        return at

    def read64(self, address: int) -> int:
        """Read a word of a shadow table."""
        self._mine("read64", address)
        word: int = self.host.memory.read64(address)
        return word

    def write64(self, address: Any, value: Any) -> None:
        """Write a word of a shadow table."""
        self._mine("write64", address)
        shown = f"write64({address:#x}, …): slot {HOSTS_SLOT} of the root is the host's"
        expect(address - 8 * HOSTS_SLOT not in self._roots, shown)
        expect(
            isinstance(value, int) and 0 <= value < 1 << 64, f"write64({address:#x}, {value!r}): no number of 64 bits"
        )
        self.host.memory.write64(address, value)

    def _mine(self, called: str, address: Any) -> None:
        right = isinstance(address, int) and SHADOWS <= address < self._next and not address % 8
        shown = f"{address:#x}" if isinstance(address, int) else repr(address)
        expect(right, f"{called}({shown}): not the address of an entry in a table that table() gave")

    def guest_read64(self, address: int) -> int:
        """Read a word of the guest's memory."""
        word: int = self.host.memory.read64(self._guests("guest_read64", address))
        return word

    def guest_write64(self, address: Any, value: Any) -> None:
        """Write a word of the guest's memory."""
        self.host.memory.write64(self._guests("guest_write64", address), value)

    def _guests(self, called: str, address: Any) -> int:
        right = isinstance(address, int) and GUEST <= address < GUEST + PAGES * 4096 and not address % 8
        shown = f"{address:#x}" if isinstance(address, int) else repr(address)
        expect(right, f"{called}({shown}): not the address of an entry in the guest's memory")
        place: int = self.frame(address & ~0xFFF) + address % 4096
        return place

    def frame(self, page: Any) -> int:
        """Give the host-physical address of a guest-physical page."""
        right = isinstance(page, int) and GUEST <= page < GUEST + PAGES * 4096 and not page % 4096
        shown = f"{page:#x}" if isinstance(page, int) else repr(page)
        expect(right, f"frame({shown}): not the address of a page of the guest's")
        place: int = HOST + 4096 * self._order[page - GUEST >> 12]
        return place

    # ---- the guest --------------------------------------------------------------------------------------------

    def page(self) -> int:
        """Take a page of the guest's memory, for a table or for data; it holds zeros."""
        at, self._page = self._page, self._page + 0x1000
        return at

    def put(self, at: int, value: int) -> None:
        """Have the guest store a word: on both machines, and the host hears nothing of it."""
        self.bare.memory.write64(at, value)
        self.host.memory.write64(self.frame(at & ~0xFFF) + at % 4096, value)

    def map(self, root: int, address: int, flags: tuple[int, ...]) -> list[int]:
        """Write the four entries of one translation, and data that can be executed; gives where they are."""
        places, table = [], root
        for shift, flag in zip(SHIFTS, flags, strict=True):
            at = table + 8 * (address >> shift & 511)
            old = self.bare.memory.read64(at)
            target = old & FRAME or self.page()
            self.put(at, target | flag | self.random.getrandbits(64) & IGNORED)
            places.append(at)
            table = target
        for memory, page in ((self.bare.memory, table), (self.host.memory, self.frame(table))):
            memory.write(page, LANDING * 4096)
        return places

    def somewhere(self) -> int:
        """Choose a linear address of the guest's, with a slot of the top table that no other has."""
        address = self._slots.pop() << 39 | self.random.randrange(1 << 39)
        return address if address < 1 << 47 else address | 0xFFFF << 48

    def load(self, root: int) -> None:
        """Have the guest load CR3."""
        self.bare.install(root)
        cr3 = root | self.random.getrandbits(64) & CR3_BITS
        self.bare.use(cr3)
        mine = self.shadow.load_cr3(cr3)
        expect(
            isinstance(mine, int) and SHADOWS <= mine < self._next,
            f"load_cr3({cr3:#x}) gave {mine!r}: no table of yours",
        )
        self._roots.add(mine)
        self.host.install(mine)
        self.host.use(mine)

    def invlpg(self, address: int) -> None:
        """Have the guest invalidate a page."""
        self.bare.invlpg(address)
        self.shadow.invlpg(address)
        self.host.invlpg(address)

    def access(
        self, address: int, access: Access, *, user: bool, case: list[int] | None = None, stale: bool = False
    ) -> int | None:
        """Make an access on both machines; what the shadow's did must be what the other's did.  Gives the error code, or None.

        With `stale`, the guest's tables no longer say what translations still do, and the page is not compared.
        """
        said = f"a {'user' if user else 'supervisor'} {access} at {address:#x}"
        before = [self.bare.memory.read64(at) for at in case or ()]
        shown = "".join(f"\n  guest's {n:5} {e:#018x}" for n, e in zip(NAMES, before, strict=False))
        wanted = self.bare.access(address, access, user=user)
        got: int | None = None
        out = self.host.access(address, access, user=user)
        if out.vector is not None:
            got = self._faulted(address, out, said + shown)
            if got is None:
                again = self.host.access(address, access, user=user)
                text = f"{said}: the shadow still refuses it (error {again.error or 0:#x}) after a call of fault that gave None{shown}"
                expect(again.vector is None, text)
        right = "is allowed" if wanted.error is None else f"is #PF with error code {wanted.error:#x}"
        mine = "was allowed" if got is None else f"was #PF with error code {got:#x}"
        expect(got == wanted.error, f"{said} {right} by the guest's tables; with the shadow it {mine}{shown}")
        if got is None and not stale:
            self._same_page(address, said)
        return got

    def _faulted(self, address: int, out: Outcome, said: str) -> int | None:
        """Have the student's code deal with a fault of the shadow's."""
        assert out.vector == PAGE_FAULT
        assert out.error is not None
        self.faults += 1
        self.host.invlpg(address)  # as the processor itself does before it delivers a page fault
        got = self.shadow.fault(address, out.error & ~8)
        self.host.invlpg(address)
        expect(
            got is None or isinstance(got, int), f"{said}: fault gave {got!r}, which is neither None nor an error code"
        )
        return None if got is None else int(got)

    def _same_page(self, address: int, said: str) -> None:
        page, mine = self.bare.machine.translate(address), self.host.machine.translate(address)
        assert page is not None
        wanted = self.frame(page & ~0xFFF) + page % 4096
        expect(
            mine == wanted, f"{said}: the shadow leads to {mine or 0:#x}; guest-physical {page:#x} is at {wanted:#x}"
        )

    def marks(self, places: list[int], said: str) -> None:
        """Compare the guest's entries on both machines."""
        for name, at in zip(NAMES, places, strict=True):
            right, mine = self.bare.memory.read64(at), self.host.memory.read64(self.frame(at & ~0xFFF) + at % 4096)
            expect(right == mine, f"{said}: the guest's {name} is {mine:#x}; a processor makes it {right:#x}")


def prepared(student: Student) -> tuple[Pair, int]:
    """Give a guest with an empty top table, loaded."""
    pair = Pair(student)
    root = pair.page()
    pair.load(root)
    return pair, root


@test(25, "fill: a page for everybody")
def fill(student: Student) -> None:
    pair, root = prepared(student)
    for _ in range(20):
        address = pair.somewhere()
        pair.map(root, address, (OPEN,) * 4)
        pair.faults = 0
        for _ in range(3):
            pair.access(address, pair.random.choice(ACCESSES), user=pair.random.random() < 0.5)
        expect(
            pair.faults == 1,
            f"three accesses to one open page at {address:#x} called fault {pair.faults} times; once is enough",
        )


@test(15, "the guest's own faults: not present")
def absent(student: Student) -> None:
    pair, root = prepared(student)
    for number in range(24):
        address = pair.somewhere()
        flags = [OPEN] * 4
        flags[number % 4] &= ~P
        case = pair.map(root, address, tuple(flags))
        for access in ACCESSES:
            pair.access(address, access, user=pair.random.random() < 0.5, case=case)
    # The shadow has the page, for supervisors; the guest takes it away.  The processor's fault says P, the guest's must not.
    address = pair.somewhere()
    case = pair.map(root, address, (OPEN, OPEN, OPEN, OPEN & ~US))
    pair.access(address, "read", user=False, case=case)
    pair.put(case[3], 0)
    pair.access(address, "read", user=True, case=case)


@test(20, "rights of all four entries")
def rights(student: Student) -> None:
    pair, root = prepared(student)
    for _ in range(30):
        address, flags = pair.somewhere(), [OPEN] * 4
        for bit in (RW, US, XD):
            if pair.random.random() < 0.4:
                flags[pair.random.randrange(4)] ^= bit
        case = pair.map(root, address, tuple(flags))
        for user in pair.random.sample((True, False), 2):
            for access in pair.random.sample(ACCESSES, 3):
                pair.access(address, access, user=user, case=case)


@test(20, "accessed and dirty bits, and the first write")
def marks(student: Student) -> None:
    pair, root = prepared(student)
    for number in range(60):
        flags = [OPEN & ~(A if pair.random.random() < 0.6 else 0) for _ in range(3)]
        if number % 3 == 0:
            flags[pair.random.randrange(3)] ^= pair.random.choice([P, RW, US, XD])
        last = OPEN & ~pair.random.choice([0, D, A | D, A | D | RW, A | D | US, P]) ^ pair.random.choice([0, 0, 0, XD])
        address = pair.somewhere()
        case = pair.map(root, address, (*flags, last))
        for access in pair.random.choice(ORDERS):
            user = pair.random.random() < 0.5
            pair.access(address, access, user=user, case=case)
            pair.marks(case, f"after a {'user' if user else 'supervisor'} {access} at {address:#x}")


@test(10, "invlpg: one page is forgotten, and no other")
def invalidation(student: Student) -> None:
    pair, root = prepared(student)
    for _ in range(12):
        near = pair.somewhere() & ~0x1FF000
        pages = [near + 4096 * number for number in pair.random.sample(range(512), 3)]
        cases = [pair.map(root, page, (OPEN,) * 4) for page in pages]
        for page in pages:
            pair.access(page, "write", user=True)
        changed = pair.random.choice([OPEN & ~P, OPEN & ~RW, OPEN & ~US])
        frame = pair.page()
        for memory, page in ((pair.bare.memory, frame), (pair.host.memory, pair.frame(frame))):
            memory.write(page, LANDING * 4096)
        pair.put(cases[0][3], frame | changed)
        pair.invlpg(pages[0])
        pair.faults = 0
        for page in pages[1:]:
            pair.access(page, "write", user=True)
        expect(not pair.faults, f"invlpg({pages[0]:#x}) made accesses to other pages fault")
        pair.access(pages[0], "write", user=True, case=cases[0])
        pair.access(pages[0], "read", user=True, case=cases[0])
    for level in range(4):  # the guest opens what an entry has refused
        address, flags = pair.somewhere(), [OPEN] * 4
        flags[level] &= ~RW
        case = pair.map(root, address, tuple(flags))
        for access in ORDERS[0]:
            pair.access(address, access, user=True, case=case)
        pair.put(case[level], pair.bare.memory.read64(case[level]) | RW)
        pair.invlpg(address)
        pair.access(address, "write", user=True, case=case)
    address = pair.somewhere()
    case = pair.map(root, address, (OPEN,) * 4)
    for _ in range(2):  # the guest looks again whether its page is used and written
        for access in ("write", "read", "write"):
            pair.access(address, access, user=True, case=case)
            pair.marks(case, f"after the guest cleared A and D, INVLPG, and a {access} at {address:#x}")
        pair.put(case[3], pair.bare.memory.read64(case[3]) & ~(A | D))
        pair.invlpg(address)
        pair.access(address, "read", user=True, case=case)
        pair.marks(case, f"after the guest cleared A and D, INVLPG, and a read at {address:#x}")
    pair.invlpg(0x1234_5678_9000)  # where nothing has ever been


@test(10, "load_cr3: other tables")
def switch(student: Student) -> None:
    pair, first = prepared(student)
    second = pair.page()
    address = pair.somewhere()
    one, two = (pair.map(root, address, (OPEN,) * 4) for root in (first, second))
    for turn in range(6):
        root, case = ((first, one), (second, two))[turn % 2]
        pair.load(root)
        pair.access(address, pair.random.choice(ACCESSES), user=True, case=case)
    for root, case, other in ((second, two, first), (first, one, second)) * 2:  # changed while the other one is loaded
        pair.load(other)
        pair.put(case[3], pair.bare.memory.read64(case[3]) ^ RW)
        pair.load(root)
        for access in ("read", "write"):
            pair.access(address, access, user=True, case=case)
    pair.load(second)
    pair.access(address, "read", user=True, case=two)
    pair.put(two[3], 0)
    pair.access(address, "read", user=True, stale=True)  # a translation that nobody has dropped is still used
    pair.load(second)
    pair.access(address, "read", user=True, case=two)
