"""The workloads print the same wherever they run; their traces are what their remarks say; wrong ones get a line."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from attrs import evolve, frozen

from paracell.compare import host_programs
from paracell.compare.meter import Meter
from paracell.compare.workloads import FILES, Workload, named, workloads
from paracell.container import Container
from paracell.emu.events import Kind
from paracell.guest import shipped

from .test_pager import is_second_level

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY: Final = "64M"
SOME: Final = 3  # second-level faults before the first request of Pager's
TINY: Final = {  # the last arguments of each, instead of its own
    **dict.fromkeys(
        [f"agent-{trace}" for trace in ("explore", "edit-test", "install", "long-test", "git")],
        ("scale=4", "seconds=45"),
    ),
    "build": ("2", "2", "4", "5"),
    "swe": ("3", "1"),
    "swe-git": ("3", "1", "git"),
    "swe-python": ("3", "1", "python3"),
    "sqlite": ("60", "1"),
    "grow": ("4", "2", "1"),
    "serve": ("2", "2"),
}
TRACES: Final = sorted((FILES / "agent").glob("*.trace"))


def tiny(name: str) -> Workload:
    workload = named(name, quick=True)
    if (line := workload.missing()) is not None:
        pytest.skip(line)
    tail = TINY[name]
    return evolve(workload, arguments=(*workload.arguments[: -len(tail)], *tail), memory=MEMORY)


def run(name: str, runtime: str) -> tuple[int, str, str]:
    with tiny(name).container(runtime=runtime) as container:
        end = container.run()
    return end.status, end.stdout, end.stderr


@cache
def natively(name: str) -> tuple[int, str, str]:
    return run(name, "native")


def test_each_has_a_tiny_form() -> None:
    assert list(TINY) == [workload.name for workload in workloads()]


@pytest.mark.parametrize("runtime", ["paracell", "runv", "pvm"])
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.sweep] if name in {"swe-git", "swe-python"} else []) for name in TINY],
)
def test_each_prints_the_same_everywhere(name: str, runtime: str) -> None:
    status, out, err = natively(name)
    assert (status, err) == (0, "")
    assert len(out) > 30
    assert run(name, runtime) == (status, out, err)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in {"grow", "serve"} else [pytest.mark.sweep]) for name in TINY]
)
@pytest.mark.parametrize("runtime", ["paracell", "runv"])
def test_with_pager_no_page_is_bound_when_it_is_touched(name: str, runtime: str) -> None:
    """Not one in a whole workload, but for the beginning, before the first request; by touch there are hundreds."""
    found = {}
    for policy in ("pager", "touch"):
        with tiny(name).container(runtime=runtime, memory_policy=policy) as container:
            told = container.record(Kind.EXCEPTION, Kind.VM_EXIT)
            assert container.run().status == 0
        found[policy] = sum(is_second_level(event, runtime) for event in told)
    assert found["pager"] < SOME
    assert found["touch"] > 50 * SOME


# ---- traces -------------------------------------------------------------------------------------------------------


@frozen
class Line:
    """A line of a trace that takes time, at its mean."""

    tool: str
    mib: float
    seconds: float


def played(path: Path) -> Iterator[Line]:
    """Read a trace a second time, by other code than agent.c's, with its repeats written out."""
    lines = [line.partition("#")[0].split() for line in path.read_text().splitlines()]

    def block(at: int) -> tuple[list[Line], int]:
        done: list[Line] = []
        while at < len(lines) and lines[at] != ["end"]:
            word, *rest = lines[at] or [""]
            if word == "repeat":
                inner, at = block(at + 1)
                done += inner * int(rest[0])
            elif word == "think":
                done.append(Line("", 0, float(rest[0])))
            elif word == "tool":
                done.append(Line(rest[0], float(rest[1]), float(rest[2])))
            at += 1
        return done, at

    yield from block(0)[0]


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_a_trace_keeps_to_what_is_published(path: Path) -> None:
    """A base of 185 MB, 5.8 to 10.8 minutes, no tool above half of its published size, though a quarter larger; and its source."""
    text, lines = path.read_text(), list(played(path))
    assert "arXiv 2602.09345" in text
    assert re.search(r"^base 185$", text, re.MULTILINE)
    assert 5.8 * 60 <= sum(line.seconds for line in lines) <= 10.8 * 60
    for line in lines:
        most = {"test": 518, "install": 233, "build": 233, "git-checkout": 2 * 13.5}.get(line.tool, 13.5) / 2
        assert line.mib * (1.25 if line.mib > 14 else 1) <= most
    assert len({line.tool for line in lines}) > 4


def test_there_are_five_agents() -> None:
    assert len(TRACES) == 5
    assert {f"agent-{path.stem}" for path in TRACES} == {w.name for w in workloads() if w.program == "agent"}


def test_a_seed_decides_what_is_printed() -> None:
    def printed(*options: str) -> str:
        trace = named("agent-git", quick=True)
        words = (trace.arguments[0], "scale=2", "seconds=20", *options)
        with evolve(trace, arguments=words, memory=MEMORY).container(runtime="native") as container:
            return container.run().stdout

    assert printed() == printed("seed=105") != printed("seed=7")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("thinkk 1", "no such word: thinkk"),
        ("think", "write: think SECONDS"),
        ("think x", "no number between 0 and 1000000: x"),
        ("think 1.", ""),
        ("think 99999999", "no number between 0 and 1000000: 99999999"),
        ("think -1", "no number between 0 and 1000000: -1"),
        ("base 1 2", "write: base MIB"),
        ("seed 0", "no whole number from 1 on: 0"),
        ("tool x 1", "write: tool NAME MIB SECONDS [TIMES]"),
        ("tool x 1 1 0", "no whole number from 1 on: 0"),
        ("tool a b c d e", "write: tool NAME MIB SECONDS [TIMES]"),
        ("tool a b c d e f", "too many words"),
        ("repeat 1.5", "no whole number from 1 on: 1.5"),
        ("repeat 2", "a repeat has no end"),
        ("end", "an end without a repeat"),
        ("end now", "write: end"),
    ],
)
def test_a_wrong_line_is_told_by_its_number(tmp_path: Path, line: str, says: str) -> None:
    """On this computer: the program is a Linux program like any other."""
    trace = tmp_path / "it.trace"
    trace.write_text(f"# a remark\nthink 0\n{line}\n\nthink 0\n")
    ran = subprocess.run(
        [shipped.image("programs/agent"), trace, "seconds=0"], capture_output=True, check=False, text=True, timeout=60
    )
    expected = (2, f"agent: {trace}:3: {says}\n") if says else (0, "")
    assert (ran.returncode, ran.stdout) == expected


def test_a_trace_of_the_users_own(tmp_path: Path) -> None:
    """As docs/workloads.md has it: a file is carried in, and its last line is wrong."""
    (tmp_path / "mine.trace").write_text("base 1\ntool cc 2 1\ntol cc 2 1\n")
    with Container("agent", "/it", volumes=[f"{tmp_path}/mine.trace:/it:ro"], memory=MEMORY) as container:
        end = container.run()
    assert (end.status, end.stdout) == (2, "agent: /it:3: no such word: tol\n")


# ---- what is kept -------------------------------------------------------------------------------------------------


def test_files_that_are_kept_make_free_pages_in_used_frames() -> None:
    """By touch nothing goes back; by Pager free pages do, however they lie."""
    waste = {}
    for keep in (0, 15):
        for policy in ("touch", "pager"):
            small = evolve(named("agent-edit-test", keep=keep), memory=MEMORY)
            small = evolve(small, arguments=(*small.arguments, "scale=5", "seconds=60"))
            with small.container(runtime="paracell", memory_policy=policy) as container:
                waste[keep, policy] = Meter(container).run().waste
    assert waste[15, "touch"] > 5 * waste[15, "pager"]
    assert waste[0, "touch"] > 5 * waste[0, "pager"]
    assert all(share < 0.03 for (_, policy), share in waste.items() if policy == "pager")


# ---- what is wrong ------------------------------------------------------------------------------------------------


def test_what_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        host_programs, "find", lambda command: None if command in {"git", "busybox"} else Path("/bin/x")
    )
    says = "workload swe-git: no busybox, no git on this computer"
    assert named("swe-git").missing() == says
    assert named("agent-git").missing() is None
    with pytest.raises(LookupError, match=f"^{says}$"):
        named("swe-git").container()


def test_a_share_or_a_name_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="between 0 and 50 per cent, not 51"):
        named("grow", keep=51)
    with pytest.raises(ValueError, match=r"^no such workload: agent; there are agent-explore, .*, serve$"):
        named("agent")
