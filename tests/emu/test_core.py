"""The core: calibration, traps without copies, translation slots, the exact clock."""

from __future__ import annotations

import struct

import pytest

from paracell.emu import layout
from paracell.emu.counting import Unit
from paracell.emu.engine import Engine
from paracell.emu.faults import PF
from paracell.emu.layout import UnicornMismatch
from paracell.emu.memory import Memory, OutOfRange
from paracell.emu.registers import RAX, RBX, RCX, RDX, RIP
from paracell.emu.traps import Traps

from .world import CODE, World

PKE = 1 << 22


def run(world: World, code: str, *, ring: int = 0) -> Traps:
    """Run hexadecimal code until it halts."""
    world.at_ring(ring)
    world.memory.write(CODE, bytes.fromhex(code))
    traps = Traps(world.cpu)
    cpu = world.cpu
    while not cpu.halted:
        error = traps.run()
        if cpu.failure is not None:
            raise cpu.failure
        if cpu.translation.refusal is not None:
            refusal, cpu.translation.refusal = cpu.translation.refusal, None
            raise cpu.translation.page_fault(refusal)
        if traps.sites.reached:
            traps.sites.reached = False
            traps.execute()
        elif error:
            pytest.fail(f"Unicorn error {error}")
    return traps


def test_a_library_that_differs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "XMM", layout.XMM + 8)
    with pytest.raises(UnicornMismatch, match="XMM0 is not"):
        Engine()


def test_registers_are_written_in_place() -> None:
    world = World()
    run(world, "48c7c078563412" + "0f20c3" + "f4")  # mov rax, 0x12345678; mov rbx, cr0; hlt
    assert world.cpu.q[RAX] == 0x12345678
    assert world.cpu.q[RBX] == world.cpu.cr0


def test_wrpkru_moves_between_slots_and_rights_follow() -> None:
    world = World()
    cpu = world.cpu
    cpu.set_cr4(cpu.cr4 | PKE)
    world.memory.write(0x3000, struct.pack("<Q", 0x87 | 1 << 59))  # the low 2 MiB get key 1
    # wrpkru(0xc) denies key 1; fetching goes on, for keys never stop a fetch; wrpkru(0) gives it back; then a load works
    gate = "31c931d2" + "b80c000000" + "0f01ef" + "b800000000" + "0f01ef"
    run(world, gate * 3 + "8b0425" + struct.pack("<I", CODE).hex() + "f4")
    assert cpu.pkru == 0
    assert cpu.q[RAX] == int.from_bytes(bytes.fromhex(gate)[:4], "little")


def test_a_denied_key_faults_with_the_pk_bit() -> None:
    world = World()
    cpu = world.cpu
    cpu.set_cr4(cpu.cr4 | PKE)
    world.memory.write(0x3000, struct.pack("<Q", 0x87 | 1 << 59))
    with pytest.raises(PF) as caught:
        run(world, "31c931d2b80c0000000f01ef8b0425" + struct.pack("<I", CODE + 0x123).hex() + "f4")
    assert caught.value.error == 0x21
    assert caught.value.address == CODE + 0x123
    found = caught.value.explain()
    assert found.fault is not None
    assert "PKRU.AD1 is 1" in found.fault.reason


def test_popf_changes_if_only_through_python() -> None:
    world = World()
    run(world, "fa" + "6802020000" + "9d" + "9c" + "5b" + "f4")  # cli; push 0x202; popf; pushf; pop rbx; hlt
    assert world.cpu.q[RBX] & 0x200
    assert world.cpu.interrupts_enabled


def test_stores_to_translated_code_by_python_are_seen() -> None:
    world = World()
    run(world, "b801000000" + "f4")
    assert world.cpu.q[RAX] == 1
    world.memory.write(CODE, bytes.fromhex("b802000000f4"))
    world.memory.drop_stale_code()
    world.cpu.halted = False
    world.cpu.q[RIP] = CODE
    world.cpu.engine.run(CODE)
    assert world.cpu.q[RAX] == 2


def test_retired_instructions_are_counted() -> None:
    world = World()
    world.memory.write(CODE, bytes.fromhex("48ffc0" * 10 + "ebfe"))
    world.at_ring(0)
    Traps(world.cpu)
    world.cpu.engine.drop_all_code()
    world.cpu.q[RAX] = 0
    world.cpu.engine.run(CODE, 7, Unit.INSTRUCTIONS)
    assert world.cpu.q[RAX] == 7
    assert world.cpu.q[RIP] == CODE + 21


def test_cpuid_and_lazy_flags() -> None:
    world = World()
    # mov eax,1; sub eax,2 (CF, SF set lazily); pushf-free read of the flags by Python
    run(world, "b801000000" + "83e802" + "f4")
    assert world.cpu.rflags & 1
    assert world.cpu.rflags & 0x80
    assert not world.cpu.rflags & 0x40
    assert world.cpu.q[RCX] == world.cpu.q[RDX] == 0


@pytest.mark.parametrize("size", [0, -4096, 100])
def test_memory_sizes_that_are_none(size: int) -> None:
    with pytest.raises(ValueError, match="multiple"):
        Memory(size)


def test_memory_above_the_hole() -> None:
    memory = Memory(4 << 30)
    assert memory.limit == 5 << 30
    memory.write(4 << 30, b"above")
    assert memory.read(4 << 30, 5) == b"above"
    with pytest.raises(OutOfRange) as caught:
        memory.read(0xFEE00000, 4)
    assert caught.value.address == 0xFEE00000
    assert memory.ram_offset(4 << 30) == 3 << 30
