"""Tests of lab 1: random page tables, on which the processor makes an access and the student's walker says what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import define, evolve, field

from ...emu.features import DEFAULT
from ..bench import FREE, LANDING, PAGE_FAULT, Bench
from ..grade import Student, expect, test

if TYPE_CHECKING:
    from random import Random

    from ..bench import Access

P, RW, US, A, D, PS, XD = 1, 2, 4, 1 << 5, 1 << 6, 1 << 7, 1 << 63
OPEN: Final = P | RW | US | A | D
NAMES: Final = ("PML4E", "PDPTE", "PDE", "PTE")
SHIFTS: Final = (39, 30, 21, 12)
FRAMES: Final = 0x4000_0000  # pages lie from here on
CASES: Final = 30
ACCESSES: Final[tuple[Access, ...]] = ("read", "write", "fetch")
HIGH: Final = 0xFFFF_8000_0000_0000  # bits 63:47 of an address of the upper half
PWT, PCD = 1 << 3, 1 << 4


def _aligned(address: Any) -> bool:
    return isinstance(address, int) and address % 8 == 0


@define
class Copy:
    """The physical memory as the student's walker sees it: what it writes is kept beside it."""

    bench: Bench
    written: dict[int, int] = field(factory=dict)

    def read64(self, address: int) -> int:
        """Read a word."""
        expect(
            _aligned(address),
            f"read64({address!r}): the address of an entry is a multiple of 8",
        )
        return self.written.get(address, self.bench.memory.read64(address))

    def write64(self, address: int, value: int) -> None:
        """Write a word."""
        expect(
            _aligned(address),
            f"write64({address!r}): the address of an entry is a multiple of 8",
        )
        self.written[address] = value


@define
class Case:
    """Tables for one address.

    Attributes:
        address: the linear address.
        entries: address and value of each entry, from the PML4E on.

    """

    address: int
    entries: list[tuple[int, int]]

    def __str__(self) -> str:
        """Show the entries, as they were before the access."""
        return "\n".join(
            f"  {name:5} at {at:#x}: {entry:#018x}" for name, (at, entry) in zip(NAMES, self.entries, strict=False)
        )


def make(bench: Bench, random: Random, last: int = 3, flags: tuple[int, ...] = (OPEN,) * 4) -> Case:
    """Write tables for a random address, of either half; bits of CR3 that are not the table's address are set at random.

    `last` is the number of the entry that maps the page, `flags` go into the entries.
    """
    address = random.randrange(1 << 46) | random.choice((0, HIGH))  # slot 511 is the bench's
    tables = [FREE + 0x1000 * page for page in random.sample(range(64), 4)]
    for table in tables:
        bench.memory.write(table, bytes(4096))
    entries = []
    for level in range(last + 1):
        size = 1 << SHIFTS[level]
        target = FRAMES + size * random.randrange((1 << 29) // size or 1) if level == last else tables[level + 1]
        large = PS if level == last < 3 else 0
        at = tables[level] + 8 * (address >> SHIFTS[level] & 511)
        entries.append((at, target | large | flags[level]))
        bench.memory.write64(*entries[-1])
    bench.install(tables[0])
    bench.use(tables[0] | random.choice((0, PWT, PCD, PWT | PCD)))
    return Case(address, entries)


def compare(student: Student, bench: Bench, case: Case, access: Access, *, user: bool, marks: bool = False) -> None:
    """Ask the student's walker, then the processor; with `marks`, compare A and D bits too."""
    walk, page, fault = (student.get("walker", name) for name in ("walk", "Page", "Fault"))
    copy, address = Copy(bench), case.address
    who = "user" if user else "supervisor"
    asked = f"a {who} {access} at {address:#x}, CR3 {bench.root:#x}"
    got = walk(copy, bench.root, address, access, user)
    expect(isinstance(got, (page, fault)), f"{asked}: walk gave {got!r}, which is neither a Page nor a Fault\n{case}")
    physical = bench.machine.translate(address)
    if access == "fetch" and physical is not None and bench.memory.is_ram(physical):
        bench.memory.write(physical, LANDING)
    out = bench.access(address, access, user=user)
    assert out.vector in {None, PAGE_FAULT}
    did = f"#PF with error code {out.error:#x}" if out.error is not None else f"physical address {physical or 0:#x}"
    said = f"#PF with error code {got.error:#x}" if isinstance(got, fault) else f"physical address {got.physical:#x}"
    right = got.error == out.error if isinstance(got, fault) else out.error is None and got.physical == physical
    expect(right, f"{asked}\n  the processor: {did}\n  your walk:     {said}\n{case}")
    if marks:
        for name, (at, before) in zip(NAMES, case.entries, strict=False):
            mine, its = copy.read64(at), bench.memory.read64(at)
            differs = f"{asked}, {did}\n  {name} was {before:#x}; the processor made it {its:#x}, your walk {mine:#x}"
            expect(mine == its, differs)
        strange = copy.written.keys() - {at for at, _ in case.entries}
        expect(not strange, f"{asked}: your walk wrote to {min(strange, default=0):#x}, where no entry of this walk is")


def bench() -> Bench:
    """Give a machine with room for a page of 1 GiB, and physical addresses of 46 bits."""
    return Bench(2 << 30, evolve(DEFAULT, maxphyaddr=46))


@test(10, "indexes: the four parts of an address")
def parts(student: Student) -> None:
    indexes = student.function("walker", "indexes")
    for _ in range(100):
        four = tuple(student.random.randrange(512) for _ in range(4))
        address = sum(part << shift for part, shift in zip(four, SHIFTS, strict=True)) | student.random.randrange(4096)
        address |= HIGH if four[0] >> 8 else 0
        got = indexes(address)
        expect(got is not None and tuple(got) == four, f"indexes({address:#x}) gave {got!r}, and not {four}")


@test(15, "walk: a present page")
def present(student: Student) -> None:
    machine = bench()
    for _ in range(CASES):
        compare(
            student,
            machine,
            make(machine, student.random),
            student.random.choice(ACCESSES),
            user=student.random.random() < 0.5,
        )


@test(15, "walk: an entry that is not present")
def absent(student: Student) -> None:
    machine = bench()
    for number in range(CASES):
        flags = [OPEN] * 4
        flags[number % 4] &= ~P
        case = make(machine, student.random, flags=tuple(flags))
        compare(student, machine, case, student.random.choice(ACCESSES), user=student.random.random() < 0.5)


@test(15, "walk: pages of 2 MiB and 1 GiB")
def large(student: Student) -> None:
    machine = bench()
    for number in range(CASES):
        case = make(machine, student.random, last=1 + number % 2)
        compare(student, machine, case, student.random.choice(ACCESSES), user=student.random.random() < 0.5)


def closed(random: Random) -> tuple[int, ...]:
    """Give flags of four entries that take some rights away."""
    flags = [OPEN] * 4
    for bit in (RW, US, XD):
        if random.random() < 0.5:
            flags[random.randrange(4)] ^= bit
    return tuple(flags)


@test(20, "walk: rights")
def rights(student: Student) -> None:
    machine = bench()
    for _ in range(CASES):
        case = make(machine, student.random, student.random.choice((1, 2, 3, 3)), closed(student.random))
        for access in ACCESSES:
            for user in (True, False):
                compare(student, machine, case, access, user=user)


@test(10, "walk: reserved bits")
def reserved(student: Student) -> None:
    machine, random = bench(), student.random
    for _ in range(2 * CASES):
        last, level, flags = random.choice((1, 2, 3)), random.randrange(4), list(closed(random))
        level = min(level, last)
        groups = [range(46, 52), range(52, 59)]  # the second is ignored, and no reason for a fault
        groups += [range(7, 8)] if level == 0 else []
        groups += [range(13, SHIFTS[level]), range(12, 13)] if level == last < 3 else []  # so is bit 12
        flags[level] |= 1 << random.choice(random.choice(groups))
        if random.random() < 0.2:
            flags[level] &= ~P
        compare(
            student,
            machine,
            make(machine, random, last, tuple(flags)),
            random.choice(ACCESSES),
            user=random.random() < 0.5,
        )


@test(15, "walk: accessed and dirty bits")
def marks(student: Student) -> None:
    machine, random = bench(), student.random
    for _ in range(2 * CASES):
        flags = [
            f & ~(A if random.random() < 0.6 else 0) & ~(D if random.random() < 0.6 else 0) for f in closed(random)
        ]
        if random.random() < 0.2:
            flags[random.randrange(4)] &= ~P
        case = make(machine, random, random.choice((1, 2, 3)), tuple(flags))
        compare(student, machine, case, random.choice(ACCESSES), user=random.random() < 0.5, marks=True)
