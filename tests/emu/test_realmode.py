"""Real-address and virtual-8086 mode, through TCG (SDM volume 3, "8086 Emulation", and the instructions' own pages)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import pytest
from attrs import evolve

from paracell.emu.descriptors import UNUSABLE, Segment, Table
from paracell.emu.machine import Machine
from paracell.emu.registers import (
    AC,
    CS,
    DS,
    ES,
    FS,
    GS,
    IF,
    IOPL,
    NT,
    RAX,
    RBX,
    RCX,
    RDI,
    RDX,
    RF,
    RIP,
    RSI,
    RSP,
    SS,
    TF,
    VIF,
    VIP,
    VM,
)
from paracell.emu.state import State
from paracell.emu.stop import Reason

from .world import DATA as DATA32
from .world import GDT, IDT, KERNEL_CS, KERNEL_SS, STACK0, TSS_AT, TSS_SELECTOR, World

if TYPE_CHECKING:
    from collections.abc import Iterator

CODE, STACK, DATA, EXTRA = 0x1000, 0x2000, 0x3000, 0x4000  # paragraphs
START, TOP = 0x100, 0x800
IVT_HANDLER: Final = 0x5000  # the paragraph of the handlers: IP is 16 × vector
EARLY_FLAGS: Final = 0x202
SIX: Final = (ES, CS, SS, DS, FS, GS)


def paragraph(selector: int, access: int = 0x93) -> Segment:
    return Segment(selector, selector << 4, 0xFFFF, access)


class Real:
    """A machine in real mode whose every interrupt ends at a HLT of its own."""

    def __init__(self) -> None:
        self.machine = Machine(16 << 20)
        self.cpu, self.memory = self.machine.cpu, self.machine.memory

    def reset(self, *, flags: int = 2, cr0: int = 0x10) -> None:
        for vector in range(256):
            self.memory.write(4 * vector, struct.pack("<2H", 16 * vector, IVT_HANDLER))
        self.memory.write(IVT_HANDLER << 4, b"\xf4" * 0x1000)
        for selector in (CODE, STACK, DATA, EXTRA):
            self.memory.write(selector << 4, bytes(0x10000))
        self.cpu.load(
            State(
                rip=START,
                rflags=flags,
                cr0=cr0,
                cr4=0x200,
                registers=(0,) * 4 + (TOP,) + (0,) * 11,
                idtr=Table(0, 0x3FF),
                segments=tuple(
                    paragraph(EXTRA if number == ES else CODE if number == CS else STACK if number == SS else DATA)
                    for number in SIX
                ),
            )
        )
        self.cpu.translation.reset()
        self.machine.forget_events()

    def run(self, code: str) -> int | None:
        """Run code that ends in a HLT; the vector of the interrupt that came instead."""
        self.memory.write((CODE << 4) + START, bytes.fromhex(code + "f4"))
        self.memory.drop_stale_code()
        stop = self.machine.run()
        assert stop.reason is Reason.HALTED, (stop.reason, stop.report[:1])
        cpu = self.cpu
        if cpu.segments[CS].selector == IVT_HANDLER:
            return cpu.q[RIP] - 1 >> 4
        return None

    def frame(self, words: int = 3) -> tuple[int, ...]:
        """Give what lies on top of the stack."""
        at = self.cpu.segments[SS].base + (self.cpu.q[RSP] & 0xFFFF)
        return struct.unpack(f"<{words}H", self.memory.ram[at : at + 2 * words])

    def word(self, selector: int, offset: int, size: int = 2) -> int:
        at = (selector << 4) + offset
        return int.from_bytes(self.memory.ram[at : at + size], "little")


@pytest.fixture(scope="module")
def module_real() -> Iterator[Real]:
    real = Real()
    yield real
    real.machine.close()


@pytest.fixture
def real(module_real: Real) -> Real:
    module_real.reset()
    return module_real


def q(real: Real, number: int) -> int:
    return real.cpu.q[number]


# ---- segments ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "number"),
    [
        ("8ed8", DS), ("8ec0", ES), ("8ed0", SS), ("8ee0", FS), ("8ee8", GS),
        ("501f", DS), ("5007", ES), ("5017", SS), ("500fa1", FS), ("500fa9", GS),
    ],
)  # fmt: skip
@pytest.mark.parametrize("selector", [0, 1, 3, 0x1234, 0xFFFF])
def test_a_selector_is_a_paragraphs_number(real: Real, code: str, number: int, selector: int) -> None:
    real.cpu.q[RAX] = selector
    real.memory.write((selector << 4) + 0x24, b"\x5a")
    prefix = {DS: "3e", ES: "26", SS: "36", FS: "64", GS: "65"}[number]
    assert real.run(code + prefix + "8a1e2400") is None  # mov bl, [24h]
    assert real.cpu.segments[number] == paragraph(selector)
    assert q(real, RBX) == 0x5A


def test_limits_of_protected_mode_stay(real: Real) -> None:
    """A 4 GiB limit that protected mode has loaded holds in real mode, whatever is loaded then."""
    gdt = struct.pack("<2Q", 0, DATA32)
    real.memory.write(0x8000, gdt)
    real.memory.write((DATA << 4) + 0x10, struct.pack("<HI", 0xF, 0x8000))
    real.memory.write(0x345678, b"\x77\x66")
    code = (
        "0f01161000"  # lgdt [10h]
        "0f20c0 40 0f22c0 bb0800 8ee3 48 0f22c0"  # PE on; FS: 4 GiB; PE off
        "bb0030 8ee3 6764a178563400"  # mov fs, 3000h; mov ax, fs:[dword 345678h]
    )
    real.memory.write((DATA << 4) + 0x345678, b"\x88\x99")
    assert real.run(code) is None
    fs = real.cpu.segments[FS]
    assert (fs.selector, fs.base, fs.limit, fs.access) == (DATA, DATA << 4, 0xFFFFFFFF, 0xC093)
    assert q(real, RAX) & 0xFFFF == 0x9988


@pytest.mark.parametrize(
    ("code", "number"),
    [("c51e2000", DS), ("c41e2000", ES), ("0fb21e2000", SS), ("0fb41e2000", FS), ("0fb51e2000", GS)],
)
def test_far_pointers(real: Real, code: str, number: int) -> None:
    real.memory.write((DATA << 4) + 0x20, struct.pack("<2H", 0xABCD, 2))
    assert real.run(code) is None
    assert (real.cpu.segments[number], q(real, RBX)) == (paragraph(2), 0xABCD)


def test_code_may_be_written_through_cs(real: Real) -> None:
    assert (
        real.run("2e c606 0002 99 2e 8c1e 0202 2e 8f06 0402") is None
    )  # mov byte cs:[200h], 99h; mov cs:[202h], ds; pop cs:[204h]
    assert (real.word(CODE, 0x200, 1), real.word(CODE, 0x202), real.word(CODE, 0x204)) == (0x99, DATA, 0)


# ---- far branches -----------------------------------------------------------------------------------------------

OTHER: Final = 0x1100  # the same bytes 0x1000 lower


def test_far_jump_call_and_return(real: Real) -> None:
    real.memory.write((0x6000 << 4) + 0x30, bytes.fromhex("8cc8 cb"))  # mov ax, cs; retf
    assert real.run("9a 3000 0060 93") is None  # lcall 6000h:30h; xchg ax, bx
    assert (q(real, RBX) & 0xFFFF, q(real, RSP), real.cpu.segments[CS].selector) == (0x6000, TOP, CODE)
    real.reset()
    real.memory.write((0x6000 << 4) + 0x30, b"\xf4")
    assert real.run("ea 3000 0060") is None
    assert (real.cpu.segments[CS], q(real, RIP)) == (paragraph(0x6000), 0x31)
    real.reset()
    real.memory.write((DATA << 4) + 0x40, struct.pack("<2H", 0x30, 0x6000))
    assert real.run("ff2e 4000") is None
    assert (real.cpu.segments[CS].selector, q(real, RIP)) == (0x6000, 0x31)
    real.reset()
    real.memory.write((0x6000 << 4) + 0x30, bytes.fromhex("ca 0400"))  # retf 4
    real.memory.write((DATA << 4) + 0x40, struct.pack("<2H", 0x30, 0x6000))
    assert real.run("50 50 ff1e 4000") is None
    assert (q(real, RSP), real.cpu.segments[CS].selector) == (TOP, CODE)


def test_one_ip_in_two_segments_is_other_code(real: Real) -> None:
    real.memory.write((0x6000 << 4) + START + 5, bytes.fromhex("fb b80200 f4"))
    assert real.run("ea 0501 0060 fa b80100") is None
    assert (q(real, RAX), real.cpu.rflags & IF) == (2, IF)
    real.cpu.load(evolve(real.cpu.state(), rip=START + 5, segments=tuple(paragraph(CODE) for _ in SIX), activity=0))
    assert real.machine.run().reason is Reason.HALTED
    assert (q(real, RAX), real.cpu.rflags & IF) == (1, 0)


@pytest.mark.parametrize("code", ["66ea 00000100 0010", "669a 00000100 0010"])
def test_far_branch_beyond_the_limit(real: Real, code: str) -> None:
    assert real.run(code) == 13
    assert real.frame() == (START, CODE, 2)


def test_retf_beyond_the_limit(real: Real) -> None:
    assert real.run("66 6800000000 66 6800000100 66cb") == 13
    assert real.frame()[0] == START + 12


def test_call_checks_the_stack_first(real: Real) -> None:
    real.cpu.q[RSP] = 3
    real.memory.write(0x30, struct.pack("<2H", 16 * 12, IVT_HANDLER))
    code = "669a 00000100 0010"
    real.memory.write((CODE << 4) + START, bytes.fromhex(code))
    stop = real.machine.run()  # nor has #SS room for its frame: 6 bytes below 3
    assert (stop.reason, stop.report[0]) == (
        Reason.TRIPLE_FAULT,
        "triple fault: #SS(0x0), then #SS(0x0), then #DF(0x0), then #SS(0x0)",
    )


# ---- interrupts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "vector", "after"),
    [("cd21", 0x21, 2), ("cc", 3, 1), ("ce", 4, 1), ("cd03", 3, 2), ("66cd21", 0x21, 3), ("f1", 1, 1)],
)
def test_software_interrupts(real: Real, code: str, vector: int, after: int) -> None:
    real.reset(flags=2 | IF | AC | 0x800 | IOPL)
    assert real.run(code) == vector
    assert real.frame() == (START + after, CODE, 2 | IF | 0x800 | IOPL)
    assert (real.cpu.rflags, q(real, RSP)) == (2 | 0x800 | IOPL, TOP - 6)


@pytest.mark.parametrize(
    ("code", "vector"),
    [
        ("0f0b", 6), ("f6f0", 0), ("620600 00", 5), ("c5c0", 6), ("0f00c0", 6), ("0f00c8", 6), ("0f00d0", 6), ("0f00d8", 6), ("0f00e0", 6),
        ("0f00e8", 6), ("0f02c0", 6), ("0f03c0", 6), ("63c0", 6), ("0f34", 13), ("0f35", 13), ("0f05", 6), ("0f01c1", 6), ("0f22c8", 6),
        ("0f01c4", 6), ("f0 90", 6), ("8ec8", 6),
    ],
)  # fmt: skip
def test_faults_push_no_error_code(real: Real, code: str, vector: int) -> None:
    real.memory.write(DATA << 4, struct.pack("<2h", 1, 2))  # BOUND: AX = 0 is below 1
    assert real.run(code) == vector
    assert real.frame() == (START, CODE, 2)
    assert q(real, RSP) == TOP - 6


def test_int_beyond_the_table(real: Real) -> None:
    real.cpu.idtr = Table(0, 4 * 0x21 + 2)
    assert real.run("cd21") == 13
    assert real.frame() == (START, CODE, 2)


def test_no_table_is_a_double_and_a_triple_fault(real: Real) -> None:
    real.cpu.idtr = Table(0, 4 * 9 - 1)
    assert real.run("cd21") == 8
    real.reset()
    real.cpu.idtr = Table(0, 0)
    real.memory.write((CODE << 4) + START, b"\xcc")
    assert real.machine.run().reason is Reason.TRIPLE_FAULT


def test_the_table_moves_with_lidt(real: Real) -> None:
    real.memory.write((DATA << 4) + 0x10, struct.pack("<HI", 0x3FF, 0xAA054321))
    real.memory.write(0x54321 + 4 * 0x21, struct.pack("<2H", 0x77, 0x6000))
    real.memory.write((0x6000 << 4) + 0x77, b"\xf4")
    assert real.run("0f011e1000 cd21") is None  # 24 bits of the base
    assert (real.cpu.idtr, real.cpu.segments[CS].selector, q(real, RIP)) == (Table(0x054321, 0x3FF), 0x6000, 0x78)


def test_iret_16(real: Real) -> None:
    real.memory.write((0x6000 << 4) + 0x100, b"\xf4")
    assert real.run("68d70e 68 0060 68 0001 cf") is None
    assert (real.cpu.segments[CS].selector, real.cpu.rflags & ~TF) == (0x6000, 0xED7)


def test_iret_32_keeps_vm_vif_and_vip(real: Real) -> None:
    flags = 2 | AC | RF | VM | VIF | VIP | 1 << 21 | IOPL | NT
    real.memory.write((0x6000 << 4) + 0x100, bytes.fromhex("f4"))
    assert real.run(f"66 68{flags.to_bytes(4, 'little').hex()} 66 6800600000 66 6800010000 66cf") is None
    assert real.cpu.rflags == 2 | AC | 1 << 21 | IOPL | NT
    assert (real.cpu.segments[CS].selector, q(real, RSP)) == (0x6000, TOP)


@pytest.mark.parametrize("target", [0x10000, 0xFFFFFFFF])
def test_iret_beyond_the_limit(real: Real, target: int) -> None:
    assert real.run(f"66 6802000000 66 6800100000 66 68{target.to_bytes(4, 'little').hex()} 66cf") == 13
    assert real.frame() == (START + 18, CODE, 2)


def test_pushf_and_popf(real: Real) -> None:
    assert real.run("68d77e 9d 9c 58") is None
    assert q(real, RAX) == 0x7ED7
    real.reset()
    assert real.run("66 68 02003f00 669d 669c 6658") is None
    assert q(real, RAX) == 0x00240002


def test_single_step(real: Real) -> None:
    real.reset(flags=2 | TF)
    assert real.run("90 90") == 1
    assert real.frame() == (START + 1, CODE, 2 | TF)


def test_mov_ss_holds_interrupts_off(real: Real) -> None:
    """A trap flag set by POPF before MOV SS strikes behind the instruction after it."""
    assert real.run("680201 9d 8ed0 40 40") == 1
    assert real.frame()[0] == START + 7


# ---- the rest ---------------------------------------------------------------------------------------------------


def test_system_registers(real: Real) -> None:
    assert real.run("0f20c0 0c08 0f22c0 0f01e3 0f06 0f01e1 660f20c2 6666 90") is None
    assert (q(real, RBX) & 0xFFFF, q(real, RCX) & 0xFFFF, real.cpu.cr0) == (0x18, 0x10, 0x10)


def test_lmsw_leads_to_protected_mode(real: Real) -> None:
    assert real.run("b80100 0f01f0 0f01e3") is None
    assert (real.cpu.cr0, q(real, RBX) & 0xFFFF, real.cpu.emulates_8086) == (0x11, 0x11, False)


def test_paging_needs_protected_mode(real: Real) -> None:
    assert real.run("66b800000080 0f22c0") == 13


def test_ports_are_free(real: Real) -> None:
    assert real.run("b85a00 e681 ec ba 8100") is None


def test_strings_of_ports_leave_the_upper_halves(real: Real) -> None:
    real.cpu.q[RSI], real.cpu.q[RCX], real.cpu.q[RDX] = 0xABCD0010, 0x12340003, 0x81
    assert real.run("f36e") is None
    assert (q(real, RSI), q(real, RCX)) == (0xABCD0013, 0x12340000)


def test_strings_wrap_in_their_segment(real: Real) -> None:
    real.cpu.q[RSI], real.cpu.q[RDI], real.cpu.q[RCX] = 0xFFFF, 0xFFFE, 3
    real.memory.write((DATA << 4) + 0xFFFF, b"\x11")
    real.memory.write(DATA << 4, b"\x22\x33")
    assert real.run("f3a4") is None
    assert (real.word(EXTRA, 0xFFFE), real.word(EXTRA, 0, 1)) == (0x2211, 0x33)
    assert (q(real, RSI), q(real, RDI), q(real, RCX)) == (2, 1, 0)


def test_linear_addresses_beyond_a_mebibyte(real: Real) -> None:
    real.memory.write(0x10FFEF, b"\x42")
    assert real.run("b8ffff 8ed8 8a1effff") is None
    assert q(real, RBX) & 0xFF == 0x42


# ---- limits -----------------------------------------------------------------------------------------------------

LOADS: Final = (
    "a1ffff",
    "8b1effff",
    "668b1efdff",
    "0f1006f1ff",
    "df2ef9ff",
    "ff36ffff",
    "c51efdff",
    "0f0116fbff",
    "8c1effff",
    "ff06ffff",
)


@pytest.mark.parametrize(
    "code", [*LOADS, "a7", "a5", "ad", "67a1ffff0000", "67a100000100", "67c7050000ff7f3412", "67ff35000001 00"]
)
def test_data_beyond_the_limit(real: Real, code: str) -> None:
    real.cpu.q[RSI] = real.cpu.q[RDI] = 0xFFFF
    before = real.cpu.segments[DS]
    assert real.run("90 90" + code) == 13
    assert real.frame() == (START + 2, CODE, 2)
    assert (real.cpu.segments[DS], q(real, RAX), q(real, RBX)) == (before, 0, 0)
    assert real.word(DATA, 0xFFFF) == 0


WITHIN: Final = (
    "a1feff",
    "8a1effff",
    "668b1efcff",
    "0f1006f0ff",
    "c51efcff",
    "8c1efeff",
    "ff36feff",
    "67a1feff0000",
    "678d0500000100",
)


@pytest.mark.parametrize("code", WITHIN)
def test_data_at_the_limit(real: Real, code: str) -> None:
    assert real.run(code) is None


@pytest.mark.parametrize(
    ("code", "rsp"),
    [("50", 1), ("6650", 3), ("60", 0xF), ("9c", 1), ("e80000", 1), ("58", 0xFFFF), ("61", 0xFFF1), ("c3", 0xFFFF), ("9d", 0xFFFF),
     ("1f", 0xFFFF), ("0e", 1), ("6a00", 1), ("c8040000", 1), ("cf", 0xFFFB), ("cb", 0xFFFD), ("36a1ffff", 0x800), ("8b46ff", 0x800)],
)  # fmt: skip
def test_the_stack_beyond_its_limit(real: Real, code: str, rsp: int) -> None:
    """#SS, whose own frame has no room where SP is odd and small: then a double and a triple fault."""
    real.cpu.q[RSP] = rsp
    real.memory.write((CODE << 4) + START, bytes.fromhex(code))
    real.memory.drop_stale_code()
    if rsp & 0xFFFF < 6:
        stop = real.machine.run()
        assert stop.reason is Reason.TRIPLE_FAULT
        assert stop.report[0].startswith("triple fault: #SS(0x0), then")
    else:
        assert real.run(code) == 12
        assert (real.frame(), q(real, RSP)) == ((START, CODE, 2), rsp - 6)


def test_the_stack_wraps_where_its_words_fit(real: Real) -> None:
    real.cpu.q[RSP] = 0
    assert real.run("b83412 50 5b 60 61") is None
    assert (q(real, RSP), q(real, RBX), real.word(STACK, 0xFFFE)) == (0, 0x1234, 0x1234)


def test_a_string_ends_at_the_limit(real: Real) -> None:
    """REP MOVSW up to the odd last byte: what came before is done, and the registers tell where."""
    real.cpu.q[RSI], real.cpu.q[RDI], real.cpu.q[RCX] = 0xFFF9, 0x10, 8
    real.memory.write((DATA << 4) + 0xFFF9, b"abcdefgh")
    assert real.run("f3a5") == 13
    assert (q(real, RSI), q(real, RDI), q(real, RCX), real.frame()[0]) == (0xFFFF, 0x16, 5, START)
    assert real.memory.ram[(EXTRA << 4) + 0x10 : (EXTRA << 4) + 0x18] == b"abcdef\0\0"


def test_guarded_pages_can_be_used_through_other_segments(real: Real) -> None:
    """ES begins where the page behind DS does: all of it works, instruction by instruction."""
    code = "b80140 8ec0 b90002 31ff 26880d 268a05 47 e2f7 a1feff"
    real.cpu.q[RSI] = 0
    assert real.run(code) is None
    first = (0x4001 << 4) + 0
    assert list(real.memory.ram[first : first + 3]) == [0, 0xFF, 0xFE]
    real.cpu.q[RIP] = START


def test_a_guarded_page_runs_code(real: Real) -> None:
    real.memory.write((DATA << 4) + 0x10010, bytes.fromhex("b87700 a30200 f4"))
    assert real.run("ea 1000 0040") is None
    assert (q(real, RAX), real.word(DATA, 2)) == (0x77, 0x77)


def test_a_smaller_limit_of_protected_mode_counts(real: Real) -> None:
    segments = list(real.cpu.state().segments)
    segments[DS] = Segment(DATA, DATA << 4, 0x1FFF, 0x93)
    real.cpu.load(evolve(real.cpu.state(), segments=segments))
    assert real.run("a1fe1f") is None
    for code in ("a1ff1f", "a10020", "a100f0", "b83412 8ed8 a10020"):
        real.reset()
        real.cpu.load(evolve(real.cpu.state(), segments=segments))
        assert real.run(code) == 13


def test_code_that_runs_over_the_limit(real: Real) -> None:
    real.memory.write((CODE << 4) + 0xFFFC, bytes.fromhex("40 40 40 b8 34 12"))
    assert real.run("bbfcff ffe3") == 13
    assert (q(real, RAX), real.frame()[0]) == (3, 0xFFFF)
    real.reset()
    real.memory.write((CODE << 4) + 0xFFFC, bytes.fromhex("40 40 40 40 40"))
    assert real.run("bbfcff ffe3") == 13
    assert (q(real, RAX), real.frame()[0]) == (4, 0)


def test_a_near_branch_beyond_the_limit_is_reported(real: Real) -> None:
    real.memory.write((CODE << 4) + START, bytes.fromhex("66e9 00000200"))
    real.memory.drop_stale_code()
    stop = real.machine.run()
    assert (stop.reason, stop.report[0]) == (
        Reason.UNIMPLEMENTED,
        "not implemented: a near branch beyond the limit of CS",
    )


# ---- virtual-8086 mode ------------------------------------------------------------------------------------------


class Virtual(Real):
    """A virtual-8086 task, without paging, under a 32-bit monitor whose every gate ends at a HLT at ring 0."""

    HANDLERS: Final = 0x12000

    def reset(self, *, flags: int = 2, cr0: int = 0x11) -> None:
        super().reset(flags=flags | VM, cr0=cr0)
        world = World(long=False, machine=self.machine)
        state = self.cpu.state()
        for vector in range(256):
            world.gate(vector, KERNEL_CS, self.HANDLERS + 16 * vector, kind=0xEE)
        self.memory.write(self.HANDLERS, b"\xf4" * 0x1000)
        self.memory.write(TSS_AT + 102, struct.pack("<H", 104) + bytes(0x80))
        self.memory.write(STACK0 - 64, bytes(64))
        segments = tuple(
            paragraph(EXTRA if n == ES else CODE if n == CS else STACK if n == SS else DATA, 0xF3) for n in SIX
        )
        self.cpu.load(
            evolve(
                state, cpl=3, rip=START, rflags=flags | VM | 2, segments=segments,
                registers=(0,) * 4 + (TOP,) + (0,) * 11, tr=Segment(TSS_SELECTOR, TSS_AT, 104 + 0x20, 0x8B), activity=0,
            )
        )  # fmt: skip
        self.machine.forget_events()

    def run(self, code: str) -> int | None:
        """Run code that the monitor stops; the vector, with the frame in `pushed`."""
        self.memory.write((CODE << 4) + START, bytes.fromhex(code))
        self.memory.drop_stale_code()
        stop = self.machine.run()
        assert stop.reason is Reason.HALTED, (stop.reason, stop.report[:1])
        assert (self.cpu.cpl, self.cpu.v86, self.cpu.segments[CS].selector) == (0, False, KERNEL_CS)
        rsp = self.cpu.q[RSP]
        words = (STACK0 - rsp) // 4
        self.pushed = struct.unpack(f"<{words}I", self.memory.ram[rsp : rsp + 4 * words])
        return self.cpu.q[RIP] - 1 - self.HANDLERS >> 4


@pytest.fixture(scope="module")
def module_v86() -> Iterator[Virtual]:
    virtual = Virtual()
    yield virtual
    virtual.machine.close()


@pytest.fixture
def v86(module_v86: Virtual) -> Virtual:
    module_v86.reset()
    return module_v86


SENSITIVE: Final = ("9c", "9d", "fa", "fb", "cd21", "cf", "66cf", "669c")
PRIVILEGED: Final = ("f4", "0f20c0", "0f22c0", "0f06", "0f01161000", "0f011e1000", "0f01f0", "0f30", "0f32", "0f08")


@pytest.mark.parametrize("code", [*SENSITIVE, *PRIVILEGED])
@pytest.mark.parametrize("iopl", [0, 2])
def test_v86_protects_what_is_sensitive(v86: Virtual, code: str, iopl: int) -> None:
    v86.reset(flags=iopl << 12 | IF)
    assert v86.run(code) == 13
    assert v86.pushed == (0, START, CODE, 2 | VM | IF | RF | iopl << 12, TOP, STACK, EXTRA, DATA, DATA, DATA)
    assert [v86.cpu.segment(n) for n in (ES, DS, FS, GS)] == [Segment(0, 0, 0, UNUSABLE)] * 4
    assert (v86.cpu.segments[SS].selector, v86.cpu.rflags) == (KERNEL_SS, 2 | iopl << 12)


@pytest.mark.parametrize(
    ("code", "vector"),
    [("0f00c0", 6), ("0f00d8", 6), ("0f02c0", 6), ("63c0", 6), ("0f01c1", 6), ("0f0b", 6), ("0f01cb", 6), ("0f35", 13), ("c5c0", 6)],
)  # fmt: skip
def test_v86_faults(v86: Virtual, code: str, vector: int) -> None:
    v86.reset(flags=IOPL)
    assert v86.run(code) == vector
    assert v86.pushed[-9:] == (START, CODE, 2 | VM | RF | IOPL, TOP, STACK, EXTRA, DATA, DATA, DATA)


@pytest.mark.parametrize(("code", "vector", "after"), [("cd21", 0x21, 2), ("cc", 3, 1), ("66cd21", 0x21, 3)])
def test_v86_int_goes_to_ring_0(v86: Virtual, code: str, vector: int, after: int) -> None:
    v86.reset(flags=IOPL | IF)
    assert v86.run(code) == vector
    assert v86.pushed == (START + after, CODE, 2 | VM | IF | IOPL, TOP, STACK, EXTRA, DATA, DATA, DATA)


def test_v86_int3_asks_for_no_iopl(v86: Virtual) -> None:
    assert v86.run("cc") == 3
    assert v86.pushed[0] == START + 1


@pytest.mark.parametrize("iopl", [0, 3])
def test_v86_ports_ask_the_bitmap(v86: Virtual, iopl: int) -> None:
    v86.reset(flags=iopl << 12)
    v86.memory.write(TSS_AT + 104 + (0x81 >> 3), b"\x02")
    assert v86.run("e480 e681 90") == 13
    assert v86.pushed[1] == START + 2


def test_v86_runs_as_an_8086_with_iopl_3(v86: Virtual) -> None:
    v86.reset(flags=IOPL)
    v86.memory.write((0x6000 << 4) + 0x30, bytes.fromhex("cb"))
    code = "fb 9c 58 fa b90200 8ed9 8ec1 9a30000060 51 07 2ec606000299 9d cc"
    v86.cpu.q[RSP] = TOP - 2
    v86.memory.write((STACK << 4) + TOP - 2, struct.pack("<H", 0x0AD7))
    assert v86.run(code) == 3
    assert q(v86, RAX) == 0x3202
    assert v86.pushed[1:] == (CODE, 0xAD7 | VM | IOPL, TOP, STACK, 2, 2, DATA, DATA)
    assert v86.word(CODE, 0x200, 1) == 0x99


@pytest.mark.parametrize("code", ["cf", "66cf"])
def test_v86_iret_within_the_task(v86: Virtual, code: str) -> None:
    size = 4 if code != "cf" else 2
    v86.reset(flags=IOPL)
    v86.cpu.q[RSP] = TOP - 3 * size
    flags = 0xED7 | (VIF | VIP | 1 << 21 if size == 4 else 0)
    frame = b"".join(value.to_bytes(size, "little") for value in (0x44, 0x6000, flags))
    v86.memory.write((STACK << 4) + TOP - 3 * size, frame)
    v86.memory.write((0x6000 << 4) + 0x44, b"\xcc")
    assert v86.run(code) == 3
    kept = flags & ~(VIF | VIP) & ~TF
    assert v86.pushed == (0x45, 0x6000, kept | VM | IOPL, TOP, STACK, EXTRA, DATA, DATA, DATA)


def test_a_monitor_enters_v86_by_iret_and_gets_it_back(v86: Virtual) -> None:
    v86.run("cd21")
    rsp = q(v86, RSP)
    frame = (0x50, 0x6000, 2 | VM | IF | IOPL | NT, 0x1234, 0x7000, 1, 2, 3, 4)
    v86.memory.write(rsp, struct.pack("<9I", *frame))
    v86.memory.write((0x6000 << 4) + 0x50, bytes.fromhex("8cd8 cd30"))
    v86.memory.write(0x11000, b"\xcf")
    v86.memory.drop_stale_code()
    v86.cpu.load(evolve(v86.cpu.state(), rip=0x11000, activity=0))
    assert v86.machine.run().reason is Reason.HALTED
    assert (q(v86, RIP) - 1 - v86.HANDLERS >> 4, q(v86, RAX)) == (0x30, 2)
    rsp = q(v86, RSP)
    assert struct.unpack("<9I", v86.memory.ram[rsp : rsp + 36]) == (0x54, *frame[1:])


def test_iret_to_v86_beyond_the_limit(v86: Virtual) -> None:
    v86.run("cd21")
    rsp = q(v86, RSP)
    v86.memory.write(rsp, struct.pack("<9I", 0x10000, 0x6000, 2 | VM, 0x1234, 0x7000, 1, 2, 3, 4))
    v86.memory.write(0x11000, b"\xcf")
    v86.memory.drop_stale_code()
    v86.cpu.load(evolve(v86.cpu.state(), rip=0x11000, activity=0))
    assert v86.machine.run().reason is Reason.HALTED
    assert q(v86, RIP) - 1 - v86.HANDLERS >> 4 == 13
    assert not v86.cpu.v86


@pytest.mark.parametrize("raw", [0x00CFFB000000FFFF, 0x00CF9F000000FFFF])
def test_v86_interrupts_want_ring_0_code(v86: Virtual, raw: int) -> None:
    """A gate to ring 3 or to conforming code is #GP of the selector."""
    v86.memory.write(GDT + 0x60, struct.pack("<Q", raw))
    v86.reset(flags=IOPL)
    v86.memory.write(
        IDT + 8 * 0x21, struct.pack("<Q", 0x0000EE0000600000 | v86.HANDLERS & 0xFFFF | (v86.HANDLERS >> 16) << 48)
    )
    assert v86.run("cd21") == 13
    assert v86.pushed[:2] == (0x60, START)


def test_a_user_of_compatibility_mode_cannot_enter_v86_by_iret() -> None:
    machine = Machine(16 << 20)
    try:
        world = World(machine=machine)
        world.gate(3, KERNEL_CS, 0x12000, kind=0xEE)
        world.at_ring(3, compatible=True)
        cpu, rsp = world.cpu, world.cpu.q[RSP] - 12
        cpu.q[RSP] = rsp
        world.memory.write(rsp, struct.pack("<3I", 0x11000, 0x23, 2 | VM | IF | IOPL))
        for at, code in ((cpu.q[RIP], b"\xcf"), (0x11000, b"\xcc"), (0x12000, b"\xf4")):
            world.memory.write(at, code)
        assert machine.run().reason is Reason.HALTED
        top = cpu.q[RSP]
        assert struct.unpack("<5Q", world.memory.ram[top : top + 40])[:3] == (0x11001, 0x23, 2)
    finally:
        machine.close()


def test_a_user_cannot_enter_v86_by_iret(v86: Virtual) -> None:
    """At ring 3 RFLAGS.VM in the image means nothing; TCG alone would obey it."""
    v86.cpu.load(evolve(v86.cpu.state(), rflags=2))
    world = World(long=False, machine=v86.machine)
    world.gate(3, KERNEL_CS, v86.HANDLERS + 48, kind=0xEE)
    world.at_ring(3)
    rsp = q(v86, RSP) - 12
    v86.memory.write(rsp, struct.pack("<3I", 0x11000, 0x23, 2 | VM | IF | IOPL))
    v86.cpu.q[RSP] = rsp
    v86.memory.write(0x11000, b"\xcc")
    v86.memory.write(q(v86, RIP), b"\xcf")
    v86.memory.drop_stale_code()
    v86.cpu.load(evolve(v86.cpu.state(), activity=0))
    assert v86.machine.run().reason is Reason.HALTED
    assert (q(v86, RIP) - 1 - v86.HANDLERS >> 4, v86.cpu.v86) == (3, False)
    rsp = q(v86, RSP)
    assert struct.unpack("<5I", v86.memory.ram[rsp : rsp + 20])[:3] == (0x11001, 0x23, 2)


def test_v86_with_paging(v86: Virtual) -> None:
    """Limits come before page faults, and what is cached of a guarded page helps nobody."""
    table, directory = 0x7000, 0x6000
    pages = [page << 12 | 7 for page in range(1024)]
    v86.memory.write(directory, struct.pack("<2I", table | 7, 0))
    for code, behind_ds, vector, cr2 in (
        ("a1feff cc", 0, 3, 0),
        ("a1ffff", 0, 13, 0),
        ("b80040 8ed8 a11000", 0, 14, 0x40010),
        ("b8f03f 8ed8 a1feff a10001", 0, 14, 0x40000),
        ("b82040 8ed8 b80030 8ec0 268b05 268905 cc", 0x40007, 3, 0),
    ):
        v86.reset(flags=IOPL)
        v86.cpu.load(evolve(v86.cpu.state(), cr0=0x80000011, cr3=directory))
        v86.cpu.translation.flush_all()
        v86.cpu.cr2 = 0
        pages[0x40] = behind_ds
        v86.memory.write(table, struct.pack("<1024I", *pages))
        assert (v86.run(code), v86.cpu.cr2) == (vector, cr2), code


# ---- both -------------------------------------------------------------------------------------------------------


def test_state_survives_a_save(v86: Virtual) -> None:
    v86.reset(flags=IOPL | IF)
    before = v86.cpu.state()
    assert before.rflags == 2 | VM | IOPL | IF
    v86.cpu.load(State())
    assert not v86.cpu.emulates_8086
    v86.cpu.load(before)
    assert (v86.cpu.v86, v86.cpu.state()) == (True, before)
    v86.cpu.q[RDX] = 0
    assert v86.run("cd30") == 0x30
