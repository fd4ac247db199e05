from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paracell import runtimes
from paracell.guest.shipped import IMAGES

from .images import CODE, static_program

ROOT = Path(__file__).parents[2]
BUSYBOX = shutil.which("busybox")
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
needs_busybox = pytest.mark.skipif(BUSYBOX is None, reason="no static busybox on this computer")
RUNTIMES = [
    pytest.param(name, marks=pytest.mark.skipif(not (IMAGES / row.boots).exists(), reason=f"{row.boots} is not built"))
    for name, row in runtimes.RUNTIMES.items()
]
COMMAND = [sys.executable, "-m", "paracell"]


def run(*arguments: str | Path, stdin: bytes = b"", timeout: float = 100) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        check=False,
        env=ENVIRONMENT,
        timeout=timeout,
    )


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_shipped_program(runtime: str) -> None:
    done = run("run", "--runtime", runtime, "hello", "one", "two words")
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert lines[0] == "Hello from a container."
    assert lines[-2:] == ["argument 1: one", "argument 2: two words"]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_exit_status_and_signals(tmp_path: Path, runtime: str) -> None:
    program = tmp_path / "seven"
    program.write_bytes(static_program())
    program.chmod(0o755)
    assert run("run", "--runtime", runtime, program).returncode == 7
    crashed = run("run", "--runtime", runtime, "segv")
    assert crashed.returncode == 128 + signal.SIGSEGV
    assert b"SIGSEGV" in crashed.stderr


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_statistics_name_what_is_missing_once(tmp_path: Path, runtime: str) -> None:
    program = tmp_path / "prog"
    twice = bytes.fromhex("b8a9010000 0f05") * 2  # mov eax,425 (io_uring_setup); syscall
    program.write_bytes(static_program(twice + CODE))
    program.chmod(0o755)
    done = run("run", "--runtime", runtime, "--stats", program)
    assert done.returncode == 7
    assert done.stderr.count(b"not implemented: io_uring_setup (425)") == 1


@needs_busybox
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    "command",
    [
        ["echo", "-n", "a b", "c"],
        ["cat"],
        ["sort", "-r"],
        ["grep", "-n", "7$"],
        ["awk", "{ s += $1 } END { print s }"],
        ["gzip", "-nc"],
        ["sha256sum"],
        ["false"],
        ["ls", "/nonexistent"],
        ["cat", "/nonexistent"],
    ],
    ids=lambda c: c[0],
)
def test_busybox_as_on_the_host(runtime: str, command: list[str]) -> None:
    data = b"".join(b"%d\n" % n for n in range(300))
    here = subprocess.run([BUSYBOX or "", *command], input=data, capture_output=True, check=False)
    there = run("run", "--runtime", runtime, "busybox", *command, stdin=data)
    assert (there.returncode, there.stdout, there.stderr) == (here.returncode, here.stdout, here.stderr)


@needs_busybox
@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_big_file_in_a_rootfs(tmp_path: Path, runtime: str) -> None:
    data = bytes(range(256)) * 40_000
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "big").write_bytes(data)
    done = run("run", "--runtime", runtime, "--rootfs", tmp_path, "busybox", "sha256sum", "/data/big")
    assert done.stdout.decode() == f"{hashlib.sha256(data).hexdigest()}  /data/big\n"


def test_rootfs_first_then_the_host(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    shutil.copy(IMAGES / "programs/null", tmp_path / "bin" / "hello")
    done = run("run", "--runtime", "native", "--rootfs", tmp_path, "hello", "1")
    assert (done.returncode, done.stdout) == (0, b"")
    done = run("run", "--runtime", "native", "--rootfs", tmp_path, IMAGES / "programs/hello")
    assert done.stdout.startswith(b"Hello")


@needs_busybox
def test_environment() -> None:
    done = run(
        "run", "--runtime", "native", "--env", "A=1", "--env", "A=2 3", "--env", "PATH=/x", "--", "/bin/busybox", "env"
    )
    assert sorted(done.stdout.decode().splitlines()) == ["A=2 3", "HOME=/", "PATH=/x"]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_same_command_gives_the_same_trace(tmp_path: Path, runtime: str) -> None:
    traces = []
    for name in ("a.jsonl", "b.jsonl"):
        done = run("run", "--runtime", runtime, "--trace", tmp_path / name, "--stats", "hello")
        assert done.returncode == 0
        assert b"syscall" in done.stderr or b"gate enter" in done.stderr
        traces.append((tmp_path / name).read_bytes())
    assert traces[0] == traces[1]
    events = [json.loads(line) for line in traces[0].splitlines()]
    assert [e["at"] for e in events] == sorted(e["at"] for e in events)
    assert {"user", "kernel"} <= {e["who"] for e in events}
    assert any("!" in e["symbol"] for e in events if e["who"] == "user")


def test_a_trace_that_meets_a_full_disk(tmp_path: Path) -> None:
    script = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192));"
        "from paracell.cli import run_command; sys.exit(run_command(sys.argv[1:]))"
    )
    target = tmp_path / "t.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", script, "run", "--runtime", "native", "--trace", target, "null", "5000"],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert (done.returncode, done.stderr) == (2, f"paracell: File too large: {target}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_trace_or_snapshot_that_cannot_be_written(tmp_path: Path) -> None:
    for option, name in (("--trace", "no/such/t.jsonl"), ("--trace", "t.txt"), ("--snapshot", "no/such/s")):
        done = run("run", "--runtime", "native", option, tmp_path / name, "hello")
        assert (done.returncode, done.stdout) == (2, b"")
        assert str(tmp_path / name) in done.stderr.decode()
        assert done.stderr.count(b"\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_can_be_walked(tmp_path: Path) -> None:
    saved = tmp_path / "s"
    assert run("run", "--runtime", "native", "--snapshot", saved, "segv").returncode == 139
    done = run("walk", saved, "0xffffffff80001000", "--json")
    assert done.returncode in {0, 1}
    walk = json.loads(done.stdout)
    assert [s["level"] for s in walk["steps"]][:2] == ["PML4E", "PDPTE"]
    assert run("walk", saved, "0xffffffff80001000", "--user").returncode == 1
    for damage in (saved.read_bytes()[:-100], b"", saved.read_bytes()[:30]):
        saved.write_bytes(damage)
        bad = run("walk", saved, "0")
        assert bad.returncode == 2
        assert bad.stderr.count(b"\n") == 1
        assert str(saved) in bad.stderr.decode()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_program_that_makes_no_event(number: int, status: int) -> None:
    process = subprocess.Popen(
        [*COMMAND, "run", "--runtime", "native", "spin"], env=ENVIRONMENT, stderr=subprocess.PIPE
    )
    time.sleep(2)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (status, b"")


@needs_busybox
def test_nobody_reads_the_output() -> None:
    process = subprocess.Popen(
        [*COMMAND, "run", "--runtime", "native", "busybox", "yes"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(4) == b"y\ny\n"
    process.stdout.close()
    with process.stderr as stream:
        err = stream.read()
    assert (process.wait(30), err) == (128 + signal.SIGPIPE, b"")


def test_an_idle_stdin_does_not_hold_a_program_that_ignores_it() -> None:
    process = subprocess.Popen(
        [*COMMAND, "run", "--runtime", "native", "hello"],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.wait(60) == 0
    process.communicate()


@pytest.mark.parametrize(
    "command", [["run", "--runtime", "native", "null", "1"], ["boot", IMAGES / "bench.elf"], ["attack", "raw"]]
)
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--cost", "wrpkr=1"], "no such cost: wrpkr; there are wrpkru, syscall"),
        (["--cost", "wrpkru"], "wrpkru"),
        (["--cost", "wrpkru=-1"], "-1"),
        (["--cost", "wrpkru=dear"], "dear"),
        (["--costs", "{}/none.toml"], "No such file or directory: {}/none.toml"),
        (["--costs", "{}/bad.toml"], "bad.toml"),
        (["--costs", "{}/unknown.toml"], "unknown.toml: no such cost: wrpkr"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else None,
)
def test_bad_costs(tmp_path: Path, command: list[str | Path], options: list[str], complaint: str) -> None:
    (tmp_path / "bad.toml").write_text("wrpkru = ")
    (tmp_path / "unknown.toml").write_text("wrpkr = 1\n")
    done = run(command[0], *(option.format(tmp_path) for option in options), *command[1:])
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.count(b"\n") == 1
    assert complaint.format(tmp_path).encode() in done.stderr


def test_costs_are_charged(tmp_path: Path) -> None:
    file = tmp_path / "costs.toml"
    file.write_text("syscall = 1082\nsysret = 75\n")

    def cycles(*options: str | Path) -> int:
        trace = tmp_path / "t.jsonl"
        assert run("run", "--runtime", "native", *options, "--trace", trace, "null", "10").returncode == 0
        return sum(e["cost"] for e in map(json.loads, trace.read_text().splitlines()) if e["kind"] == "syscall")

    plain = cycles()
    calls = plain // 82
    assert cycles("--cost", "syscall=1082") == cycles("--costs", file) == plain + 1000 * calls
    assert cycles("--costs", file, "--cost", "syscall=82") == plain


@pytest.mark.parametrize("options", [[], ["--user", "--write", "--pkru", "3"], ["--exec", "--json"]], ids=" ".join)
def test_the_python_of_a_walk_does_the_same(tmp_path: Path, options: list[str]) -> None:
    saved = tmp_path / "it's.snap"
    assert run("run", "--runtime", "native", "--snapshot", saved, "hello").returncode == 0
    for address in ("0x1000000", "0x400000"):
        walked = run("walk", saved, address, *options)
        printed = run("walk", saved, address, *options, "--python")
        assert printed.returncode == 0
        again = subprocess.run([sys.executable, "-c", printed.stdout], env=ENVIRONMENT, check=True, capture_output=True)
        assert again.stdout == walked.stdout
        assert walked.stdout


def test_more_containers_on_the_same_host() -> None:
    done = run("run", "--beside", "busybox sh -c 'echo \"a b\"; exit 3'", "busybox", "sh", "-c", "echo first; exit 7")
    assert (done.returncode, sorted(done.stdout.splitlines())) == (7, [b"a b", b"first"])
    for wrong, says in (
        (
            ("--runtime", "native", "--beside", "hello"),
            "no container runs beside another under native, which has no host",
        ),
        (("--beside", "nope"), "no such program in the rootfs, shipped, or in $PATH: nope"),
        (("--beside", ""), "no program"),
        (("--beside", "'a"), "No closing quotation"),
        (("--beside", "hello") * 4, "5 containers: a host has room for 4"),
    ):
        done = run("run", *wrong, "hello")
        assert (done.returncode != 0, done.stdout, done.stderr.count(b"\n")) == (True, b"", 1), done
        assert says in done.stderr.decode()
