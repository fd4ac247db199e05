"""Tests of lab 8: guests on the machine's VMX with EPT, and the machine's own walk through both stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...mmu.ept import Root, reserved
from ...mmu.explain import look
from ...mmu.rights import EXEC, READ, WRITE, Context
from ...mmu.second import SecondStage
from ...mmu.tlb import GuestPhysical
from ...mmu.walk import Mode, Paging, reserved_bits
from ...vmx.fields import Field
from ..bench import Bench
from ..grade import Student, expect, test
from ..vm import GUEST, Vm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from ...mmu.explain import Walk
    from ..bench import Access

NEEDS: Final[dict[Access, int]] = {"read": READ, "write": WRITE, "fetch": EXEC}
ACCESSES: Final[tuple[Access, ...]] = ("read", "write", "fetch")
R, W, X, PS = 1, 2, 4, 1 << 7
BACK: Final = 6 << 3
TABLES: Final = 0x200_0000  # what `table` gives
PAGES: Final = 0x100_0000  # pages of guests
FRAME: Final = 0xF_FFFF_FFFF_F000
PD: Final = 0xB000  # of the guest's tables, by guest-physical address
REGIONS: Final = (0xD_0000, 0x60_0000, 0x1_4040_0000, 0x80_C080_0000)  # behind each but the first an upper entry is 0
ASKED: Final = 0x1FF  # bits of the exit qualification
WIDTH: Final = 46
P, RW, US, XD = 1, 2, 4, 1 << 63
OPEN: Final = 0x67
CODE: Final = {"read": "8a07f4", "write": "8807f4", "fetch": "ffe7"}  # with HLT where it is allowed


class Memory:
    """Physical memory as the student gets it."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._next = TABLES

    def table(self) -> int:
        """Give a page of zeros."""
        expect(self._next < TABLES + (4 << 20), "table() was called more than 1024 times")
        at, self._next = self._next, self._next + 0x1000
        return at

    def read64(self, address: Any) -> int:
        """Read a word."""
        self._check("read64", address)
        word: int = self.bench.memory.read64(address)
        return word

    def write64(self, address: Any, value: Any) -> None:
        """Write a word."""
        self._check("write64", address)
        expect(
            isinstance(value, int) and 0 <= value < 1 << 64, f"write64({address:#x}, {value!r}): no number of 64 bits"
        )
        expect(TABLES <= address < self._next, f"write64({address:#x}, …): not in a table that table() gave")
        self.bench.memory.write64(address, value)

    def _check(self, called: str, address: Any) -> None:
        right = isinstance(address, int) and not address % 8 and 0 <= address < 64 << 20
        shown = f"{address:#x}" if isinstance(address, int) else repr(address)
        expect(right, f"{called}({shown}): not the address of an entry in memory")


def put(memory: Memory, root: int, gpa: int, entries: tuple[int, ...], target: int) -> list[int]:
    """Write the entries of an EPT for one address; `entries` are flags from the top on, three of them for a page of 2 MiB."""
    table, places = root, []
    for shift, flags in zip((39, 30, 21, 12), entries, strict=False):
        at = table + 8 * (gpa >> shift & 511)
        places.append(at)
        old = memory.bench.memory.read64(at)
        last = len(places) == len(entries)
        below = target if last else old & FRAME or memory.table()
        memory.bench.memory.write64(at, below | flags)
        table = below
    return places


def ran(memory: Memory, root: int, address: int, access: Access) -> tuple[int, int, int]:
    """Run a guest of one access: the exit reason, the guest-physical address, the exit qualification."""
    vm = Vm(bytes.fromhex(CODE[access]), ept=root)
    memory_of(vm, memory)
    vm.bench.machine.cpu.rdi = address
    vmcs = vm.vmcs
    out = vm.enter(), vmcs[Field.GUEST_PHYSICAL_ADDRESS], vmcs[Field.EXIT_QUALIFICATION]
    vm.close()
    return out


def memory_of(vm: Vm, memory: Memory) -> None:
    """Copy the tables and pages that the test has made into a guest's machine."""
    here, there = memory.bench.memory, vm.bench.memory
    there.write(PAGES, here.read(PAGES, 1 << 20))
    there.write(TABLES, here.read(TABLES, memory._next - TABLES))  # noqa: SLF001 -- the machine's end of it


def guest_map(memory: Memory, root: int, student: Student | None, random: Random) -> dict[int, int]:
    """Map what a guest's code, tables and stack need; by the student's `map_page`, or by `put`."""
    frames = dict(zip(range(0, 0xD000, 0x1000), random.sample(range(1, 200), 13), strict=True))
    vm = Vm(b"", ept=0)
    for gpa, frame in frames.items():
        physical = PAGES + 0x1000 * frame
        memory.bench.memory.write(physical, vm.bench.memory.read(GUEST + gpa, 4096))
        if student is None:
            put(memory, root, gpa, (7, 7, 7, 7 | BACK), physical)
        else:
            student.function("ept", "map_page")(memory, root, gpa, physical, 7)
    vm.close()
    return {gpa: PAGES + 0x1000 * frame for gpa, frame in frames.items()}


def set_code(memory: Memory, places: dict[int, int], access: Access) -> None:
    """Put the code of one access where the guest begins."""
    memory.bench.memory.write(places[0x1000], bytes.fromhex(CODE[access]))


@test(20, "map_page: a guest runs on it", seconds=20)
def mapping(student: Student) -> None:
    for access in ACCESSES:
        memory = Memory(Bench())
        root = memory.table()
        places = guest_map(memory, root, student, student.random)
        for gpa, linear, rights in pages(memory, places, student.random):
            physical = PAGES + 0xF0000 + student.random.randrange(8) * 0x1000
            student.function("ept", "map_page")(memory, root, gpa, physical, rights)
            memory.bench.memory.write(physical, b"\xf4" * 4096)
            set_code(memory, places, access)
            reason, at, qualification = ran(memory, root, linear, access)
            wanted = 12 if rights & NEEDS[access] else 48
            text = f"a guest's {access} at guest-physical {gpa:#x}, mapped with rights {rights:#x}"
            expect(
                reason == wanted,
                f"{text}: exit reason {reason} at {at:#x}, qualification {qualification:#x}; {wanted} is right",
            )
            expect(
                wanted == 12 or at == gpa,
                f"{text}: the exit is for {at:#x}: is the page missing that the guest needs first?",
            )
            entry = memory.bench.memory.read64(leaf(memory, root, gpa))
            expect(entry & FRAME == physical, f"{text}: its last entry is {entry:#x}, and the page is at {physical:#x}")
        memory.bench.close()


def pages(memory: Memory, places: dict[int, int], random: Random) -> Iterator[tuple[int, int, int]]:
    """Give pages to map: guest-physical and linear address, rights.  In each region a page that allows only reads comes first."""
    for number, region in enumerate(REGIONS):
        base, inside = region & -(2 << 20), (2 << 20) - 1
        if number:  # the guest's own tables lead there by a page of 2 MiB
            memory.bench.memory.write64(places[PD] + 8 * number, base | OPEN | PS)
        rights = (R, 7) if number else (R, 7, 7, random.choice([R | X, R | W]))
        for page, right in enumerate(rights):
            gpa = region + 0x1000 * page
            yield gpa, number << 21 | gpa & inside, right


def leaf(memory: Memory, root: int, gpa: int) -> int:
    """Find the last entry of an address."""
    at = root
    for shift in (39, 30, 21):
        at = memory.bench.memory.read64(at + 8 * (gpa >> shift & 511)) & FRAME
    return at + 8 * (gpa >> 12 & 511)


def said(got: Any) -> str:
    """Show what the student's function gave, without the reads."""
    name = type(got).__name__
    values = {key: value for key, value in getattr(got, "__dict__", {}).items() if key != "reads"}
    return f"{name}({', '.join(f'{key}={value:#x}' if isinstance(value, int) else f'{key}={value!r}' for key, value in values.items())})"


def same_reads(got: Any, wanted: list[int], asked: str) -> None:
    """Compare the lists of reads."""
    reads = list(getattr(got, "reads", []))
    for number, (mine, right) in enumerate(zip(reads, wanted, strict=False), 1):
        expect(mine == right, f"{asked}: read number {number} is at {right:#x}; yours is at {mine:#x}")
    expect(len(reads) == len(wanted), f"{asked}: {len(wanted)} entries are read; yours are {len(reads)}")


def gpa_of(random: Random) -> int:
    """Choose a guest-physical address."""
    return random.randrange(1, 1 << 36) * 0x1000 + random.randrange(4096) // 8 * 8


@test(20, "translate: pages of 4 KiB and 2 MiB")
def translation(student: Student) -> None:
    translate, found = student.function("ept", "translate"), student.get("ept", "Found")
    memory, random = Memory(Bench()), student.random
    for number in range(40):
        root, gpa, access = memory.table(), gpa_of(random), random.choice(ACCESSES)
        levels, inside = (3, (1 << 21) - 1) if number % 3 == 2 else (4, 4095)
        flags = (7,) * (levels - 1) + (NEEDS[access] | R | BACK | (PS if levels == 3 else 0),)
        target = random.randrange(1 << 20) << 21 if levels == 3 else random.randrange(1 << 30) << 12
        places = put(memory, root, gpa, flags, target)
        got, wanted = translate(memory, root, gpa, access, True), target | gpa & inside
        asked = f"translate({gpa:#x}, {access!r}), a page of {'2 MiB' if levels == 3 else '4 KiB'}"
        expect(isinstance(got, found), f"{asked} gave {said(got)}, and not Found(physical={wanted:#x})")
        expect(got.physical == wanted, f"{asked} gave {said(got)}; the page is at {target:#x}, so {wanted:#x} is right")
        same_reads(got, places, asked)


UPPER_AND_LAST: Final = (
    *((flags, 7 | BACK) for flags in (0, R, R | X, W)),
    *((R, last) for last in (0, W | BACK, 7 | 2 << 3)),
    (R | X, R | W | BACK),
)


@test(20, "translate: violations and misconfigurations", seconds=20)
def refusals(student: Student) -> None:
    translate = student.function("ept", "translate")
    violation, wrong = student.get("ept", "Violation"), student.get("ept", "Misconfiguration")
    random = student.random
    memory = Memory(Bench())
    root = memory.table()
    places = guest_map(memory, root, None, random)
    # What differs is in an upper entry, or in the last; the guest's own pages are elsewhere.
    for number in range(14):
        access, gpa = random.choice(ACCESSES), 0x100000 + number * 0x1000
        cases = [0, R, R | W, R | X, X, W, W | X, 7 | 2 << 3, 7 | 7 << 3, 7 | 3 << 3]
        flags = cases[number % len(cases)]
        entries = put(memory, root, gpa, (7, 7, 7, flags | (BACK if not flags >> 3 else 0)), PAGES + 0xE0000)
        memory.bench.memory.write(PAGES + 0xE0000, b"\xf4" * 4096)
        set_code(memory, places, access)
        reason, at, qualification = ran(memory, root, gpa, access)
        got = translate(memory, root, gpa, access, True)
        asked = f"translate({gpa:#x}, {access!r}) with the last entry {memory.bench.memory.read64(entries[3]):#x} (others open)"
        if reason == 48:
            assert at == gpa
            expect(isinstance(got, violation), f"{asked} gave {said(got)}; the processor: an EPT violation")
            right = got.gpa == gpa and got.qualification == qualification & ASKED
            expect(
                right, f"{asked} gave {said(got)}; the processor: at {gpa:#x}, qualification {qualification & ASKED:#x}"
            )
        elif reason == 49:
            expect(isinstance(got, wrong), f"{asked} gave {said(got)}; the processor: an EPT misconfiguration")
            expect(got.gpa == gpa, f"{asked} gave {said(got)}; the processor: at {gpa:#x}")
        else:
            expect(isinstance(got, student.get("ept", "Found")), f"{asked} gave {said(got)}; the processor allows it")
        same_reads(got, entries, asked)
    for upper in range(3):  # the same in an upper entry, and in both
        for flags, last in UPPER_AND_LAST:
            root, gpa = memory.table(), gpa_of(random)
            rights = [7, 7, 7, last]
            rights[upper] = flags
            entries = put(memory, root, gpa, tuple(rights), 0 if not last else PAGES)
            ends = flags in {0, W}
            got = translate(memory, root, gpa, "write", True)
            asked = f"translate({gpa:#x}, 'write') with R, W, X = {flags:#x} in entry {upper + 1} of 4, flags {last:#x} in the last"
            kind = wrong if flags == W or (not ends and last in {W | BACK, 7 | 2 << 3}) else violation
            expect(isinstance(got, kind), f"{asked} gave {said(got)}, and not a {kind.__name__}")
            number = 0x182 | (flags & last & 7) << 3
            right = kind is wrong or got.qualification == number
            expect(right, f"{asked} gave {said(got)}; the qualification is {number:#x}")
            same_reads(got, entries[: upper + 1] if ends else entries, asked)


class Guest:
    """A guest's tables and the EPT behind them, for one linear address."""

    def __init__(self, random: Random, memory: Memory) -> None:
        self.memory, self.random = memory, random
        self.root = memory.table()
        self.address = random.randrange(1, 1 << 34) * 0x1000 + random.randrange(4096)
        self.tables = [page * 0x1000 for page in random.sample(range(1, 256), 5)]
        self.hosts = dict(zip(self.tables, random.sample(range(256), 5), strict=True))
        self.cr3 = self.tables[0]
        self.flags, self.of_ept = [OPEN] * 4, [7 | BACK] * 5

    def write(self) -> None:
        """Write both."""
        memory = self.memory.bench.memory
        for number, gpa in enumerate(self.tables):
            at = PAGES + 0x1000 * self.hosts[gpa]
            put(self.memory, self.root, gpa, (7, 7, 7, self.of_ept[number]), at)
            if number < 4:
                index = self.address >> (39, 30, 21, 12)[number] & 511
                memory.write(at, bytes(4096))
                memory.write64(at + 8 * index, self.tables[number + 1] | self.flags[number])

    def walk(self, access: Access, *, user: bool) -> Walk:
        """Walk as the processor does."""
        second = SecondStage(self.memory.bench.memory, Root(self.root, reserved(WIDTH)), GuestPhysical(), still=True)
        masks = reserved_bits(Mode.LEVEL4, nxe=True, maxphyaddr=WIDTH)
        paging = Paging(Mode.LEVEL4, self.cr3, masks, fetch_bit=True)
        return look(second, paging, Context(user), self.address, NEEDS[access], second)

    def reads(self, walk: Walk) -> list[int]:
        """Give the physical addresses of the entries that a walk has read."""
        out = []
        for number, stage in enumerate(walk.stages):
            out += [step.address for step in stage.steps]
            if number < len(walk.steps):
                last = stage.steps[-1].entry
                out.append(int(last) & FRAME | stage.gpa % 4096)
        return out


def compare(student: Student, guest: Guest, access: Access, *, user: bool) -> None:
    """Ask the student's walk and the machine's."""
    guest.write()
    got = student.function("ept", "walk")(guest.memory, guest.root, guest.cr3, guest.address, access, user)
    walk = guest.walk(access, user=user)
    entries = ", ".join(f"{flags:#x}" for flags in guest.flags)
    rights = ", ".join(f"{flags:#x}" for flags in guest.of_ept)
    asked = (
        f"a {'user' if user else 'supervisor'} {access} at {guest.address:#x}, CR3 {guest.cr3:#x}, flags of the guest's entries {entries}, "
        f"of the EPT's last entries for the four tables and the page {rights}"
    )
    if walk.exit is not None and walk.exit.qualification:
        kind, number = "Violation", {"gpa": walk.exit.gpa, "qualification": int(walk.exit.qualification) & ASKED}
    elif walk.exit is not None:
        kind, number = "Misconfiguration", {"gpa": walk.exit.gpa}
    elif walk.fault is not None:
        kind, number = "Fault", {"error": int(walk.fault.error)}
    else:
        assert walk.physical is not None
        kind, number = "Found", {"physical": walk.physical}
    wanted = f"{kind}({', '.join(f'{key}={value:#x}' for key, value in number.items())})"
    expect(said(got) == wanted, f"{asked}:\n  walk gave     {said(got)}\n  the processor {wanted}")
    same_reads(got, guest.reads(walk), asked)


@test(25, "walk: the 24 reads")
def steps(student: Student) -> None:
    memory = Memory(Bench())
    for _ in range(40):
        access = student.random.choice(ACCESSES)
        compare(student, Guest(student.random, memory), access, user=student.random.random() < 0.5)


@test(15, "walk: whoever refuses first", seconds=20)
def first(student: Student) -> None:
    memory, random = Memory(Bench()), student.random
    for number in range(80):
        guest, access = Guest(random, memory), random.choice(ACCESSES)
        if number % 2:
            guest.flags[random.randrange(4)] ^= random.choice([P, RW, US, XD])
        if number % 3:
            which = random.choice([4, random.randrange(5)])
            guest.of_ept[which] = random.choice([0, R, R | W, R | X, X, W]) | BACK
            if not guest.of_ept[which] & 7:
                guest.of_ept[which] = 0
        compare(student, guest, access, user=random.random() < 0.5)
