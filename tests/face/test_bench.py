from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from paracell.bench import memory
from paracell.bench.effects import Effects, floor
from paracell.bench.floor import Bare, function
from paracell.bench.measure import Limit, NotHere, Row, Runtimes, Unmeasured, compare, slope
from paracell.bench.others import cases
from paracell.bench.python import FirstLine
from paracell.bench.ready import Readiness
from paracell.bench.rows import Table, _contained
from paracell.commands import bench
from paracell.emu.registers import RCX, RDI, RSI
from paracell.guest import image, shipped
from paracell.runtimes import PARACELL, RUNTIMES, Runtime

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def bare() -> Bare:
    return Bare()


def test_the_bare_loops_run_to_their_ends(bare: Bare) -> None:
    q = bare.engine.q
    assert bare.two_traps(100) > 0
    assert q[RCX] == 0
    loops = image.load(shipped.image("bench.elf"))
    assert bare.loop(function(loops, "bench_straight"), 1000) > 0
    assert q[RDI] == 0
    assert bare.refill(function(loops, "bench_touch"), 512, 2) > 0
    assert (q[RSI], q[RDI]) == (0, 0x200000 + 512 * 4096)


@pytest.mark.parametrize("measure", [Effects.system_calls, Effects.gates, Effects.page_faults])
def test_the_loops_of_effects_run_to_their_ends(measure: Callable[[Effects, int], float]) -> None:
    """Else they raise."""
    assert floor(measure, 100) > 0


@pytest.mark.parametrize(
    ("ratio", "bound", "at_least", "reached"),
    [
        (0.9, 0.9, True, True),
        (0.8, 0.9, True, False),
        (3.0, 3.0, False, True),
        (3.1, 3.0, False, False),
        (None, 1.0, True, None),
        (1.0, None, True, None),
    ],
)
def test_reached(ratio: float | None, bound: float | None, at_least: bool, reached: bool | None) -> None:
    assert Row("r", ratio, bound, at_least, "").reached is reached


def test_ratios_are_medians_of_rounds() -> None:
    times = iter([9.0, 9.0] + [2.0, 1.0] * 6 + [100.0, 1.0])
    pair = compare(lambda: next(times), lambda: next(times))
    assert (pair.ours, pair.floor, pair.ratio) == (2.0, 1.0, 2.0)


def test_a_slope_leaves_out_what_every_run_costs() -> None:
    assert slope(lambda n: 5.0 + n * 0.25, 2, 42) == pytest.approx(0.25)
    with pytest.raises(Unmeasured):
        slope(lambda _n: 1.0, 1, 2)


def test_the_summary_of_access_is_found(tmp_path: Path) -> None:
    console = tmp_path / "console"
    console.write_bytes(b"run\n....\n120 tests, 3 failures\nFAIL: 4-level\n")
    assert cases(console) == 120
    console.write_bytes(b"hello\n")
    with pytest.raises(Unmeasured, match="no summary"):
        cases(console)


@pytest.mark.parametrize("runtime", RUNTIMES.values(), ids=RUNTIMES)
def test_a_container_gets_ready(runtime: Runtime, tmp_path: Path) -> None:
    container = Readiness(runtime, "hello", tmp_path / "snapshot")
    assert container.from_nothing() > 0
    assert container.from_snapshot() > 0
    assert _contained(runtime, "lat", "-e", "null", "1") > 0


@pytest.mark.sweep
def test_cpython_gets_to_its_first_line(tmp_path: Path) -> None:
    try:
        python = FirstLine(tmp_path)
    except NotHere as error:
        pytest.skip(str(error))
    assert python.from_snapshot() > 0


def test_a_page_is_measured_bound_ahead_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_TURNS", 300)
    try:
        assert memory.page_of(PARACELL, "cold", ahead=True) > 0
    except NotHere as error:
        pytest.skip(str(error))


def test_what_is_beside_a_ratio() -> None:
    assert str(Limit(0.0123, 0.05, 0.246)) == "12.3 ms, 50 ms allowed"
    both = Runtimes(0.003, 0.0000402, 74.6, 0.00000075)
    assert str(both) == "paracell 3000 µs, native 40.2 µs; 4000 and 53.6 floors of 0.75 µs"


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Row("a", 2.0, 3.0, False, "x"), Row("b", None, 3.0, False, "no QEMU"), Row("c", 4.0, 3.0, False, "y")]
    monkeypatch.setattr(Table, "rows", lambda _table: iter(rows))
    assert bench.command.callback is not None
    assert bench.command.callback(as_json=True, access=None) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(r["name"], r["ratio"], r["bound"], r["reached"]) for r in found] == [
        ("a", 2.0, 3.0, True),
        ("b", None, 3.0, None),
        ("c", 4.0, 3.0, False),
    ]
    rows.pop()
    assert bench.command.callback(as_json=False, access=None) == 0
    assert "no QEMU" in capsys.readouterr().out
