"""The probe image: run it, and read its lines.  guest/probe/probe.c says what they mean."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from paracell.fuzz.model.paging import LEVEL4, PF_P, PF_PK, PF_RSVD, PF_U, PS, US, A, Access, State, translate
from paracell.guest import shipped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

QEMU: Final = shutil.which("qemu-system-x86_64")
MAXPHYADDR: Final = 52  # the probe sets no address bit that is reserved on one machine and not on another
MEMORY: Final = "64"
LINE: Final = re.compile(
    r"(?P<kind>[rwxij])(?P<mode>[su])(?P<ac>[a-]) (?P<pkru>[0-9a-f]+) = "
    r"(?:(?P<ok>ok)|pf(?P<error>[0-9a-f]+)|(?P<other>v\S+)) (?P<bits>[0-3]{4})(?P<wrong> !.*)?"
)


class Round(NamedTuple):
    """Tables and registers that a few accesses share, as they are at first."""

    line: str
    control: int
    pkrs: int
    linear: int
    entries: tuple[int, ...]


class Happened(NamedTuple):
    """One access.

    Attributes:
        line: as printed.
        error: the page fault's error code, or None if the access went through.
        bits: A + 2 D of each entry, PML4E first.
        strange: another exception; data, RIP or CR2 that are not as they should be; or "".

    """

    line: str
    error: int | None
    bits: tuple[int, ...]
    strange: str


def on_qemu(options: str, image: str = "probe.elf", *, status: int = 1) -> list[str]:
    """Run an image on QEMU; give its lines."""
    assert QEMU is not None
    command = [QEMU, "-accel", "tcg", "-cpu", "max", "-m", MEMORY, "-nodefaults", "-display", "none", "-no-reboot"]
    command += ["-serial", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
    return _lines([*command, "-kernel", str(shipped.image(image)), "-append", options], status)


def on_paracell(options: str, image: str = "probe.elf") -> list[str]:
    """Run an image on our own machine; give its lines."""
    command = [sys.executable, "-m", "paracell", "boot", str(shipped.image(image))]
    return _lines([*command, "--append", options, "--memory", f"{MEMORY}M"], 1)


def _lines(command: list[str], status: int) -> list[str]:
    done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=900)
    assert done.returncode == status, done.stderr  # the exit device makes 1 of 0, and 3 of 1
    return done.stdout.splitlines()


def accesses(lines: Iterable[str]) -> Iterator[tuple[Round, Happened]]:
    """Give each access with its round."""
    now: Round | None = None
    for line in lines:
        if line.startswith("r "):
            control, pkrs, linear, *entries = (int(word, 16) for word in line[2:].split())
            now = Round(line, control, pkrs, linear, tuple(entries))
        elif found := LINE.fullmatch(line):
            assert now is not None
            error = int(found["error"], 16) if found["error"] else None
            strange = (found["other"] or "") + (found["wrong"] or "")
            yield now, Happened(line, error, tuple(map(int, found["bits"])), strange)
        else:
            assert line.startswith("probe: "), line


def predicted(lines: Iterable[str]) -> Iterator[Happened]:
    """Give what the model says of each access.  Accessed and dirty bits stay set within a round."""
    now: Round | None = None
    entries: tuple[int, ...] = ()
    for around, happened in accesses(lines):
        if around is not now:
            now, entries = around, around.entries
        found = LINE.fullmatch(happened.line)
        assert found
        state = _state(around.control, around.pkrs, int(found["pkru"], 16), found["ac"] == "a")
        kind, user = found["kind"], found["mode"] == "u"
        if kind in "ij":
            outcome = translate(state, Access(implicit=True), around.linear, entries)
            if kind == "j" and outcome.error is None:
                outcome = translate(state, Access(write=True, implicit=True), around.linear, outcome.entries)
        else:
            outcome = translate(state, Access(kind == "w", kind == "x", user), around.linear, entries)
        entries = outcome.entries
        yield Happened(happened.line, outcome.error, tuple(e >> 5 & 3 for e in entries), "")


@lru_cache(maxsize=256)
def _state(control: int, pkrs: int, pkru: int, ac: bool) -> State:
    wp, smep, smap, pke, pks, nxe = (bool(control >> i & 1) for i in range(6))
    return State(
        LEVEL4,
        wp=wp,
        smep=smep,
        smap=smap,
        pke=pke,
        pks=pks,
        nxe=nxe,
        ac=ac,
        pkru=pkru,
        pkrs=pkrs,
        maxphyaddr=MAXPHYADDR,
    )


def forgiven(around: Round, happened: Happened) -> Happened:
    """Take away what QEMU 7.2 does otherwise than the manual says; all else must agree.

    - A reserved bit: its error code lacks P ("Page-Fault Exceptions": bit 3 can be set only if bit 0 is also set).
    - A user-mode access to a supervisor page: it tells of no key ("Page-Fault Exceptions", PK flag: it depends on the address
      and its key alone).
    - A refused access to a 1-GiB page: it marks the page's entry as accessed, which the manual leaves to the model
      ("Interrupt 14").
    """
    error, bits = happened.error, happened.bits
    if error is None:
        return happened
    if error & PF_RSVD:
        error |= PF_P
    if error & PF_U and not all(e & US for e in _controlling(around.entries)):
        error &= ~PF_PK
    if around.entries[1] & PS:
        bits = (bits[0], bits[1] & ~(A >> 5), *bits[2:])
    return happened._replace(line="", error=error, bits=bits)


def _controlling(entries: tuple[int, ...]) -> tuple[int, ...]:
    last = next((i for i in (1, 2) if entries[i] & PS), 3)
    return entries[: last + 1]
