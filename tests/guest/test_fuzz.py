"""The random attacker: its tries repeat, it finds what is to be found, and nothing where every defence is on."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from paracell.fuzz import ENCODINGS, Attacker, BadFinding, Finding, Try, finding_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRIES = 200_000
FIRST = len(ENCODINGS)  # chance begins here


@pytest.fixture(scope="module")
def attacker() -> Iterator[Attacker]:
    made = Attacker()
    yield made
    made.close()


@pytest.mark.parametrize("seed", range(1, 5))
def test_nothing_gets_through(seed: int, attacker: Attacker) -> None:
    assert [f for n in range(FIRST, FIRST + TRIES // 4) if (f := attacker.search(seed, n))] == []


@pytest.mark.parametrize("part", range(4))
def test_no_encoding_gets_through(part: int, attacker: Attacker) -> None:
    assert [f for n in range(part, FIRST, 4) if (f := attacker.search(0, n))] == []


def test_encodings_differ_and_come_with_every_prefix() -> None:
    assert len({*ENCODINGS}) > 0.9 * FIRST  # a pair of prefixes may stand in both lists
    assert b"\xf0\x0f\x05" in ENCODINGS[:100]
    assert all(len(e) < 12 for e in ENCODINGS)


def test_a_flaw_in_the_processor_is_found() -> None:
    """LOCK SYSCALL arrives one byte late, as it did up to commit 2ebc4bd: the encodings come to it early."""
    weak = Attacker(["prefixes"])
    finding = next(f for n in range(100) if (f := weak.search(1, n)))
    assert finding.attempt.code.startswith(b"\xf0\x0f\x05")
    assert finding.what == "the host took an exception"
    weak.close()


def test_reading_a_secret_is_found() -> None:
    weak = Attacker(["keys"])
    secret = next(
        p for p in weak.generator.targets.points if weak.machine.symbols.name(p) == "paracell-kernel.elf!gk_secret"
    )
    code = b"\x48\xbb" + secret.to_bytes(8, "little") + b"\x48\x8b\x03\xeb\xfe"  # mov rbx, secret; mov rax, [rbx]
    for _ in range(2):  # the second time, too: no TLB may hold what the first one found
        assert weak.attempt(Try(code, (0,) * 16, 0)) == ("the container kernel's secret was read", weak.code + 10)
    weak.close()


def test_a_try_is_its_seed_and_number(attacker: Attacker) -> None:
    make = attacker.generator.make
    assert make(1, 5) == make(1, 5)
    assert len({make(1, n) for n in range(200)} | {make(2, n) for n in range(200)}) == 400


@pytest.mark.parametrize("defence", ["check", "keys"])
def test_without_a_defence_something_is_found_and_found_again(defence: str, tmp_path: Path) -> None:
    weak = Attacker([defence])
    finding = next(f for n in range(FIRST, FIRST + 20_000) if (f := weak.search(1, n)))
    assert weak.attempt(finding.attempt) == (finding.what, finding.rip)  # what came between is forgotten
    weak.close()
    path = tmp_path / "finding.json"
    path.write_text(finding.to_json())
    assert finding_of(path.read_text()) == finding
    again = subprocess.run(
        [sys.executable, "-m", "paracell", "replay", path], capture_output=True, check=False, text=True
    )
    assert again.returncode == 1
    assert again.stdout.splitlines()[-1] == f"{finding.what}, at {finding.rip:#x}"
    once_more = subprocess.run(
        [sys.executable, "-m", "paracell", "replay", path], capture_output=True, check=False, text=True
    )
    assert once_more.stdout == again.stdout


@pytest.mark.parametrize(
    "change", [{"code": "zz"}, {"registers": {}}, {"images": "0"}, {"code": "90" * 5000}, {"off": 3}]
)
def test_a_damaged_finding_is_refused(change: dict[str, object], attacker: Attacker) -> None:
    record = json.loads(Finding("x", 1, 1, 1, (), attacker.generator.make(1, 1)).to_json())
    with pytest.raises(BadFinding):
        finding_of(json.dumps(record | change))


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("{}")
    for arguments in (["replay", str(path)], ["replay", str(tmp_path / "none")], ["fuzz", "--off", "nonsense"]):
        done = subprocess.run(
            [sys.executable, "-m", "paracell", *arguments], capture_output=True, check=False, text=True
        )
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "Traceback" not in done.stderr
