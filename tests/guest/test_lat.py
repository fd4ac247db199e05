"""`lat` measures in virtual cycles, so what it prints is the same in every run; on Linux it works too."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from paracell.emu.engine import Engine
from paracell.guest import shipped

from .kernels import MACHINES, OURS, STATUS_BITS, run_shipped

MANUAL = Path(__file__).parents[2] / "docs" / "lat.md"
OPERATIONS = {
    "null": "null system call",
    "read": "read",
    "write": "write",
    "stat": "stat",
    "open": "open+close",
    "select": "select",
    "fork": "fork+exit",
    "exec": "fork+exec+exit",
    "sh": "fork+exec+shell",
    "thread": "thread+exit",
    "pipe": "pipe round trip",
    "unix": "socket round trip",
    "self": "pipe to oneself",
    "switch": "context switch",
    "cold": "page fault, memory never used",
    "fault": "page fault, new tables",
    "refault": "page fault, warm",
    "filefault": "page fault, file",
    "mmap": "map, touch, unmap",
    "install": "signal handler installed",
    "signal": "signal handled",
    "prot": "protection fault handled",
    "sleep": "sleep",
}
ours = pytest.mark.parametrize("machine", OURS)


def _said(out: bytes, operation: str, times: int) -> int:
    """The cycles, if that and nothing else was said."""
    found = re.fullmatch(rf"{re.escape(OPERATIONS[operation])}: (\d+) cycles each \({times} times\)\n", out.decode())
    assert found, out
    return int(found[1])


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("machine", MACHINES)
def test_each_operation(machine: str, tmp_path: Path, operation: str) -> None:
    times = 300 if "fault" in operation else 7
    ran = run_shipped(machine, tmp_path, "lat", operation, str(times))
    assert (ran.status, ran.err) == (0, b"")
    assert _said(ran.out, operation, times) > 0


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_operation_on_linux(operation: str) -> None:
    program = shipped.program("lat")
    assert program is not None
    done = subprocess.run([program, operation, "3"], capture_output=True, check=True)
    _said(done.stdout, operation, 3)


@ours
def test_all_of_them(machine: str, tmp_path: Path) -> None:
    ran = run_shipped(machine, tmp_path, "lat")
    lines = ran.out.decode().splitlines()
    assert (ran.status, lines[0].split()) == (0, ["operation", "cycles", "each", "times"])
    assert [line.split()[0] for line in lines[1:]] == list(OPERATIONS)
    assert all(int(line.split()[1]) > 0 for line in lines[1:])


@pytest.mark.parametrize(("machine", "cycles"), [("emulator-native", 82 + 75), ("emulator-paracell", 2 * 28)])
@pytest.mark.parametrize("before", ["null", "install"])
def test_events_only(machine: str, tmp_path: Path, before: str, cycles: int) -> None:
    ran = run_shipped(machine, tmp_path, "lat", "-e", before, "1000")
    assert _said(ran.out, before, 1000) == cycles


@ours
def test_what_came_before_does_not_count(machine: str, tmp_path: Path) -> None:
    alone = run_shipped(machine, tmp_path, "lat", "-e", "install", "1000")
    rows = run_shipped(machine, tmp_path, "lat", "-e").out.decode().splitlines()
    behind = next(line.split()[1] for line in rows if line.startswith("install"))
    assert int(behind) == _said(alone.out, "install", 1000)


@pytest.mark.parametrize("runtime", ["native", "paracell"])
@pytest.mark.parametrize("events_only", [False, True])
def test_the_manuals_table(runtime: str, events_only: bool) -> None:
    text = MANUAL.read_text(encoding="utf-8").partition("| operation | native | paracell | pvm |")[0]
    rows = re.findall(r"^\| (\w+) " + 4 * r"\| ([\d,]+) " + r"\| [\d,]+ \|$", text, re.MULTILINE)
    column = 1 + (runtime == "paracell") + 2 * events_only
    shown = {row[0]: row[column].replace(",", "") for row in rows}
    command = [sys.executable, "-m", "paracell", "run", "--runtime", runtime, "lat", *(["-e"] if events_only else [])]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert {line.split()[0]: line.split()[1] for line in said.splitlines()[1:]} == shown


@pytest.mark.parametrize("options", ["native", "paracell", "pvm", "runv", "runv --nested"])
def test_the_manuals_table_of_set_ups(options: str) -> None:
    text = MANUAL.read_text(encoding="utf-8")
    table = text[text.index("| operation | native | paracell | pvm | runv | runv --nested |") :]
    head, _, *rows = table[: table.index("\n\n")].splitlines()
    column = head.strip("| ").split(" | ").index(options)
    shown = [row.strip("| ").split(" | ") for row in rows]
    command = [sys.executable, "-m", "paracell", "run", "--runtime", *options.split(), "lat"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert [line.split()[:2] for line in said.splitlines()[1:]] == [
        [row[0], row[column].replace(",", "")] for row in shown
    ]


def test_the_manuals_example() -> None:
    text = MANUAL.read_text(encoding="utf-8")
    shown = re.search(r"^\$ paracell run lat fork 100\n(.*)\n", text, re.MULTILINE)
    assert shown
    command = [sys.executable, "-m", "paracell", "run", "lat", "fork", "100"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == shown[1] + "\n"


@ours
@pytest.mark.parametrize("arguments", [["nothing"], ["null", "0"], ["null", "1", "2"], ["-e", "nothing"]])
def test_misuse(machine: str, tmp_path: Path, arguments: list[str]) -> None:
    ran = run_shipped(machine, tmp_path, "lat", *arguments)
    assert ran.status == 2 & STATUS_BITS
    assert ran.out.startswith(b"usage: lat ")


@ours
def test_processes_that_take_turns_do_not_cost_their_translations(
    machine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped: list[Engine] = []
    drop = Engine.drop_all_code

    def noted(engine: Engine) -> None:
        dropped.append(engine)
        drop(engine)

    monkeypatch.setattr(Engine, "drop_all_code", noted)
    run_shipped(machine, tmp_path, "lat", "fork", "1")
    few = len(dropped)
    dropped.clear()
    run_shipped(machine, tmp_path, "lat", "fork", "20")
    assert len(dropped) <= few + 2
