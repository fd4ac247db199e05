"""Sensitive instructions: those that TCG would run without a trap, but not as the guest's processor does.

Unicorn tells of each newly translated block.  The block's bytes are searched for sensitive instructions, and each gets a hook
of its own at its address, which stops TCG before it; the run loop then has Python run it.  The same hooks pause a run before an
instruction that the caller waits for.
"""

from __future__ import annotations

import ctypes
import re
from typing import TYPE_CHECKING, Any, Final

from ..mmu.address import PAGE
from .callbacks import CODE
from .decode import NAMED_BY_OPERANDS, decode, disassemble
from .dispatch import LONGEST
from .fpflags import BEFORE, PATTERN
from .layout import HF_STEP
from .limits import violation
from .opcodes import first_unusual
from .prefixes import legacy_prefixes
from .registers import CS, HFLAGS, RIP, SS, U64
from .system_decode import decode_system
from .table import HANDLERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .cpu import Cpu
    from .dispatch import Dispatch
    from .faults import Fault

_PREFIXES: Final = rb"[\x26\x2e\x36\x3e\x64-\x67\xf2\xf3\x40-\x4f]"
# With a prefix the length that Unicorn adds to RIP, or that an INT n had, is not known afterwards: these run in Python.  FXSAVE,
# VMREAD and their neighbours are undefined with some prefixes.
_PREFIXED: Final = _PREFIXES + rb"(?:\x0f[\x05\x34\xa2\xae\x78\x79]|[\xcc-\xce])"
# x87 and SSE instructions that see exception flags: `fpflags` has something to do before TCG runs them, or Python runs them.
# TCG runs LOCK with what cannot be locked, which is #UD.  POPF keeps IF and IOPL silently; SGDT … VERW, LAR, LSL and RDPID
# read TCG's tables; IN and OUT check no permission.  A string of INS or OUTS would be a call for each element.  A null SS at
# ring 1 takes TCG to ring 0.  In 64-bit code TCG cuts RSP to 32 bits where RETF and IRET have no REX.W; in other code it obeys an
# IRET whose image has RFLAGS.VM, whatever CPL is.
_ALL: Final = rb"\xf0|\xf1|\x0f\xb2|(?<![\x48-\x4f])[\xca\xcb\xcf]|" + _PREFIXED + rb"|" + PATTERN
_KERNEL: Final = re.compile(
    _ALL + rb"|[\x9d\x9c]|\x0f[\x00-\x03\xc7]|\x8e[\x10-\x17\x50-\x57\x90-\x97\xd0-\xd7]"
    rb"|[\xf2\xf3][\x40-\x4f\x66\x67]*[\x6c-\x6f]",
    re.DOTALL,
)
_USER: Final = re.compile(_ALL + rb"|[\xe4-\xe7\xec-\xef\x6c-\x6f]|\x0f[\x00-\x03\xc7]", re.DOTALL)
_BOTH: Final = re.compile(_USER.pattern + rb"|[\x9d\x9c]", re.DOTALL)
_EVERYTHING: Final = re.compile(_KERNEL.pattern + rb"|" + _USER.pattern, re.DOTALL)
_ALWAYS: Final = frozenset(
    {
        *BEFORE,
        "fisttp",
        "lss",
        "sgdt",
        "sidt",
        "smsw",
        "sldt",
        "str",
        "verr",
        "verw",
        "lar",
        "lsl",
        "rdpid",
        "int1",
        "invalid",
        "undecided",
        *(f"{rep} {way}{size}" for rep in ("rep", "repne") for way in ("ins", "outs") for size in "bwd"),
    }
)
_PORT_ACCESS: Final = frozenset({"in", "out", "insb", "insw", "insd", "outsb", "outsw", "outsd"})
_POPF: Final = frozenset({"popf", "popfq", "popfd"})
_PUSHF: Final = frozenset({"pushf", "pushfq", "pushfd"})
_FIST: Final = frozenset({"fist", "fistp"})
_NARROW: Final = frozenset({"retf", "iret", "iretd"})
_IRET: Final = frozenset({"iret", "iretd"})
_SEGMENTS: Final = frozenset({"es", "cs", "ss", "ds", "fs", "gs"})
# In real and virtual-8086 mode: TCG would load a selector below 4 as a null one; ARPL is not recognised.
_IN_8086: Final = frozenset({"les", "lds", "lfs", "lgs", "arpl"})
_RETFQ: Final = b"\x48\xcb"
_CS_PREFIX, _ADDRESS_SIZE, _IRET_CODE = 0x2E, 0x67, 0xCF
_THROUGH_CS: Final = "cs:["
_PLAIN_SIZE: Final = {"syscall": 2, "sysenter": 2, "cpuid": 2, "int": 2, "int3": 1, "into": 1}
_MOST: Final = 4096  # hooks: a guest can make up addresses without end
_ENDS: Final = ("j", "call", "ret", "loop", "iret", "syscall", "sysret", "hlt", "ljmp", "lcall", "int", "ud", "invalid")


def sensitive_sites(
    code: bytes,
    address: int,
    mode: int,
    *,
    cpl: int,
    iopl: int,
    popf: bool,
    ports: bool = False,
    in_8086: bool = False,
    length: int | None = None,
) -> Iterable[int]:
    """Give the addresses of the sensitive instructions in a block that starts at `address`.

    `popf` says that even an unprivileged POPF matters, because TCG's slot depends on RFLAGS.AC; `ports`, that I/O instructions do
    whatever IOPL allows; `in_8086` real or virtual-8086 mode; `length`, that the block is shorter than `code`.
    """
    if in_8086:
        wanted = _ALWAYS | _POPF | _IRET | _IN_8086
        if iopl or cpl:
            wanted |= _PUSHF
        if cpl or ports:
            wanted |= _PORT_ACCESS
        return _sites_by_capstone(code, address, mode, wanted, in_8086=True)
    watch_popf = cpl == 0 or iopl > 0 or popf
    pattern = _EVERYTHING if ports else _KERNEL if cpl <= iopl else _BOTH if watch_popf else _USER
    if not pattern.search(code) and (mode == 64 or (_CS_PREFIX not in code and _IRET_CODE not in code)):
        return ()
    wanted = _ALWAYS
    if cpl > iopl or ports:
        wanted |= _PORT_ACCESS
    if watch_popf:
        wanted |= _POPF
    if iopl:
        wanted |= _PUSHF
    wanted |= _NARROW if mode == 64 else _IRET
    return _sites(code, address, mode, wanted, len(code) if length is None else length)


def _sites(code: bytes, address: int, mode: int, wanted: frozenset[str], end: int) -> Iterator[int]:
    at = 0
    while (at := first_unusual(code, at, mode)) < end:
        insn = decode_system(code[at : at + LONGEST], mode)
        if insn is None:
            yield from _sites_by_capstone(code[at:], address + at, mode, wanted, in_8086=False)
            return
        name = insn.mnemonic
        if (
            (name in wanted and insn.bytes != _RETFQ)
            or insn.rep
            or (name == "mov_to_sreg" and insn.operands[0].number == SS)
        ):
            yield address + at
        if name.startswith(_ENDS):
            return
        at += insn.length


def _sites_by_capstone(code: bytes, address: int, mode: int, wanted: frozenset[str], *, in_8086: bool) -> Iterator[int]:
    for at, size, mnemonic, text in disassemble(code, address, mode):
        name = mnemonic.rpartition(" ")[2]
        if (
            name in wanted
            or mnemonic in wanted
            or (name == "mov" and (text.startswith("ss,") or (in_8086 and text.partition(",")[0] in _SEGMENTS)))
            or (in_8086 and name == "pop" and text in _SEGMENTS)
            or (in_8086 and _by_32_bits(code[at - address :], text, mode))
            or (name in _FIST and text.startswith("word"))
            or (mode != 64 and not in_8086 and _THROUGH_CS in text)
            or size > _PLAIN_SIZE.get(name, 15)
        ):
            yield at
        if name.startswith(_ENDS):
            return


def _by_32_bits(code: bytes, text: str, mode: int) -> bool:
    """Tell whether an instruction's address has 32 bits, with which it may reach beyond a segment."""
    return "[" in text and (mode == 16) == (_ADDRESS_SIZE in code[: legacy_prefixes(code)])


class _Block(ctypes.Structure):
    """Unicorn's ``uc_tb``."""

    _fields_ = (("pc", ctypes.c_uint64), ("icount", ctypes.c_uint16), ("size", ctypes.c_uint16))


class SensitiveSites:
    """The hooks of one processor.

    Attributes:
        reached: RIP stands on an instruction that Python must run before TCG goes on.
        paused: RIP stands on an instruction that the caller of the run waits for.
        leaving: the linear address of an instruction that is to run although the caller waits for it: it paused there before; or -1.
        fault: with `reached`, what is to be delivered instead: the instruction reaches beyond a segment's limit.
        ignored: mnemonics that are left to TCG all the same: a processor with a flaw, for the control of an attack.

    """

    def __init__(self, cpu: Cpu, dispatch: Dispatch) -> None:
        self.cpu = cpu
        self.reached = self.paused = False
        self.leaving = -1
        self.fault: Fault | None = None
        self.ignored: frozenset[str] = frozenset()
        self._pauses: frozenset[int] = frozenset()
        self._physical: frozenset[int] = frozenset()
        self._only_pauses: set[int] = set()  # hooked, and not known to be sensitive
        self._dispatch = dispatch
        self._translation, self._ram = cpu.translation, cpu.memory.ram
        self._hooked: dict[int, int] = {}
        self._callback = CODE(self._on_site)
        self._decoded = (b"", (0, False), "")
        self._plain: set[tuple[int, bool, bytes]] = set()  # code met at hooked addresses that TCG runs rightly
        self._before = {name: bind(cpu) for name, bind in BEFORE.items()}

    def on_block(self, _engine: int, block: int, _before: int, _user: Any) -> None:
        """Look through a newly translated block."""
        try:
            self.cpu.engine.no_block_seen = False
            entry = _Block.from_address(block)
            if self.cpu.checks_alignment and not self.cpu.d[HFLAGS] & HF_STEP:
                self._drop(entry.pc)  # by POPF the program has come to where `Alignment` runs it
                self.cpu.engine.stop()
                return
            self.inspect(entry.pc, entry.size)
            if not self.cpu.engine.may_run(entry.pc, entry.size):
                self._drop(entry.pc)
                self.cpu.engine.stop()
        except BaseException as error:  # noqa: BLE001  (the run loop raises it)
            self.cpu.fail(error)

    def inspect(self, linear: int, length: int) -> None:
        """Look through `length` bytes of code at a linear address, or as many as run one after the other."""
        cpu = self.cpu
        # TCG ends a block in the middle of an instruction that it does not know: cut off, it would look like any other.
        code = cpu.code_at(linear - (0 if cpu.code64 else cpu.segments[CS].base) & U64, length + LONGEST - 1)
        popf = cpu.translation.ac_moves
        ports, size, in_8086 = cpu.guest is not None, cpu.translation.code_size, cpu.emulates_8086
        sites = sensitive_sites(
            code, linear, size, cpl=cpu.cpl, iopl=cpu.iopl, popf=popf, ports=ports, in_8086=in_8086, length=length
        )
        behind = cpu.segments[CS].base + cpu.segments[CS].limit + 1 - linear
        if in_8086 and behind < length + LONGEST:
            sites = (*sites, *(at for at, end, _, _ in disassemble(code, linear, size) if at + end > linear + behind))
        for site in sites:
            if site < linear + length:
                self.hook(site)
        if self._physical:
            self._pause_in(linear, length)

    def _pause_in(self, linear: int, length: int) -> None:
        """Pause at those of the physical addresses that a block of code holds."""
        at = linear
        while at < linear + length:
            end = min(at // PAGE * PAGE + PAGE, linear + length)
            pa = self.cpu.translation.fetch(at)
            found = () if pa is None else [at + p - pa for p in self._physical if pa <= p < pa + end - at]
            new = frozenset(found) - self._pauses
            self._pauses |= new
            for place in new - self._hooked.keys():
                self._hooked[place] = self.cpu.engine.hook_code(place, self._callback)
                self._only_pauses.add(place)
                self._drop(place)
                self.cpu.engine.stop()
            at = end

    def forget_old(self) -> None:
        """Take all hooks back where they have become many; not from within a callback.  New ones come with new blocks."""
        if len(self._hooked) > _MOST:
            self.cpu.translation.unhook(self._hooked.values())
            self._hooked.clear()
            self._plain.clear()
            self._only_pauses.clear()
            self.cpu.engine.drop_all_code()
            self.pause_at(self._pauses, self._physical)

    def hook(self, site: int) -> None:
        """Have Python run the instruction at linear address `site`."""
        if site in self._hooked:
            self._only_pauses.discard(site)
            return
        cpu = self.cpu
        touch = self._bind_touch(site)
        engine = cpu.engine
        self._hooked[site] = engine.hook_before(site, touch) if touch else engine.hook_code(site, self._callback)
        self._drop(site)
        cpu.engine.stop()

    def _drop(self, address: int) -> None:
        """Have TCG translate anew what it has translated of the code at a linear address."""
        pa = self.cpu.translation.fetch(address)
        if pa is not None:
            offset = self.cpu.memory.ram_offset(pa)
            self.cpu.engine.drop_code(offset, offset + 1)

    def pause_at(self, places: Iterable[int], physical: Iterable[int] = ()) -> None:
        """Pause a run before the instructions at these linear addresses, in any address space, and at no others.

        Those at `physical` addresses become linear ones as code there is met.  Hooks stay for the next time.
        """
        self._pauses, self._physical = frozenset(places), frozenset(physical)
        new = self._pauses - self._hooked.keys()
        for place in new:
            self._hooked[place] = self.cpu.engine.hook_code(place, self._callback)
        self._only_pauses |= new
        if new or self._physical:  # what is translated anew is looked through
            self.cpu.engine.drop_all_code()

    def _on_site(self, _engine: int, address: int, _size: int, _user: Any) -> None:
        """Stop before a hooked instruction.

        The hook is on an address: by now other code may stand there, which TCG runs rightly.
        """
        cpu = self.cpu
        try:
            if address in self._pauses and address != self.leaving:
                self._pause()
                return
            self.leaving = -1
            if cpu.emulates_8086:
                self.fault = violation(cpu)
                if self.fault is not None:
                    self.reached = True
                    cpu.engine.stop()
                    return
            if address in self._only_pauses or self._is_plain(address) or cpu.breakpoints.stops(address):
                return
            self.reached = True
            cpu.engine.stop()
        except BaseException as error:  # noqa: BLE001  (the run loop raises it)
            cpu.fail(error)

    def _bind_touch(self, site: int) -> Callable[[], None] | None:
        """Make a hook that does what must be done before TCG runs the instruction at `site`; None where that is nothing (`fpflags`)."""
        cpu = self.cpu
        q, translation, words, breakpoints = cpu.q, cpu.translation, cpu.memory.words, cpu.breakpoints
        place, before = cpu.translation.fetch(site), self._before_it(site)
        if place is None or before is None or not cpu.code64:
            return None
        at, crosses = place >> 3, place & 7 > 4
        code, more = words[at], words[at + 1]
        cpu.translation.remember(site, site, place)

        def touch() -> None:
            if (
                translation.where.get(q[RIP]) == place
                and words[at] == code
                and (not crosses or words[at + 1] == more)
                and not (breakpoints.on_code or self._pauses)
            ):
                before()
            else:
                self._on_site(0, site, 0, None)

        return touch

    def _before_it(self, address: int) -> Callable[[], None] | None:
        """Give what is to be done before the instruction at a linear address."""
        cpu = self.cpu
        rip = address - (0 if cpu.code64 else cpu.segments[CS].base) & U64
        return self._before.get(self._mnemonic(cpu.code_at(rip)))

    def _touch(self, address: int) -> bool:
        """Do what must be done before TCG runs the instruction at RIP; tells whether it is such a one."""
        breakpoints, before = self.cpu.breakpoints, self._before_it(address)
        if before is None:
            return False
        if not (breakpoints.on_code and breakpoints.stops(address)):
            before()
        place = self.cpu.translation.fetch(address)
        if place is not None and self.cpu.code64:
            self.cpu.translation.remember(address, address, place)
        return True

    def _pause(self) -> None:
        self.paused = True
        engine = self.cpu.engine
        engine.counting.take_back()
        engine.stop()

    def _mnemonic(self, code: bytes) -> str:
        """Decode an instruction as far as its name, which is asked for twice where it is met for the first time."""
        size, in_8086 = kind = self.cpu.translation.code_size, self.cpu.emulates_8086
        if self._decoded[:2] != (code, kind):
            system = decode_system(code, size)
            if system is not None:
                self._decoded = code, kind, system.mnemonic
                return system.mnemonic
            _, _, full, _ = next(iter(disassemble(code, 0, size)), (0, 0, "invalid", ""))
            name = full.rpartition(" ")[2]
            # Only where the name alone may be that of a handler's, operands are needed.
            if size != 64 or name in HANDLERS or name in self._before or name in NAMED_BY_OPERANDS:
                name = decode(code, size, in_8086=in_8086).mnemonic
            self._decoded = code, kind, name
        return self._decoded[2]

    def _is_plain(self, address: int) -> bool:
        """Tell whether TCG may run the instruction at RIP, and do what must be done before it does."""
        cpu, translation = self.cpu, self._translation
        rip = cpu.q[RIP]
        place = translation.where.get(rip)
        code = cpu.code_at(rip) if place is None else self._ram[place : place + LONGEST]
        known = translation.code_size, cpu.emulates_8086, code
        is_known = known in self._plain
        if not is_known and self._touch(address):
            return True
        if place is None:
            self._dispatch.note(rip, cpu.linear_rip)
        if is_known:
            return True
        found = None if place is None else cpu.known.decoded.get(code)
        mnemonic = self._mnemonic(code) if found is None else found[1].mnemonic
        if mnemonic not in self.ignored and (mnemonic in HANDLERS or mnemonic == "invalid"):
            return False
        if found is None:
            self._plain.add(known)
        return True
