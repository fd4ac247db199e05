"""From the instruction at RIP to its handler: fetched and decoded once for each sequence of bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..mmu.registers import CR0, CR4
from . import instructions as _instructions  # noqa: F401  (registers the handlers)
from .decode import decode, incomplete
from .faults import GP, UD, Unimplemented
from .insn import Insn
from .intercepts import intercepted
from .registers import OLD_EXCEPTION, RIP, U32, U64
from .table import HANDLERS
from .trapped import MAKERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cpu import Cpu
    from .table import Handler

LONGEST: Final = 15  # bytes of an instruction
_MOST: Final = 1 << 14  # sequences of bytes that are kept: a guest can make them up without end
NO_EXCEPTION: Final = 0xFFFFFFFF  # in TCG's `old_exception`
# Unprivileged instructions for which TCG raises #GP by itself, rightly.
_OWN_FAULTS: Final = frozenset(
    {"cmpxchg16b", "fxsave", "fxsave64", "fxrstor", "fxrstor64", "ldmxcsr", "movaps", "movdqa", "movapd"}
)
_SSE: Final = frozenset({"ldmxcsr", "movaps", "movdqa", "movapd"})  # of these
_BySize = dict[tuple[int, bool], dict[bytes, "tuple[Handler, Insn]"]]


def _undefined(_cpu: Cpu, _insn: Insn) -> None:
    raise UD


def _protected(cpu: Cpu, insn: Insn) -> None:
    if insn.mnemonic in _SSE and (cpu.cr0 & CR0.EM.mask or not cpu.cr4 & CR4.OSFXSR.mask):
        raise UD
    raise GP(0)


class Dispatch:
    """Finds the handler of the instruction at RIP."""

    def __init__(self, cpu: Cpu) -> None:
        self.cpu = cpu
        self._of_host: _BySize = {(size, in_8086): {} for size in (16, 32, 64) for in_8086 in (False, True)}
        self._of_guest: _BySize = {kind: {} for kind in self._of_host}  # in VMX non-root operation
        self._q = cpu.q
        self._translation, self._ram = cpu.translation, cpu.memory.ram

    def find(self) -> tuple[Handler, Insn]:
        """Give the handler of the instruction at RIP, and the instruction; a handler that raises #UD where there is none."""
        place = self._translation.where.get(self._q[RIP])
        found = self.cpu.known.decoded.get(self._ram[place : place + LONGEST]) if place is not None else None
        return found or self._fetch()

    def _fetch(self) -> tuple[Handler, Insn]:
        """Fetch and decode the instruction at RIP, and remember both where it is and what it is."""
        cpu = self.cpu
        rip, translation = cpu.q[RIP], cpu.translation
        code = cpu.code_at(rip)
        linear = cpu.linear_rip
        self.note(rip, linear)
        if len(code) < LONGEST and incomplete(code, translation.code_size):
            fault = translation.fetch_fault(linear + len(code) & U64)

            def cut_off(_cpu: Cpu, _insn: Insn) -> None:
                raise fault

            return cut_off, Insn.plain("invalid", code)
        found = cpu.known.decoded.get(code) or self._decode(code)
        insn = found[1]
        make = self._maker(insn)
        if make is not None and rip in translation.where and cpu.code64:
            closure = make(cpu, insn, rip + insn.length & U32)
            if closure is not None:
                at = translation.where[rip]
                translation.keep_site(rip, at, insn.length, closure)
        return found

    def _maker(self, insn: Insn) -> Callable[[Cpu, Insn, int], Callable[[], bool] | None] | None:
        """Give what makes a closure of an instruction, if anything does."""
        cpu = self.cpu
        if cpu.vmx is None:
            return MAKERS.get(insn.mnemonic)
        from .trapped_vmx import maker  # noqa: PLC0415  (most guests never come here)

        return maker(cpu, insn)

    def note(self, rip: int, linear: int) -> None:
        """Remember where the instruction at RIP is, unless it may reach into the next page, and how wide code is there."""
        cpu, translation = self.cpu, self.cpu.translation
        at = translation.fetch(linear)
        of = self._of_host if cpu.guest is None else self._of_guest
        cpu.known.decoded = of[translation.code_size, cpu.emulates_8086]
        if at is not None and at & 4095 <= 4096 - LONGEST:
            translation.remember(rip, linear, at)

    def _decode(self, code: bytes) -> tuple[Handler, Insn]:
        cpu, decoded = self.cpu, self.cpu.known.decoded
        if len(decoded) > _MOST:
            decoded.clear()
        insn = decode(code, cpu.translation.code_size, in_8086=cpu.emulates_8086)
        handler = HANDLERS.get(insn.mnemonic)
        if insn.mnemonic in cpu.features.undefined:
            handler = _undefined
        elif handler is None:
            handler = _protected if insn.mnemonic in _OWN_FAULTS else _undefined
            # TCG refused it where no exception of the guest's can be meant: it is ours, and not written yet.
            if handler is _undefined and cpu.d[OLD_EXCEPTION] != NO_EXCEPTION:
                raise Unimplemented(f"instruction {insn.mnemonic} ({insn.bytes.hex(' ')})")
        elif cpu.guest is not None:
            handler = intercepted(insn.mnemonic, handler)
        found = decoded[code] = (handler, insn)
        return found
