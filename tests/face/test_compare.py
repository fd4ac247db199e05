"""`paracell compare`: each figure again from a trace, by other code; the same report each time; results that are kept."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from paracell.compare import cells as cells_module
from paracell.compare import published, services, trace
from paracell.compare.cells import PLACES, TURNS, Cell, plan
from paracell.compare.figures import COLUMNS, Measured
from paracell.compare.measure import measure, operation
from paracell.compare.plot import pictures
from paracell.compare.report import report
from paracell.compare.results import Results
from paracell.compare.run import run as run_cells
from paracell.compare.table import as_csv, tables
from paracell.compare.workloads import named
from paracell.emu.cost import DEFAULT, NAMES, Costs
from paracell.emu.sinks.jsonl import JsonLines

from .test_run import ENVIRONMENT, run
from .test_signals import AS_USUAL

if TYPE_CHECKING:
    from collections.abc import Mapping

# What an event costs in this test's own words: the kinds that cost one fixed cost.
PRICES = {
    "syscall": DEFAULT.syscall, "hypercall": DEFAULT.syscall, "sysret": DEFAULT.sysret, "wrpkru": DEFAULT.wrpkru,
    "exception": DEFAULT.exception, "interrupt": DEFAULT.interrupt, "iret": DEFAULT.iret, "cr3_load": DEFAULT.cr3,
    "rdtsc": DEFAULT.rdtsc, "msr": DEFAULT.msr, "port": DEFAULT.port, "swapgs": DEFAULT.swapgs, "vm_exit": DEFAULT.vm_exit,
    "vm_entry": DEFAULT.vm_entry, "reflection": DEFAULT.l0_reflect, "merge": DEFAULT.l0_merge, "ept_fill": DEFAULT.l0_fill,
    "table_store": DEFAULT.l0_store, "invalidation": DEFAULT.invlpg,
}  # fmt: skip
SMALL = ["--quick", "--jobs", "1", "--rows", "null,refault", "--runtimes", "paracell,runv", "--places", "bare"]
ONE = [Cell("operation", "null", runtime, turns=20) for runtime in ("paracell", "pvm", "runv")]


def traced(cell: Cell, turns: int, path: Path) -> tuple[Counter[str], int]:
    """A whole run with so many turns, from its trace: events by kind, and the clock at its end without what was slept."""
    with operation(cell, turns=turns) as container, path.open("wb") as file:
        sink = JsonLines(file, container.symbols.name)
        container.inner.add_sink(sink)
        assert container.run().status == 0
        sink.close()
    kinds: Counter[str] = Counter()
    slept = 0
    for line in path.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        kinds[event["kind"]] += 1
        slept += event["cost"] if event["kind"] == "idle" else 0
    return kinds, event["at"] - slept


@pytest.mark.parametrize(
    ("row", "runtime", "place"),
    [("null", "paracell", "bare"), ("null", "pvm", "nested"), ("refault", "runv", "bare"), ("cold", "runv", "nested")],
)
def test_a_row_from_a_trace(tmp_path: Path, row: str, runtime: str, place: str) -> None:
    """What lies between the program's last two RDTSC, line by line; `cold` and `refault` do more outside of them."""
    cell = Cell("operation", row, runtime, place, turns={"null": 20, "refault": 64, "cold": 32}[row])
    measured = Measured.of(cell, measure(cell))
    traced(cell, cell.turns, tmp_path / "t.jsonl")
    events = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text(encoding="utf-8").splitlines()]
    first, last = [at for at, e in enumerate(events) if (e["kind"], e["who"]) == ("rdtsc", "user")][-2:]
    between = events[first + 1 : last]
    assert measured.kinds == Counter(event["kind"] for event in between)
    assert measured.bill.price() == events[last]["at"] - events[last]["cost"] - events[first]["at"]
    own = sum(measured.kinds.get(kind, 0) * price for kind, price in PRICES.items())
    code = measured.bill.times.get("block", 0) * DEFAULT.block + measured.bill.instructions
    assert own + code == measured.bill.price()


def test_twice_as_many_turns_are_that_many_more(tmp_path: Path) -> None:
    cell = ONE[0]
    measured = Measured.of(cell, measure(cell))
    once, twice = (traced(cell, times * cell.turns, tmp_path / f"{times}.jsonl") for times in (1, 2))
    more = twice[0] - once[0]
    assert {kind: number for kind, number in more.items() if number > 3} == measured.kinds
    assert twice[1] - once[1] == pytest.approx(measured.bill.price(), rel=0.02)


def test_the_shares_of_a_row_are_its_cycles() -> None:
    cell = Cell("operation", "fork", "pvm", turns=2)
    measured = Measured.of(cell, measure(cell))
    shares = measured.shares({})
    assert sum(shares.values()) == pytest.approx(measured.cycles({}))
    own = sum(measured.kinds.get(kind, 0) * price for kind, price in PRICES.items() if kind != "invalidation") / 2
    others = shares.get("invlpg", 0) + shares.get("invpcid", 0) + shares.get("cr3_flush", 0) + shares["code"]
    assert own + others == pytest.approx(measured.cycles({}))
    assert not measured.kinds.get("cpuid")


def test_a_row_at_other_prices_is_a_run_at_those() -> None:
    odd = Costs(**{name: 300 + 7 * number for number, name in enumerate(NAMES)} | {"block": DEFAULT.block})
    for cell in ONE:
        measured = Measured.of(cell, measure(cell))
        with operation(cell, costs=odd) as container:
            said = container.run().stdout
        each = int(said.split(": ")[1].split()[0])
        whole = measured.bill.price(odd) + odd.rdtsc  # lat counts the second RDTSC, too
        assert each == (whole + cell.turns // 2) // cell.turns


# ---- the command ------------------------------------------------------------------------------------------------------


def without_published(made: Any) -> Any:
    """A report without what was published, and without the answers that depend on it."""
    if isinstance(made, dict):
        gone = {"published_us", "published_percent", "published_source", "published_waste_percent", "inside", "notes"}
        return {name: without_published(value) for name, value in made.items() if name not in gone}
    return [without_published(value) for value in made] if isinstance(made, list) else made


def compared(folder: Path, *more: str) -> dict[str, bytes]:
    folder.mkdir()
    files = {kind: folder / f"r.{kind}" for kind in ("json", "csv", "html")}
    options = [text for kind, path in files.items() for text in (f"--{kind}", str(path))]
    done = run("compare", *SMALL, *options, *more)
    assert (done.returncode, done.stderr) == (0, b"")
    return {"said": done.stdout, **{kind: path.read_bytes() for kind, path in files.items()}}


def test_the_same_command_gives_the_same_bytes(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    first = compared(tmp_path / "1", "--out", str(kept))
    assert compared(tmp_path / "2", "--out", str(kept)) == first  # from the results that are there
    made = json.loads(first["json"])
    assert [(row["row"], row["runtime"]) for row in made["operations"]] == [
        (row, runtime) for row in ("null", "refault") for runtime in ("paracell", "runv")
    ]
    assert {claim["against"] for claim in made["claims"]} == {"runv"}
    assert b"<svg" in first["html"] or b"matplotlib is not installed" in first["html"]
    assert b"http" not in first["html"].replace(b"http://www.w3.org", b"").replace(b"http://purl.org", b"").replace(
        b"http://creativecommons.org", b""
    )


def test_the_manuals_first_touch() -> None:
    """Its text and its table, which no other test reads, tell of the first touch of a page what comes out."""
    text = (Path(__file__).parents[2] / "docs" / "compare.md").read_text(encoding="utf-8")
    cycles = {}
    for runtime in ("native", "paracell", "pvm", "runv"):
        cell = Cell("operation", "cold", runtime, turns=TURNS["cold"])
        measured = Measured.of(cell, measure(cell))
        cycles[runtime] = {name: measured.cycles(services.named(name)) for name in COLUMNS}
        (row,) = re.findall(rf"^  cold +bare +{runtime} .*$", text, re.MULTILINE)
        assert f" {round(cycles[runtime]['as-built']):,} " in row
    least = measured.cycles(services.named("as-built", {"runv_violation": 2750}))
    ours = cycles["paracell"]["as-built"]
    for theirs, said in (
        (cycles["pvm"]["as-built"], "the first touch of a page {} %"),
        (cycles["runv"]["as-built"], "the first touch of a page saves {} %"),
        (cycles["runv"]["published-services"], "cycles, {} %"),
        (least, "with the least that was published, {} %"),
    ):
        assert said.format(round(100 * (1 - ours / theirs))) in text


@pytest.fixture(scope="module")
def few() -> dict[Cell, dict[str, Any]]:
    return {cell: measure(cell) for cell in ONE}


def test_nothing_moves_without_what_was_published(
    few: dict[Cell, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = few | memory_of("pager", 10) | memory_of("hyperalloc", 40)
    told = report(few)
    monkeypatch.setattr(published, "FILE", tmp_path / "gone.toml")
    alone = report(few)
    assert without_published(told) == without_published(alone)
    assert {claim["published_percent"] for claim in told["claims"]} == {57.0, 33.0, 35.6}
    assert all(row["published_waste_percent"] for row in told["memory"])
    assert {claim["published_percent"] for claim in alone["claims"]} == {None}
    assert as_csv(alone)
    assert len(tables(alone)) == len(tables(told)) == 3


def memory_of(policy: str, bound: int) -> dict[Cell, dict[str, Any]]:
    """Two agents' memory under a policy, made up: by HyperAlloc the one holds more where files are kept, the other where none are."""
    cells = {}
    for row, most in (("agent-explore", 0), ("agent-git", 5)):
        for keep in (0, 5):
            more = 10 if policy == "hyperalloc" and keep == most else 0
            samples = [[0, bound + more - keep, 5, 0, 0, 0, 1]]
            cells[Cell("memory", row, "runv", policy=policy, keep=keep)] = {"samples": samples, "end": 1_000}
    return cells


def test_the_memory_claim_is_of_the_agent_that_saves_most_at_each_share() -> None:
    claims = report(memory_of("pager", 10) | memory_of("hyperalloc", 40))["claims"]
    claim = next(claim for claim in claims if claim["over"] == "memory, bound")
    assert claim["row"] == "agent-git"
    assert (claim["percent"], claim["low"], claim["high"]) == (
        pytest.approx(100 * (1 - 5 / 45), abs=0.01),
        pytest.approx(100 * (1 - 10 / 50), abs=0.01),
        pytest.approx(100 * (1 - 5 / 45), abs=0.01),
    )


def test_pictures_are_the_same_each_time(few: dict[Cell, dict[str, Any]]) -> None:
    pytest.importorskip("matplotlib")
    cell = Cell("memory", "grow", "paracell", policy="pager", quick=True, keep=5)
    samples = [[0, 10, 5, 5, 0, 0, 1], [2_500_000_000, 20, 20, 0, 0, 0, 1]]
    keeps = {evolve(cell, keep=keep): {"samples": samples, "end": 5_000_000_000} for keep in (0, 5)}
    made = report(few | keeps)
    drawn = pictures(made)
    assert drawn is not None
    assert len(drawn) == 5
    assert all(svg.startswith("<svg") and "dc:date" not in svg for _, svg in drawn)
    assert pictures(made) == drawn


def test_only_the_report_reads_what_was_published() -> None:
    files = (Path(published.__file__).parents[1]).rglob("*.py")
    importing = [
        path.name
        for path in files
        if "published.toml" in (text := path.read_text()) or re.search(r"import published|\.published import", text)
    ]
    assert sorted(set(importing)) == ["published.py", "report.py"]


def test_what_is_published_has_sources_and_fits_the_rows() -> None:
    told = published.read()
    known = {(cell.row, cell.runtime, cell.place) for cell in plan()}
    for row in told.operation:
        assert all((row["row"], row["runtime"], place) in known for place in row["places"]), row
    for row in (*told.claim, *told.operation, *told.memory, *told.note):
        assert row["source"]
        assert row.get("low", 0) <= row.get("high", 0)


def test_the_sweep_holds_every_run_at_its_ends(few: dict[Cell, dict[str, Any]]) -> None:
    """The reduction of a row, run at the dearest WRPKRU, lies in its sweep, and is the end of that cost's bar."""
    claims = report(few)["reductions"]
    claim = next(c for c in claims if (c["against"], c["place"], c["column"]) == ("pvm", "bare", "as-built"))
    cycles = {}
    for cell in ONE:
        with operation(cell, costs=DEFAULT.replace({"wrpkru": 260})) as container:
            cycles[cell.runtime] = int(container.run().stdout.split(": ")[1].split()[0])
    ran = 100 * (1 - cycles["paracell"] / cycles["pvm"])
    bar = next(bar for bar in claim["bars"] if bar["cost"] == "wrpkru")
    assert bar["at_high"] == pytest.approx(ran, abs=0.3)
    assert claim["low"] - 0.3 <= ran <= claim["percent"] <= claim["high"]


# ---- results that are kept --------------------------------------------------------------------------------------------


def test_what_is_there_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Cell] = []
    stop = 2

    def counted(cell: Cell) -> Mapping[str, Any]:
        if len(measured) == stop:
            raise KeyboardInterrupt
        measured.append(cell)
        return measure(cell)

    monkeypatch.setattr("paracell.compare.run.measure", counted)
    with pytest.raises(KeyboardInterrupt):
        run_cells(ONE, Results(tmp_path))
    assert len(list(tmp_path.iterdir())) == len(measured) == stop
    stop = 10
    found = run_cells(ONE, Results(tmp_path))
    assert measured == ONE
    assert found == run_cells(ONE, Results(None))


def test_files_that_are_no_results(tmp_path: Path) -> None:
    results = Results(tmp_path)
    found = run_cells(ONE, results)
    paths = sorted(tmp_path.iterdir())
    paths[0].write_text("{", encoding="utf-8")
    changed = json.loads(paths[1].read_text(encoding="utf-8"))
    changed["result"]["times"] = {"wrpkru": "many"}
    paths[1].write_text(json.dumps(changed), encoding="utf-8")
    paths[2].write_text(paths[0].with_name("notes.txt").name, encoding="utf-8")
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    again = Results(tmp_path)
    again.look_round(ONE)
    assert run_cells(ONE, again) == found
    assert len(again.complaints) == 4
    assert all("\n" not in line and str(tmp_path) in line for line in again.complaints)
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert not Results(tmp_path).complaints


def test_a_key_is_of_what_decides() -> None:
    cells = plan(quick=True)
    keys = {cell.key for cell in cells}
    assert len(keys) == len(cells) == len({cell.name for cell in cells})
    assert {cell.place for cell in cells} == set(PLACES)


@pytest.mark.parametrize(
    "what", ["images/paracell-host.elf", "compare/guest_memory.py", "compare/workloads.py", "emu/costs.toml"]
)
def test_a_key_is_another_one_where_a_file_has_changed(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`figures.py` makes a report of results and changes none: the control."""
    cell, told = plan(quick=True)[0], Path.read_bytes

    def key(changed: str) -> str:
        for cached in (cells_module._key, cells_module._files, cells_module._workload):
            cached.cache_clear()
        monkeypatch.setattr(Path, "read_bytes", lambda path: told(path) + b"x" * str(path).endswith(changed))
        return cell.key

    before = key("nothing")
    assert key(what) != before
    assert key("compare/figures.py") == before
    key("nothing")


def test_a_key_is_another_one_where_a_workload_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """`grow` carries no file: its command and its memory are all there is."""
    (cell,) = [c for c in plan(quick=True, rows=["grow"], policies=["pager"]) if c.kind == "memory"]
    grow = named("grow", quick=True)
    keys = set()
    for other in (grow, evolve(grow, arguments=("1", "1", "1")), evolve(grow, memory="64M")):
        cells_module._key.cache_clear()
        cells_module._workload.cache_clear()
        monkeypatch.setattr("paracell.compare.workloads.named", lambda *_, other=other, **__: other)
        keys.add(cell.key)
    cells_module._key.cache_clear()
    cells_module._workload.cache_clear()
    assert len(keys) == 3


def test_ctrl_c_leaves_what_is_finished(tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = f"import signal, sys; {AS_USUAL}\nfrom paracell.__main__ import main\nmain()"
    options = ["compare", "--quick", "--jobs", "2", "--rows", "null,cold", "--out", str(out)]
    environment = ENVIRONMENT | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", script, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        try:
            while not list(out.glob("operation*.json")):
                assert process.poll() is None
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            said, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 128 + signal.SIGINT
    assert (said, err) == (b"", b"")
    assert all(json.loads(path.read_bytes())["result"] for path in out.glob("*.json"))
    assert not list(out.glob(".*"))


# ---- wrong arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--rows", "nothing"], "no such row to compare: nothing; there are null, read"),
        (["--runtimes", "xen"], "no such runtime to compare: xen; there are native"),
        (["--places", "moon"], "no such place to compare: moon; there are bare"),
        (["--policies", "swap"], "no such policy to compare: swap; there are touch"),
        (["--rows", "null", "--out", __file__], "no directory, so no place for results"),
        (["--rows", "null", "--json", "/nowhere/r.json"], "No such file or directory: /nowhere/r.json"),
    ],
)
def test_wrong_arguments(arguments: list[str], says: str) -> None:
    done = run("compare", *arguments)
    assert done.returncode == 2
    assert says in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_a_trace_that_is_read_back_has_every_event(tmp_path: Path) -> None:
    kinds, clock = traced(ONE[0], 5, tmp_path / "t.jsonl")
    events = list(trace.read(tmp_path / "t.jsonl"))
    assert sum(kinds.values()) == len(events)
    assert events[-1].at > clock
