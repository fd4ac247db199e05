"""What events cost: the table of the manual, how costs are set, and each charge on the machine itself."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from paracell.emu.cost import CHARGED, DEFAULT, NAMES, Costs
from paracell.emu.declared import declared, read
from paracell.emu.events import FIELDS, Kind
from paracell.emu.instructions.syscall import LSTAR, SFMASK, STAR
from paracell.emu.machine import Machine
from paracell.emu.registers import R8, R9, RAX, RCX, RDX, RIP
from paracell.emu.stop import Reason

from .world import CODE, HANDLER, KERNEL_CS, USER_SS, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paracell.emu.declared import Cost
    from paracell.emu.events import Event

MANUAL = Path(__file__).parents[2] / "docs" / "costs.md"
PCIDE, OSXSAVE, PKE = 1 << 17, 1 << 18, 1 << 22
USER, PVM_KERNEL = CODE, CODE + 0x100


def rows(heading: str) -> list[list[str]]:
    """The cells of a table of the manual, without its head."""
    text = MANUAL.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def span(cost: Cost) -> str:
    return "" if cost.low is None else f"{cost.low:,} to {cost.high:,}"


def test_the_manual_has_each_cost_as_it_is_declared() -> None:
    hardware = declared().hardware.values()
    assert rows("The costs") == [[f"`{c.name}`", str(c.value), span(c), c.what, c.source] for c in hardware]
    assert {c.name: c.value for c in hardware} == {n: getattr(DEFAULT, n) for n in NAMES}
    assert all(c.what and c.source for c in hardware)


def test_the_manual_has_each_service_as_it_is_declared() -> None:
    services, sets = declared().services.values(), declared().sets
    assert list(sets) == ["as-built", "published-services", "cki-services"]
    assert not sets["as-built"]
    assert rows("Services") == [
        [
            f"`{s.name}`",
            span(s),
            *(f"{c[s.name]:,}" if s.name in c else "" for c in list(sets.values())[1:]),
            s.what,
            s.source,
        ]
        for s in services
    ]
    assert all(s.what and s.source and not s.value for s in services)
    for charges in sets.values():
        for name, cycles in charges.items():
            low, high = declared().services[name].low, declared().services[name].high
            assert low is None or high is None or low <= cycles <= high


HARDWARE = '[hardware.trap]\nvalue = 1\nwhat = "a"\nsource = "b"\n'
SERVICE = '[service.host]\nvalue = 0\nwhat = "a"\nsource = "b"\nruntime = "pvm"\nevent = "exception"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[hardware.trap]\nvalue = ", "Invalid value"),
        ('[hardware.trap]\nvalue = 1\nwhat = "a"', "trap: it has no source"),
        (HARDWARE + "high = 5", "trap: a range has both a low and a high"),
        (HARDWARE + "low = 6\nhigh = 5", "trap: low is 6, above high, 5"),
        (HARDWARE + "low = -1\nhigh = 5", "trap: low is a whole number of cycles from 0 to 4294967295, not -1"),
        (HARDWARE + "hi = 5", "trap: no such key: hi; there are high, low, source, value, what"),
        (SERVICE.replace("exception", "trap"), "host: no such event: 'trap'"),
        (SERVICE + "who = 'me'", "host: nobody is called 'me'"),
        (SERVICE + "equal = { reason = 5 }", "host: exception has no reason, but vector, error, address"),
        (SERVICE + "[sets.all]\ncharges = { guest = 5 }", "all: no such service: guest"),
        (SERVICE + "[sets.all]\ncharges = { host = -5 }", "all: host is a whole number of cycles"),
    ],
)
def test_declarations_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "costs.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_declarations_are_read(tmp_path: Path) -> None:
    path = tmp_path / "costs.toml"
    path.write_text(HARDWARE + "low = 5\nhigh = 5\n" + SERVICE + "[sets.all]\ncharges = { host = 7 }", encoding="utf-8")
    found = read(path)
    assert (found.hardware["trap"].low, found.services["host"].kind, found.sets) == (
        5,
        Kind.EXCEPTION,
        {"all": {"host": 7}},
    )


def test_the_manual_has_each_event() -> None:
    table = {row[0].strip("`"): row[1:] for row in rows("Which event carries which cost")}
    assert list(table) == [kind.name.lower() for kind in Kind]
    for kind in Kind:
        meaning, numbers, costs = table[kind.name.lower()]
        assert meaning
        assert tuple(filter(None, numbers.split(", "))) == FIELDS[kind]
        assert tuple(re.findall(r"`(\w+)`", costs)) == CHARGED[kind]


# ---- setting them ---------------------------------------------------------------------------------------------


def test_settings() -> None:
    costs = DEFAULT.with_settings(["wrpkru=60", "cr3 = 200", "wrpkru=61"])
    assert (costs.wrpkru, costs.cr3, costs.syscall) == (61, 200, 82)
    assert DEFAULT.with_settings([]) == DEFAULT


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("wrpkru", "'wrpkru' is no cost; write NAME=CYCLES"),
        ("=5", "'=5' is no cost; write NAME=CYCLES"),
        ("wrpkru=", "'wrpkru=' is no cost; write NAME=CYCLES"),
        ("trap=5", "no such cost: trap; there are wrpkru, syscall, "),
        ("pvm_fault=5", "pvm_fault is a service: no run charges it, only who prices one"),
        ("replace=5", "no such cost: replace; there are wrpkru, "),
        ("wrpkru=-1", "wrpkru costs a whole number of cycles from 0 to 4294967295, not '-1'"),
        ("wrpkru=1.5", "wrpkru costs a whole number of cycles from 0 to 4294967295, not '1.5'"),
        ("wrpkru=0x10", "wrpkru costs a whole number of cycles from 0 to 4294967295, not '0x10'"),
        ("wrpkru=²", "wrpkru costs a whole number of cycles from 0 to 4294967295, not '²'"),
        ("wrpkru=4294967296", "wrpkru costs a whole number of cycles from 0 to 4294967295, not 4294967296"),
    ],
)
def test_settings_that_are_refused(setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        DEFAULT.with_settings([setting])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [-1, 1.0, True, "5", None, 1 << 32])
def test_values_that_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="iret costs a whole number of cycles"):
        Costs(iret=value)  # type: ignore[arg-type]


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "costs.toml"
    path.write_text("# slow keys\nwrpkru = 260\niret = 0\n", encoding="utf-8")
    assert Costs.from_toml(path) == Costs(wrpkru=260, iret=0)
    assert Costs.from_toml(str(path)) == Costs(wrpkru=260, iret=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"wrpkru = ", "Invalid value"),
        (b"\xff", "codec can't decode"),
        (b"nothing = 1", "no such cost: nothing"),
        (b"runv_msr = 1", "runv_msr is a service"),
        (b"wrpkru = -1", "wrpkru costs a whole number"),
        (b"wrpkru = 1.5", "wrpkru costs a whole number"),
        (b"[costs]\nwrpkru = 5", "no such cost: costs"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "costs.toml"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        Costs.from_toml(path)
    assert str(caught.value).startswith(f"{path}: ")
    with pytest.raises(OSError, match="No such file"):
        Costs.from_toml(tmp_path / "none")


# ---- on the machine -------------------------------------------------------------------------------------------


class Log:
    """Keeps the events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        """Nothing is left to do."""


@pytest.fixture
def world() -> Iterator[World]:
    machine = Machine(16 << 20)
    made = World(machine=machine)
    yield made
    machine.close()


def run(world: World, code: str, **costs: int) -> tuple[int, list[Event]]:
    """Run hexadecimal code and HLT at ring 0; the cycles it took, and its events but for walks and HLT."""
    assert world.machine is not None
    machine, cpu = world.machine, world.cpu
    log = Log()
    cpu.costs = Costs(**costs)
    machine._sinks[:] = []
    machine.add_sink(log)
    world.memory.write(CODE, bytes.fromhex(code + "f4"))
    cpu.q[RIP], cpu.halted = CODE, False
    before = machine.clock.cycles
    assert machine.run().reason is Reason.HALTED
    events = [e for e in log.events if e.kind not in {Kind.PAGE_WALK, Kind.HLT}]
    return machine.clock.cycles - before, events


CHARGES = {
    "wrpkru": ("31c031c931d20f01ef", "wrpkru", Kind.WRPKRU),
    "mov cr3, flush": ("0f20d80f22d8", "cr3", Kind.CR3_LOAD),
    "invlpg": ("0f0138", "invlpg", Kind.INVALIDATION),
    "invpcid": ("31c0660f38820424", "invpcid", Kind.INVALIDATION),
    "swapgs": ("0f01f8", "swapgs", Kind.SWAPGS),
    "rdtsc": ("0f31", "rdtsc", Kind.RDTSC),
    "rdtscp": ("0f01f9", "rdtsc", Kind.RDTSC),
    "in": ("e460", "port", Kind.PORT),
    "out": ("e680", "port", Kind.PORT),
    "rdmsr": ("b9800000c00f32", "msr", Kind.MSR),
    "wrmsr": ("b9820000c031c031d20f30", "msr", Kind.MSR),
    "cpuid": ("31c00fa2", "cpuid", Kind.CPUID),
}


@pytest.mark.parametrize("name", CHARGES)
def test_each_charge(world: World, name: str) -> None:
    code, cost, kind = CHARGES[name]
    world.cpu.set_cr4(world.cpu.cr4 | PKE)
    took, events = run(world, code, **{cost: 1234})
    assert (took, [(e.kind, e.cost) for e in events]) == (1234, [(kind, 1234)])
    assert run(world, code, **{cost: 0})[0] == 0


def test_hlt_costs_what_it_says(world: World) -> None:
    assert run(world, "90", hlt=77)[0] == 77


@pytest.mark.parametrize("code", ["0f06", "fa", "fb", "0f20c00f22c0", "0f20e00f22e0", "0f23c0", "0f00c0", "9c9d"])
def test_what_costs_nothing(world: World, code: str) -> None:
    """CLTS, CLI, STI, MOV CR0, MOV CR4, MOV DR, SLDT, PUSHF and POPF."""
    assert run(world, code) == (0, [])


@pytest.mark.parametrize("keep", [True, False])
def test_a_load_of_cr3_that_flushes_can_cost_more(world: World, keep: bool) -> None:
    cpu = world.cpu
    cpu.set_cr4(cpu.cr4 | PCIDE)
    cpu.q[R8] = 0x1000 | 5 | keep << 63
    took, events = run(world, "410f22d8", cr3=100, cr3_flush=11)
    assert took == events[0].cost == (100 if keep else 111)
    assert events[0].data == (0x1000, 0x1005, int(not keep))


@pytest.mark.parametrize("value", [0, 0xC])
@pytest.mark.parametrize("asked", [True, False])
def test_xrstor_that_loads_pkru_costs_a_write_of_it(world: World, asked: bool, value: int) -> None:
    """Whether the value changes or not, as WRPKRU does; an area without the component loads 0."""
    cpu = world.cpu
    cpu.set_cr4(cpu.cr4 | PKE | OSXSAVE | 1 << 9)
    cpu.xcr0 = 0x203
    world.memory.write(0x6000, bytes(512) + struct.pack("<Q", 0x200 if value else 0) + bytes(56))
    world.memory.write(0x6000 + 0xA80, struct.pack("<Q", value))
    code = (
        "b8" + struct.pack("<I", 0x200 if asked else 0).hex() + "31d2" + "0fae2c2500600000"
    )  # mov eax, …; xor edx, edx; xrstor [0x6000]
    took, events = run(world, code, wrpkru=33)
    assert took == (33 if asked else 0)
    assert [(e.kind, e.data) for e in events] == ([(Kind.WRPKRU, (0, value))] if asked else [])
    assert cpu.pkru == (value if asked else 0)


def test_walks_cost_with_and_without_an_observer(world: World) -> None:
    assert world.machine is not None
    machine, cpu = world.machine, world.cpu
    taken = []
    for listening in (True, False):
        machine._sinks[:] = []
        cpu.emit = (lambda _: None) if listening else None
        cpu.costs = Costs(walk=40, iret=0)
        cpu.translation.flush_all()
        world.memory.write(CODE, bytes.fromhex("a100002000000000009090f4"))  # a load from a page of its own
        cpu.q[RIP], cpu.halted = CODE, False
        before = machine.clock.cycles
        assert machine.run().reason is Reason.HALTED
        taken.append(machine.clock.cycles - before)
    assert taken[0] == taken[1] >= 80
    assert not taken[0] % 40


def test_exceptions_and_returns(world: World) -> None:
    world.gate(6)
    world.memory.write(HANDLER, bytes.fromhex("4883042402" + "48cf"))  # add qword [rsp], 2; iretq
    took, events = run(world, "0f0b" * 3)
    assert took == 3 * (715 + 330)
    assert [e.kind for e in events] == [Kind.EXCEPTION, Kind.IRET] * 3


@pytest.mark.parametrize("observed", [True, False])
@pytest.mark.parametrize("rounds", [1, 20])
def test_pvms_direct_switch_is_790_cycles(world: World, rounds: int, observed: bool) -> None:
    """Program and container kernel at ring 3 under two tables, the switcher at ring 0 between them (docs/costs.md)."""
    assert world.machine is not None
    machine, cpu = world.machine, world.cpu
    cpu.set_cr4(cpu.cr4 | PCIDE)
    for msr, value in ((STAR, KERNEL_CS << 32 | (USER_SS - 8) << 48), (LSTAR, HANDLER), (SFMASK, 0x47700)):
        cpu.q[RCX], cpu.q[RAX], cpu.q[RDX] = msr, value & 0xFFFFFFFF, value >> 32
        world.do("0f30")
    switcher = (
        "0f01f8" + "410f22d8"  # swapgs; mov cr3, r8
        + "4d87c8"  # xchg r8, r9
        + "4c87d1"  # xchg rcx, r10: where the other side goes on
        + "0f01f8" + "480f07"  # swapgs; sysretq
    )  # fmt: skip
    world.memory.write(HANDLER, bytes.fromhex(switcher))
    side = "0f05" * rounds
    world.memory.write(USER, bytes.fromhex(side + "0f0b"))  # … ud2
    world.memory.write(PVM_KERNEL, bytes.fromhex(side))
    world.gate(6, target=HANDLER + 0x100)
    world.memory.write(HANDLER + 0x100, bytes.fromhex("f4"))
    world.at_ring(3)
    cpu.q[R8], cpu.q[R9], cpu.q[10] = 0x1002 | 1 << 63, 0x1001 | 1 << 63, PVM_KERNEL
    log, before = Log(), machine.clock.cycles
    if observed:
        machine.add_sink(log)
    assert machine.run().reason is Reason.HALTED
    assert machine.clock.cycles - before == rounds * 790 + DEFAULT.exception + DEFAULT.hlt
    assert rounds * 790 == rounds * 2 * (82 + 2 * 26 + 186 + 75)
    if observed:
        one_way = [Kind.SYSCALL, Kind.SWAPGS, Kind.CR3_LOAD, Kind.SWAPGS, Kind.SYSRET]
        events = [e for e in log.events if e.kind is not Kind.PAGE_WALK]
        assert [e.kind for e in events] == one_way * 2 * rounds + [Kind.EXCEPTION, Kind.HLT]
        assert sum(e.cost for e in events[:-2]) == rounds * 790
        assert {e.data[2] for e in events if e.kind is Kind.CR3_LOAD} == {0}
