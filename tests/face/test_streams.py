"""Standard streams that are closed, full or broken: one status, one line at most, and no file takes a stream's place."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .test_run import BUSYBOX, ENVIRONMENT, needs_busybox

PATIENCE = 60
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this computer")
NATIVE = ("run", "--runtime", "native")


def shell(*arguments: str | Path, streams: str = "", folder: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """Have a shell start the command, which can close streams as no `subprocess` can."""
    command = shlex.join([sys.executable, "-m", "paracell", *map(str, arguments)])
    return subprocess.run(
        ["/bin/sh", "-c", f"exec {command} {streams}"],
        env=ENVIRONMENT,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )


@needs_busybox
def test_a_closed_stdin_is_at_its_end() -> None:
    done = shell(*NATIVE, str(BUSYBOX), "cat", streams="<&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("arguments", [[*NATIVE, "hello"], ["--help"], ["--version"], ["run", "--cpu", "help"]])
@pytest.mark.parametrize(
    ("streams", "what"),
    [
        (">&-", "Bad file descriptor"),
        ("<&- >&-", "Bad file descriptor"),
        pytest.param(">/dev/full", "No space left on device", marks=FULL),
    ],
)
def test_a_stdout_that_takes_nothing(arguments: list[str], streams: str, what: str) -> None:
    done = shell(*arguments, streams=streams)
    assert (done.returncode, done.stderr.decode()) == (125, f"paracell: {what}: standard output\n")


def test_a_closed_stdout_that_nobody_writes() -> None:
    done = shell(*NATIVE, "null", "5", streams=">&-")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("streams", ["2>&-", "<&- 2>&-", pytest.param("2>/dev/full", marks=FULL)])
def test_a_message_that_nobody_gets_changes_no_status(streams: str) -> None:
    assert shell(*NATIVE, "no-such-program", streams=streams).returncode == 127
    assert shell("run", "--nonsense", streams=streams).returncode == 2


def test_what_goes_to_a_closed_stderr_is_dropped() -> None:
    done = shell(*NATIVE, "--stats", "hello", streams="2>&-")
    assert (done.returncode, done.stdout.startswith(b"Hello")) == (0, True)


@FULL
@needs_busybox
def test_a_full_stderr_is_an_error() -> None:
    assert shell(*NATIVE, str(BUSYBOX), "sh", "-c", "echo no >&2", streams="2>/dev/full").returncode == 125
    assert shell(*NATIVE, "--stats", "hello", streams="2>/dev/full").returncode == 125


@pytest.mark.parametrize("streams", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_no_file_takes_the_number_of_a_closed_stream(tmp_path: Path, streams: str) -> None:
    trace, saved = tmp_path / "t.jsonl", tmp_path / "s"
    done = shell(*NATIVE, "--trace", trace, "--snapshot", saved, "null", "5", streams=streams)
    assert done.returncode == 0
    assert all(json.loads(line)["cost"] >= 0 for line in trace.read_text().splitlines())
    assert saved.read_bytes().startswith(b"PCSNAP")


@FULL
@pytest.mark.parametrize(
    "arguments", [[*NATIVE, "--snapshot", "/dev/full", "null", "5"], [*NATIVE, "--trace", "full.jsonl", "null", "1000"]]
)
def test_a_full_disk_is_named(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "full.jsonl").symlink_to("/dev/full")
    done = shell(*arguments, folder=tmp_path)
    named = "/dev/full" if "--snapshot" in arguments else "full.jsonl"
    assert (done.returncode, done.stderr.decode()) == (2, f"paracell: No space left on device: {named}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["full.jsonl"]


@FULL
def test_json_to_a_full_disk(tmp_path: Path) -> None:
    saved = tmp_path / "s"
    assert shell(*NATIVE, "--snapshot", saved, "null", "5").returncode == 0
    for options in (["--json"], []):
        done = shell("walk", saved, "0xffffffff80001000", *options, streams=">/dev/full")
        assert (done.returncode, done.stderr) == (125, b"paracell: No space left on device: standard output\n")


def test_a_finding_that_could_not_be_saved_is_told_before_the_work(tmp_path: Path) -> None:
    for place in (tmp_path / "no/such/finding", tmp_path):
        done = shell("fuzz", "gates", f"-exact_artifact_path={place}")
        assert done.returncode == 2
        assert str(place) in done.stderr.decode()


def test_a_reader_that_leaves() -> None:
    done = subprocess.run(
        ["/bin/bash", "-c", f"{shlex.quote(sys.executable)} -m paracell --help | true; exit ${{PIPESTATUS[0]}}"],
        env=ENVIRONMENT,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) in ((128 + signal.SIGPIPE, b""), (0, b""))
