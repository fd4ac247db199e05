"""gdb's ``monitor``: QEMU's commands that tools ask for, and what only this machine can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..emu.report import describe
from ..mmu.address import PAGE
from ..view import NoWalk
from . import beneath, memory, tables
from .state import NO_EXIT, domain, last_exit, ring, tag, vmx
from .stops import parse
from .watch import LONGEST, PHYSICAL, Watchpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..machine import Machine
    from ..view import Access
    from .control import Control

_HELP: Final = """\
info registers          every register
info mem                ranges of linear memory with one set of rights
info tlb                every page that the tables map
xp /NFU ADDRESS         physical memory, as gdb's x shows linear memory
walk ADDRESS [write|fetch] [user]    the page walk, level by level
gva2gpa ADDRESS         the physical address behind a linear one
break [phys:]ADDRESS [cr3]    pause there, with cr3 only under the present CR3; unbreak [phys:]ADDRESS
watch phys:ADDRESS [SIZE]    stop behind what writes to physical memory, 8 bytes unless said; unwatch phys:ADDRESS
watch pte:ADDRESS       the same for the page-table entry that decides about a linear address now
stop-on ring|domain|pkru|cr3|vmexit|fault|syscall|event KIND    and off
where                   who runs, at which ring, in which virtual machine
left [THREAD]           where a virtual machine was left, and the general registers, as NAME=VALUE; for gdb_frames.py
help"""
_PHYSICAL: Final = "phys:"
_ENTRY: Final = "pte:"
_UNITS: Final = {"b": 1, "h": 2, "w": 4, "g": 8}
_MOST: Final = 4096  # units of `xp`


class Monitor:
    """Runs monitor commands for one session."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._machine: Machine = control.machine
        self._commands: dict[str, Callable[[list[str]], str]] = {
            "info": self._info,
            "xp": self._xp,
            "walk": self._walk,
            "gva2gpa": self._gva2gpa,
            "break": self._break,
            "unbreak": self._unbreak,
            "watch": self._watch,
            "unwatch": self._unwatch,
            "stop-on": self._stop_on,
            "where": lambda _: self._where(),
            "left": self._left,
            "help": lambda _: _HELP,
        }

    def run(self, line: str) -> str:
        """Run one command and give what it says, lines with their ends; what is wrong with it is a line too."""
        words = line.replace("xp/", "xp /", 1).split()
        command = self._commands.get(words[0]) if words else None
        try:
            text = _HELP if not words else command(words[1:]) if command else f"no such command: {words[0]}; try help"
        except (ValueError, KeyError, LookupError) as error:
            text = str(error.args[0] if error.args else error)
        return text.rstrip("\n") + "\n" if text else ""

    def _number(self, word: str) -> int:
        """Take an address: a number, or a symbol."""
        try:
            number = int(word, 0)
        except ValueError:
            return self._machine.symbols[word.removeprefix("&")]
        if not 0 <= number < 1 << 64:
            raise ValueError(f"no address of 64 bits: {word}")
        return number

    def _info(self, words: list[str]) -> str:
        if words == ["registers"]:
            inner = self._machine.inner
            more = [] if inner.cpu.vmx is None else inner.cpu.vmx.describe()
            return "\n".join([*describe(inner), self._where(), *more])
        if words == ["mem"]:
            return "\n".join(tables.ranges(self._machine))
        if words == ["tlb"]:
            return "\n".join(tables.pages(self._machine))
        raise ValueError("info registers, info mem or info tlb")

    def _where(self) -> str:
        machine = self._machine
        reason, qualification = last_exit(machine)
        vpid, eptp = tag(machine)
        left = "" if reason == NO_EXIT else f", last VM exit {reason} qualification {qualification:#x}"
        return f"{domain(machine)} at ring {ring(machine)}, VMX {vmx(machine)}{left}, VPID {vpid}, EPT root {eptp:#x}"

    def _left(self, words: list[str]) -> str:
        threads = self._control.threads
        if len(words) > 1 or (words and self._number(words[0]) not in threads.all()):
            raise ValueError("left [THREAD], of those that there are")
        asleep = threads.asleep(self._number(words[0])) if words else None
        return " ".join(f"{name}={value:#x}" for name, value in beneath.registers(self._machine, asleep).items())

    def _xp(self, words: list[str]) -> str:
        form = words.pop(0)[1:] if words and words[0].startswith("/") else ""
        if len(words) != 1:
            raise ValueError("xp /NFU ADDRESS")
        digits = form[: len(form) - len(form.lstrip("0123456789"))]
        count, letters = int(digits or 1), form[len(digits) :]
        size = next((_UNITS[letter] for letter in letters if letter in _UNITS), 4)
        kind = next((letter for letter in letters if letter in "xdu"), "x")
        if set(letters) - set("xdubhwg") or not 0 < count <= _MOST:
            raise ValueError(f"no format: /{form}; a count up to {_MOST}, x, d or u, and b, h, w or g")
        address, each = self._number(words[0]), max(16 // size, 1)
        data = memory.read(self._machine, address, count * size, physical=True)
        if len(data) < count * size:
            raise ValueError(f"no memory at physical address {address + len(data):#x}")
        values = [
            int.from_bytes(data[i : i + size], "little", signed=kind == "d") for i in range(0, count * size, size)
        ]
        texts = [f"0x{value:0{2 * size}x}" if kind == "x" else str(value) for value in values]
        rows = range(0, count, each)
        return "\n".join(f"{address + i * size:016x}: {' '.join(texts[i : i + each])}" for i in rows)

    def _walk(self, words: list[str]) -> str:
        flags = set(words[1:])
        if not words or flags - {"write", "fetch", "user"} or {"write", "fetch"} <= flags:
            raise ValueError("walk ADDRESS [write|fetch] [user]")
        address = self._number(words[0])
        user = True if "user" in flags else None
        try:
            access: Access = "write" if "write" in flags else "fetch" if "fetch" in flags else "read"
            return str(self._machine.walk(address, access, user=user))
        except NoWalk as error:
            return str(error)

    def _gva2gpa(self, words: list[str]) -> str:
        if len(words) != 1:
            raise ValueError("gva2gpa ADDRESS")
        found = self._machine.translate(self._number(words[0]))
        return "Unmapped" if found is None else f"gpa: {int(found):#x}"

    def _break(self, words: list[str]) -> str:
        if not words:
            own, physical = self._control.breakpoints.own, self._control.breakpoints.physical
            lines = [f"{at:#x}" + ("" if cr3 is None else f" under CR3 {cr3:#x}") for at, cr3 in sorted(own.items())]
            lines += [f"{_PHYSICAL}{at:#x}" for at in sorted(physical)]
            return "\n".join(lines) or "none"
        if words[0].startswith(_PHYSICAL) and len(words) == 1:
            self._control.breakpoints.physical.add(self._number(words[0].removeprefix(_PHYSICAL)))
            return ""
        if len(words) > 2 or words[1:] not in ([], ["cr3"]):
            raise ValueError("break ADDRESS [cr3], or break phys:ADDRESS")
        self._control.breakpoints.own[self._number(words[0])] = int(self._machine.cpu.cr3) if words[1:] else None
        return ""

    def _watch(self, words: list[str]) -> str:
        watches = self._control.watchpoints.wanted
        if not words:
            return (
                "\n".join(f"{_PHYSICAL}{w.address:#x} {w.size}" for w in sorted(watches) if w.kind == PHYSICAL)
                or "none"
            )
        size = self._number(words[1]) if len(words) > 1 else 8
        if words[0].startswith(_ENTRY) and len(words) == 1:
            address = tables.entry_of(self._machine, self._number(words[0].removeprefix(_ENTRY)))
        elif words[0].startswith(_PHYSICAL) and len(words) <= 2 and 0 < size <= LONGEST:
            address = self._number(words[0].removeprefix(_PHYSICAL))
        else:
            raise ValueError(f"watch pte:ADDRESS, or watch phys:ADDRESS [SIZE], up to {LONGEST} bytes")
        if len(memory.read(self._machine, address, size, physical=True)) < size:
            raise ValueError(f"no memory at physical address {address:#x}")
        watches.add(Watchpoint(PHYSICAL, address, size))
        return f"watches {size} bytes at {_PHYSICAL}{address:#x}"

    def _unwatch(self, words: list[str]) -> str:
        watches = self._control.watchpoints.wanted
        address = self._number(words[0].removeprefix(_PHYSICAL)) if len(words) == 1 else -1
        found = {point for point in watches if point.kind == PHYSICAL and point.address == address}
        if not found:
            raise ValueError("unwatch phys:ADDRESS, of what monitor watch has set")
        watches -= found
        return ""

    def _unbreak(self, words: list[str]) -> str:
        physical = self._control.breakpoints.physical
        if len(words) == 1 and words[0].startswith(_PHYSICAL):
            address = self._number(words[0].removeprefix(_PHYSICAL))
            if address in physical:
                physical.remove(address)
                return ""
        if len(words) != 1 or self._control.breakpoints.own.pop(self._number(words[0]), -1) == -1:
            raise ValueError("unbreak ADDRESS, of a breakpoint that monitor break has set")
        return ""

    def _stop_on(self, words: list[str]) -> str:
        waits = self._control.stop_on.waits
        if words == ["off"]:
            waits.clear()
        elif words:
            wait = parse(words)
            waits[wait.name] = wait
        return f"stops on {', '.join(waits) or 'nothing'}"


__all__ = ["PAGE", "Monitor"]
