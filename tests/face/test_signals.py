"""Ctrl-C, SIGTERM and SIGHUP end every command at any moment: with one status, without a traceback, and without files left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from paracell.guest.shipped import IMAGES
from paracell.signals import Interrupted, lethal, raising, stopping

from .test_run import COMMAND, ENVIRONMENT

PATIENCE = 60.0
# Whoever runs the tests may ignore signals, as nohup does, and children inherit that.
AS_USUAL = "[signal.signal(n, signal.SIG_DFL) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]"
needs_host = pytest.mark.skipif(not (IMAGES / "paracell-host.elf").exists(), reason="the ParaCell host is not built")


def start(folder: Path, *arguments: str | Path, before: str = AS_USUAL) -> subprocess.Popen[bytes]:
    """Start a command whose temporary files are in `folder`, and wait until it has an engine."""
    script = f"import signal, sys; {before}\nfrom paracell.__main__ import main\nmain()"
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env=ENVIRONMENT | {"TMPDIR": str(folder), "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    end, maps = time.monotonic() + PATIENCE, Path(f"/proc/{process.pid}/maps")
    while "libunicorn" not in maps.read_text():
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.01)
    return process


@needs_host
@pytest.mark.parametrize("delay", [0.0, 0.7])
@pytest.mark.parametrize(
    ("number", "arguments"),
    [
        (signal.SIGINT, ["attack"]),
        (signal.SIGTERM, ["attack", "--json"]),
        (signal.SIGINT, ["bench"]),
        (signal.SIGHUP, ["bench", "--json"]),
        (signal.SIGINT, ["fuzz", "gates", "-verbosity=0"]),
        (signal.SIGTERM, ["fuzz", "gates", "-verbosity=0"]),
        (signal.SIGINT, ["run", "spin"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value.name,
)
def test_a_signal_ends_a_command(tmp_path: Path, number: signal.Signals, arguments: list[str], delay: float) -> None:
    process = start(tmp_path, *arguments)
    time.sleep(delay)
    process.send_signal(number)
    try:
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 128 + number
    assert err == b"" or err.startswith(b"interrupted after ")
    assert err.count(b"\n") <= 1
    assert "--json" not in arguments or out == b""
    assert list(tmp_path.iterdir()) == []


@needs_host
def test_a_replay_that_is_interrupted(tmp_path: Path) -> None:
    """The guest of a finding that loops for ever: Ctrl-C comes while a callback of Python's runs, again and again."""
    finding = tmp_path / "finding.json"
    found = [*COMMAND, "fuzz", "gates", "-off=keys", "-runs=2000", f"-exact_artifact_path={finding}"]
    assert subprocess.run(found, env=ENVIRONMENT, check=False, capture_output=True).returncode == 77
    for _ in range(3):
        process = start(tmp_path, "replay", finding)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode in {130, 1}  # 1: it was over
        assert err == b""


def test_an_interrupted_trace_and_snapshot_are_whole_or_absent(tmp_path: Path) -> None:
    trace, saved = tmp_path / "t.jsonl", tmp_path / "s"
    process = start(tmp_path, "run", "--runtime", "native", "--trace", trace, "--snapshot", saved, "spin")
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (143, b"")
    left = {path.name for path in tmp_path.iterdir()}
    assert left in (set(), {"t.jsonl", "s"})
    if left:
        assert trace.read_bytes().endswith(b"}\n")
        walk = subprocess.run([*COMMAND, "walk", saved, "0xffffffff80001000"], env=ENVIRONMENT, check=False)
        assert walk.returncode in {0, 1}


def test_signals_that_were_ignored_stay_ignored(tmp_path: Path) -> None:
    """As under nohup."""
    process = start(
        tmp_path, "run", "--runtime", "native", "spin", before="signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    )
    process.send_signal(signal.SIGHUP)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 143


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_outside_of_a_run_it_is_an_exception(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught, raising():  # noqa: PT012
        os.kill(os.getpid(), number)
        time.sleep(5)
    assert caught.value.number == number
    assert signal.getsignal(number) is before


def test_within_a_run_it_is_an_exception_behind_it() -> None:
    stopped = threading.Event()
    went_on = False
    with pytest.raises(Interrupted) as caught, stopping(stopped.set):  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopped.wait(10)
        went_on = True
    assert went_on
    assert caught.value.number == signal.SIGTERM


def test_a_child_dies_of_a_signal_as_any_process() -> None:
    with raising():
        pid = os.fork()
        if not pid:
            lethal()
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
