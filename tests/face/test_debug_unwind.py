"""gdb goes through the edges: backtraces, steps and `finish` from a kernel into the program that called, and into it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from paracell import RUNTIMES
from paracell.guest.build import DEBUGGED, IMAGES, ROOT, sources
from paracell.guest.elf import parse

from .test_debug import debug

if TYPE_CHECKING:
    from pathlib import Path

SETUPS = [*((runtime, False) for runtime in RUNTIMES), ("runv", True)]
EDGES = {"native": "syscall_entry", "runv": "syscall_entry", "paracell": "xgate_stack", "pvm": "syscall_entry"}
ELF_HEADER = 64
pytestmark = pytest.mark.usefixtures("lines")


def frames(text: str) -> list[str]:
    """Give the functions of each backtrace in a row, by a line that begins with #0 for each."""
    return re.findall(r"^#\d+ +(?:0x\w+ in )?([^\s(]+) \(", text, re.MULTILINE)


def options(runtime: str, *, nested: bool) -> list[str]:
    return ["--runtime", runtime, *(["--nested"] if nested else [])]


@pytest.mark.parametrize(("runtime", "nested"), SETUPS)
def test_a_system_call_from_source_to_source(runtime: str, *, nested: bool) -> None:
    asked = (
        "break main", "continue", "next", "next",  # to the system call
        "step", "bt",  # into the way into the kernel
        "tbreak trap if tf->vector == 256", "continue", "step", "step", "step", "info locals",
        "tbreak sys_getpid", "continue", "bt", "info frame", "up 3", "down 3",
        "finish", "finish", "finish", "finish", "next", "p i", "p $domain",
    )  # fmt: skip
    done = debug(*options(runtime, nested=nested), "null", "3", gdb=asked)
    begin, _, rest = done.stdout.partition("Temporary breakpoint 2 ")
    entered = frames(begin)
    assert entered[-2:] == ["main", "_start"], done
    assert entered[-3] == {"paracell": "xgate_stub_1"}.get(runtime, "syscall_entry")
    assert re.search(r"^#1 .* in main \(.*\) at guest/programs/null\.c:8$", begin, re.MULTILINE)
    assert frames(rest)[:6] == ["sys_getpid", "syscall", "trap", EDGES[runtime], "main", "_start"], done
    assert re.search(r"^#4 .*main \(.*\) at guest/programs/null\.c:8$", rest, re.MULTILINE)
    assert "i64 sys_getpid(void) { return current->process->pid; }" in rest
    assert re.search(r"^number = 39", rest, re.MULTILINE)  # a local variable of syscall()
    assert re.search(r"^Value returned is \$\d+ = 1$", rest, re.MULTILINE)  # the process number
    assert re.search(
        r"^main \(.*\) at guest/programs/null\.c:7\n7\t", rest, re.MULTILINE
    )  # `finish`, out of the last edge
    assert rest.rstrip().endswith("= program")


# From the system call of `main`, by `step` alone, until it is in `main` again.
IN_AND_OUT = """
import gdb
for command in ("break main", "continue", "delete", "next", "next"):
    gdb.execute(command)
for _ in range(600):
    gdb.execute("step", to_string=True)
    frame = gdb.selected_frame()
    gdb.write("in: %s %s %d\\n" % (frame.name(), gdb.parse_and_eval("$domain"), frame.find_sal().line))
    if frame.name() == "main":
        break
"""


@pytest.mark.parametrize(("runtime", "nested"), SETUPS)
def test_steps_alone_go_in_and_out(runtime: str, tmp_path: Path, *, nested: bool) -> None:
    script = tmp_path / "steps.py"
    script.write_text(IN_AND_OUT, encoding="utf-8")
    done = debug(*options(runtime, nested=nested), "null", "1", gdb=(f"source {script}",))
    steps = re.findall(r"^in: (\S+) (\w+) (\d+)$", done.stdout, re.MULTILINE)
    functions = [function for function, _, _ in steps]
    assert functions.index("trap") < functions.index("sys_getpid") < len(functions) - functions[::-1].index("trap"), (
        done
    )
    assert steps[-1] == ("main", "program", "7")
    assert {domain for _, domain, _ in steps} == {"program", "kernel", *(["host"] if runtime == "pvm" else [])}


@pytest.mark.parametrize(("runtime", "nested"), SETUPS)
def test_a_fault_leads_back_to_the_access(runtime: str, *, nested: bool) -> None:
    asked = ("break main", "continue", "delete", "tbreak vm_fault", "continue", "bt")
    done = debug(*options(runtime, nested=nested), "touch", "1", gdb=asked)
    shown = frames(done.stdout)
    assert shown[0] == "vm_fault", done
    assert shown[-2:] == ["main", "_start"]
    assert re.search(r"^#\d+ .*main \(.*\) at guest/programs/touch\.c:18$", done.stdout, re.MULTILINE), done


@pytest.mark.parametrize("nested", [False, True])
def test_a_vm_exit_leads_back_into_the_guest(*, nested: bool) -> None:
    """At the host's first instruction, in the middle of its assembly, and in its C code."""
    asked = (
        "break main", "continue", "delete", "monitor stop-on vmexit", "continue", "bt", "stepi", "stepi", "stepi", "bt",
        "monitor stop-on off", "tbreak handle_exit", "continue", "bt", "p $domain",
    )  # fmt: skip
    done = debug(*options("runv", nested=nested), "touch", "1", gdb=asked)
    traces = re.split(r"(?m)^(?=#0 )", done.stdout)[1:]
    assert len(traces) == 3, done
    guests = []
    for trace, first in zip(traces, ("vm_exit", "vm_exit", "handle_exit"), strict=True):
        found = frames(trace)
        assert found[0] == first
        assert found[1:3] == ["vcpu_run", "vm_left"]
        assert found[-2:] == ["main", "_start"]
        guests.append(found[3:])
    assert guests[0] == guests[1] == guests[2]
    assert {"clear_page", "vm_fault", "trap", "trap_return"} & set(guests[0])


def test_a_pvm_host_leads_back_into_its_guest() -> None:
    """The tables of the moment are the host's; the program's stack is in others."""
    done = debug(
        "--runtime",
        "pvm",
        "touch",
        "1",
        gdb=("break main", "continue", "tbreak exception", "continue", "bt", "p $domain"),
    )
    assert frames(done.stdout)[-2:] == ["main", "_start"], done
    assert "= host" in done.stdout


def test_line_information_changes_no_code() -> None:
    for name in DEBUGGED:
        shown, run = IMAGES / "debug" / name, IMAGES / name
        if run.is_file():
            assert loaded(shown) == loaded(run), name
        else:
            assert name == "xgate-stubs.elf"  # which nothing loads


def loaded(image: Path) -> list[tuple[int, int, int, bytes]]:
    """Give all that is loaded of an image, but for the ELF header, which says where sections are."""
    segments = parse(image.read_bytes(), "").segments
    return [(s.vaddr, s.memsz, s.flags, bytes(s.data)[0 if s.offset else ELF_HEADER :]) for s in segments]


def test_the_shown_stubs_are_those_that_are_written() -> None:
    """Each instruction of a stub begins where gdb is told: rewrite.c has the bytes, shown/stubs.S the same instructions."""
    done = debug(
        "--runtime", "paracell", "null", "1", gdb=("break xgate_entry", "continue", "x/4i xgate_stub_1", "p $rip")
    )
    shown = re.findall(r"<(xgate_stub_\d+)(\+\d+)?>:\t(\w+)", done.stdout)
    assert [(offset, word) for _, offset, word in shown] == [
        ("", "mov"),
        ("+5", "lea"),
        ("+12", "movabs"),
        ("+22", "jmp"),
    ], done


def test_the_sources_that_a_wheel_carries_are_all_that_are_named() -> None:
    names = set(sources())
    assert all((ROOT / name).is_file() for name in names)
    for named in (
        "guest/kernel/trap.c",
        "pku/xgate/gate.S",
        "guest/x86/frame.h",
        "guest/programs/null.c",
        "pager/host/bind.c",
    ):
        assert named in names
