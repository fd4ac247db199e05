"""The target `gates`: its tries repeat, it finds what is to be found, and nothing where every defence is on."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from paracell.fuzz import ENCODINGS, Chance, Found, Options, Try
from paracell.fuzz.finding import BadFinding, FindingFile
from paracell.fuzz.gates import GatesTarget

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRIES = 200_000


@pytest.fixture(scope="module")
def gates() -> Iterator[GatesTarget]:
    made = GatesTarget()
    yield made
    made.close()


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.sweep) for seed in range(2, 5))])
def test_nothing_gets_through(seed: int, gates: GatesTarget) -> None:
    inputs = (gates.generate(Chance(f"{seed}:{n}")) for n in range(TRIES // 4))
    assert [f for data in inputs if (f := gates.run(data))] == []


@pytest.mark.parametrize("part", range(4))
def test_no_encoding_gets_through(part: int, gates: GatesTarget) -> None:
    inputs = [gates.listed(n) for n in range(part, len(ENCODINGS), 4)]
    assert None not in inputs
    assert [f for data in inputs if data and (f := gates.run(data))] == []
    assert gates.listed(len(ENCODINGS)) is None


def test_encodings_differ_and_come_with_every_prefix() -> None:
    assert len({*ENCODINGS}) > 0.9 * len(ENCODINGS)  # a pair of prefixes may stand in both lists
    assert b"\xf0\x0f\x05" in ENCODINGS[:100]
    assert all(len(e) < 12 for e in ENCODINGS)


def test_a_flaw_in_the_processor_is_found() -> None:
    """LOCK SYSCALL arrives one byte late, as it did up to commit 2ebc4bd: the encodings come to it early."""
    weak = GatesTarget(Options(("prefixes",)))
    data, found = next((d, f) for n in range(100) if (d := weak.listed(n)) and (f := weak.run(d)))
    assert Try.from_bytes(data).code.startswith(b"\xf0\x0f\x05")
    assert found.what == "the host took an exception"
    weak.close()


def test_reading_a_secret_is_found() -> None:
    weak = GatesTarget(Options(("keys",)))
    secret = next(
        p for p in weak.generator.targets.points if weak.machine.symbols.name(p) == "paracell-kernel.elf!gk_secret"
    )
    code = b"\x48\xbb" + secret.to_bytes(8, "little") + b"\x48\x8b\x03\xeb\xfe"  # mov rbx, secret; mov rax, [rbx]
    for _ in range(2):  # the second time, too: no TLB may hold what the first one found
        found = weak.run(Try(code, (0,) * 16, 0).to_bytes())
        assert found == Found("the container kernel's secret was read", weak.code + 10)
    weak.close()


def test_a_try_is_its_bytes(gates: GatesTarget) -> None:
    made = gates.generate(Chance(1))
    assert Try.from_bytes(made).to_bytes() == made
    assert made == gates.generate(Chance(1))
    assert Try.from_bytes(b"\1") == Try(b"", (1, *(0,) * 15), 0)
    assert len({gates.generate(Chance(n)) for n in range(200)}) == 200


def test_what_the_scanner_refuses_is_not_run(gates: GatesTarget) -> None:
    """A program cannot have WRPKRU in its memory, so no try may."""
    assert not gates.place(Try(b"\x0f\x01\xef", (0,) * 16, 0).to_bytes())
    assert gates.run(Try(b"\x0f\x01\xef\xeb\xfe", (0,) * 16, 0).to_bytes()) is None
    for n in range(300):
        assert gates.place(gates.mutate(gates.generate(Chance(n)), gates.generate(Chance(-n)), Chance(n)))
        gates.checkpoint.restore()


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "paracell", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, text=True)


def test_without_a_defence_something_is_found_and_found_again(tmp_path: Path) -> None:
    found = run("fuzz", "gates", "-off=keys", "-runs=2000", f"-artifact_prefix={tmp_path}/")
    assert found.returncode == 77
    (path,) = tmp_path.iterdir()
    finding = FindingFile.from_bytes(path.read_bytes())
    assert path.name == finding.name
    assert found.stdout.splitlines() == [f"try {finding.number} of seed 1: {finding.found}", f"saved as {path}"]
    with closing(GatesTarget(finding.options)) as target:
        for _ in range(2):
            assert target.run(finding.data) == finding.found
    again, once_more = run("replay", path), run("replay", path)
    assert again.returncode == 1
    assert again.stdout.splitlines()[-1] == str(finding.found)
    assert once_more.stdout == again.stdout


@pytest.mark.parametrize(
    "change",
    [
        *({"input": "zz"}, {"rip": "x"}, {"number": "n"}, {"seed": float("inf")}, {"what": None}, {"options": 3}),
        *({"options": {"of": []}}, {"options": {"off": 5}}, {"options": {"nested": [1]}}, {"options": {"runtime": 5}}),
    ],
)
def test_a_damaged_finding_is_refused(change: dict[str, object]) -> None:
    finding = FindingFile("gates", Options(("keys",)), Found("x", 1), b"12", "0")
    record = json.loads(finding.to_json())
    assert FindingFile.from_bytes(json.dumps(record).encode()) == finding
    if change == {"what": None}:
        del record["what"]
        change = {}
    with pytest.raises(BadFinding):
        FindingFile.from_bytes(json.dumps(record | change).encode())


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    empty, other = tmp_path / "x", tmp_path / "y"
    empty.write_text("{}")
    other.write_text(FindingFile("no-such-target", Options(), Found("x"), b"", "").to_json())
    for arguments in (["replay", empty], ["replay", tmp_path / "none"], ["replay", other], ["replay", "/dev/null"]):
        done = run(*arguments)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "Traceback" not in done.stderr


def test_a_finding_of_other_images_says_so(tmp_path: Path, gates: GatesTarget) -> None:
    path = tmp_path / "x"
    path.write_text(FindingFile("gates", Options(), Found("x"), gates.generate(Chance(1)), "0").to_json())
    done = run("replay", path)
    assert done.returncode == 0
    assert "other images" in done.stderr
