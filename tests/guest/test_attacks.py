"""Every attack, with its defence and without: a test of a defence that cannot fail shows nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from attrs import evolve

from paracell.attacks import ATTACKS, Attack, run, shows
from paracell.emu.stop import Reason
from paracell.guest import shipped
from paracell.runtimes import RUNV

NAMES = [a.name for a in ATTACKS]
WITHOUT_AN_END = {
    "host-endless",
    "pvm-endless",
    "pvm-glutton",
    "pvm-outs-endless",
    "runv-endless",
}  # the neighbour's turn never comes
NO_ATTACKS = {
    "victim",
    "fuzzee",
    "caller",
    "neighbour",
    "first",
}  # who is attacked, and what the fuzzer and other tests run
SOON = 6.0  # seconds: it needs less than one
ROOT = shipped.IMAGES.parent.parent


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_refused(attack: Attack) -> None:
    outcome = run(attack)
    assert outcome.harm == ()
    if attack.on_host:
        assert "victim: all is well" in outcome.out
    else:
        assert outcome.stop.reason is Reason.EXIT
        assert outcome.stop.value != 0
        assert outcome.stop.value > 128 or "refused" in outcome.out or attack.name in {"stack", "base"}


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_control_succeeds(attack: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
    if attack.name in WITHOUT_AN_END:
        monkeypatch.setattr("paracell.attacks._PATIENCE", SOON)
    outcome = run(attack, attack.off)
    assert shows(attack, outcome), outcome.harm


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a.runtime is RUNV], ids=lambda a: a.name)
def test_runv_refuses_with_shadow_paging_too(attack: Attack) -> None:
    outcome = run(evolve(attack, options=" mmu=spt"))
    assert outcome.harm == ()
    assert "victim: all is well" in outcome.out


@pytest.mark.parametrize("name", ["jump", "stack", "wrpkru"])
def test_another_defence_off_does_not_help(name: str) -> None:
    attack = next(a for a in ATTACKS if a.name == name)
    for defence in sorted({"scan", "check", "stack"} - {*attack.off}):
        assert not [h for h in run(attack, [defence]).harm if "secret" in h]


def test_every_program_is_in_the_table() -> None:
    programs = {p.stem for p in (shipped.IMAGES.parent / "attacks").glob("*.c")} - NO_ATTACKS
    assert programs == {a.name for a in ATTACKS if not a.on_host}


def test_every_defence_is_some_attacks_control() -> None:
    lists = [
        ROOT / "pku/xgate/defences.def",
        ROOT / "guest/host/paracell/defences.def",
        ROOT / "guest/pvm/defences.def",
        ROOT / "guest/shadow/defences.def",
        ROOT / "guest/runv/defences.def",
    ]
    lines = [line for path in lists for line in path.read_text().splitlines()]
    declared = {line.split("(")[1].split(")")[0] for line in lines if line.startswith("DEFENCE(")}
    assert declared - {d for a in ATTACKS for d in a.off} == {"hold"}  # its control is in test_gate_sweep.py


def test_the_command_prints_rows() -> None:
    command = [sys.executable, "-m", "paracell", "attack", "--json", "direct", "host-number"]
    done = subprocess.run(command, capture_output=True, check=False)
    rows = json.loads(done.stdout)
    assert done.returncode == 0
    assert [(r["name"], r["refused"], r["control_succeeds"]) for r in rows] == [
        ("direct", True, True),
        ("host-number", True, True),
    ]


def test_an_unknown_name_is_one_line() -> None:
    command = [sys.executable, "-m", "paracell", "attack", "nonsense"]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("paracell: no such attack: nonsense; there are direct, ")
    assert done.stderr.count("\n") == 1
