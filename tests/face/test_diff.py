"""``paracell diff``: the alignment against a second opinion, the sums against the bill, and what is no trace."""

from __future__ import annotations

import base64
import json
import random
import re
import zlib
from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest

from paracell.cli import run_command
from paracell.compare import trace
from paracell.compare.price import Bill
from paracell.diff import align as alignment
from paracell.diff.align import align
from paracell.diff.difference import difference
from paracell.diff.operations import PLAIN
from paracell.emu.cost import DEFAULT, Costs
from paracell.emu.events import Kind
from paracell.guest import shipped

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from pathlib import Path

PLACES: Final = [(runtime, nested) for runtime in ("native", "paracell", "pvm", "runv") for nested in (False, True)]
ODD: Final = Costs(wrpkru=61, cr3=1009, exception=307, vm_exit=2003, l0_merge=17)


# ---- the alignment --------------------------------------------------------------------------------------------


def longest(ours: Sequence[Hashable], theirs: Sequence[Hashable]) -> int:
    """The length of a longest common subsequence, by the textbook's table."""
    table = [[0] * (len(theirs) + 1) for _ in range(len(ours) + 1)]
    for i, one in enumerate(ours):
        for k, other in enumerate(theirs):
            table[i + 1][k + 1] = table[i][k] + 1 if one == other else max(table[i][k + 1], table[i + 1][k])
    return table[-1][-1]


def check(ours: Sequence[Hashable], theirs: Sequence[Hashable], landmarks: frozenset[Hashable]) -> int:
    """Everything is there once, in order, beside its like; gives how many are aligned."""
    rows = align(ours, theirs, landmarks)
    assert [one for one, _ in rows if one is not None] == list(range(len(ours)))
    assert [other for _, other in rows if other is not None] == list(range(len(theirs)))
    assert (None, None) not in rows
    pairs = [(one, other) for one, other in rows if one is not None and other is not None]
    assert all(ours[one] == theirs[other] for one, other in pairs)
    return len(pairs)


def test_calls_are_aligned_by_the_shortest_edit() -> None:
    seeded = random.Random(1)
    for _ in range(600):
        ours, theirs = ([seeded.choice("abcd") for _ in range(seeded.randrange(12))] for _ in range(2))
        assert check(ours, theirs, frozenset("abcd")) == longest(ours, theirs)


def test_faults_are_aligned_between_calls() -> None:
    seeded = random.Random(2)
    for _ in range(600):
        ours, theirs = ([seeded.choice("ab123") for _ in range(seeded.randrange(12))] for _ in range(2))
        calls = [[key for key in keys if key in "ab"] for keys in (ours, theirs)]
        assert longest(*calls) <= check(ours, theirs, frozenset("ab")) <= longest(ours, theirs)
    assert align(["a", "1", "2", "b"], ["a", "2", "1", "3", "b"], frozenset("ab")).count((None, 3)) == 1


def test_runs_that_are_little_alike_are_aligned_by_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alignment, "_WORK", 200)
    seeded = random.Random(3)
    for _ in range(30):
        ours, theirs = ([seeded.choice("abcd") for _ in range(200)] for _ in range(2))
        assert 20 < check(ours, theirs, frozenset("abcd")) <= longest(ours, theirs)
    assert check("abcd" * 50, "x" + "abcd" * 50 + "y", frozenset("abcdxy")) == 200


# ---- two runs -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, bool], str]:
    """The traces of one program in each place."""
    folder = tmp_path_factory.mktemp("traces")
    made = {}
    for runtime, nested in PLACES:
        path = folder / f"{runtime}{'-nested' * nested}.jsonl"
        command = ["run", "--runtime", runtime, *["--nested"] * nested, "--memory", "32M", "--trace", str(path)]
        assert run_command([*command, "hello"]) == 0
        made[runtime, nested] = str(path)
    return made


@pytest.mark.parametrize("place", PLACES[1:], ids=lambda place: place[0] + ("-nested" if place[1] else ""))
@pytest.mark.parametrize("costs", [DEFAULT, ODD], ids=["default", "odd"])
def test_the_sums_are_those_of_the_bill(
    traces: dict[tuple[str, bool], str], place: tuple[str, bool], costs: Costs
) -> None:
    """Every event is in one operation, or before the program, or its own; so the parts' prices add up to the whole run's."""
    paths = traces["native", False], traces[place]
    made = difference(*paths, costs)
    kinds = made.kinds()
    for side, path in enumerate(paths):
        events = list(trace.read(path))
        price = Bill.of(events).price(costs)
        assert sum(group.cycles[side] for group in made.groups()) == price
        assert sum(cycles[side] for _, _, cycles in kinds) == price
        assert sum(times[side] for _, times, _ in kinds) == len(events)
        crossings = sum(times[side] for name, times, _ in kinds if " → " in name)
        assert sum(group.crossings[side] for group in made.groups()) == crossings
        gained = sum(p.cycles[1] - p.cycles[0] for p in made.places())
        same = sum(
            b.made.price - a.made.price for a, b in made.pairs() if a and b and a.made.crossings == b.made.crossings
        )
        of_operations = sum(g.cycles[1] - g.cycles[0] for g in made.groups()[:-2])
        assert gained + same == of_operations


@pytest.mark.parametrize("place", PLACES[1:], ids=lambda place: place[0] + ("-nested" if place[1] else ""))
def test_every_call_is_aligned(traces: dict[tuple[str, bool], str], place: tuple[str, bool]) -> None:
    """A program that looks at nothing that a runtime decides makes the same calls under each; their order says which is which."""
    made = difference(traces["native", False], traces[place], DEFAULT)
    calls = [
        [(o.key, row) for row, o in enumerate(operations) if o and o.is_call]
        for operations in zip(*made.pairs(), strict=True)
    ]
    assert calls[0] == calls[1]
    assert [run.recorded.runtime for run in made.runs] == ["native", place[0] + (", nested" if place[1] else "")]
    told = Counter(event.kind for event in trace.read(traces[place]))
    assert len(calls[1]) == (told[Kind.GATE_ENTER] or told[Kind.SYSCALL] - told[Kind.GATE_EXIT])


def test_plain_code_is_priced_by_the_block(tmp_path: Path) -> None:
    """Where it takes time, it is part of what the parts add up to, at the new cost of a block; without an END, as it was charged."""
    paths = [str(tmp_path / f"{runtime}.jsonl") for runtime in ("native", "paracell")]
    for path in paths:
        runtime = path.rpartition("/")[2].removesuffix(".jsonl")
        command = ["run", "--clock", "steady", "--runtime", runtime, "--memory", "32M", "--trace", path, "null", "20"]
        assert run_command(command) == 0
    for costs in (DEFAULT, ODD.replace({"block": 7})):
        made = difference(paths[0], paths[1], costs)
        for side, path in enumerate(paths):
            bill = Bill.of(trace.read(path))
            assert bill.times["block"]
            assert made.totals[side].cycles[PLAIN] == bill.times["block"] * costs.block + bill.instructions
            assert sum(group.cycles[side] for group in made.groups()) == bill.price(costs)
    with open(paths[0], encoding="utf-8") as file:  # noqa: PTH123
        lines = file.readlines()
    with open(paths[0], "w", encoding="utf-8") as file:  # noqa: PTH123
        file.writelines(lines[:-1])
    cut = [difference(paths[0], paths[1], DEFAULT.replace({"block": n})).totals[0].cycles[PLAIN] for n in (1, 7)]
    events = list(trace.read(paths[0]))
    assert cut == [events[-1].at - sum(event.cost for event in events)] * 2


def test_what_a_call_crosses(traces: dict[tuple[str, bool], str]) -> None:
    """getpid, by hand: a system call and its return, two gates, PVM's way through the switcher; an exit for each port of a write."""
    expected = {
        "native": {"program → container kernel: syscall", "container kernel → program: sysret"},
        "paracell": {"program → container kernel: gate", "container kernel → program: gate"},
        "pvm": {
            "program → host: syscall", "host → container kernel: sysret",
            "container kernel → host: return", "host → program: sysret",
        },
        "runv": {"program → container kernel: syscall", "container kernel → program: sysret"},
    }  # fmt: skip
    for runtime, names in expected.items():
        made = difference(traces["native", False], traces[runtime, False], DEFAULT)
        (getpid,) = (b for _, b in made.pairs() if b and b.name == "getpid")
        assert getpid.made.crossings == dict.fromkeys(names, 1)
    made = difference(traces["native", False], traces["runv", False], DEFAULT)
    writes = [b for _, b in made.pairs() if b and b.name == "write"]
    assert all(b.made.crossings["container kernel → host: IO"] == 2 for b in writes[1:])
    nested = difference(traces["native", False], traces["native", True], DEFAULT)
    write = next(b for _, b in nested.pairs() if b and b.name == "write" and b.made.crossings.total() == 6)
    assert write.made.crossings["container kernel → L0: IO"] == write.made.crossings["L0 → container kernel: vm entry"]


def test_the_same_file_twice(traces: dict[tuple[str, bool], str], capsys: pytest.CaptureFixture[str]) -> None:
    path = traces["paracell", False]
    assert run_command(["diff", path, path]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1] == "the runs are the same, event by event"
    assert "Operations" not in shown
    made = difference(path, path, DEFAULT)
    assert made.places() == []
    assert made.aligned == len(made.runs[0].operations)


def test_what_is_printed(traces: dict[tuple[str, bool], str], capsys: pytest.CaptureFixture[str]) -> None:
    paths = [traces["native", False], traces["paracell", False]]
    assert run_command(["diff", *paths]) == 0
    plain = capsys.readouterr()
    assert plain.err == ""
    assert "\x1b" not in plain.out
    assert max(map(len, plain.out.splitlines())) <= 150
    (row,) = (
        line.split() for line in plain.out.splitlines() if line.split()[:1] == ["getpid"] and len(line.split()) == 9
    )
    assert row == ["getpid", "1", "1", "1", "2", "2", "157", "56", "-101"]
    assert run_command(["diff", "--limit", "1", "--cost", "wrpkru=1000", *paths]) == 0
    short = capsys.readouterr().out
    assert "… 12 more" in short
    assert run_command(["diff", "--json", *paths]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [side["runtime"] for side in told["runs"]] == ["native", "paracell"]
    (group,) = (g for g in told["operations"] if g["name"] == "getpid")
    assert group == {"name": "getpid", "times": [1, 1], "aligned": 1, "crossings": [2, 2], "cycles": [157, 56]}


def test_a_kernel_that_is_booted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing runs at ring 3, and that is told; what an outermost hypervisor adds is seen all the same."""
    paths = [str(tmp_path / name) for name in ("one.jsonl", "two.jsonl")]
    for path, more in zip(paths, ([], ["--nested"]), strict=True):
        run_command(["boot", *more, "--memory", "64M", "--trace", path, str(shipped.image("bench.elf"))])
    capsys.readouterr()
    assert run_command(["diff", *paths]) == 0
    told = capsys.readouterr().out
    assert "boot, nested" in told
    assert [line for line in told.splitlines() if "no program ran" in line] == [f"{p}: no program ran" for p in paths]


# ---- what is no trace, or no whole one ------------------------------------------------------------------------


def refused(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert run_command(["diff", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    return line


LINE: Final = '{"at":1,"cost":1,"who":"user","kind":"hlt","rip":5,"symbol":"it!main"}\n'


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("", "no events"),
        (LINE[:30], "1: no event of a trace: "),
        (LINE + LINE[:-20], "2: no event of a trace: "),
        ("\x00\xff", "1: no event of a trace: "),
        (LINE.replace('"at":1', '"at":"1"'), "1: no event of a trace: "),
        (LINE.replace('"at":1', '"at":1.5'), "1: no event of a trace: "),
        ("[" * 100_000, "1: no event of a trace: "),
        (LINE.replace('"at":1', '"at":9') + LINE, "2: it goes back in time, from 9 to 1"),
    ],
)
def test_no_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str], data: str, says: str) -> None:
    bad, good = tmp_path / "bad.jsonl", tmp_path / "good.jsonl"
    bad.write_text(data)
    good.write_text(LINE)
    line = refused(str(good), str(bad), capsys=capsys)
    assert line.startswith(f"paracell: {bad}:")
    assert says in line


def test_a_trace_that_is_cut(
    traces: dict[tuple[str, bool], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Between two lines: what is there is compared, and the reader is told; without its beginning it is no run."""
    whole = traces["paracell", False]
    with open(whole, encoding="utf-8") as file:  # noqa: PTH123
        lines = file.readlines()
    head, tail = tmp_path / "head.jsonl", tmp_path / "tail.jsonl"
    head.write_text("".join(lines[:-40]))
    tail.write_text("".join(lines[40:]))
    assert run_command(["diff", whole, str(head)]) == 0
    told = capsys.readouterr().out
    assert f"{head}: no END: the run was interrupted, or the file is cut" in told
    assert "the events are not all those of a run" in refused(str(tail), whole, capsys=capsys)


def test_different_programs(
    traces: dict[tuple[str, bool], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "null.jsonl")
    assert run_command(["run", "--memory", "32M", "--trace", path, "null", "3"]) == 0
    capsys.readouterr()
    ours = traces["native", False]
    line = refused(ours, path, capsys=capsys)
    assert line == f"paracell: different programs, nothing to align: {ours} runs hello; {path} runs null"


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "none.jsonl")
    assert refused(path, path, capsys=capsys) == f"paracell: No such file or directory: {path}"


# ---- the page -------------------------------------------------------------------------------------------------


def test_the_page_holds_all_rows(traces: dict[tuple[str, bool], str], tmp_path: Path) -> None:
    """What the scripts draw is in the file, as numbers; the same traces give the same bytes, and nothing is loaded."""
    paths = [traces["native", False], traces["runv", True]]
    pages = []
    for name in ("one.html", "two.html"):
        assert run_command(["diff", "--limit", "1", "--html", str(tmp_path / name), *paths]) == 0
        pages.append((tmp_path / name).read_text())
    assert pages[0] == pages[1]
    assert not re.search(r"""(src|href)=["']|https?://(?!www\.w3\.org)""", pages[0])
    packed = re.search(r'id="data">([^<]*)<', pages[0])
    assert packed
    sections = {s["title"]: s for s in json.loads(zlib.decompress(base64.b64decode(packed[1])))["sections"]}
    made = difference(paths[0], paths[1], DEFAULT)
    rows = sections["Operation by operation"]["rows"]
    assert len(rows) == len(made.rows)
    assert len(sections["Operations of the program"]["rows"]) == len(made.groups())
    lines = [[operation.line for operation in run.operations] for run in made.runs]
    assert [[row[side] for row in rows if row[side] is not None] for side in (0, 1)] == lines
    prices = [sum(operation.made.price for operation in run.operations) for run in made.runs]
    assert [sum(row[5 + side] or 0 for row in rows) for side in (0, 1)] == prices
    assert sum(row[7] for row in rows) == prices[1] - prices[0]


def test_a_page_that_cannot_be_written(traces: dict[tuple[str, bool], str], capsys: pytest.CaptureFixture[str]) -> None:
    path = traces["native", False]
    line = refused("--html", "/nowhere/it.html", path, path, capsys=capsys)
    assert line == "paracell: No such file or directory: /nowhere/it.html"
