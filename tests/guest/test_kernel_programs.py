from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from paracell.emu.stop import Reason
from paracell.guest import shipped
from paracell.guest.rootfs import init_block
from paracell.machine import Machine
from paracell.runtimes import PARACELL

from .kernels import MACHINES, MEMORY, STATUS_BITS, Typed, run, run_shipped, tar_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

on_each_machine = pytest.mark.parametrize("machine", MACHINES)


@on_each_machine
def test_hello(machine: str, tmp_path: Path) -> None:
    ran = run_shipped(machine, tmp_path, "hello", "one", "two words")
    lines = ran.out.decode().splitlines()
    assert (ran.status, ran.err) == (0, b"")
    assert lines[:2] == ["Hello from a container.", "I am process 1, on Linux 6.1.0-paracell (x86_64)."]
    assert lines[-2:] == ["argument 1: one", "argument 2: two words"]


@on_each_machine
@pytest.mark.parametrize("address", [0, 0xFFFF888000000000, 0xFFFFFFFF80100000, 0x7FFFFFFFF000, 1 << 47])
def test_bad_read_is_sigsegv(machine: str, tmp_path: Path, address: int) -> None:
    ran = run_shipped(machine, tmp_path, "segv", str(address))
    assert ran.status == 139 & STATUS_BITS
    assert b"paracell: segv[1]: SIGSEGV at 0x" in ran.err
    assert ran.out.startswith(b"reading ")


@on_each_machine
def test_spin_and_null_end(machine: str, tmp_path: Path) -> None:
    assert run_shipped(machine, tmp_path, "spin", "100000").out == b"100000\n"
    assert run_shipped(machine, tmp_path, "null", "10000").status == 0


@on_each_machine
def test_same_run_same_bytes(machine: str, tmp_path: Path) -> None:
    assert run_shipped(machine, tmp_path, "hello") == run_shipped(machine, tmp_path, "hello")


@on_each_machine
@pytest.mark.parametrize(
    ("program", "status", "message"),
    [
        (None, 127, b"cannot run /bin/it: no such file"),
        (b"#!/bin/sh\n", 127, b"cannot run /bin/it: no such file"),
        (b"\x7fELF\x02\x01\x01" + bytes(57), 126, b"cannot run /bin/it: no x86-64 program"),
    ],
)
def test_what_is_no_program(machine: str, tmp_path: Path, program: bytes | None, status: int, message: bytes) -> None:
    ran = run(
        machine, tmp_path, tar_of({"bin/it": program} if program is not None else {"bin/other": b""}), ["/bin/it"]
    )
    assert (ran.status, ran.err) == (status & STATUS_BITS, b"paracell: " + message + b"\n")


def _spoil(tar: bytes, at: int, new: bytes) -> bytes:
    return tar[:at] + new + tar[at + len(new) :]


def _unknown(tar: bytes) -> bytes:
    header = bytearray(tar[512:1024])
    header[156:157] = b"V"
    header[148:156] = b"        "
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return tar[:512] + bytes(header) + tar[1024:]


@on_each_machine
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: _spoil(t, 512, b"X"), b"wrong checksum, at offset 512"),
        (lambda t: _spoil(t, 512 + 257, b"USTAR"), b"no tar header, at offset 512"),
        (lambda t: _spoil(t, 512 + 148, b"9"), b"a number that is not octal, at offset 512"),
        (lambda t: t[: 1024 + 10], b"truncated, at offset 512"),
        (lambda t: t[:600], b"truncated, at offset 512"),
        (_unknown, b"an entry that is no file, link, directory, pipe or device, at offset 512"),
        (lambda t: t[512:], b"a name whose directory is missing, at offset 0"),
    ],
)
def test_malformed_rootfs(machine: str, tmp_path: Path, spoil: Callable[[bytes], bytes], message: bytes) -> None:
    ran = run(machine, tmp_path, spoil(tar_of({"bin/it": bytes(3000)})), ["/bin/it"])
    assert (ran.status, ran.out) == (125, b"")
    assert ran.err == b"paracell: rootfs: " + message + b" of the archive\n"


def test_input_and_its_end(tmp_path: Path) -> None:
    data = bytes(range(256)) * 40  # 3 among them: no terminal, so no Ctrl-C
    ran = run_shipped("emulator-native", tmp_path, "echoin", typed=data)
    assert (ran.status, ran.out, ran.err) == (0, data, b"10240 bytes\n")


def test_of_two_containers_the_first_has_the_input() -> None:
    program = shipped.image("programs/echoin").read_bytes()
    data = bytes(range(256)) * 80  # more than a kernel takes in at once
    console = Typed(data)
    modules = PARACELL.modules(tar_of({"bin/echoin": program}), init_block(["/bin/echoin"], []))
    with Machine.boot(PARACELL.image, modules=modules * 2, memory=MEMORY, runtime=PARACELL, console=console) as machine:
        assert machine.inner.run().reason is Reason.EXIT
    assert bytes(console.sent[0]) == data
    assert sorted(bytes(console.sent[1]).splitlines()) == [b"0 bytes", b"20480 bytes"]


@pytest.mark.parametrize(
    ("typed", "out"),
    [
        (b"ab\x7fc\n\x04", b"ab\b \bc\r\nac\r\n"),  # erase
        (b"junk\x15x\r\x04", b"junk" + b"\b \b" * 4 + b"x\r\nx\r\n"),  # kill; return is a newline
        (b"half\x04\x04", b"halfhalf"),  # the first end-of-file gives what was typed
        (b"\t\x01\n\x04", b"\t^A\r\n\t\x01\r\n"),  # control characters are shown
    ],
)
def test_terminal_line(tmp_path: Path, typed: bytes, out: bytes) -> None:
    ran = run_shipped("emulator-native", tmp_path, "echoin", options="tty=7", typed=typed)
    assert (ran.status, ran.out) == (0, out)


@pytest.mark.parametrize(("tty", "err"), [(5, b"ab\r\n3 bytes\r\n"), (1, b"3 bytes\n")])
def test_the_echo_is_no_output(tmp_path: Path, tty: int, err: bytes) -> None:
    ran = run_shipped("emulator-native", tmp_path, "echoin", options=f"tty={tty}", typed=b"ab\n\x04")
    assert (ran.out, ran.err) == (b"ab\n", err)


@pytest.mark.parametrize(("key", "status", "shown"), [(b"\x03", 130, b"x^C"), (b"\x1c", 131, b"x^\\")])
def test_keys_that_kill(tmp_path: Path, key: bytes, status: int, shown: bytes) -> None:
    ran = run_shipped("emulator-native", tmp_path, "echoin", options="tty=7", typed=b"x" + key)
    assert (ran.status, ran.out) == (status & STATUS_BITS, shown)


def test_ctrl_c_ends_a_loop(tmp_path: Path) -> None:
    ran = run_shipped("emulator-native", tmp_path, "spin", options="tty=7", typed=b"\x03")
    assert (ran.status, ran.out) == (130 & STATUS_BITS, b"^C")


@on_each_machine
def test_out_of_memory_kills(machine: str, tmp_path: Path) -> None:
    ran = run_shipped(machine, tmp_path, "touch", "300")
    assert ran.status == 137 & STATUS_BITS
    assert ran.err.startswith(b"paracell: touch[1]: out of memory: killed, with ")
