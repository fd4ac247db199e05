"""The API: what `import paracell` offers."""

from __future__ import annotations

import json
import subprocess
import sys
from inspect import getdoc, isclass
from typing import TYPE_CHECKING, get_type_hints

import pytest

import paracell
from paracell import Container, Kind, Machine, NoWalk, Reason, Refused, Who
from paracell.guest import shipped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from paracell import End
    from paracell.emu.machine import ClockKind

both = pytest.mark.parametrize("runtime", paracell.RUNTIMES)
SMALL = "32M"


# ---- names ----------------------------------------------------------------------------------------------------


def test_every_public_name_is_there_and_described() -> None:
    assert set(dir(paracell)) == set(paracell.__all__)
    for name in paracell.__all__:
        found = getattr(paracell, name)
        if isclass(found):
            assert getdoc(found), name
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        paracell.Nonsense  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("name", [n for n in paracell.__all__ if isclass(getattr(paracell, n))])
def test_every_public_method_is_described_and_typed(name: str) -> None:
    for attribute, value in vars(getattr(paracell, name)).items():
        if attribute.startswith("_") or not callable(value):
            continue
        assert getdoc(value), f"{name}.{attribute}"
        if hasattr(value, "__annotations__") and value.__module__.startswith("paracell"):
            assert "return" in value.__annotations__, f"{name}.{attribute}"


def test_a_start_imports_none_of_it() -> None:
    script = "import sys, paracell.cli; print(*[m for m in sys.modules if m.startswith('paracell.')])"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert set(loaded) == {"paracell.cli", "paracell.problem", "paracell.signals"}


def test_type_hints_can_be_read() -> None:
    hints = get_type_hints(Machine.translate, {"Address": paracell.Address})
    assert hints["gva"] is int


# ---- running --------------------------------------------------------------------------------------------------


def run(program: tuple[str, ...], runtime: str, clock: ClockKind, how: Callable[[Container], End] = Machine.run) -> End:
    with Container(*program, runtime=runtime, memory=SMALL, clock=clock) as c:
        return how(c)


def places(c: Container) -> list[str]:
    return [
        place
        for place in ("native_trap", "trap", "arch_trap", "hello!main", "null!main", "lat!main")
        if place in c.symbols
    ]


def by_address(c: Container) -> End:
    for _ in range(10_000):
        if (end := c.run_until(*places(c))).reason is not Reason.REACHED:
            return end
    raise AssertionError("it does not end")


def by_steps(c: Container) -> End:
    c.run_until(*places(c))
    for _ in range(500):
        if (end := c.step()).reason is not Reason.LIMIT:
            return end
    return c.run()


def by_counting(c: Container) -> End:
    while (end := c.run_until(instructions=70_001)).reason is Reason.LIMIT:
        pass
    return end


def by_kind(c: Container) -> End:
    while (end := c.run_until(Kind.WRPKRU, Kind.SYSCALL, Kind.SYSRET)).reason is Reason.REACHED:
        assert end.event is not None
    return end


def by_question(c: Container) -> End:
    while (end := c.run_until(lambda e: e.kind is Kind.EXCEPTION and e.vector == 14)).reason is Reason.REACHED:
        assert end.event is not None
        assert end.event.kind is Kind.EXCEPTION
    return end


def by_events(c: Container) -> End:
    assert sum(1 for _ in c.events()) > 100
    return c.run_until(instructions=1)


programs = pytest.mark.parametrize("program", [("hello",), ("null", "50"), ("lat", "-e", "fork", "2")], ids=" ".join)


@both
@programs
@pytest.mark.parametrize("clock", ["blocks", "exact"])
@pytest.mark.parametrize("how", [by_address, by_kind, by_question], ids=lambda how: how.__name__)
def test_a_run_with_pauses_is_the_run_without(
    program: tuple[str, ...], how: Callable[[Container], End], clock: ClockKind, runtime: str
) -> None:
    whole = run(program, runtime, clock)
    assert whole.reason is Reason.EXIT
    assert run(program, runtime, clock, how) == whole


@both
@programs
@pytest.mark.parametrize("how", [by_counting, by_steps], ids=lambda how: how.__name__)
def test_with_the_exact_clock_a_run_that_counts_is_the_run_that_does_not(
    program: tuple[str, ...], how: Callable[[Container], End], runtime: str
) -> None:
    assert run(program, runtime, "exact", how) == run(program, runtime, "exact")


@both
@pytest.mark.parametrize("program", [("hello",), ("lat", "-e", "pipe", "5")], ids=" ".join)
def test_events_one_by_one_are_the_events_of_a_recording(program: tuple[str, ...], runtime: str) -> None:
    with Container(*program, runtime=runtime, memory=SMALL) as c:
        recorded = c.record()
        whole = c.run()
    with Container(*program, runtime=runtime, memory=SMALL) as c:
        assert list(c.events()) == list(recorded)
        assert (c.cycles, c.stdout) == (whole.cycles, whole.stdout)


def who(machine: Machine) -> Who:
    return machine.who


def test_the_state_at_an_event() -> None:
    with Container("hello", runtime="paracell", memory=SMALL) as c:
        for event in c.events(Kind.GATE_ENTER):
            assert who(c) is Who.KERNEL
            assert not c.cpu.pkru.AD1
            assert c.symbols.name(event.rip).startswith("paracell-kernel.elf!xgate_enter")
            break
        else:
            pytest.fail("no gate was entered")
        for _ in c.events(Kind.GATE_EXIT):
            assert who(c) is Who.USER
            break


def test_conditions_that_cannot_be() -> None:
    with Container("hello", runtime="native", memory=SMALL) as c:
        with pytest.raises(ValueError, match="needs a condition"):
            c.run_until()
        with pytest.raises(ValueError, match="positive number"):
            c.run_until(instructions=0)
        with pytest.raises(KeyError, match="no such symbol: nonsense"):
            c.run_until("nonsense")


def test_an_end_that_the_guest_did_not_choose(tmp_path: Path) -> None:
    image = tmp_path / "k.elf"
    image.write_bytes(shipped.image("bench.elf").read_bytes())
    with Machine.boot(image, memory=SMALL, append="straight 100000000") as machine:
        end = machine.run_until(instructions=10_000)
        assert end.reason is Reason.LIMIT
        machine.cpu.rip = 1 << 63
        end = machine.run()
    assert end.reason is Reason.TRIPLE_FAULT
    assert "triple fault" in str(end)
    assert "RIP" in str(end)


def test_input_and_output() -> None:
    with Container("busybox", "cat", runtime="native", memory=SMALL, stdin="a line\n") as c:
        assert c.run().stdout == "a line\n"
    with Container(
        "busybox", "sh", "-c", "echo out; echo $A >&2; exit 3", runtime="native", environment={"A": "b"}
    ) as c:
        end = c.run()
    assert (end.status, end.stdout, end.stderr) == (3, "out\n", "b\n")


# ---- settings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("costs", [{"wrpkru": 1028}, paracell.Costs(wrpkru=1028)], ids=["mapping", "value"])
def test_costs(costs: object) -> None:
    with Container("null", "10", runtime="paracell", memory=SMALL) as c:
        changes = c.record(Kind.WRPKRU)
        cheap = c.run()
    with Container("null", "10", runtime="paracell", memory=SMALL, costs=costs) as c:  # type: ignore[arg-type]
        dear = c.run()
    assert dear.cycles - cheap.cycles == 1000 * len(changes) > 20_000


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"runtime": "nonsense"}, "no such runtime: nonsense; there are native, paracell"),
        ({"memory": "1X"}, "'1X' is no size"),
        ({"memory": 12345}, "whole pages"),
        ({"costs": {"wrpkr": 1}}, "no such cost: wrpkr; there are wrpkru"),
        ({"costs": {"wrpkru": -1}}, "not -1"),
        ({"costs": {"wrpkru": True}}, "not True"),
        ({"costs": {"wrpkru": 1.5}}, "not 1.5"),
    ],
)
def test_settings_that_are_wrong(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Container("hello", **settings)  # type: ignore[arg-type]


# ---- looking --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def at_main() -> Container:
    container = Container("hello", runtime="paracell", memory=SMALL)
    assert container.run_until("hello!main").reason is Reason.REACHED
    return container


def test_registers_are_words(at_main: Container) -> None:
    cpu = at_main.cpu
    assert repr(cpu.rip) == hex(at_main.symbols["hello!main"])
    assert (cpu.cpl, cpu.cr0.PG, cpu.cr4.PKE, cpu.efer.LMA, cpu.rflags.IF) == (3, 1, 1, 1, 1)
    assert repr(cpu.pkru).startswith("PKRU(AD1|WD1|")
    assert int(cpu.cr3) & ~0xFFF == cpu.cr3.BASE << 12
    assert cpu.segments["cs"].selector & 3 == 3
    assert "RIP" in str(cpu)
    assert "hello!main" in repr(cpu)


def test_registers_can_be_set(at_main: Container) -> None:
    start, cpu = at_main.checkpoint(), at_main.cpu
    before = int(cpu.pkru)
    cpu.rax, cpu.r15, cpu.pkru = 7, (1 << 64) - 1, 0
    assert (cpu.rax, cpu.r15, cpu.pkru) == (7, (1 << 64) - 1, 0)
    with pytest.raises(ValueError, match="does not fit into 64 bits"):
        cpu.rax = 1 << 64
    with pytest.raises(ValueError, match="does not fit into 32 bits"):
        cpu.pkru = 1 << 32
    for name in ("cr0", "cr3", "cr4", "efer", "rflags", "cr2", "pkrs"):
        value = getattr(cpu, name)
        setattr(cpu, name, int(value))
        assert getattr(cpu, name) == value
    start.restore()
    assert cpu.pkru == before
    assert at_main.run().status == 0
    start.restore()


def test_keys_decide_what_is_read(at_main: Container) -> None:
    secret = at_main.symbols["gk_secret"]
    with pytest.raises(Refused, match=r"user read: #PF, error code 0x25 \(P\|U\|PK\)") as refused:
        at_main.read(secret, 8)
    assert refused.value.walk.fault is not None
    assert refused.value.walk.fault.error.PK
    page = at_main.translate(secret)
    assert page is not None
    assert at_main.read(secret, 8, pkru=0) == at_main.memory[page : page + 8]
    assert not at_main.walk(secret, "write", user=True, pkru=4).rights
    assert at_main.walk(secret, "write", user=True, pkru=8).fault
    assert at_main.walk(secret, "read", user=True, pkru=8).fault is None
    assert at_main.walk(secret, "write", user=True, pkru=0).physical == page


def test_linear_memory_over_pages(at_main: Container) -> None:
    start = at_main.checkpoint()
    image = at_main.symbols["hello!main"] & ~0xFFF
    code = at_main.read(image, 4096)
    assert at_main.read(image + 4000, 96) == code[4000:]
    top = at_main.cpu.rsp & ~0xFFF
    data = bytes(range(200))
    at_main.write(top + 0x10, data)
    assert at_main.read(top + 0x10, 200) == data
    with pytest.raises(Refused):
        at_main.write(image, b"\x90")
    with pytest.raises(Refused, match="P is 0"):
        at_main.write(top - (1 << 30), data)
    with pytest.raises(NoWalk, match="not canonical"):
        at_main.read(1 << 47, 16)
    start.restore()
    assert at_main.read(top + 0x10, 200) != data


def test_looking_leaves_no_trace(at_main: Container) -> None:
    start = at_main.checkpoint()
    whole = at_main.run()
    start.restore()
    ram, tlb = bytes(at_main.inner.memory.ram), dict(at_main.inner.cpu.translation.tlb.current)
    for address in (at_main.symbols["gk_secret"], at_main.cpu.rsp, at_main.cpu.rip, 0x7000_0000_0000):
        for access in ("read", "write", "fetch"):
            for user in (True, False, None):
                at_main.walk(address, access, user=user, pkru=0)
        at_main.translate(address)
    assert bytes(at_main.inner.memory.ram) == ram
    assert at_main.inner.cpu.translation.tlb.current == tlb
    assert at_main.run() == whole
    start.restore()


def test_accesses_that_there_are_not(at_main: Container) -> None:
    with pytest.raises(ValueError, match="no such access: 'chew'; there are read, write, fetch"):
        at_main.walk(0, "chew")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="does not fit into 32 bits"):
        at_main.walk(0, pkru=1 << 32)
    with Machine.boot(shipped.image("native.elf"), memory=SMALL) as fresh:
        with pytest.raises(NoWalk, match="paging is off"):
            fresh.walk(0)
        assert fresh.translate(0x1234) == 0x1234
        assert len(fresh.read(0x1000, 16)) == 16


def test_a_notebook_shows_them(at_main: Container) -> None:
    with Container("hello", runtime="native", memory=SMALL) as c:
        events = c.record()
        c.run()
    cpu = at_main.cpu
    for thing in (at_main.walk(cpu.rsp), cpu, cpu.cr4, cpu.pkru, events, events[0]):
        html = thing._repr_html_()
        assert html.startswith(("<pre>", "<table>", "CR4", "PKRU"))
        assert html.count("<tr>") == html.count("</tr>")
    assert f"{len(events):,} events in all" in events._repr_html_()
    assert events.summary()[0].cycles == max(line.cycles for line in events.summary())


def test_symbols(at_main: Container) -> None:
    symbols = at_main.symbols
    assert symbols["hello!main"] == symbols["main"] or "main" in symbols
    assert "paracell-kernel.elf!gk_secret" in symbols
    assert "hello!gk_secret" not in symbols
    assert len(symbols) == len(list(symbols)) > 100
    with pytest.raises(KeyError, match="no such symbol: hello!gk_secret"):
        symbols["hello!gk_secret"]


def test_physical_memory() -> None:
    with Machine.boot(shipped.image("bench.elf"), memory=SMALL) as machine:
        machine.memory[0x5000:0x5004] = b"abcd"
        assert machine.memory[0x5001:0x5003] == b"bc"
        for bad in (slice(0, 4, 2), slice(None, 4), slice(4, 0)):
            with pytest.raises(ValueError, match=r"memory\[first:end\]"):
                machine.memory[bad]
        with pytest.raises(ValueError, match="3 bytes do not fill"):
            machine.memory[0:4] = b"abc"
        with pytest.raises(paracell.OutOfRange):
            machine.memory[0x10000000:0x10000001]


# ---- saving ---------------------------------------------------------------------------------------------------


@both
def test_a_snapshot_goes_on(runtime: str, tmp_path: Path) -> None:
    path = tmp_path / "hello.snap"
    with Container("hello", runtime=runtime, memory=SMALL) as c:
        c.run_until("hello!main")
        c.save(path)
        gates = c.record(Kind.GATE_ENTER, Kind.SYSCALL, Kind.HYPERCALL)
        end = c.run()
    with Machine.restore(path, runtime=runtime) as m:
        again = m.record(Kind.GATE_ENTER, Kind.SYSCALL, Kind.HYPERCALL)
        assert m.run() == end
    assert list(again) == list(gates)
    assert again


def test_a_snapshot_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "no.snap"
    path.write_bytes(b"nothing")
    with pytest.raises(paracell.BadSnapshot):
        Machine.restore(path)
    with pytest.raises(FileNotFoundError):
        Machine.restore(tmp_path / "none")


def test_events_as_plain_values(tmp_path: Path) -> None:
    """`as_dict` is the line of a JSON trace, but for the symbol."""
    trace = tmp_path / "t.jsonl"
    command = [sys.executable, "-m", "paracell", "run", "--memory", SMALL, "--trace", str(trace), "hello"]
    subprocess.run(command, check=True, capture_output=True)
    lines = [json.loads(line) for line in trace.read_text().splitlines()]
    for line in lines:
        del line["symbol"]
    with Container("hello", memory=SMALL, append="tty=0") as c:
        events = c.record()
        c.run()
    assert [event.as_dict() for event in events] == lines
    assert json.dumps(events[0].as_dict())


def test_a_trace_of_a_block(tmp_path: Path) -> None:
    """What the command line writes, for the events between; nothing where the block fails, and nobody listens any longer."""
    whole, part, failed = (tmp_path / name for name in ("whole.jsonl", "part.jsonl", "failed.pftrace"))
    with Container("null", "3", memory=SMALL) as c, c.trace(whole):
        c.run()
    with Container("null", "3", memory=SMALL) as c:
        c.run_until("null!main")
        with c.trace(part):
            c.run()
    assert whole.read_bytes().endswith(part.read_bytes())
    assert b'"nr":39,' in part.read_bytes()
    with Container("null", "3", memory=SMALL) as c:
        with pytest.raises(ZeroDivisionError), c.trace(failed):
            raise ZeroDivisionError
        assert c.inner.cpu.emit is None
        with (
            pytest.raises(ValueError, match=r"a trace is \.jsonl or \.pftrace, not \.txt"),
            c.trace(tmp_path / "it.txt"),
        ):
            pytest.fail("the block must not run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part.jsonl", "whole.jsonl"]


def test_nothing_runs_after_the_guests_end() -> None:
    with Container("null", "1") as c:
        start = c.checkpoint()
        end = c.run()
        assert (end.reason, end.status) == (Reason.EXIT, 0)
        place = c.cycles, c.cpu.rip
        assert [c.step(), c.run(), c.run_until(lambda _: False), c.run_until(instructions=5)] == [end] * 4
        assert (c.cycles, c.cpu.rip) == place
        at_end = c.checkpoint()
        start.restore()
        assert c.step().reason is Reason.LIMIT
        assert c.run_until("null!main").reason is Reason.REACHED
        at_end.restore()
        assert c.run() == end
        start.restore()
        assert any(event.kind is Kind.END for event in c.events())
        assert (c.run().reason, c.step().reason) == (Reason.EXIT, Reason.EXIT)
