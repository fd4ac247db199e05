"""Crossings worked out once against the same crossings worked out each time: two processors, one that forgets after every step."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paracell.emu import fastpath, layout, msr
from paracell.emu.descriptors import parse
from paracell.emu.exceptions import deliver
from paracell.emu.faults import DB, GP, Fault, TripleFault
from paracell.emu.idt import enter
from paracell.emu.instructions.control import load_cr3, load_cr4
from paracell.emu.instructions.syscall import LSTAR, SFMASK, STAR
from paracell.emu.machine import Machine
from paracell.emu.registers import DS, ES, R11, RAX, RCX, RDX, RIP, RSP
from paracell.mmu.rights import EXEC, READ, WRITE, table
from paracell.mmu.walk import Refusal

from .world import (
    CODE,
    CODE64,
    DATA,
    DPL3,
    GDT,
    HANDLER,
    IDT,
    KERNEL_CS,
    KERNEL_SS,
    STACK0,
    STACK3,
    TSS_AT,
    UNMAPPED,
    USER_CS,
    USER_SS,
    World,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

FLAGS = [0x2, 0x202, 0x8D7, 0x402, 0x40202, 0x4002, 0x102, 0x10202, 0x3202, 0x200246]
PGE = 1 << 7
SYSCALL, IRETQ = "0f05", "48cf"
READERS = [
    "0f31",
    "0f20d0",
    "410f20e0",
    "0f01b800020000",
    "0f01ee",
]  # rdtsc; mov rax,cr2; mov r8,cr4; invlpg [rax+0x200]; rdpkru
PAGES, OTHER_TSS, RESERVED, OTHER_ROOT = 0x4000, 0x1B000, 0x1A000, 0x6000
Step = tuple[str, int]
STEPS: dict[str, Callable[[Trapped, int], None]] = {}


def step(function: Callable[[Trapped, int], None]) -> Callable[[Trapped, int], None]:
    """Enter a step into the table under its name."""
    STEPS[function.__name__] = function
    return function


class Trapped(World):
    """A world with a machine's traps; the `careful` one goes the whole way each time."""

    def __init__(self, *, careful: bool) -> None:
        machine = Machine(16 << 20)
        super().__init__(machine=machine)
        self.traps = machine.traps
        self.careful = careful
        cpu, traps = self.cpu, self.traps
        self._syscall = fastpath.syscall(cpu, traps.pending, traps.on_syscall)
        self._page_fault = fastpath.page_fault(cpu)
        self._interrupt = fastpath.interrupt(cpu, traps.pending, traps.on_interrupt, traps.on_refusal, self._page_fault)
        self._invalid = fastpath.invalid(cpu, traps.pending, traps.on_invalid)

    def access(self, address: int, need: int) -> None:
        """Touch memory as TCG's miss does."""
        translation = self.cpu.translation
        refusal = Refusal(translation._walk(address, need), address, need)
        if refusal.result < 0 and (self.careful or not self._page_fault(refusal)):
            deliver(self.cpu, translation.page_fault(refusal))

    def trap(self, code: str) -> None:
        """Run an instruction as its trap does."""
        cpu, traps = self.cpu, self.traps
        if cpu.translation.fetch(cpu.q[RIP]) is None:
            return  # nobody could have come here
        self.memory.write(cpu.q[RIP], bytes.fromhex(code))
        if code == IRETQ or code in READERS[:4]:
            if self.careful:
                traps.on_interrupt(13)
            else:
                self._interrupt(0, 13)
        elif code != SYSCALL:
            if self.careful:
                traps.on_invalid()
            else:
                self._invalid()
        else:
            if self.careful:
                traps.on_syscall()
            else:
                self._syscall()
            cpu.q[RIP] += 2  # as TCG does
        if cpu.failure is not None:
            failure, cpu.failure = cpu.failure, None
            raise failure


@step
def syscall(world: Trapped, _n: int) -> None:
    world.trap(SYSCALL)


@step
def sysret(world: Trapped, n: int) -> None:
    world.cpu.q[RCX] = CODE + n
    world.cpu.q[R11] = FLAGS[n % len(FLAGS)]
    world.trap("480f07")


@step
def fault(world: Trapped, n: int) -> None:
    deliver(world.cpu, GP(8 * n))


@step
def access(world: Trapped, n: int) -> None:
    """Something that may be refused: nothing there, a supervisor page, a non-canonical address."""
    world.access((UNMAPPED + 8, STACK0 - 16, 1 << 47, STACK3 - 8, RESERVED)[n % 5], (READ, WRITE, EXEC)[n // 5 % 3])


@step
def trap(world: Trapped, _n: int) -> None:
    deliver(world.cpu, DB(1 << 14))


@step
def software(world: Trapped, n: int) -> None:
    enter(world.cpu, 0x80 if n & 1 else 3, None, rf=0, external=0, software=True)


@step
def iret(world: Trapped, n: int) -> None:
    pairs = (KERNEL_CS, KERNEL_SS), (USER_CS, USER_SS), (KERNEL_CS, 0)
    cs, ss = pairs[n % 3]
    cpu = world.cpu
    cpu.q[RSP] = STACK0 - 0x400 - 8 * (n & 3)
    frame = CODE + n, cs, FLAGS[n % len(FLAGS)], STACK3 if cs & 3 else STACK0, ss
    world.memory.write(cpu.q[RSP], struct.pack("<5Q", *frame))
    world.trap(IRETQ)


@step
def flags(world: Trapped, n: int) -> None:
    world.cpu.rflags = FLAGS[n % len(FLAGS)]


@step
def lazy_flags(world: Trapped, n: int) -> None:
    cpu = world.cpu
    cpu.d[layout.CC_OP >> 2] = 17  # a 64-bit SUB
    cpu.q[layout.CC_DST >> 3], cpu.q[layout.CC_SRC >> 3] = n, 2 * n


@step
def registers(world: Trapped, n: int) -> None:
    which = (STAR, LSTAR, SFMASK)[n % 3]
    values = {
        STAR: (KERNEL_CS << 32 | (USER_SS - 8) << 48, 0x48 << 32 | 0x63 << 48),
        LSTAR: (HANDLER, HANDLER + 0x40),
        SFMASK: (0x47700, 0x44700, 0x700, 0x40400, 0x47FD5),
    }[which]
    msr.write(world.cpu, which, values[n // 3 % len(values)])


@step
def keys(world: Trapped, n: int) -> None:
    cpu = world.cpu
    cpu.q[RAX], cpu.q[RCX], cpu.q[RDX] = (0, 0xC, 0x30, 0xFFFFFFFC)[n & 3], int(n == 13), int(n == 14)
    world.trap("0f01ef")


@step
def reader(world: Trapped, n: int) -> None:
    """One of those that get a closure of their own, at one of few addresses."""
    cpu = world.cpu
    cpu.q[RIP] = CODE + 0x100
    cpu.q[RAX], cpu.q[RCX] = (TSS_AT, GDT, STACK0 - 0x1000, 0)[n % 4], int(n == 15)
    world.trap(READERS[n % len(READERS)])


@step
def reads(world: Trapped, n: int) -> None:
    """The same one twice: the second time it is known."""
    reader(world, n)
    reader(world, n)


@step
def address_space(world: Trapped, n: int) -> None:
    """MOV to CR3: another root with the same tables below, or the same one."""
    load_cr3(world.cpu, OTHER_ROOT if n & 1 else 0x1000)


@step
def global_pages(world: Trapped, n: int) -> None:
    """CR4.PGE: the pages of the descriptor tables and of the TSS are marked global."""
    cpu = world.cpu
    load_cr4(cpu, cpu.cr4 | PGE if n & 1 else cpu.cr4 & ~PGE)


@step
def supervisor_keys(world: Trapped, n: int) -> None:
    world.cpu.set_pkrs((0, 4)[n & 1])


@step
def gate_moves(world: Trapped, n: int) -> None:
    world.gate(13, target=HANDLER + 16 * n, kind=(0x8E, 0x8F, 0x0E)[n % 3], ist=n & 1)


@step
def gate_selector(world: Trapped, n: int) -> None:
    world.gate(1, selector=(KERNEL_CS, USER_CS, 0)[n % 3])


@step
def descriptor(world: Trapped, n: int) -> None:
    world.describe(KERNEL_CS, (CODE64, CODE64 | 4 << 40, CODE64 & ~(1 << 47))[n % 3])


@step
def user_descriptors(world: Trapped, n: int) -> None:
    world.describe(USER_SS & ~3, DATA | DPL3 if n & 1 else DATA)


@step
def task(world: Trapped, n: int) -> None:
    world.memory.write(TSS_AT + 4, struct.pack("<Q", STACK0 - 0x1000 * (n & 1)))


@step
def data_segment(world: Trapped, _n: int) -> None:
    """Load DS in ring 0, so that a return to ring 3 has something to null."""
    if world.cpu.cpl == 0:
        world.cpu.set_segment(DS, parse(KERNEL_SS, DATA))


@step
def control(world: Trapped, n: int) -> None:
    world.cpu.set_cr4(
        0x20 | (1 << 22) | (1 << 21 if n & 1 else 0) | (1 << 24 if n & 2 else 0)
    ) if n % 7 else world.cpu.set_cr4(0x20)


@step
def tables_move(world: Trapped, n: int) -> None:
    cpu = world.cpu
    at = STACK0 - 0x2000
    cpu.q[RAX] = at
    world.memory.write(at, struct.pack("<HQ", (0xFFF, 0x2F)[n & 1], IDT if n & 2 else GDT))
    world.do("0f0118" if n & 2 else "0f0110")


@step
def another_task(world: Trapped, n: int) -> None:
    """Map the page of the TSS elsewhere: there the ring-0 stack is another."""
    at = OTHER_TSS if n & 1 else TSS_AT
    world.memory.write(PAGES + 8 * (TSS_AT >> 12), struct.pack("<Q", at | 0x163))
    if n & 2:
        world.cpu.translation.invlpg(TSS_AT)


def make(*, careful: bool) -> Trapped:
    """Make a world in which every step has something to do."""
    world = Trapped(careful=careful)
    # Small pages for the first 2 MiB, all for the supervisor but two, so that SMAP lets the kernel work.
    special = {STACK3 - 4096: 0x67 | 1 << 59, CODE: 0x67, RESERVED: 0x63 | 1 << 63}  # key 1; XD without EFER.NXE
    special |= dict.fromkeys((GDT, IDT, TSS_AT, STACK0 - 4096), 0x163)
    world.memory.write(OTHER_ROOT, struct.pack("<Q", 0x2007))
    entries = [page << 12 | special.get(page << 12, 0x63) for page in range(512)]
    world.memory.write(PAGES, struct.pack("<512Q", *entries))
    world.memory.write(0x3000, struct.pack("<Q", PAGES | 0x27))
    world.memory.write(OTHER_TSS + 4, struct.pack("<Q", STACK0 - 0x1000))
    for vector, kind in ((1, 0x8E), (3, 0xEE), (8, 0x8E), (10, 0x8E), (11, 0x8E), (12, 0x8E), (13, 0x8E), (14, 0x8E)):
        world.gate(vector, kind=kind)
    world.gate(0x80, kind=0xEE)
    world.memory.write(TSS_AT + 36, struct.pack("<Q", STACK0 - 0x800))
    cpu = world.cpu
    cpu.msr.update({STAR: KERNEL_CS << 32 | (USER_SS - 8) << 48, LSTAR: HANDLER, SFMASK: 0x47700})
    cpu.set_cr4(0x20 | 1 << 22)
    world.warm()
    return world


def state(world: Trapped) -> dict[str, Any]:
    """Everything that a crossing may change, and what may be done with memory there."""
    cpu = world.cpu
    translation = cpu.translation
    return {
        "registers": list(cpu.q[:17]),
        "rflags": cpu.rflags,
        "selectors": [cpu.d[layout.SEGMENTS + 24 * i >> 2] for i in range(6)],
        "segments": [cpu.segment(i) for i in range(6)],
        "levels": (cpu.cpl, cpu.iopl, cpu.pkru, cpu.pkrs, cpu.interrupt_shadow, cpu.cr2, cpu.dr[6]),
        "rights": translation.capture()[1],
        "context": translation.context(user=cpu.cpl == 3),
        "mode": cpu.d[layout.HFLAGS >> 2] & ~0x1800003,  # but not which slot it is
        "time": cpu.clock.cycles,
        "stacks": cpu.memory.read(STACK0 - 0x3000, 0x3000),
        "gdt": cpu.memory.read(GDT, 0x100),
    }


def outcome(world: Trapped, name: str, n: int) -> str:
    """Take one step; what went wrong."""
    try:
        STEPS[name](world, n)
    except (Fault, TripleFault) as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def worlds() -> Iterator[tuple[Trapped, Trapped]]:
    made = make(careful=False), make(careful=True)
    yield made
    for world in made:
        world.cpu.engine.close()


CROSSINGS = ["syscall", "sysret", "fault", "iret", "software", "trap"]
ROUNDS: list[list[Step]] = [
    [("iret", 1), ("syscall", 0), ("sysret", 0), ("fault", 0)],
    [("iret", 13), ("syscall", 0)],  # with DF
    [("iret", 22), ("syscall", 0)],  # with CF PF AF ZF SF OF
    [("iret", 1), ("fault", 0)],
    [("iret", 4), ("fault", 0)],  # with AC
    [("iret", 10), ("software", 1), ("iret", 1), ("trap", 0)],
    [("fault", 0), ("iret", 0)],
    [("iret", 1), ("access", 0), ("access", 4), ("iret", 1), ("access", 1)],
    [("iret", 1), ("keys", 1), ("access", 3), ("keys", 0), ("iret", 1), ("keys", 1), ("syscall", 0), ("keys", 0)],
    [("flags", 4), ("keys", 0), ("keys", 1), ("keys", 2), ("iret", 0), ("keys", 0)],
    [("trap", 0), ("iret", 2)],
    [("global_pages", 1), ("iret", 1), ("fault", 0), ("address_space", 1), ("iret", 1), ("fault", 0)],
    [("iret", 1), ("reads", 0), ("fault", 0), ("reads", 1), ("reads", 3), ("reads", 4)],
]
one_step = st.tuples(st.sampled_from(CROSSINGS) | st.sampled_from(sorted(STEPS)), st.integers(0, 15))


def reset(world: Trapped, clean: bytes) -> None:
    """Back to the beginning."""
    cpu = world.cpu
    world.memory.write(0, clean)
    cpu.gdtr, cpu.idtr = cpu.gdtr._replace(base=GDT, limit=0xFFF), cpu.idtr._replace(base=IDT, limit=0xFFF)
    cpu.msr.update({STAR: KERNEL_CS << 32 | (USER_SS - 8) << 48, LSTAR: HANDLER, SFMASK: 0x47700})
    cpu.rflags = 2
    cpu.dr[6] = 0xFFFF0FF0
    cpu.cr2 = cpu.clock.cycles = 0
    cpu.interrupt_shadow = False
    for number in (DS, ES):  # a return to ring 3 nulls them
        cpu.set_segment(number, parse(KERNEL_SS, DATA))
    for register in range(16):
        cpu.q[register] = 0
    cpu.set_pkru(0)
    cpu.set_pkrs(0)
    cpu.set_cr4(0x20 | 1 << 22)
    cpu.cr3 = 0x1000
    cpu.sync_control()
    world.at_ring(0)
    cpu.translation.flush_all()
    world.warm()


def compare(worlds: tuple[Trapped, Trapped], steps: Sequence[Step]) -> None:
    """Take the same steps in both worlds, from the beginning."""
    fast, careful = worlds
    clean = at_first(careful)
    for world in worlds:
        reset(world, clean)
    for at, (name, n) in enumerate(steps):
        careful.cpu.translation.forget_code()
        assert outcome(fast, name, n) == outcome(careful, name, n), (steps, at)
        mine, theirs = state(fast), state(careful)
        if mine != theirs:
            differing = [key for key in mine if mine[key] != theirs[key]]
            shown = [(mine[k], theirs[k]) for k in differing if k not in {"stacks", "rights"}]
            raise AssertionError((steps, at, differing, shown))


@settings(max_examples=300, deadline=None)
@given(steps=st.lists(one_step, min_size=4, max_size=40))
def test_a_crossing_leads_where_it_led(worlds: tuple[Trapped, Trapped], steps: list[Step]) -> None:
    compare(worlds, steps)


SHARED: list[Step] = [  # under SMAP, ring 0 has one slot for all keys: where it returns to, it has not
    *[("control", 1), ("keys", 1), ("iret", 1), ("trap", 0), ("keys", 0), ("iret", 1), ("trap", 0)],
    *[("keys", 1), ("iret", 1), ("access", 3), ("keys", 0), ("sysret", 0), ("syscall", 0), ("keys", 1), ("sysret", 0)],
]


def test_what_ring_0_shares_ring_3_does_not(worlds: tuple[Trapped, Trapped]) -> None:
    compare(worlds, SHARED * 3)
    translation = worlds[0].cpu.translation
    assert any(len(slot.pkrus) > 1 and slot.context is None for slot in translation.slots)


def test_a_guest_that_makes_up_keys_takes_no_memory(worlds: tuple[Trapped, Trapped]) -> None:
    compare(worlds, SHARED)
    cpu = worlds[0].cpu
    translation = cpu.translation
    for value in range(0, 80_000, 4):
        cpu.set_pkru(value)
        assert translation.slots[translation.current_slot].table == table(translation.context(user=cpu.cpl == 3))
    assert len(translation.slot_by_pkru) <= 192
    for value in range(5000):
        cpu.set_pkrs(value)
    assert len(translation._slots_by_mode) <= 4097


def rounds(of: int, part: int) -> Iterator[list[Step]]:
    """Each round twice, one change of anything anywhere in the third, and another round: one part `of` so many."""
    number = 0
    for first in ROUNDS:
        for second in ROUNDS:
            for at in range(len(first) + 1):
                for name in STEPS:
                    for n in range(1 if name in CROSSINGS else 16):
                        number += 1
                        if number % of == part:
                            yield [*first, *first, *first[:at], (name, n), *first[at:], *first, *second]


def test_one_change_between_crossings(worlds: tuple[Trapped, Trapped]) -> None:
    for steps in rounds(149, 7):
        compare(worlds, steps)


@pytest.mark.sweep
@pytest.mark.parametrize("part", range(8))
def test_every_change_between_crossings(worlds: tuple[Trapped, Trapped], part: int) -> None:
    for steps in rounds(8, part):
        compare(worlds, steps)


_CLEAN: list[bytes] = []


def at_first(world: Trapped) -> bytes:
    """The first 256 KiB as they were when the worlds were made."""
    if not _CLEAN:
        _CLEAN.append(world.memory.read(0, 0x40000))
    return _CLEAN[0]


def test_the_transitions_are_taken(worlds: tuple[Trapped, Trapped]) -> None:
    """Or else the comparison above would compare a thing with itself."""
    fast, _ = worlds
    reset(fast, at_first(fast))
    cpu = fast.cpu
    for _ in range(2):  # the first time, contexts get their slots
        for name, n in (("syscall", 0), ("sysret", 0), ("fault", 0), ("iret", 1)):
            if name != "iret":
                fast.at_ring(0 if name == "sysret" else 3)
            assert not outcome(fast, name, n)
    assert cpu.syscall_path
    assert cpu.sysret_path
    assert 13 in cpu.gate_paths
    assert USER_CS << 16 | USER_SS in cpu.iret_paths


def test_what_a_cr3_load_leaves(worlds: tuple[Trapped, Trapped]) -> None:
    """Crossings and trapped instructions on global pages stay, others go; SYSCALL and SYSRET read no memory."""
    fast, _ = worlds
    for paged in (True, False):
        reset(fast, at_first(fast))
        fast.cpu.translation.flush_all()
        cpu = fast.cpu
        if paged:
            load_cr4(cpu, cpu.cr4 | PGE)
            fast.warm()
        for _ in range(2):
            for name, n in (("syscall", 0), ("sysret", 0), ("fault", 0), ("iret", 1), ("reads", 0)):
                if name != "iret":
                    fast.at_ring(0 if name == "sysret" else 3)
                assert not outcome(fast, name, n)
        known = set(cpu.gate_paths), set(cpu.iret_paths)
        assert 13 in known[0]
        assert CODE + 0x100 in cpu.translation.sites
        load_cr3(cpu, OTHER_ROOT)
        assert cpu.syscall_path
        assert cpu.sysret_path
        assert (set(cpu.gate_paths), set(cpu.iret_paths)) == (known if paged else (set(), set()))
        assert CODE + 0x100 not in cpu.translation.sites  # its page is no global one


def test_invlpg_forgets_what_it_must(worlds: tuple[Trapped, Trapped]) -> None:
    fast, _ = worlds
    reset(fast, at_first(fast))
    cpu = fast.cpu
    for _ in range(2):
        fast.at_ring(3)
        outcome(fast, "fault", 0)
    assert 13 in cpu.gate_paths
    cpu.translation.invlpg(CODE)
    assert 13 in cpu.gate_paths
    cpu.translation.invlpg(TSS_AT)
    assert not cpu.gate_paths
