"""Tests of lab 5: programs at ring 3 whose every read and write goes through the student's tables, beside a model of what they must see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import define

from ..bench import PAGE_FAULT, Bench
from ..grade import Student, expect, test

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

P, W = 1, 2
FRAME: Final = (1 << 52) - 4096
FIRST, LAST = 0x100, 0x700  # frame numbers that the kernel may take
MACHINES: Final = range(0x1000, 0x4000)  # the tables of slot 511, as the bench has them
RUBBISH: Final = b"\xdb\x5a" * 2048
TRIES: Final = 4  # faults of one access; one or two are enough
PLACES: Final = (0x400000, 0x7FFF_F000, 0x1234_5678_9000, 0x3FFF_0000_0000)


class System:
    """Frames and memory, as the student's kernel has them; it refuses what a machine would suffer from."""

    def __init__(self, bench: Bench, random: Random) -> None:
        self.bench, self.taken = bench, set[int]()
        self._free = [number << 12 for number in range(FIRST, LAST)]
        random.shuffle(self._free)
        for frame in self._free:
            bench.memory.write(frame, RUBBISH)

    def _own(self, address: Any, what: str) -> int:
        fits = isinstance(address, int) and address & ~0xFFF in self.taken
        shown = f"{address:#x}" if isinstance(address, int) else repr(address)
        hint = " (slot 511 of a top table leads there: it is the machine's)" if address in MACHINES else ""
        expect(fits, f"{what}({shown}): that is in no frame that your kernel has taken{hint}")
        return int(address)

    def read64(self, address: int) -> int:
        """Read a word."""
        return self.bench.memory.read64(self._own(address, "read64"))

    def write64(self, address: int, value: int) -> None:
        """Write a word."""
        fits: bool = isinstance(value, int)
        expect(fits and 0 <= value < 1 << 64, f"write64({address!r}, {value!r}): no 64-bit number")
        self.bench.memory.write64(self._own(address, "write64"), value)

    def take(self) -> int:
        """Take a frame."""
        expect(bool(self._free), "take(): your kernel has taken every frame that there is")
        frame = self._free.pop()
        self.taken.add(frame)
        return frame

    def give(self, frame: int) -> None:
        """Give one back."""
        self._own(frame, "give")
        self.taken.remove(frame)
        self.bench.memory.write(frame, RUBBISH)
        self._free.insert(0, frame)

    def zero(self, frame: int) -> None:
        """Fill with zeros."""
        self.bench.memory.write(self._own(frame, "zero"), bytes(4096))

    def copy(self, to: int, source: int) -> None:
        """Copy."""
        data = self.bench.memory.read(self._own(source, "copy: source"), 4096)
        self.bench.memory.write(self._own(to, "copy: to"), data)

    def install(self, root: int) -> None:
        """Fill slot 511."""
        self.bench.install(self._own(root, "install"))

    def invlpg(self, address: int) -> None:
        """Drop a translation."""
        expect(isinstance(address, int), f"invlpg({address!r}): no address")
        self.bench.invlpg(address)


@define(eq=False)
class Program:
    """A program, and what it must see.

    Attributes:
        space: the student's.
        values: bytes by address; all others are 0.
        pages: for each page that was touched, the version that it has: a list object that is shared after a fork.

    """

    space: Any
    values: dict[int, int]
    pages: dict[int, object]


class World:
    """Several programs above the student's kernel."""

    def __init__(self, student: Student) -> None:
        self.random, self.bench = student.random, Bench()
        self.system = System(self.bench, student.random)
        area = student.function("kernel", "Area")
        self.kernel = student.function("kernel", "Kernel")(self.system)
        self.areas = tuple(
            area(start, start + 0x1000 * (8 - number), number != 1) for number, start in enumerate(PLACES)
        )
        self.programs = [self.spawn()]

    def spawn(self) -> Program:
        """Start a program."""
        return Program(self.kernel.spawn(self.areas), {}, {})

    def _run(self, program: Program) -> None:
        if self.bench.root != program.space.root:
            self.bench.use(program.space.root)

    def access(self, program: Program, address: int, value: int | None = None) -> int | None:
        """Read a byte, or write `value`; None if the kernel says that the program is killed."""
        what = f"a {'read' if value is None else 'write'} at {address:#x}"
        self._run(program)
        self.bench.machine.cpu.rax = value or 0
        out = self.bench.access(address, "read" if value is None else "write", user=True)
        for _ in range(TRIES):
            if out.vector is None:
                return int(self.bench.machine.cpu.rax) & 0xFF
            assert out.vector == PAGE_FAULT
            answer = self.kernel.fault(program.space, out.address, out.error)
            expect(isinstance(answer, bool), f"fault for {what} gave {answer!r}, which is neither True nor False")
            if not answer:
                return None
            out = self.bench.resume()
        expect(out.vector is None, f"{what} faults again and again: error code {out.error}, although fault said True")
        return int(self.bench.machine.cpu.rax) & 0xFF

    def read(self, program: Program, address: int) -> None:
        """Read where it is allowed, and compare."""
        got, wanted = self.access(program, address), program.values.get(address, 0)
        expect(got is not None, f"the program read {address:#x}, which is in an area, and was killed")
        expect(
            got == wanted,
            f"the program read {got:#x} at {address:#x}; it must read {wanted:#x}" if got is not None else "",
        )
        program.pages.setdefault(address >> 12, object())

    def write(self, program: Program, address: int) -> None:
        """Write where it is allowed."""
        value = self.random.randrange(1, 256)
        got = self.access(program, address, value)
        expect(got is not None, f"the program wrote to {address:#x}, which is in a writable area, and was killed")
        program.values[address] = value
        page = address >> 12
        if any(other.pages.get(page) is program.pages.get(page) for other in self.programs if other is not program):
            program.pages[page] = object()
        program.pages.setdefault(page, object())

    def fork(self, program: Program) -> Program:
        """Fork; the parent runs on."""
        self._run(program)
        space = self.kernel.fork(program.space)
        expect(hasattr(space, "root"), f"fork gave {space!r}, which is no Space")
        expect(space.root != program.space.root, "fork gave a space with the top table of its parent")
        child = Program(space, dict(program.values), dict(program.pages))
        self.programs.append(child)
        return child

    def exit(self, program: Program) -> None:
        """End a program."""
        self.bench.use(0xF000)
        self.programs.remove(program)
        self.kernel.exit(program.space)

    def place(self, *, writable: bool = False) -> int:
        """Choose an address in an area."""
        area = self.random.choice([a for a in self.areas if a.writable or not writable])
        return int(self.random.randrange(area.start, area.end))

    # ---- frames -----------------------------------------------------------------------------------------------

    def _reach(self, table: int, level: int) -> Iterator[tuple[int, bool]]:
        """Give each frame below a table, and whether it is a page."""
        for slot in range(511 if level == 4 else 512):
            entry = self.bench.memory.read64(table + 8 * slot)
            if entry & P:
                frame = entry & FRAME
                yield frame, level == 1
                if level > 1:
                    yield from self._reach(frame, level - 1)

    def count(self) -> tuple[int, int]:
        """Give how many frames hold pages, and how many must at most; raise for frames that are lost or mapped without being taken."""
        tables, pages = set[int](), set[int]()
        for program in self.programs:
            tables.add(program.space.root)
            for frame, page in self._reach(program.space.root, 4):
                expect(
                    frame in self.system.taken,
                    f"the tables lead to frame {frame:#x}, which your kernel has not taken, or given back",
                )
                (pages if page else tables).add(frame)
        lost = self.system.taken - tables - pages
        expect(not lost, f"{len(lost)} frames are taken and in no tables: {min(lost, default=0):#x} …")
        return len(pages), len({id(version) for program in self.programs for version in program.pages.values()})


@test(20, "fault: memory at the first touch")
def first_touch(student: Student) -> None:
    world = World(student)
    (program,) = world.programs
    for _ in range(60):
        world.read(program, world.place())
        world.write(program, world.place(writable=True))
    for address in list(program.values):
        world.read(program, address)


@test(15, "fault: what was not promised")
def not_promised(student: Student) -> None:
    world = World(student)
    (program,) = world.programs
    world.write(program, world.place(writable=True))
    world.read(program, world.areas[1].start)
    for area in world.areas:
        for address in (area.start - 1, area.end, area.end + 0x5000, area.start - 0x200000):
            for value in (None, 7):
                got = world.access(program, address, value)
                expect(
                    got is None,
                    f"the program {'read' if value is None else 'wrote to'} {address:#x}, which is in no area, and went on",
                )
    for address in (world.areas[1].start, world.areas[1].end - 1):
        got = world.access(program, address, 7)
        expect(got is None, f"the program wrote to {address:#x}, where it may only read, and went on")


@test(10, "fault: no frame without a touch")
def thrift(student: Student) -> None:
    world = World(student)
    (program,) = world.programs
    for _ in range(12):
        world.write(program, world.place(writable=True))
        world.read(program, world.place())
        used, most = world.count()
        expect(used <= most, f"the program has touched {most} pages, and {used} frames hold its pages")


@test(20, "fork: each sees its own")
def each_its_own(student: Student) -> None:
    world = World(student)
    (parent,) = world.programs
    for _ in range(20):
        world.write(parent, world.place(writable=True))
    places = list(parent.values)
    child = world.fork(parent)
    for who in (parent, child, parent, child):  # the parent first: it must not write by an old translation
        for address in world.random.sample(places, 8):
            world.read(who, address)
            world.write(who, address)
            world.write(who, world.place(writable=True))
    for who in (parent, child):
        for address in list(who.values):
            world.read(who, address)
    address = world.areas[1].start
    world.read(child, address)
    expect(
        world.access(child, address, 1) is None, f"the child wrote to {address:#x}, where it may only read, and went on"
    )


@test(15, "fork: no frame too many")
def few(student: Student) -> None:
    world = World(student)
    (parent,) = world.programs
    for _ in range(15):
        world.write(parent, world.place(writable=True))
    child = world.fork(parent)
    used, most = world.count()
    expect(used <= most, f"behind fork, before any write, {used} frames hold pages, and {most} pages are different")
    for who in (child, parent):
        for address in list(parent.values)[:8]:
            world.write(who, address)
            used, most = world.count()
            who_said = "the child" if who is child else "the parent, by now the only owner,"
            expect(
                used <= most, f"{who_said} wrote to a page: {used} frames hold pages, and {most} pages are different"
            )


@test(10, "exit: every frame comes back")
def back(student: Student) -> None:
    world = World(student)
    (parent,) = world.programs
    for _ in range(15):
        world.write(parent, world.place(writable=True))
    child = world.fork(parent)
    for _ in range(6):
        world.write(child, world.place(writable=True))
    world.exit(parent)
    world.count()
    for address in list(child.values):
        world.read(child, address)
    world.exit(child)
    left = len(world.system.taken)
    expect(left == 0, f"both programs have ended, and {left} frames have not come back")


@test(10, "all of it at random", seconds=20)
def at_random(student: Student) -> None:
    world, random = World(student), student.random
    for _ in range(250):
        program = random.choice(world.programs)
        what = random.random()
        if what < 0.06 and len(world.programs) < 5:
            world.fork(program)
        elif what < 0.1 and len(world.programs) > 1:
            world.exit(program)
        elif what < 0.12 and len(world.programs) < 5:
            world.programs.append(world.spawn())
        elif what < 0.55:
            world.read(program, random.choice([*program.values, world.place()]))
        else:
            world.write(program, random.choice([*program.values, world.place(writable=True)]))
    used, most = world.count()
    expect(used <= most, f"{used} frames hold pages, and {most} pages are different")
    for program in list(world.programs):
        world.exit(program)
    left = len(world.system.taken)
    expect(left == 0, f"all programs have ended, and {left} frames have not come back")
