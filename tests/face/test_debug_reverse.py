"""The way back: the same state at the same place, whatever way led there."""

from __future__ import annotations

import hashlib
import random
import re
import select
import shutil
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from paracell import Container, Machine
from paracell.capture import Capture
from paracell.debug.backwards import go_back, step_back
from paracell.debug.control import Control, Halt
from paracell.debug.files import Files
from paracell.debug.history import History
from paracell.debug.monitor import Monitor
from paracell.debug.prepared import debug_prepared
from paracell.debug.replayed import ReplayedConsole
from paracell.debug.session import Options
from paracell.debug.stops import parse
from paracell.debug.transport import Place as Where
from paracell.debug.watch import PHYSICAL, WRITE, Watchpoint
from paracell.emu.counting import Unit
from paracell.emu.sinks import Listener
from paracell.emu.snapshot import FPU
from paracell.emu.stop import Reason
from paracell.guest import shipped
from paracell.mmu.address import PAGE
from tests.guest.kernels import Typed, boot, tar_of

from .test_debug import debug
from .test_run import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from paracell.emu.events import Event
    from paracell.emu.moments import Moment, Place

SETUPS = [("native", False), ("paracell", False), ("pvm", False), ("runv", False), ("runv", True), ("paracell", True)]


def whole(machine: Machine) -> dict[str, Any]:
    """Everything that a machine is."""
    inner = machine.inner
    ram = hashlib.sha1(inner.memory.ram[: inner.memory.low], usedforsecurity=False).hexdigest()
    pending = inner.traps.pending
    return {
        "progress": inner.progress, "time": inner.clock.save(), "devices": inner.devices.save(), "memory": ram,
        "waits": (pending.interrupt, pending.nmi, pending.stepping), "x87 and SSE": [inner.engine.raw[part].hex() for part in FPU],
        **ordered(inner.cpu.state().as_dict()),
    }  # fmt: skip


def ordered(value: Any) -> Any:
    """Give the fields of each VMCS in one order: they have none."""
    if isinstance(value, dict):
        return {name: sorted(each) if name == "fields" else ordered(each) for name, each in value.items()}
    return [ordered(each) for each in value] if isinstance(value, (tuple, list)) else value


def differences(one: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (one[name], other[name]) for name in one if one[name] != other[name]}


class Made:
    """A machine with several processes, whose timer is armed now and then, with its history from the first instruction on."""

    def __init__(self, runtime: str, *, nested: bool, remembers: bool = True) -> None:
        data = shipped.image("linux/processes").read_bytes()
        self.console = Typed(b"some words that come in\n")
        inner = boot(
            runtime, tar_of({"bin/it": data}), ["/bin/it"], console=ReplayedConsole(self.console), memory=64 << 20, nested=nested
        )  # fmt: skip
        self.machine = Machine(inner, inner.devices.console)
        self.events: list[Event] = []
        inner.add_sink(Listener(self.events.append))
        self.history = History(self.machine) if remembers else None


@pytest.mark.parametrize(("runtime", "nested"), SETUPS)
def test_each_place_has_one_state(runtime: str, *, nested: bool) -> None:
    chance = random.Random(f"{runtime} {nested}")
    made = Made(runtime, nested=nested)
    history, machine = made.history, made.machine
    assert history is not None
    seen: dict[Place, dict[str, Any]] = {}
    goal = 0
    for _ in range(9):
        goal += chance.choice([1, 50, 3000, 100_000, 600_000])
        if chance.random() < 0.3:
            for _ in range(20):  # as a debugger steps
                history.advance((history.place[0] + 1, 0), held=True)
        stop = history.advance((max(goal, history.place[0] + 1), 0))
        seen[history.place] = whole(machine)
        if stop.reason is not Reason.LIMIT:
            break
    assert len(seen) > 5
    told, sent = len(made.events), bytes(made.console.sent[0])
    for place in chance.choices(list(seen), k=4):
        history.go_to(place)
        assert not differences(whole(machine), seen[place]), place
        back = max(place[0] - chance.choice([1, 1000, 60_000, 900_000]), 0)
        history.go_to((back, 0))
        history.advance(place)
        assert not differences(whole(machine), seen[place]), (place, back)
    assert any(state["time"][1] for state in seen.values()) is (runtime != "paracell")  # a timer was armed
    assert (len(made.events), bytes(made.console.sent[0])) == (told, sent)
    machine.close()


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("runtime", "nested"), SETUPS)
def test_a_run_with_history_is_the_same(runtime: str, *, nested: bool, exact: bool) -> None:
    """Though a timer is armed now and then, and history counts instructions and ends pieces in the middle of blocks."""
    told = []
    for remembers in (False, True):
        made = Made(runtime, nested=nested, remembers=remembers)
        inner = made.machine.inner
        if exact:
            inner.traps.pending.time.unit = Unit.INSTRUCTIONS  # --clock exact
        stop = made.history.advance() if made.history else inner.run()
        assert stop.reason is Reason.EXIT
        told.append((made.events, inner.clock.save()))
        assert inner.clock.counted
        made.machine.close()
    assert told[0] == told[1]


# ---- what a debugger asks for -----------------------------------------------------------------------------------------

SIZE = 128  # bytes that are watched
needs_gdb = pytest.mark.skipif(shutil.which("gdb") is None, reason="no gdb on this computer")


def nobody(wake: int) -> bool:
    """No client asks for a stop."""
    select.select([wake], [], [])
    return False


class Debugged:
    """A container with its history, as a debugger's session has it."""

    def __init__(self, *program: str, runtime: str = "paracell", stdin: str = "", size: int = 256 << 20) -> None:
        self.captured = Capture(stdin)
        self.container = Container(*program, runtime=runtime, memory="64M", console=ReplayedConsole(self.captured))
        self.inner = self.container.inner
        self.history = History(self.container, size)
        self.control = Control(self.container, lambda: False, self.history)

    def on(self) -> Halt:
        return self.control.go_on(nobody)

    def back(self) -> Halt:
        return go_back(self.control, self.history, nobody)

    def rip(self) -> str | None:
        return self.container.symbols.name(self.container.cpu.rip)


@pytest.fixture
def null() -> Iterator[Debugged]:
    made = Debugged("null", "4")
    yield made
    made.container.close()


def test_the_way_back_has_the_stops_of_the_way_on(null: Debugged) -> None:
    """Breakpoints are met at the same places; what is stopped behind on the way on is stood before on the way back."""
    control, history, symbols = null.control, null.history, null.container.symbols
    control.breakpoints.insert(0, symbols["null!main"])
    null.on()
    start = history.place
    control.breakpoints.insert(0, symbols["paracell-kernel.elf!sys_getpid"])
    control.breakpoints.insert(1, symbols["xgate_exit_wrpkru"])
    stops = []
    while not null.on().ended:
        stops.append((history.place, null.rip()))
    assert len(stops) >= 8
    history.go_to(stops[-1][0])
    back = []
    while null.back().why.endswith("wbreak:;"):
        back.append((history.place, null.rip()))
    assert back == [*reversed(stops[:-1]), (start, "null!main"), *back[len(stops) :]]
    assert history.place == history.begin
    control.breakpoints.clear()

    history.go_to(start)
    control.stop_on.waits["pkru"] = parse(["pkru"])
    changes = []
    while not (halt := null.on()).ended:
        changes.append((history.place, halt.lines))
    assert {name for _, (line,) in changes for name in [line.partition(":")[0]]} == {"pkru"}
    history.go_to(changes[-1][0])
    for place, lines in reversed(changes):
        halt = null.back()
        assert (history.place, halt.lines) == (history.one_back(place), lines)
    null.back()
    assert history.place < start


def watched_bytes(machine: Machine, address: int) -> bytes:
    place = machine.translate(address)
    assert place is not None
    return machine.memory[place : place + SIZE]


@pytest.mark.parametrize("kind", [WRITE, PHYSICAL])
def test_who_wrote_this_last(null: Debugged, kind: int) -> None:
    """Watchpoints on the way back stand before each store that they have stood behind on the way on."""
    control, history, container = null.control, null.history, null.container
    control.breakpoints.insert(0, container.symbols["null!main"])
    null.on()
    start = history.place
    control.breakpoints.clear()
    address = int(container.cpu.rsp) - SIZE  # of the frames of what `main` calls
    watched = int(container.translate(address) or 0) if kind == PHYSICAL else address
    control.watchpoints.wanted.add(Watchpoint(kind, watched, SIZE))
    writes: list[tuple[Place, bytes]] = []
    while len(writes) < 12 and not null.on().ended:
        writes.append((history.place, watched_bytes(container, address)))
    assert len({data for _, data in writes}) > 1
    for number in range(len(writes) - 1, -1, -1):
        null.back()
        place, after = writes[number]
        assert history.place == history.one_back(place)
        history.go_to(place)
        assert watched_bytes(container, address) == after
        history.go_to(history.one_back(place))
    assert history.place >= start


@pytest.mark.parametrize("runtime", ["paracell", "runv"])
def test_pieces_without_a_write_are_left_out(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found is the same as when all run again, which a breakpoint that is never met makes them do."""
    for name in ("EVERY", "_BUSY_EVERY"):
        monkeypatch.setattr(f"paracell.debug.history.{name}", 3000)
    made = Debugged("null", "4", runtime=runtime)
    control, history = made.control, made.history
    written = made.inner.memory.mark()
    history.advance((300_000, 0))
    end = history.place
    ran: list[Place] = []
    restore = history._restore

    def counted(moment: Moment) -> None:
        ran.append(moment.place)
        restore(moment)

    monkeypatch.setattr(history, "_restore", counted)
    pieces = {False: 0, True: 0}
    for frame in random.Random(runtime).sample(sorted(written), 6):
        control.watchpoints.wanted = {Watchpoint(PHYSICAL, frame * PAGE, PAGE)}
        found = []
        for whole_way in (False, True):
            history.go_to(end)
            ran.clear()
            if whole_way:
                control.breakpoints.insert(0, 1)
            halt = made.back()
            control.breakpoints.clear()
            found.append((halt, history.place, whole(made.container)))
            pieces[whole_way] += len(ran)
        assert found[0] == found[1]
    assert pieces[False] < pieces[True] / 2
    made.container.close()


def test_a_breakpoint_at_a_physical_address(null: Debugged) -> None:
    """It is met at whatever linear address the page is run at, and on the way back too."""
    control, container = null.control, null.container
    control.breakpoints.insert(0, container.symbols["null!main"])
    null.on()
    control.breakpoints.clear()
    monitor = Monitor(control)
    place = container.translate(container.symbols["paracell-kernel.elf!sys_getpid"])
    assert monitor.run(f"break phys:{place:#x}") == ""
    assert monitor.run("break") == f"phys:{place:#x}\n"
    met = []
    while not null.on().ended:
        met.append((null.history.place, null.rip()))
    assert len(met) == 4
    assert {name for _, name in met} == {"paracell-kernel.elf!sys_getpid"}
    null.history.go_to(met[-1][0])
    null.back()
    assert (null.history.place, null.rip()) == met[-2]
    assert monitor.run(f"unbreak phys:{place:#x}") == ""
    assert monitor.run("break") == "none\n"
    assert monitor.run("watch 0x1000").startswith("watch pte:ADDRESS, or watch phys:ADDRESS [SIZE]")


def test_what_a_debugger_changes_is_part_of_history(null: Debugged) -> None:
    control, history, container = null.control, null.history, null.container
    control.breakpoints.insert(0, container.symbols["null!main"])
    null.on()
    control.breakpoints.clear()
    place = history.place
    history.advance((place[0] + 5000, 0))
    far, before = history.place, whole(container)
    history.go_to(place)
    container.cpu.r15 = 0xABCDEF
    control.changed()
    step_back(control, history, nobody)
    assert int(container.cpu.r15) != 0xABCDEF
    control.step(nobody)
    assert (history.place, int(container.cpu.r15)) == (place, 0xABCDEF)  # done again
    history.advance((place[0] + 3, 0))
    history.go_to(place)
    assert int(container.cpu.r15) == 0xABCDEF
    history.advance(far)
    after = whole(container)
    assert set(differences(before, after)) <= {"registers", "memory"}
    history.go_to(history.begin)
    history.advance(far)
    assert not differences(whole(container), after)


def test_input_and_output_come_once() -> None:
    made = Debugged("echoin", stdin="one\ntwo\n", runtime="native")
    assert made.on().ended
    end, out = made.history.place, bytes(made.captured.sent[0])
    assert b"two" in out
    for back in (1, 20_000, 400_000):
        made.history.go_to((end[0] - back, 0))
        assert made.history.advance().reason is Reason.EXIT
        assert bytes(made.captured.sent[0]) == out
    made.history.go_to((end[0] - 400_000, 0))
    made.control.changed()  # from here on all is new: what had come in comes again
    assert made.history.advance().reason is Reason.EXIT
    assert bytes(made.captured.sent[0]).endswith(out[-10:])
    made.container.close()


def test_history_keeps_to_its_memory() -> None:
    size = 12 << 20
    made = Debugged("touch", "24", runtime="native", size=size)
    while not made.on().ended:
        pass
    assert made.history.begin > (0, 0)
    end = made.history.place
    made.history.go_to((end[0] - 1000, 0))
    halt = made.back()
    assert made.history.place == made.history.begin
    assert (halt.why, *halt.lines) == (
        "replaylog:begin;",
        "history begins here: what lay before had to give way (--history)",
    )
    made.container.close()


@needs_gdb
@pytest.mark.parametrize("runtime", ["native", "paracell"])
def test_a_trace_is_the_same_with_ways_back(tmp_path: Path, runtime: str) -> None:
    alone, watched = tmp_path / "alone.jsonl", tmp_path / "watched.jsonl"
    assert run("run", "--runtime", runtime, "--trace", alone, "hello").returncode == 0
    goes = (
        "break sys_write", "continue", "reverse-stepi", "stepi", "continue", "reverse-continue", "reverse-stepi 1000", "delete",
        "monitor stop-on fault", "reverse-continue", "reverse-continue", "monitor stop-on off", "continue",
    )  # fmt: skip
    done = debug("--runtime", runtime, "--trace", watched, "hello", gdb=goes)
    assert "exited normally" in done.stdout, done
    assert re.findall("Hello from a container", done.stdout) == ["Hello from a container"]
    assert watched.read_bytes() == alone.read_bytes()


@needs_gdb
def test_a_trace_is_the_same_while_timers_are_armed(tmp_path: Path) -> None:
    alone, watched = tmp_path / "alone.jsonl", tmp_path / "watched.jsonl"
    assert run("run", "--trace", alone, "lat", "pipe", "8").returncode == 0
    goes = ("break sys_write", "continue", "continue 5", "reverse-continue", "delete", "continue")
    done = debug("--trace", watched, "lat", "pipe", "8", gdb=goes)
    assert "exited normally" in done.stdout, done
    assert '"blocks":0' not in alone.read_text(encoding="utf-8").splitlines()[-1]
    assert watched.read_bytes() == alone.read_bytes()


@needs_gdb
def test_without_history_there_is_no_way_back() -> None:
    done = debug("--history", "0", "hello", gdb=("reverse-stepi",))
    assert "does not support this command" in done.stdout + done.stderr


@pytest.mark.parametrize("physical", [False, True])
def test_a_breakpoint_is_met_where_a_moment_is_taken(physical: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is cut before its instruction, and the next one begins with it."""
    first = Debugged("null", "4")
    main = first.container.symbols["null!main"]
    first.control.breakpoints.insert(0, main)
    first.on()
    place, there = first.history.place, first.container.translate(main)
    first.container.close()
    assert there is not None
    again = Debugged("null", "4")
    for name in ("EVERY", "_BUSY_EVERY"):
        monkeypatch.setattr(f"paracell.debug.history.{name}", place[0])
    monkeypatch.setattr(again.history, "_every", place[0])
    if physical:
        again.control.breakpoints.physical.add(there)
    else:
        again.control.breakpoints.insert(0, main)
    again.on()
    assert again.history.place == place
    again.container.close()


@needs_gdb
def test_a_machine_that_was_prepared(tmp_path: Path) -> None:
    """It is served where it stands, and history begins there."""
    place = tmp_path / "gdb"
    asked = ("print $rip", "reverse-stepi", "stepi", "reverse-stepi", "print $rip", "kill")
    words = [word for each in (f"target remote {place}", *asked) for word in ("-ex", each)]
    shown: list[str] = []

    def client() -> None:
        while not place.exists():
            time.sleep(0.05)
        shown.append(
            subprocess.run(["gdb", "-q", "-batch", "-nx", *words], check=False, capture_output=True, text=True).stdout
        )

    with Container("hello") as container:
        container.run_until("hello!main")
        main = container.symbols["hello!main"]
        thread = threading.Thread(target=client)
        thread.start()
        stop = debug_prepared(container.inner, Options(Where(path=str(place)), history=64 << 20), Files(None))
        thread.join()
    assert stop.reason is Reason.INTERRUPTED
    assert "No more reverse-execution history" in shown[0]
    assert [int(at, 16) for at in re.findall(r"^\$\d = .*(0x\w+)", shown[0], re.MULTILINE)] == [main, main]


@needs_gdb
def test_a_finding_of_the_fuzzer(tmp_path: Path) -> None:
    """It stands before the input's first instruction, goes on and back; a target without a machine is one line."""
    found = run("fuzz", "gates", "-off=prefixes", "-verbosity=0", f"-exact_artifact_path={tmp_path}/finding")
    assert found.returncode == 77, found.stderr
    place = tmp_path / "gdb"
    served = subprocess.Popen(
        [sys.executable, "-m", "paracell", "replay", "--gdb", f"unix:{place}", f"{tmp_path}/finding"]
    )
    asked = (
        "print $domain",
        "monitor stop-on fault",
        "continue",
        "reverse-continue",
        "reverse-continue",
        "print $domain",
        "kill",
    )
    while not place.exists():
        time.sleep(0.05)
    words = [word for each in (f"target remote {place}", *asked) for word in ("-ex", each)]
    shown = subprocess.run(["gdb", "-q", "-batch", "-nx", *words], check=False, capture_output=True, text=True)
    assert served.wait(30) == 0
    assert re.findall(r"^\$\d = (\w+)", shown.stdout, re.MULTILINE) == ["program", "program"]
    assert "No more reverse-execution history" in shown.stdout
    module = tmp_path / "my.py"
    module.write_text("def f(data: bytes) -> None:\n    raise ValueError(data)\n")
    run("fuzz", f"{module}:f", "-runs=2", f"-exact_artifact_path={tmp_path}/mine")
    none = run("replay", "--gdb", f"unix:{place}2", f"{tmp_path}/mine")
    assert (none.returncode, none.stderr.count(b"\n")) == (2, 1)
    assert b"has no machine to look into" in none.stderr
