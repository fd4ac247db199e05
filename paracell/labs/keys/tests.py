"""Tests of lab 2: one page with random rights and a random key, on which the processor makes an access."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..bench import FREE, LANDING, PAGE_FAULT, Bench
from ..grade import Student, expect, test

if TYPE_CHECKING:
    from ..bench import Access

P, RW, US, XD = 1, 2, 4, 1 << 63
ADDRESS: Final = 0x1234_5000
FRAME: Final = FREE + 0x10000
WP: Final = 1 << 16
CASES: Final = 150
DATA: Final[tuple[Access, ...]] = ("read", "write")


class OnePage:
    """A machine with one page at ADDRESS, whose entry a test sets."""

    def __init__(self) -> None:
        self.bench = Bench()
        memory = self.bench.memory
        memory.write(FRAME, LANDING * 4096)
        for level, shift in enumerate((39, 30, 21)):
            memory.write64(
                FREE + 0x1000 * level + 8 * (ADDRESS >> shift & 511), FREE + 0x1000 * (level + 1) | P | RW | US
            )
        self.bench.install(FREE)
        self.bench.use(FREE)

    def error(self, page: Any, access: Access, *, user: bool, pkru: int, wp: bool) -> int | None:
        """Let the processor make the access; its error code, or None."""
        entry = FRAME | (P if page.present else 0) | (RW if page.writable else 0) | (US if page.user else 0)
        entry |= page.key << 59 | (0 if page.executable else XD)
        self.bench.memory.write64(FREE + 0x3000 + 8 * (ADDRESS >> 12 & 511), entry)
        self.bench.invlpg(ADDRESS)
        cpu = self.bench.machine.cpu
        cpu.pkru = pkru
        cpu.cr0 = cpu.cr0 | WP if wp else cpu.cr0 & ~WP
        out = self.bench.access(ADDRESS, access, user=user)
        assert out.vector in {None, PAGE_FAULT}
        return out.error


def compare(student: Student, *, access: tuple[Access, ...], users: tuple[bool, ...], pages: tuple[bool, ...]) -> None:
    """Try random pages, keys and accesses of some kinds."""
    make, error = student.function("keys", "Page"), student.function("keys", "error")
    machine, random = OnePage(), student.random
    for _ in range(CASES):
        page = make(
            present=random.random() < 0.9,
            writable=random.random() < 0.7,
            user=random.choice(pages),
            executable=random.random() < 0.7,
            key=random.choice([0, 0, *range(16)]),
        )
        which, user, wp = random.choice(access), random.choice(users), random.random() < 0.5
        pkru = random.getrandbits(32) & random.getrandbits(32)
        got = error(page, which, user, pkru, wp)
        its = machine.error(page, which, user=user, pkru=pkru, wp=wp)
        asked = f"{page}\n  a {'user' if user else 'supervisor'} {which}, PKRU {pkru:#010x}, WP {int(wp)}"
        expect(got == its, f"{asked}\n  the processor: {_said(its)}\n  your error:    {_said(got)}")


def _said(error: Any) -> str:
    return "allowed (None)" if error is None else f"error code {error:#x}" if isinstance(error, int) else repr(error)


@test(10, "rights: what PKRU says of a key")
def what_it_says(student: Student) -> None:
    rights, machine, make = student.function("keys", "rights"), OnePage(), student.function("keys", "Page")
    for _ in range(60):
        pkru, key = student.random.getrandbits(32), student.random.choice([0, *range(16)])
        page = make(present=True, writable=True, user=True, executable=True, key=key)
        its = tuple(machine.error(page, access, user=True, pkru=pkru, wp=True) is None for access in DATA)
        got = rights(pkru, key)
        expect(got == its, f"rights({pkru:#010x}, {key}) gave {got!r}; the processor allows (read, write) {its}")


@test(10, "pkru_for: a PKRU for some wishes")
def wishes(student: Student) -> None:
    pkru_for, machine, make = student.function("keys", "pkru_for"), OnePage(), student.function("keys", "Page")
    for _ in range(20):
        keys = student.random.sample(range(16), 16)
        first, second = sorted(student.random.choices(range(13), k=2))
        closed, read_only = set(keys[:first]), set(keys[first:second])
        pkru = pkru_for(set(closed), set(read_only))
        fits = isinstance(pkru, int) and 0 <= pkru < 1 << 32
        expect(fits, f"pkru_for({closed}, {read_only}) gave {pkru!r}, which is no 32-bit number")
        for key in range(16):
            page = make(present=True, writable=True, user=True, executable=True, key=key)
            its = tuple(machine.error(page, access, user=True, pkru=pkru, wp=True) is None for access in DATA)
            wanted = (key not in closed, key not in closed | read_only)
            expect(
                its == wanted,
                f"pkru_for({closed}, {read_only}) gave {pkru:#010x}: key {key} allows (read, write) {its}, not {wanted}",
            )


@test(25, "error: user mode and data")
def by_user(student: Student) -> None:
    compare(student, access=DATA, users=(True,), pages=(True,))


@test(20, "error: a supervisor and user pages")
def by_supervisor(student: Student) -> None:
    compare(student, access=DATA, users=(False,), pages=(True,))


@test(20, "error: where no key is asked")
def no_key(student: Student) -> None:
    compare(student, access=("fetch",), users=(True, False), pages=(True, False))
    compare(student, access=(*DATA, "fetch"), users=(True, False), pages=(False,))


@test(15, "names: the bits of an error code")
def bits(student: Student) -> None:
    names = student.function("keys", "names")
    order = ("P", "W", "U", "RSVD", "I", "PK")
    for error in (*range(64), 1 << 15 | 7, 1 << 6):
        wanted = {name for bit, name in enumerate(order) if error >> bit & 1}
        got = names(error)
        expect(isinstance(got, set) and got == wanted, f"names({error:#x}) gave {got!r}, and not {wanted}")
