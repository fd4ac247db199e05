"""Virtual-8086 mode, through TCG (SDM volume 3, "8086 Emulation")."""

from __future__ import annotations

import struct
from typing import Final

import pytest
from attrs import evolve

from paracell.emu.descriptors import UNUSABLE, Segment
from paracell.emu.machine import Machine
from paracell.emu.registers import DS, ES, FS, GS, IF, IOPL, NT, RAX, RDX, RF, RIP, RSP, SS, TF, VIF, VIP, VM
from paracell.emu.state import State
from paracell.emu.stop import Reason

from .mode8086 import CODE, DATA, EXTRA, STACK, START, TOP, Virtual, module_v86, q, v86
from .world import GDT, IDT, KERNEL_CS, KERNEL_SS, TSS_AT, World

__all__ = ("module_v86", "v86")

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
