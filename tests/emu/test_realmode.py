"""Real-address mode, through TCG (SDM volume 3, "8086 Emulation", and the instructions' own pages)."""

from __future__ import annotations

import struct

import pytest
from attrs import evolve

from paracell.emu.descriptors import Table
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
from paracell.emu.stop import Reason

from .mode8086 import CODE, DATA, EXTRA, IVT_HANDLER, SIX, START, TOP, Real, module_real, paragraph, q, real
from .world import DATA as DATA32

__all__ = ("module_real", "real")

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
