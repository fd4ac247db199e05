from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from paracell.guest import shipped

from .kernels import STATUS_BITS, needs_qemu, run, run_shipped, tar_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [needs_qemu, pytest.mark.qemu]


def test_hello(tmp_path: Path) -> None:
    ran = run_shipped(tmp_path, "hello", "one", "two words")
    lines = ran.out.decode().splitlines()
    assert (ran.status, ran.err) == (0, b"")
    assert lines[:2] == ["Hello from a container.", "I am process 1, on Linux 6.1.0-paracell (x86_64)."]
    assert lines[-2:] == ["argument 1: one", "argument 2: two words"]


def test_system_calls_as_on_linux(tmp_path: Path) -> None:
    program = shipped.program("syscalls")
    folder = tmp_path / "host"
    folder.mkdir()
    real = subprocess.run([program], cwd=folder, capture_output=True, check=False)
    ours = run_shipped(tmp_path, "syscalls")
    assert ours.out.decode().splitlines() == real.stdout.decode().splitlines()
    assert ours.status == real.returncode == 42


@pytest.mark.parametrize("address", [0, 0xFFFF888000000000, 0xFFFFFFFF80100000, 0x7FFFFFFFF000, 1 << 47])
def test_bad_read_is_sigsegv(tmp_path: Path, address: int) -> None:
    ran = run_shipped(tmp_path, "segv", str(address))
    assert ran.status == 139 & STATUS_BITS
    assert b"paracell: segv[1]: SIGSEGV at 0x" in ran.err
    assert ran.out.startswith(b"reading ")


def test_spin_and_null_end(tmp_path: Path) -> None:
    assert run_shipped(tmp_path, "spin", "100000").out == b"100000\n"
    assert run_shipped(tmp_path, "null", "10000").status == 0


def test_same_run_same_bytes(tmp_path: Path) -> None:
    assert run_shipped(tmp_path, "hello") == run_shipped(tmp_path, "hello")


@pytest.mark.parametrize(
    ("program", "status", "message"),
    [
        (None, 127, b"cannot run /bin/it: no such file"),
        (b"#!/bin/sh\n", 126, b"cannot run /bin/it: no static x86-64 program"),
        (b"\x7fELF\x02\x01\x01" + bytes(57), 126, b"cannot run /bin/it: no static x86-64 program"),
    ],
)
def test_what_is_no_program(tmp_path: Path, program: bytes | None, status: int, message: bytes) -> None:
    ran = run(tmp_path, tar_of({"bin/it": program} if program is not None else {"bin/other": b""}), ["/bin/it"])
    assert (ran.status, ran.err) == (status & STATUS_BITS, b"paracell: " + message + b"\n")


def _spoil(tar: bytes, at: int, new: bytes) -> bytes:
    return tar[:at] + new + tar[at + len(new) :]


def _fifo(tar: bytes) -> bytes:
    header = bytearray(tar[512:1024])
    header[156:157] = b"6"
    header[148:156] = b"        "
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return tar[:512] + bytes(header) + tar[1024:]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: _spoil(t, 512, b"X"), b"wrong checksum, at offset 512"),
        (lambda t: _spoil(t, 512 + 257, b"USTAR"), b"no tar header, at offset 512"),
        (lambda t: _spoil(t, 512 + 148, b"9"), b"a number that is not octal, at offset 512"),
        (lambda t: t[: 1024 + 10], b"truncated, at offset 512"),
        (lambda t: t[:600], b"truncated, at offset 512"),
        (_fifo, b"an entry that is no file, link or directory, at offset 512"),
        (lambda t: t[512:], b"a name whose directory is missing, at offset 0"),
    ],
)
def test_malformed_rootfs(tmp_path: Path, spoil: Callable[[bytes], bytes], message: bytes) -> None:
    ran = run(tmp_path, spoil(tar_of({"bin/it": bytes(3000)})), ["/bin/it"])
    assert (ran.status, ran.out) == (125, b"")
    assert ran.err == b"paracell: rootfs: " + message + b" of the archive\n"
