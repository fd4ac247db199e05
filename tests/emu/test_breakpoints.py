"""Debug exceptions while TCG runs: single step, DR0–DR3, loads of SS, and what none of them may show the guest."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import pytest

from paracell.emu.events import Event, Kind
from paracell.emu.machine import Machine
from paracell.emu.registers import R11, RCX, RIP, RSP
from paracell.emu.stop import Reason

from .world import CODE, HANDLER, KERNEL_SS, STACK0, TSS_AT, UNMAPPED, World

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = 0x50000
IRETQ, EXIT = "48cf", "e6f4"  # out 0xf4, al
BS, B0, B1, BD = 1 << 14, 1, 2, 1 << 13
WRITE, ACCESS, PORT, EXECUTE = 1, 3, 2, 0
LENGTH = {1: 0, 2: 1, 4: 3, 8: 2}
TF_ON = "9c 810c2400010000 9d"  # pushf; or dword [rsp], 1<<8; popf
TF_OFF = "9c 812424fffeffff 9d"
STORE = "48890425 00000500"  # mov [DATA], rax
NOP = "90"


class Debugged:
    """A machine whose handlers only return, and the list of the exceptions that it delivered."""

    def __init__(self) -> None:
        self.machine = Machine(16 << 20)
        self.world = World(machine=self.machine)
        self.cpu = self.machine.cpu
        self.memory = self.machine.memory
        self.met: list[tuple[int, int, int]] = []
        for vector in (1, 3, 6, 32):
            self.world.gate(vector)
        self.memory.write(HANDLER, bytes.fromhex(IRETQ))
        self.machine.add_sink(self)

    def emit(self, event: Event) -> None:
        """Note (vector, offset in the program, DR6's condition bits)."""
        if event.kind is Kind.EXCEPTION:
            self.met.append((event.data[0], event.rip - CODE, self.cpu.dr[6] & 0xE00F))

    def close(self) -> None:
        """Nothing is buffered."""

    def point(self, number: int, address: int, kind: int, length: int = 1) -> None:
        """Enable one breakpoint."""
        self.cpu.dr[number] = address
        self.cpu.dr[7] |= 2 << 2 * number | (kind | LENGTH[length] << 2) << 16 + 4 * number
        self.cpu.breakpoints.update()

    def run(self, *code: str) -> list[tuple[int, int, int]]:
        """Run a program to its exit; what was met."""
        self.memory.write(CODE, bytes.fromhex("".join(code) + EXIT))
        assert self.machine.run().reason is Reason.EXIT
        return self.met


@pytest.fixture
def debugged() -> Iterator[Debugged]:
    made = Debugged()
    yield made
    made.machine.close()


def test_single_step_begins_after_popf_and_ends_after_it(debugged: Debugged) -> None:
    assert debugged.run(TF_ON, NOP, TF_OFF) == [(1, 10, BS), (1, 11, BS), (1, 18, BS), (1, 19, BS)]


def test_instruction_breakpoint(debugged: Debugged) -> None:
    debugged.point(0, CODE + 1, EXECUTE)
    debugged.memory.write(HANDLER, bytes.fromhex("814c2410 00000100" + IRETQ))  # RF in the flags that return
    assert debugged.run(NOP, NOP, NOP) == [(1, 1, B0)]


def test_two_instruction_breakpoints_at_one_address_are_one_exception(debugged: Debugged) -> None:
    debugged.point(0, CODE + 1, EXECUTE)
    debugged.point(1, CODE + 1, EXECUTE)
    debugged.memory.write(HANDLER, bytes.fromhex("814c2410 00000100" + IRETQ))
    assert debugged.run(NOP, NOP, NOP) == [(1, 1, B0 | B1)]


def test_dr6_keeps_what_software_left_but_for_b0_to_b3(debugged: Debugged) -> None:
    debugged.cpu.dr[6] |= BS | B1
    debugged.point(0, DATA, WRITE)
    assert debugged.run(STORE) == [(1, 8, BS | B0)]


@pytest.mark.parametrize(
    ("kind", "length", "offset", "code", "hit"),
    [
        (WRITE, 8, 0, STORE, True),
        (WRITE, 1, 7, STORE, True),  # the last of the eight bytes
        (WRITE, 1, 8, STORE, False),
        (WRITE, 4, 6, STORE, True),  # low address bits are ignored: 4 to 7
        (WRITE, 8, 0, "488b0425 00000500", False),  # a read
        (ACCESS, 8, 0, "488b0425 00000500", True),
        (ACCESS, 1, 15, "0f100425 00000500", True),  # movups
        (WRITE, 1, 3, "f0ff0425 00000500", True),  # lock inc
        (ACCESS, 2, 0, "0f010c25 00000500", True),  # sidt, which Python runs
        (WRITE, 8, 0, "ff3425 00000500", False),  # push [DATA] reads
        (ACCESS, 8, 0, "ff3425 00000500", True),
    ],
)
def test_data_breakpoint(debugged: Debugged, kind: int, length: int, offset: int, code: str, hit: bool) -> None:
    debugged.cpu.set_cr4(debugged.cpu.cr4 | 0x600)  # for MOVUPS
    debugged.point(1, DATA + offset, kind, length)
    assert debugged.run(code, NOP) == ([(1, len(bytes.fromhex(code)), B1)] if hit else [])


def test_an_instruction_that_faults_does_not_trap(debugged: Debugged) -> None:
    debugged.point(0, DATA, ACCESS, 8)
    debugged.world.gate(14, target=HANDLER + 0x100, ist=1)
    debugged.memory.write(HANDLER + 0x100, bytes.fromhex("58 83042407" + IRETQ))  # drop the error code, step over
    debugged.memory.write(TSS_AT + 36, (STACK0 - 0x800).to_bytes(8, "little"))
    debugged.cpu.q[RSP] = UNMAPPED + 8
    assert debugged.run("ff3425 00000500", NOP) == [(14, 0, 0)]  # push [DATA]: read, then no stack


def test_single_step_and_data_breakpoint_are_one_exception(debugged: Debugged) -> None:
    debugged.point(0, DATA, WRITE, 8)
    assert debugged.run(TF_ON, STORE)[0] == (1, 17, BS | B0)


def test_each_turn_of_a_string_traps(debugged: Debugged) -> None:
    debugged.point(0, DATA, WRITE, 8)
    debugged.cpu.q[7] = DATA - 4
    debugged.cpu.q[RCX] = 16
    met = debugged.run("f3aa")  # rep stosb: elements 4 to 11
    assert met == [(1, 0, B0)] * 8


def test_io_breakpoint_needs_cr4_de(debugged: Debugged) -> None:
    debugged.point(0, 0x80, PORT)
    assert debugged.run("e680", NOP) == []
    debugged.cpu.set_cr4(debugged.cpu.cr4 | 8)
    debugged.world.at_ring(0)
    assert debugged.run("e680", NOP) == [(1, 2, B0)]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (NOP, [(1, 8, B0)]),
        ("f1", [(1, 8, B0)]),  # INT1 brings it along
        ("cd20", [(32, 9, 0), (1, HANDLER - CODE, B0)]),  # before the handler's first instruction
        ("cc", [(3, 8, 0), (1, HANDLER - CODE, B0)]),
    ],
)
def test_a_load_of_ss_holds_its_breakpoint_back(
    debugged: Debugged, after: str, expected: list[tuple[int, int, int]]
) -> None:
    debugged.memory.write(DATA, bytes([KERNEL_SS, 0]))
    debugged.point(0, DATA, ACCESS)
    assert debugged.run("8e1425 00000500", after) == expected


def test_no_instruction_breakpoint_after_a_load_of_ss(debugged: Debugged) -> None:
    debugged.point(0, CODE + 4, EXECUTE)
    assert debugged.run("668cd0 8ed0", NOP, NOP) == []
    debugged.world.at_ring(0)
    debugged.point(1, CODE + 6, EXECUTE)
    debugged.memory.write(HANDLER, bytes.fromhex("814c2410 00000100" + IRETQ))
    assert debugged.run("668cd0 8ed0", NOP, NOP) == [(1, 6, B1)]


def test_int1_is_no_single_step(debugged: Debugged) -> None:
    assert debugged.run(TF_ON, "f1", TF_OFF)[:2] == [(1, 10, 0), (1, 11, BS)]


def test_general_detect(debugged: Debugged) -> None:
    debugged.cpu.dr[7] |= 1 << 13
    assert debugged.run("0f21c0", NOP) == [(1, 0, BD)]  # once: GD is clear then


@pytest.mark.parametrize(("code", "read"), [("9c 58", 0), ("0f05", R11)])
def test_our_own_single_step_is_not_seen(debugged: Debugged, code: str, read: int) -> None:
    """An interrupt waits while STI's shadow lasts: one instruction runs under TCG's TF, which the guest must not read."""
    machine, cpu = debugged.machine, debugged.cpu
    cpu.msr.update({0xC0000081: 8 << 32, 0xC0000082: CODE + 3})
    machine.traps.pending.nmi = True
    debugged.world.gate(2)
    debugged.run("fb", code)
    assert not cpu.q[read] & 1 << 8
    assert cpu.q[read] & 1 << 9


def test_a_snapshot_keeps_breakpoints(debugged: Debugged) -> None:
    debugged.point(0, DATA, WRITE, 8)
    debugged.memory.write(CODE, bytes.fromhex(STORE + EXIT))
    file = io.BytesIO()
    debugged.machine.save(file)
    file.seek(0)
    again = Machine.restore(file)
    again.add_sink(debugged)
    assert again.run().reason is Reason.EXIT
    assert [(v, at) for v, at, _ in debugged.met] == [(1, 8)]
    again.close()


def test_no_random_numbers(debugged: Debugged) -> None:
    """CPUID does not offer RDRAND or RDSEED: a run that draws lots could not be repeated."""
    debugged.memory.write(HANDLER, bytes.fromhex("83042404" + IRETQ))  # past its four bytes
    assert debugged.run("480fc7f0", "480fc7f8") == [(6, 0, 0), (6, 4, 0)]
    assert debugged.cpu.q[RIP] > CODE


@pytest.mark.parametrize("watching", [False, True])
def test_breakpoints_that_go_ask_for_no_page(debugged: Debugged, watching: bool) -> None:
    """Unicorn looks up the blocks that had a hook: one may stand on a page that is there no more."""
    away = 0x200000
    debugged.memory.write(0x3008, struct.pack("<Q", 0x4003))
    debugged.memory.write(0x4000, struct.pack("<Q", 0x5003))
    debugged.memory.write(0x5000, bytes.fromhex(NOP + NOP + "c3"))
    debugged.memory.write(HANDLER, bytes.fromhex("814c2410 00000100" + IRETQ))  # RF in the flags that return
    debugged.cpu.translation.flush_all()
    debugged.point(0, away + 1, EXECUTE)
    if watching:
        debugged.point(1, DATA, WRITE)
    debugged.world.gate(14)
    code = (
        "48c7c0" + away.to_bytes(4, "little").hex(),  # mov rax, away
        "ffd0",  # call rax
        "48c704250040000000000000",  # mov qword [0x4000], 0
        "0f0138",  # invlpg [rax]
        "31c9 0f23f9",  # mov dr7, rcx
        "31c0",  # what TCG runs behind the exit finds memory at 0
    )
    assert debugged.run(*code) == [(1, away + 1 - CODE, B0)]


# ---- linear addresses that are not physical ones ------------------------------------------------------------------------

LINEAR, ALIAS, FRAME = 0x800000, 0x900000, 0x600000


@pytest.fixture
def mapped(debugged: Debugged) -> Debugged:
    """Two linear 4-KiB pages lead to one frame; the next page of each leads elsewhere."""
    debugged.memory.write(0x3000 + 8 * 4, struct.pack("<Q", 0x6007))
    debugged.memory.write(0x6000, struct.pack("<2Q", FRAME | 7, FRAME + 0x5000 | 7))
    debugged.memory.write(0x6000 + 8 * 0x100, struct.pack("<2Q", FRAME | 7, FRAME + 0x7000 | 7))
    return debugged


def store_to(address: int) -> str:
    return "48890425" + struct.pack("<I", address).hex()


@pytest.mark.parametrize("address", [LINEAR + 0x10, LINEAR + 0x14, LINEAR + 0x17, LINEAR + 9])
def test_a_data_breakpoint_is_a_linear_address(mapped: Debugged, address: int) -> None:
    mapped.point(0, LINEAR + 0x10, WRITE, 8)
    assert mapped.run(NOP, store_to(address), NOP) == [(1, 9, B0)]


def test_another_linear_address_of_the_frame_does_not_meet_it(mapped: Debugged) -> None:
    mapped.point(0, LINEAR + 0x10, WRITE, 8)
    mapped.point(1, FRAME + 0x10, WRITE, 8)  # the physical address
    touch = store_to(ALIAS + 0x10), store_to(LINEAR + 0x10), store_to(ALIAS + 0x10), store_to(LINEAR + 0x10)
    assert mapped.run(*touch) == [(1, 16, B0), (1, 32, B0)]


def test_an_access_that_goes_on_in_the_page_of_the_breakpoint(mapped: Debugged) -> None:
    mapped.point(0, LINEAR + 0x1000, WRITE, 1)
    mapped.point(1, ALIAS + 0x1002, WRITE, 1)
    assert mapped.run(store_to(LINEAR + 0xFFB), store_to(ALIAS + 0xFFB)) == [(1, 8, B0), (1, 16, B1)]


def test_stacks_and_strings_through_one_of_two_linear_addresses(mapped: Debugged) -> None:
    mapped.point(0, LINEAR + 0x80, ACCESS, 8)
    program = (
        "488b0425" + struct.pack("<I", ALIAS).hex(),  # both are in the TLB
        "488b0425" + struct.pack("<I", LINEAR).hex(),
        "bc" + struct.pack("<I", ALIAS + 0x88).hex() + "58" + "50",  # mov esp; pop rax; push rax
        "bc" + struct.pack("<I", LINEAR + 0x80).hex() + "58",
        "bf" + struct.pack("<I", LINEAR + 0x80).hex() + "aa",  # stosb
        "bc" + struct.pack("<I", STACK0).hex(),
    )
    met = mapped.run(*program)
    assert [each[1:] for each in met] == [(29, B0), (35, B0)]
