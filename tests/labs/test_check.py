"""The frame: what a student's code does to a test is a failed test with a line that can be read, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attrs import evolve

from paracell.cli import run_command
from paracell.labs.attempt import attempt
from paracell.labs.catalogue import labs, named
from paracell.labs.check import check

from .test_labs import HERE

SOLUTION = (HERE / "walker/walker.py").read_text(encoding="utf-8")
FIRST = "indexes: the four parts of an address"


FIRST_TEST = evolve(named("walker").tests()[0], seconds=1)

# What one process can tell: the body of walker.py, and what the student reads of it.
RAISED = [
    ("def indexes(address):\n    return 1 +\n", 'File "walker.py", line 2'),
    (
        "def indexes(address):\n    return address / 0\n",
        "ZeroDivisionError: division by zero\n  walker.py:2, in indexes: return address / 0",
    ),
    ("import sys\nsys.exit(0)\n", "your code called sys.exit(0)\n  walker.py:2, in <module>: sys.exit(0)"),
    ("def indexes(address):\n    return indexes(address)\n", "RecursionError: maximum recursion depth exceeded"),
    ("raise KeyboardInterrupt\n", "KeyboardInterrupt\n  walker.py:1, in <module>: raise KeyboardInterrupt"),
    ("", "walker.py has no indexes"),
    ("indexes = 5\n", "indexes in walker.py is no function"),
    ("def indexes(address):\n    return 7\n", "the test could not use what your code gave: TypeError"),
    ("def indexes(address):\n    return [0, 0, 0, 0]\n", "gave [0, 0, 0, 0], and not ("),
    ("import nothing_of_that_name\n", "ModuleNotFoundError: No module named 'nothing_of_that_name'\n  walker.py:1"),
    ("class Odd(Exception):\n    def __str__(self): raise self\nraise Odd\n", "Odd"),
]
ENDED = {
    "exit": ("import os\nos._exit(0)\n", "your code ended the process, with status 0"),
    "abort": ("import os\nos.abort()\n", "your code ended the process by signal 6 (SIGABRT)"),
    "memory": ("x = bytearray(1 << 40)\n", "MemoryError\n  walker.py:1"),
    "print": ("def indexes(a):\n    print('hello')\n    return 0\n", "your code printed:\n  hello"),
    "flood": ("while True: print('x' * 1000)\n", "your code printed more than 1024 KiB"),
    "closed": ("import os, sys\nos.close(1); os.close(2)\nsys.exit(1)\n", "your code called sys.exit(1)"),
    "child": (
        "import subprocess\nsubprocess.Popen(['sleep', '100'])\nraise ValueError('left behind')\n",
        "ValueError: left behind",
    ),
    "loop": (
        "def indexes(address):\n    while True:\n        pass\n",
        "still running after 1 s of processor time\n  walker.py:",
    ),
    "stubborn": (
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass\n",
        "still running after 1 s of processor time",
    ),
    "sleep": ("import time\ntime.sleep(1000)\n", "nothing came of it for 3 s: it waits for something"),
}


@pytest.mark.parametrize(("body", "says"), RAISED)
def test_what_code_raises(body: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "walker.py").write_text(body, encoding="utf-8")
    wrong = attempt(FIRST_TEST, FIRST_TEST.student(tmp_path))
    assert wrong is not None
    assert says in wrong
    assert "paracell/labs" not in wrong


@pytest.mark.parametrize("name", ENDED)
def test_what_code_does_to_its_process(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    body, says = ENDED[name]
    (tmp_path / "walker.py").write_text(body, encoding="utf-8")
    monkeypatch.setattr("paracell.labs.check._PATIENCE", 3 if name == "sleep" else 30)
    monkeypatch.setattr("paracell.labs.catalogue.Lab.tests", lambda _: (FIRST_TEST,))
    (result,) = check(named("walker"), tmp_path)
    assert says in result.output
    assert result.score == 0
    assert len(result.output) < 5000
    assert capfd.readouterr().out == ""


def lab(*arguments: object) -> int:
    return run_command(["lab", *map(str, arguments)])


def test_a_course_day(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Start, look, check, solve, check."""
    few = named("walker").tests()[:2]
    monkeypatch.setattr("paracell.labs.catalogue.Lab.tests", lambda _: few)
    place = tmp_path / "mine"
    assert lab("start", "walker", place) == 0
    assert capsys.readouterr().out.endswith(f"then: paracell lab check {place}\n")
    assert lab("check", place) == 1
    out = capsys.readouterr().out
    assert f"== Test {FIRST} == {FIRST}: FAIL" in out
    assert "    not written yet (NotImplementedError)\n      walker.py:" in out
    assert out.endswith("Score: 0/25\n")
    (place / "walker.py").write_text(SOLUTION, encoding="utf-8")
    (place / "tests.py").write_text("PASSED = True\n", encoding="utf-8")
    assert lab("check", place, "--results", tmp_path / "r.json", "--visibility", "after_due_date") == 0
    seen = capsys.readouterr()
    assert seen.err == f"paracell: {place}/tests.py is not the lab's own; check runs the lab's own\n"
    assert seen.out.endswith("Score: 25/25\n")
    results = json.loads((tmp_path / "r.json").read_text())
    assert results["score"] == 25
    assert [sorted(test) for test in results["tests"]] == [
        ["max_score", "name", "number", "output", "output_format", "score", "status", "visibility"]
    ] * 2
    assert {test["status"] for test in results["tests"]} == {"passed"}
    assert {test["visibility"] for test in results["tests"]} == {"after_due_date"}
    assert json.loads((place / "results.json").read_text())["score"] == 0


def test_what_was_said_already_is_not_said_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that cannot be imported fails every test alike; Gradescope, which shows one test, gets the whole text of each."""
    few = named("walker").tests()[:3]
    monkeypatch.setattr("paracell.labs.catalogue.Lab.tests", lambda _: few)
    place = tmp_path / "mine"
    assert lab("start", "walker", place) == 0
    (place / "walker.py").write_text("import nothing_of_that_name\n", encoding="utf-8")
    capsys.readouterr()
    assert lab("check", place) == 1
    out = capsys.readouterr().out
    assert out.count("ModuleNotFoundError") == 1
    assert out.count(f"    the same as: {FIRST}\n") == 2
    told = [test["output"] for test in json.loads((place / "results.json").read_text())["tests"]]
    assert all("ModuleNotFoundError" in text for text in told)
    assert len(told) == 3


def test_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert lab("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == [each.name for each in labs()]
    assert lab("show", "walker") == 0
    assert capsys.readouterr().out == named("walker").handout
    assert lab("show", "walker", "--hint", 1) == 0
    assert "paracell lab show walker --hint 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("start", "wlker", "d"), "no such lab: wlker; there are walker, "),
        (("start", "walker", "full"), "not an empty folder: full"),
        (("start", "walker", "full/file"), "not an empty folder: full/file"),
        (("start", "walker", "full/file/x"), "Not a directory: full/file/x"),
        (("check", "nowhere"), "no such folder: nowhere"),
        (("check", "nowhere", "--lab", "walker"), "no such folder: nowhere"),
        (("check", "full"), "not a lab's folder, it has no lab.toml (say which lab with --lab): full"),
        (("check", "damaged"), "not what `paracell lab start` wrote, "),
        (("check", "strange"), "no such lab: cooking; there are walker, "),
        (("check", "empty"), 'it does not say lab = "NAME": empty/lab.toml'),
        (("check", "full", "--lab", "walker", "--results", "no/r.json"), "No such file or directory: no/r.json"),
        (("show", "walker", "--hint", "99"), "walker has 4 hints, and no hint 99"),
        (("show", "full"), "not a lab's folder"),
    ],
    ids=lambda value: "-".join(value).replace("/", "_") if isinstance(value, tuple) else None,
)
def test_bad_input(
    arguments: tuple[str, ...],
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (
        ("full/file", ""),
        ("damaged/lab.toml", "= \x01"),
        ("strange/lab.toml", 'lab = "cooking"'),
        ("empty/lab.toml", ""),
    ):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text, encoding="utf-8")
    assert lab(*arguments) == 2
    seen = capsys.readouterr()
    assert seen.out == ""
    assert seen.err.startswith(f"paracell: {says}")
    assert seen.err.count("\n") == 1


def test_the_same_work_gives_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    last = named("keys").tests()[:1]
    monkeypatch.setattr("paracell.labs.catalogue.Lab.tests", lambda _: last)
    assert lab("start", "keys", tmp_path / "k") == 0
    assert lab("check", tmp_path / "k") == 1
    first = (tmp_path / "k/results.json").read_bytes()
    assert lab("check", tmp_path / "k") == 1
    assert (tmp_path / "k/results.json").read_bytes() == first
    assert "Score: 0/10" in capsys.readouterr().out
