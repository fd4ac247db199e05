"""Hooks on instructions that TCG runs untrapped but wrongly: they stand on addresses, and code comes and goes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from paracell.emu.decode import decode
from paracell.emu.features import parse
from paracell.emu.machine import Machine
from paracell.emu.registers import RAX, RCX, RDI, RDX, RIP
from paracell.emu.stop import Reason
from paracell.emu.table import HANDLERS
from paracell.fuzz.encodings import ENCODINGS

from .guest import Guest
from .world import CODE, GDT, HANDLER, STACK0, TSS_AT, UNMAPPED, World

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = 0x50000
SGDT = "0f010425 00000500"  # sgdt [DATA]
EXIT = "e6f4"


@pytest.fixture
def world() -> Iterator[World]:
    machine = Machine(16 << 20)
    made = World(machine=machine)
    made.memory.write(DATA, bytes(16))
    yield made
    machine.close()


def run(world: World, code: str = "") -> None:
    """Run `code` at CODE, or what stands there, to its exit."""
    if code:
        world.memory.write(CODE, bytes.fromhex(code + EXIT))
    world.cpu.q[RIP] = CODE
    assert world.machine is not None
    assert world.machine.run().reason is Reason.EXIT


def test_other_code_at_a_hooked_address(world: World) -> None:
    run(world, SGDT)
    assert int.from_bytes(world.memory.read(DATA + 2, 8), "little") == GDT
    world.cpu.q[RCX] = 7
    run(world, "4889c8")  # mov rax, rcx
    assert world.cpu.q[RAX] == 7
    world.memory.write(DATA, bytes(16))
    run(world, "90" * 3 + SGDT)
    run(world, SGDT)  # and back
    assert int.from_bytes(world.memory.read(DATA + 2, 8), "little") == GDT


def test_the_guest_replaces_a_hooked_instruction(world: World) -> None:
    """The first turn runs SGDT, and then writes MOV RAX, RCX and NOPs over it."""
    world.cpu.q[RCX] = 2
    world.cpu.q[RDI] = int.from_bytes(bytes.fromhex("4889c8" + "90" * 5), "little")
    code = SGDT + "48893c25 00000100" + "ffc9 75ec"  # 1: sgdt; mov [CODE], rdi; dec ecx; jnz 1b
    run(world, code)
    assert world.cpu.q[RAX] == 1
    assert int.from_bytes(world.memory.read(DATA + 2, 8), "little") == GDT


def test_an_instruction_that_once_faulted_is_not_taken_for_one_of_ours(world: World) -> None:
    world.gate(13, target=0x12000)
    world.memory.write(0x12000, bytes.fromhex("58 83042408 48cf"))  # drop the error code, step over 8 bytes
    world.cpu.set_cr4(world.cpu.cr4 | 0x600)
    world.memory.write(CODE + 0x100, bytes.fromhex("0f280425 01000500" + EXIT))  # movaps xmm0, [DATA + 1]: #GP
    world.memory.write(CODE + 0x200, bytes.fromhex("0f280425 01000500"))
    world.cpu.q[RIP] = CODE + 0x100
    assert world.machine is not None
    assert world.machine.run().reason is Reason.EXIT
    run(world, SGDT)
    run(world, "0f280425 00000500")  # aligned, where the hook stands


def test_the_first_blocks_are_looked_through(world: World) -> None:
    """Each begins behind a trap, before Unicorn has told of any block: CLI, then SGDT; a fault, then SGDT in its handler."""
    run(world, "fa" + SGDT)
    assert int.from_bytes(world.memory.read(DATA + 2, 8), "little") == GDT


def test_the_first_block_of_a_handler_is_looked_through(world: World) -> None:
    world.gate(14, target=0x12000)
    world.memory.write(0x12000, bytes.fromhex(SGDT + EXIT))
    run(world, "488b0425 00004000")  # mov rax, [4 MiB], which is not mapped
    assert int.from_bytes(world.memory.read(DATA + 2, 8), "little") == GDT


def test_what_stands_behind_the_end_does_not_change_it(world: World) -> None:
    world.memory.write(CODE, bytes.fromhex(EXIT + "0f0b"))  # ud2, with no IDT to speak of
    world.cpu.q[RIP] = CODE
    assert world.machine is not None
    assert world.machine.run().reason is Reason.EXIT


def test_a_near_call_at_an_address_that_held_a_hooked_instruction(world: World) -> None:
    run(world, SGDT)
    run(world, "e802000000" + "eb06" + "b807000000" + "c3")  # call f; jmp out; f: mov eax, 7; ret
    assert world.cpu.q[RAX] == 7
    run(world, SGDT)
    run(world, "eb02" + "9090" + "b808000000")  # jmp over
    assert world.cpu.q[RAX] == 8


def test_hooks_do_not_grow_without_end(world: World) -> None:
    """Ten thousand SGDTs, each at an address of its own; then they all are found once more."""
    assert world.machine is not None
    sites = world.machine.traps.sites
    count, sgdt = 5_000, bytes.fromhex(SGDT)
    at = 0x60000
    for _ in range(2):
        world.memory.write(DATA, bytes(16))
        world.memory.write(at, (sgdt + b"\xeb\x00") * count + bytes.fromhex(EXIT))
        world.cpu.q[RIP] = at
        assert world.machine.run().reason is Reason.EXIT
        assert int.from_bytes(world.memory.read(DATA + 2, 8), "little") == GDT
        assert len(sites._hooked) <= 4200


def test_decoded_instructions_are_not_kept_without_end(world: World) -> None:
    """Each RDTSC has other bytes behind it."""
    assert world.machine is not None
    count = 17_000
    code = b"".join(b"\x0f\x31\xbb" + i.to_bytes(4, "little") + b"\xeb\x00" for i in range(count))  # rdtsc; mov ebx, i
    world.memory.write(0x60000, code + bytes.fromhex(EXIT))
    world.cpu.q[RIP] = 0x60000
    assert world.machine.run().reason is Reason.EXIT
    assert all(len(known) <= 1 << 14 for known in world.machine.traps.dispatch._of_host.values())


@pytest.mark.parametrize("code", ["6c", "6d", "666d", "486d"])
def test_ins_as_the_first_instruction_ends(world: World, code: str) -> None:
    world.cpu.q[RDX], world.cpu.q[RDI] = 0x3FD, DATA
    run(world, code)
    assert world.cpu.q[RDI] > DATA


def test_the_quick_name_of_an_instruction_says_as_much(world: World) -> None:
    """At a hooked address only this is asked: whether Python runs it, whether it is none, whether something comes before it."""
    assert world.machine is not None
    sites = world.machine.traps.sites
    for encoding in ENCODINGS[::5]:
        code = (encoding + bytes(range(1, 16)))[:15]
        quick, full = (
            (name in HANDLERS, name == "invalid", sites._before.get(name))
            for name in (sites._mnemonic(code), decode(code, 64).mnemonic)
        )
        assert quick == full, code.hex()


def test_an_iret_whose_stack_is_not_there_ends_the_blocking_of_nmis() -> None:
    """TCG pops before it traps: the page fault comes from there (SDM "Handling Multiple NMIs")."""
    guest = Guest(parse("pks"))
    guest.memory.write(TSS_AT + 0x24, struct.pack("<Q", STACK0))  # IST1
    guest.gate(14, target=HANDLER + 14, ist=1)
    for blocked in (False, True):
        guest.cpu.nmi_blocked = blocked
        assert guest.vector("48bc" + struct.pack("<Q", UNMAPPED).hex() + "48cf") == 14
        assert (guest.cpu.cr2, guest.cpu.nmi_blocked) == (UNMAPPED, False)
    guest.close()
