from __future__ import annotations

import os
import pty
import re
import signal
import sys
import termios
import threading
import time

import pytest

from paracell.console import Console, unedited
from paracell.progress import Progress
from paracell.signals import interruptible


def test_input_arrives_in_pieces_and_ends() -> None:
    out, into = os.pipe()
    console = Console(out)
    assert (console.read(10), console.ended) == (b"", False)
    os.write(into, b"hello world")
    assert console.wait(None)
    assert console.read(5) == b"hello"
    assert console.wait(0)
    assert console.read(100) == b" world"
    assert not console.wait(0)
    os.close(into)
    assert console.read(1) == b""
    assert console.ended
    assert console.wait(None)
    os.close(out)


def test_no_stdin_at_all_is_the_end_of_input() -> None:
    out, into = os.pipe()
    os.close(out)
    os.close(into)
    console = Console(out)
    assert console.read(1) == b""
    assert console.ended


def test_output_is_whole_and_announced() -> None:
    out, into = os.pipe()
    err, errors = os.pipe()
    console = Console(0, (into, errors))
    calls: list[int] = []
    console.before_output = lambda: calls.append(1)
    data = os.urandom(300_000)
    received = bytearray()

    def drain() -> None:
        while len(received) < len(data):
            received.extend(os.read(out, 65536))

    thread = threading.Thread(target=drain)
    thread.start()
    console.write(0, data)
    thread.join()
    assert bytes(received) == data
    console.write(1, b"oops")
    assert os.read(err, 10) == b"oops"
    assert len(calls) == 2
    os.close(out)
    with pytest.raises(BrokenPipeError):
        console.write(0, b"x")
    for descriptor in (into, err, errors):
        os.close(descriptor)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_machine_from_another_thread(number: signal.Signals) -> None:
    stopped = threading.Event()
    before = signal.getsignal(number)
    with interruptible(stopped.set) as caught:
        os.kill(os.getpid(), number)
        assert stopped.wait(10)
    assert caught == [number]
    assert signal.getsignal(number) is before


def test_progress_says_nothing_without_a_terminal(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paracell.progress._PATIENCE", 0.0)
    monkeypatch.setattr("paracell.progress._PERIOD", 0.01)
    with Progress(lambda: "busy") as progress:
        time.sleep(0.1)
        progress.wipe()
    assert capfd.readouterr().err == ""


def test_progress_on_a_terminal_cleans_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paracell.progress._PATIENCE", 0.0)
    monkeypatch.setattr("paracell.progress._PERIOD", 0.01)
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        shown = b""
        with Progress(lambda: "busy"):
            while b"busy" not in shown:
                shown += os.read(master, 4096)
        while not shown.endswith(b"\r\x1b[K"):
            shown += os.read(master, 4096)
    os.close(master)


def test_a_terminal_is_given_back_as_it_was() -> None:
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    with unedited(slave):
        assert not termios.tcgetattr(slave)[3] & (termios.ECHO | termios.ICANON)
        os.write(master, b"x")
        assert os.read(slave, 10) == b"x"  # without a newline
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_progress_shows_how_far_a_job_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar, and a line that is no wider than the terminal; none where a line cannot be wiped."""
    monkeypatch.setattr("paracell.progress._PATIENCE", 0.0)
    monkeypatch.setattr("paracell.progress._PERIOD", 0.01)
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("TERM", "xterm")
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        shown = b""
        with Progress(lambda: "busy " * 40, lambda: 0.5):
            while shown.count(b"\r\x1b[K") < 3:
                shown += os.read(master, 4096)
        line = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode().split("\r\x1b[K")[1])
        assert line.startswith("━" * 12)
        assert "busy" in line
        assert len(line) < 50
        monkeypatch.setenv("TERM", "dumb")
        assert Progress(lambda: "busy")._thread is None
    os.close(master)
