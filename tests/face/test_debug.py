"""`paracell debug` under the gdb of this computer, in batch mode."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from paracell import RUNTIMES, Container
from paracell.debug import files
from paracell.debug.files import Files
from paracell.guest.build import build
from paracell.guest.elf import parse

from .test_run import COMMAND, ENVIRONMENT, ROOT, run

if TYPE_CHECKING:
    from pathlib import Path

needs_gdb = pytest.mark.skipif(shutil.which("gdb") is None, reason="no gdb on this computer")

# What moves with every change of the sources: addresses, their distance from a name, and numbers of lines.
MOVES = re.compile(
    r"\+0x[0-9a-f]+|0x[0-9a-f]{4,}|(?<=>)\+\d+|\+\d+(?=>)|(?<=containers)\+\d+|(?<=\.[cS]):\d+|(?<=, line )\d+|^\d+(?=\t)",
    re.MULTILINE,
)
BY_MONITOR = ("stops on ", "domain: ", "vmexit: ", "pkru: ", "watches ", "written: ")  # gdb has this on stderr

# Goes instruction by instruction from `main` into the kernel and back, and says where who runs changes.
THROUGH_A_CALL = """
import gdb
def read(name):
    return str(gdb.parse_and_eval("$" + name))
gdb.execute("break main")
gdb.execute("continue")
gdb.execute("delete")
last, seen = None, []
for _ in range(3000):
    now = read("domain"), read("ring"), read("vmx"), int(gdb.parse_and_eval("(unsigned int)$pkru")) >> 2 & 1
    if now != last:
        seen.append(now)
        symbol = gdb.execute("info symbol $rip", to_string=True).split()[0]
        gdb.write("at: %s ring %s vmx %s denied %d %s\\n" % (*now, symbol))
    if len(seen) > 1 and now[0] == "program":
        break
    last = now
    gdb.execute("stepi", to_string=True)
"""


def debug(*arguments: str | Path, gdb: tuple[str, ...] = (), timeout: float = 100) -> subprocess.CompletedProcess[str]:
    commands = [word for each in gdb for word in ("--ex", each)]
    return subprocess.run(
        [*COMMAND, "debug", "--batch", *commands, *map(str, arguments)],
        capture_output=True,
        check=False,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=timeout,
    )


@needs_gdb
@pytest.mark.parametrize(("runtime", "nested"), [*((runtime, False) for runtime in RUNTIMES), ("runv", True)])
def test_a_system_call_step_by_step(tmp_path: Path, runtime: str, *, nested: bool) -> None:
    script = tmp_path / "through.py"
    script.write_text(THROUGH_A_CALL, encoding="utf-8")
    options = ["--nested"] if nested else []
    done = debug("--runtime", runtime, *options, "null", "3", gdb=(f"source {script}",))
    steps = re.findall(r"^at: (\w+) ring (\d) vmx (\w+) denied (\d) (\S+)", done.stdout, re.MULTILINE)
    assert steps, done
    who = [(domain, ring) for domain, ring, *_ in steps]
    assert who[0] == who[-1] == ("program", "3")
    kernel = ("kernel", "3" if runtime in {"paracell", "pvm"} else "0")
    assert kernel in who
    assert (("host", "0") in who) is (runtime == "pvm")  # the others' hosts have no part in it
    assert {vmx for _, _, vmx, _, _ in steps} == {("nested" if nested else "nonroot") if runtime == "runv" else "off"}
    if runtime == "paracell":  # the gate opens the kernel's key, and closes it
        assert {(domain, denied) for domain, _, _, denied, _ in steps} == {("program", "1"), ("kernel", "0")}
    entry = {"native": "syscall_entry", "runv": "syscall_entry", "paracell": "xgate_enter_wrpkru"}.get(runtime)
    assert entry in {None, steps[1][4]}
    assert done.returncode == 137  # gdb has left, and ended the guest that it was started for


@pytest.mark.usefixtures("lines")
def test_what_gdb_shows() -> None:
    shown = (
        "break main", "continue", "bt", "p $ring", "p $domain", "p $pkru", "p $cr0", "info registers pkru efer", "x/i $rip",
        "p/x *(unsigned long*)&gk_secret", "monitor where", "maint packet qqemu.sstepbits",
        "set var $r10 = 0x55", "p $r10", "watch $ring", "continue", "p $ring", "delete", "monitor stop-on pkru", "continue",
        "monitor stop-on off", "p $exit_reason", "info threads", "continue",
    )  # fmt: skip
    done = debug("hello", gdb=shown)
    text = done.stdout + done.stderr  # gdb writes what a monitor says to the latter
    assert done.returncode == 0, done
    for wanted in (
        r"^#0 .*\bmain \(argc=",
        r"^\$1 = 3$",
        r"^\$2 = program$",
        r"^\$3 = \[ AD1 WD1 AD2 ",
        r"^\$4 = \[ PE .*WP PG \]$",
        r"^pkru +0x5555555c",
        r"^=> 0x\w+ <main",
        r"^\$5 = 0x5ec2e7c0ffee0001$",
        r"^program at ring 3, VMX off",
        r'^received: "ENABLE=1,NOIRQ=2"$',
        r"^\$6 = 85$",
        r"^Old value = 3\nNew value = 0$",
        r"^pkru: 0x\w+ -> 0x\w+$",
        r"^\$8 = none$",
        r"Thread 1 .*CPU#0",
        r"^Hello from a container\.$",
        r"^\[Inferior 1 \(Remote target\) exited normally\]$",
    ):
        assert re.search(wanted, text, re.MULTILINE), (wanted, text)


@needs_gdb
@pytest.mark.parametrize("runtime", ["native", "paracell"])
def test_a_trace_is_the_same_with_gdb(tmp_path: Path, runtime: str) -> None:
    alone, watched = tmp_path / "alone.jsonl", tmp_path / "watched.jsonl"
    assert run("run", "--runtime", runtime, "--trace", alone, "hello").returncode == 0
    looks = (
        "break sys_write",
        "continue",
        "info registers",
        "x/8gx $rsp",
        "monitor info mem",
        "bt",
        *["continue"] * 30,
    )
    done = debug("--runtime", runtime, "--trace", watched, "hello", gdb=looks)
    assert "exited normally" in done.stdout
    assert watched.read_bytes() == alone.read_bytes()


@pytest.mark.usefixtures("lines")
def test_the_manuals_sessions() -> None:
    """What docs/debug.md shows comes, in that order."""
    text = (ROOT / "docs" / "debug.md").read_text(encoding="utf-8")
    sessions = re.findall(
        r"^```text\n\$ paracell debug ((?!--no-gdb)[^\n]*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE
    )
    assert len(sessions) == 6
    for words, session in sessions:
        lines = session.splitlines()
        asked = [line.removeprefix("(gdb) ") for line in lines if line.startswith("(gdb) ")]
        done = debug(*shlex.split(words), gdb=tuple(asked))
        happened = iter(MOVES.sub("…", done.stdout + "\n" + done.stderr).splitlines())
        told = [line for line in lines if not line.startswith(("(gdb) ", *BY_MONITOR))]
        for line in told:
            assert MOVES.sub("…", line) in happened, (line, done)
        for line in lines:
            if line.startswith(BY_MONITOR):
                assert MOVES.sub("…", line) in MOVES.sub("…", done.stderr), (line, done)


@needs_gdb
def test_line_information_is_of_the_same_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ziglang", reason="no compiler for the guests")
    (image,) = build(["programs/null"], tmp_path / "debug", debug=True)
    monkeypatch.setattr(files, "LINES", tmp_path / "debug")
    asked = ["-ex", "info line main", "-ex", f"directory {ROOT}", "-ex", "list main"]
    shown = subprocess.run(["gdb", "-batch", "-nx", *asked, image], check=True, capture_output=True, text=True).stdout
    assert re.search(r'^Line \d+ of "guest/programs/null\.c" starts at address', shown)
    assert "int main(int argc, char **argv)" in shown
    with Container("null", "1") as container:
        assert Files.of_container(container, tmp_path).program == image
        name, data = container.program
        code = parse(data, "").segments[-1]
        spoilt = bytearray(data)
        spoilt[code.offset] ^= 1
        monkeypatch.setattr(container, "program", (name, bytes(spoilt)))
        assert Files.of_container(container, tmp_path).program == tmp_path / "null"  # other code has other lines
    assert (tmp_path / "null").read_bytes() == spoilt


@needs_gdb
def test_gdb_over_a_pipe() -> None:
    command = f"{sys.executable} -m paracell debug --listen stdio hello one"
    words = [
        "gdb",
        "-q",
        "-batch",
        "-nx",
        "-ex",
        f"target remote | {command}",
        "-ex",
        "break *0x1001460",
        "-ex",
        "continue",
    ]
    done = subprocess.run(words, capture_output=True, check=False, env=ENVIRONMENT, text=True, cwd=ROOT, timeout=60)
    assert "Breakpoint 1, 0x0000000001001460" in done.stdout
    assert "Hello" not in done.stdout  # the streams carry packets


@needs_gdb
def test_a_kernel_under_gdb(tmp_path: Path) -> None:
    socket = tmp_path / "socket"
    image = ROOT / "guest/images/entries.elf"
    with subprocess.Popen(
        [*COMMAND, "boot", "--gdb", f"unix:{socket}", image],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as machine:
        assert machine.stderr is not None
        line = machine.stderr.readline().decode()
        assert line.startswith("paracell: waits for a debugger: gdb -q ")
        assert f"target remote {socket}" in line
        words = [
            "gdb",
            "-q",
            "-batch",
            "-nx",
            str(image),
            "-ex",
            f"target remote {socket}",
            "-ex",
            "p $cr0",
            "-ex",
            "p $domain",
        ]
        done = subprocess.run(
            [*words, "-ex", "stepi", "-ex", "kill"], capture_output=True, check=False, text=True, timeout=60
        )
        assert "$1 = [ PE ET ]" in done.stdout
        assert "$2 = kernel" in done.stdout
        assert machine.wait(60) == 137
    assert not socket.exists()
