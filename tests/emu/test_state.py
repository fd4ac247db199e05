"""Every field of the processor's state goes through `Cpu.load`, a snapshot and a checkpoint, and comes back as it was."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from attrs import evolve, fields

from paracell.emu.checkpoint import Checkpoint
from paracell.emu.contexts import SLOT_FLAGS
from paracell.emu.descriptors import FLAT_CODE32, FLAT_CODE64, FLAT_DATA32, UNUSABLE, Segment, Table
from paracell.emu.engine import SLOT_BITS
from paracell.emu.faults import Unimplemented
from paracell.emu.features import parse
from paracell.emu.machine import Machine
from paracell.emu.outer import OuterState
from paracell.emu.registers import CS, HFLAGS, RAX, RIP
from paracell.emu.snapshot import BadSnapshot
from paracell.emu.state import State
from paracell.mmu import rights
from paracell.mmu.registers import CR4
from paracell.mmu.rights import READ
from paracell.vmx.fields import Field
from paracell.vmx.operation import ActiveVmcs, VmxState
from paracell.vmx.words import Activity, Interruptibility

from .world import CODE, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AC, IF, TF, DF, IOPL, RF, ID, CF, OF, ZF = (
    1 << 18, 1 << 9, 1 << 8, 1 << 10, 3 << 12, 1 << 16, 1 << 21, 1, 1 << 11, 1 << 6,
)  # fmt: skip
FLAT: Final = State()
LONG: Final = State(
    cr0=0x80000031, cr3=0x1000, cr4=0x20, efer=0x500, segments=(FLAT_DATA32, FLAT_CODE64, *(FLAT_DATA32,) * 4)
)
CODE16: Final = Segment(0x18, 0x1230, 0xFFFF, 0x9B)
USER64: Final = Segment(0x33, 0, 0xFFFFFFFF, 0xA0FB)


def segments(**named: Segment) -> tuple[Segment, ...]:
    base = dict(zip(("es", "cs", "ss", "ds", "fs", "gs"), LONG.segments, strict=True))
    return tuple((base | named).values())


VMCS: Final = ActiveVmcs(0x8000, False, True, ((Field.TSC_OFFSET, 1 << 63), (Field.GUEST_RIP, 0x1234)))
# For each field, values that are not the default ones, on top of 64-bit mode, or where the second says so of 32-bit mode.
VALUES: Final[dict[str, list[Any]]] = {
    "registers": [tuple(range(1, 17)), (*(1 << 63 | i for i in range(15)), (1 << 64) - 1)],
    "rip": [0x123456, 0xFFFF800000001000],
    "rflags": [CF | 2, OF | ZF | DF | 2, AC | IF | ID | 2, IOPL | 2, RF | 2],
    "cpl": [3, 1],
    "cr0": [0x80050033, 0x8001003B],
    "cr2": [0xFFFF800012345678],
    "cr3": [0x7000, 0x1018],
    "cr4": [0x20 | 1 << 7, 0x7E0 | 1 << 17 | 1 << 18 | 1 << 20 | 1 << 21 | 1 << 22 | 1 << 24],
    "efer": [0xD01],
    "pdptes": [(1, 0x2001, 0x3001, 0x4001)],
    "pkru": [0x55555554],
    "pkrs": [0xAAAAAAA8],
    "xcr0": [3, 0x203],
    "xss": [1 << 8],
    "dr": [(0, 0, 0, 0, 0, 0, 0xFFFF4FF1, 0x400), (0x5000, 0x6000, 0x7008, 0x8000, 0, 0, 0xFFFF0FF0, 0xD0402 | 0x400)],
    "gdtr": [Table(0xFFFF800000001000, 0x7F)],
    "idtr": [Table(0x2000, 0xFFF)],
    "ldtr": [Segment(0, 0, 0, UNUSABLE), Segment(0x50, 0x9000, 0x1F, 0x82)],
    "tr": [Segment(0x40, 0xB000, 0x67, 0x8B)],
    "segments": [
        segments(cs=USER64, ss=Segment(0x2B, 0, 0xFFFFFFFF, 0xC0F3)),
        segments(fs=Segment(0x2B, 0x7FFF00001000, 0xFFFFFFFF, 0xC0F3), gs=Segment(0, 0xFFFF800000002000, 0, UNUSABLE)),
        segments(ds=Segment(0, 0, 0, UNUSABLE), es=Segment(0, 0, 0, UNUSABLE), ss=Segment(0, 0, 0, UNUSABLE)),
        segments(cs=FLAT_CODE32),
        segments(cs=CODE16, ds=Segment(0x20, 0x5000, 0xFFF, 0x93)),
    ],
    "msrs": [{0xC0000081: 0x23000800000000, 0xC0000082: 0xFFFF800000001234}, {0x277: 0x0606060606060606}],
    "tsc_adjust": [10**9, (1 << 64) - 5],
    "tsc_offset": [(1 << 64) - 100],
    "interruptibility": [Interruptibility(1), Interruptibility(2), Interruptibility(8), Interruptibility(9)],
    "activity": [Activity.HLT],
    "vmx": [VmxState(0x7000), VmxState(0x7000, 0x8000, (VMCS, ActiveVmcs(0x9000, True, False, ())))],
}
CASES: Final = [(name, value) for name, values in VALUES.items() for value in values]


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine(16 << 20, features=parse("pks,+vmx"))
    yield machine
    machine.close()


def loaded(machine: Machine, state: State) -> State:
    machine.cpu.load(state)
    return machine.cpu.state()


def by_snapshot(machine: Machine, state: State) -> State:
    machine.cpu.load(state)
    file = io.BytesIO()
    machine.save(file)
    file.seek(0)
    other = Machine.restore(file)
    found = other.cpu.state()
    other.close()
    return found


def by_checkpoint(machine: Machine, state: State) -> State:
    machine.cpu.load(state)
    point = Checkpoint(machine)
    machine.cpu.load(LONG if state.efer == 0 else FLAT)  # something else in between
    machine.cpu.load(
        evolve(FLAT, registers=(7,) * 16, rflags=0x3602, dr=(9,) * 4 + (0, 0, 5, 0x400), msrs={0x277: 0}, pkru=3)
    )
    point.restore()
    return machine.cpu.state()


def by_dict(_machine: Machine, state: State) -> State:
    return State.from_dict(json.loads(json.dumps(state.as_dict())))


def test_every_field_has_values() -> None:
    assert [*VALUES, "outer"] == [each.name for each in fields(State)]  # only a nested machine takes the last
    for name, value in CASES:
        assert value != getattr(LONG, name), name


@pytest.mark.parametrize("way", [loaded, by_snapshot, by_checkpoint, by_dict])
def test_every_field_comes_back(machine: Machine, way: Callable[[Machine, State], State]) -> None:
    for name, value in CASES:
        state = evolve(LONG, **{name: value})
        assert way(machine, state) == state, name
    everything = evolve(LONG, **{name: values[0] for name, values in VALUES.items()})
    for state in (FLAT, everything, LONG):
        assert way(machine, state) == state


@pytest.mark.parametrize("way", [loaded, by_snapshot, by_checkpoint, by_dict])
def test_the_outermost_hypervisor_comes_back(way: Callable[[Machine, State], State]) -> None:
    machine = Machine(16 << 20, features=parse("pks,+vmx"), nested=True)
    for outer in (OuterState(), OuterState(waits=True, out=True, vpids=((0, 2), (7, 3)))):
        for vmx in (None, VALUES["vmx"][1]):
            state = evolve(LONG, outer=outer, vmx=vmx)
            found = way(machine, state)
            assert found.outer is not None
            assert evolve(found, outer=evolve(found.outer, stages=None)) == state
    machine.close()


def test_a_machine_without_an_outermost_hypervisor_has_no_place_for_one(machine: Machine) -> None:
    with pytest.raises(ValueError, match="the machine has none"):
        machine.cpu.load(evolve(LONG, outer=OuterState()))


def test_a_machine_begins_with_the_defaults(machine: Machine) -> None:
    assert machine.cpu.state() == FLAT
    machine.cpu.load(evolve(LONG, **{name: values[-1] for name, values in VALUES.items()}))
    machine.cpu.reset()
    assert machine.cpu.state() == FLAT


def test_what_was_captured_stays_captured(machine: Machine) -> None:
    """Callbacks have bound the processor's lists and dictionaries: nothing may put others into their place."""
    cpu = machine.cpu

    def identities() -> list[int]:
        held = (
            cpu.segments, cpu.dr, cpu.msr, cpu.gate_paths, cpu.iret_paths, cpu.translation.where, cpu.translation.where_pages,
            cpu.translation.slots, cpu.memory.dirty, cpu.memory.code, cpu.memory.ram, cpu.memory.words, cpu.q, cpu.d,
        )  # fmt: skip
        return [id(each) for each in held]

    before = identities()
    point = Checkpoint(machine)
    cpu.load(LONG)
    point.restore()
    cpu.reset()
    assert identities() == before


def test_a_state_is_a_value_of_its_own(machine: Machine) -> None:
    machine.cpu.load(evolve(LONG, msrs={0x277: 6}))
    state = machine.cpu.state()
    machine.cpu.msr[0x277] = 0
    machine.cpu.dr[0] = 5
    machine.cpu.segments[0] = CODE16
    assert state == evolve(LONG, msrs={0x277: 6})


# ---- what follows from a state ----------------------------------------------------------------------------------------


def test_the_loaded_state_runs(machine: Machine) -> None:
    """From 32-bit code at ring 0 to 64-bit code at ring 3 and back: TCG, translation and rights follow."""
    world = World(machine=machine)
    cpu = world.cpu
    world.memory.write(CODE, bytes.fromhex("48b88877665544332211ebfe"))  # 64-bit: mov rax, imm64
    world.memory.write(0x11000, bytes.fromhex("48b888776655ebfe"))  # 32-bit: dec eax; mov eax, imm32
    kernel = cpu.state()
    user = evolve(
        kernel, cpl=3, rip=CODE, segments=segments(cs=USER64, ss=Segment(0x2B, 0, 0xFFFFFFFF, 0xC0F3)), rflags=2
    )
    flat = evolve(FLAT, rip=0x11000)
    for _ in range(3):
        cpu.load(user)
        assert machine.run(2).reason == "limit"
        assert cpu.q[RAX] == 0x1122334455667788
        assert cpu.translation.explain(0x200000, READ).fault is not None  # a supervisor's page
        cpu.load(flat)
        assert machine.run(3).reason == "limit"
        assert cpu.q[RAX] == 0x55667788
        cpu.load(kernel)
        assert cpu.translation.explain(0x200000, READ).fault is None


def test_one_change_of_context(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    translation = machine.cpu.translation
    calls: list[str] = []

    def counted(name: str, inner: Callable[[], None]) -> Callable[[], None]:
        def call() -> None:
            calls.append(name)
            inner()

        return call

    for name in ("configure", "switch"):
        monkeypatch.setattr(translation, name, counted(name, getattr(translation, name)))
    machine.cpu.load(evolve(LONG, rflags=AC | 2, pkru=5))
    assert calls == ["configure", "switch"]
    calls.clear()
    machine.cpu.load(evolve(LONG, rflags=2, pkru=4, cpl=3))
    assert calls == ["switch"]


def test_translations_stay_cached_over_a_load(machine: Machine) -> None:
    world = World(machine=machine)
    cpu = world.cpu
    cpu.read_bytes(CODE, 1)
    state = cpu.state()
    cpu.load(FLAT)
    cpu.load(state)
    assert CODE >> 12 in cpu.translation.tlb.current


def test_an_activity_that_is_none_here_is_said(machine: Machine) -> None:
    with pytest.raises(Unimplemented, match="WAIT_FOR_SIPI"):
        machine.cpu.load(evolve(LONG, activity=Activity.WAIT_FOR_SIPI))
    assert machine.cpu.state() == FLAT


def test_a_dictionary_that_is_no_state() -> None:
    values = LONG.as_dict()
    with pytest.raises(ValueError, match="pkrs"):
        State.from_dict({name: value for name, value in values.items() if name != "pkrs"})
    with pytest.raises(ValueError, match="cr5"):
        State.from_dict(values | {"cr5": 0})


def test_a_snapshot_of_another_version_is_refused(machine: Machine) -> None:
    file = io.BytesIO()
    machine.save(file)
    with pytest.raises(BadSnapshot, match="another version"):
        Machine.restore(io.BytesIO(b"PCSNAP1\n" + file.getvalue()[8:]))


def test_our_own_single_step_is_not_the_guests(machine: Machine) -> None:
    """While the shadow of STI passes, TF is ours."""
    machine.cpu.load(evolve(LONG, rflags=IF | 2, interruptibility=Interruptibility(1)))
    machine.traps.pending.stepping = True
    machine.cpu.q[RIP] = CODE
    machine.cpu.set_system_flags(0, TF)
    file = io.BytesIO()
    machine.save(file)
    file.seek(0)
    other = Machine.restore(file)
    assert other.cpu.state() == evolve(LONG, rflags=IF | 2, interruptibility=Interruptibility(1), rip=CODE)
    assert other.cpu.segments[CS] is machine.cpu.segments[CS]
    other.close()


def test_a_checkpoint_comes_back_into_the_slot_that_its_context_has_now(machine: Machine) -> None:
    """TCG's words hold the slot of the checkpoint's time; other contexts may have taken it since."""
    world = World(machine=machine)
    cpu, translation = world.cpu, world.cpu.translation
    cpu.set_cr4(cpu.cr4 | CR4.PKE.mask)
    world.at_ring(3)
    slots = set()
    for others in range(6):
        cpu.set_pkru(0)
        point = Checkpoint(machine)
        for number in range(others):
            cpu.set_pkru(4 << 2 * number)
        cpu.set_pkru(0)  # the same context, perhaps in another slot
        for _ in range(2):
            point.restore()
            assert cpu.d[HFLAGS] & SLOT_BITS == SLOT_FLAGS[translation.current_slot]
            assert translation.table is translation.slots[translation.current_slot].table
            slots.add(translation.current_slot)
            cpu.set_pkru(1 << 30)
    assert len(slots) > 1


def test_a_state_that_differs_in_pkrs_alone_has_its_own_rights(machine: Machine) -> None:
    cpu = machine.cpu
    open_keys = evolve(LONG, cr4=LONG.cr4 | CR4.PKS.mask)
    for pkrs in (0, 0b11 << 2, 0, 0b10 << 4):
        cpu.load(evolve(open_keys, pkrs=pkrs))
        slot = cpu.translation.slots[cpu.translation.current_slot]
        assert (cpu.translation.current, slot.table) == (
            cpu.translation.context(user=False),
            rights.table(cpu.translation.context(user=False)),
        )
