"""Where TCG meets Python: one trap is one lookup, one handler, one step of virtual time.

::

    TCG ──#GP, #UD, int n──▶ on_interrupt / on_invalid ──▶ table of handlers ──▶ same live state, TCG goes on
        ──syscall, cpuid───▶ on_syscall, on_cpuid
        ──new block────────▶ on_block: instructions that TCG runs untrapped but wrongly get a hook of their own
        ──refused fill─────▶ (run loop) page fault

An exception in a ctypes callback would be lost: each callback keeps it, stops the engine, and the run loop raises it.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Final

from ..mmu.rights import EXEC
from . import fastpath
from . import instructions as _instructions  # noqa: F401  (registers the handlers)
from .decode import Insn, decode, sensitive_sites
from .events import Kind
from .exceptions import deliver, interrupt, nmi, software_interrupt
from .faults import DB, GP, UD, Fault, Unimplemented
from .registers import CS, EFLAGS, ERROR_CODE, IF, IS_INT, OLD_EXCEPTION, RAX, RCX, RF, RIP, TF, U32, U64
from .table import HANDLERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cpu import Cpu
    from .table import Handler

_CPUID: Final = Insn.plain("cpuid", b"\x0f\xa2")
_NONE: Final = 0xFFFFFFFF
_NEVER: Final = 1 << 63
_TF_RF: Final = TF | RF
_BS: Final = 1 << 14  # in DR6
_WITH_ERROR: Final = frozenset({8, 10, 11, 12, 13, 14, 17, 21})
# Unprivileged instructions for which TCG raises #GP by itself, rightly.
_OWN_FAULTS: Final = frozenset(
    {"cmpxchg16b", "fxsave", "fxsave64", "fxrstor", "fxrstor64", "ldmxcsr", "movaps", "movdqa", "movapd"}
)

# INT1 is no single step; behind SYSCALL and SYSENTER TCG itself looks whether TF is still set.
_OWN_STEP: Final = frozenset({"int1", "syscall", "sysenter"})


class _Block(ctypes.Structure):
    """Unicorn's ``uc_tb``."""

    _fields_ = (("pc", ctypes.c_uint64), ("icount", ctypes.c_uint16), ("size", ctypes.c_uint16))


class Traps:
    """The callbacks of one processor.

    Attributes:
        sensitive: RIP stands on an instruction that Python must run before TCG goes on.
        attention_at: the cycle at which `deliver_pending` has something to do.
        deadline: the virtual cycle at which a device wants attention, or a number no clock reaches.

    """

    def __init__(self, cpu: Cpu) -> None:
        self.cpu = cpu
        self.sensitive = False
        self.deadline = 1 << 63
        self.pending: Callable[[], int | None] = lambda: None
        self.service: Callable[[], None] = lambda: None
        self.nmi_pending = False
        self.interrupt_pending = False
        self.stepping = False
        self.exact = False
        self._by_size: dict[int, dict[bytes, tuple[Handler, Insn]]] = {16: {}, 32: {}, 64: {}}
        self._decoded = self._by_size[64]
        self._q, self._d, self._clock = cpu.q, cpu.d, cpu.clock
        self._where, self._ram = cpu.translation.where, cpu.memory.ram
        self.attention_at = 0
        cpu.memory.on_stale = cpu.breakpoints.on_hit = self.request_attention
        self._hooked: dict[int, int] = {}
        self._plain: set[tuple[int, bytes]] = set()  # code met at hooked addresses that has no handler
        cpu.engine.install(
            interrupt=fastpath.interrupt(cpu, self, self.on_interrupt),
            invalid=fastpath.invalid(cpu, self, self.on_invalid),
            fill=cpu.translation.bind_fill(),
            syscall=fastpath.syscall(cpu, self, self.on_syscall),
            sysenter=self.on_syscall,
            cpuid=self.on_cpuid,
            port_in=self.on_in,
            port_out=self.on_out,
            block=self.on_block,
        )

    # ---- callbacks --------------------------------------------------------------------------------------------

    def on_interrupt(self, vector: int) -> None:
        """Take TCG's exceptions and INT n; vector 13 is the trap of every privileged instruction."""
        try:
            d = self._d
            d[OLD_EXCEPTION] = _NONE
            if d[IS_INT]:
                d[IS_INT] = 0
                self._software_interrupt(vector)
            elif vector == 13:
                self.execute()
                return
            else:
                self._exception(vector)
            self.deliver_pending()
        except BaseException as error:  # noqa: BLE001  (the run loop raises it)
            self.cpu.fail(error)

    def on_invalid(self) -> bool:
        """Take what TCG does not know at this ring: keys, XSAVE, SYSRET, INVPCID, and true #UD; `fastpath` has the hot ones."""
        try:
            self.execute()
        except BaseException as error:  # noqa: BLE001
            self.cpu.fail(error)
        return True

    def on_syscall(self) -> None:
        """SYSCALL and SYSENTER, where `fastpath` knows no way: TCG adds the instruction's length to RIP when we return."""
        q = self._q
        try:
            self.execute()
        except BaseException as error:  # noqa: BLE001
            self.cpu.fail(error)
        q[RIP] = q[RIP] - 2 & U64  # both have two bytes

    def on_cpuid(self, _engine: int, _user: Any) -> int:
        """CPUID: runs inside a block, so nothing may be delivered here; RIP moves on by itself."""
        try:
            HANDLERS["cpuid"](self.cpu, _CPUID)
            self.cpu.q[RIP] -= 2
        except BaseException as error:  # noqa: BLE001
            self.cpu.fail(error)
        return 1

    def on_in(self, _engine: int, port: int, size: int, _user: Any) -> int:
        """IN where CPL ≤ IOPL; elsewhere the instruction has a hook of its own, for TCG checks no permission."""
        cpu = self.cpu
        try:
            if cpu.breakpoints.watching:
                cpu.breakpoints.touch_port(port, size)
            value: int = cpu.devices.port_read(port, size)
            cpu.event(Kind.PORT, port, 0, value, cost=cpu.costs.port)
            self._leave_block()
        except BaseException as error:  # noqa: BLE001
            cpu.fail(error)
            return 0
        return value

    def on_out(self, _engine: int, port: int, size: int, value: int, _user: Any) -> None:
        """OUT, the same way."""
        cpu = self.cpu
        try:
            if cpu.breakpoints.watching:
                cpu.breakpoints.touch_port(port, size)
            cpu.event(Kind.PORT, port, 1, value, cost=cpu.costs.port)
            cpu.devices.port_write(port, size, value)
            self._leave_block()
        except BaseException as error:  # noqa: BLE001
            cpu.fail(error)

    def _leave_block(self) -> None:
        """Nothing can be delivered in the middle of a block: leave it at its end if something waits."""
        if self._clock.cycles >= self.attention_at:
            self.cpu.engine.stop_after_block()

    def on_block(self, _engine: int, block: int, _before: int, _user: Any) -> None:
        """Look through a newly translated block for instructions that need a hook."""
        try:
            self.cpu.engine.no_block_seen = False
            entry = _Block.from_address(block)
            self._inspect(entry.pc, entry.size)
        except BaseException as error:  # noqa: BLE001
            self.cpu.fail(error)

    def on_sensitive(self, _engine: int, _address: int, _size: int, _user: Any) -> None:
        """Stop before a hooked instruction; the run loop runs it.

        The hook is on an address: by now other code may stand there, which TCG runs rightly.
        """
        cpu = self.cpu
        try:
            if self._has_handler():
                self.sensitive = True
                cpu.engine.stop()
        except BaseException as error:  # noqa: BLE001
            cpu.fail(error)

    def _has_handler(self) -> bool:
        """Tell whether the instruction at RIP is one that Python runs."""
        rip = self._q[RIP]
        place = self._where.get(rip)
        found = self._decoded.get(self._ram[place : place + 15]) if place is not None else None
        if found is not None:
            return found[1].mnemonic in HANDLERS
        size = self.cpu.translation.code_size
        code = self.code_at(rip)
        if (size, code) in self._plain:
            return False
        if decode(code, size).mnemonic in HANDLERS:
            return True
        self._plain.add((size, code))
        return False

    # ---- work -------------------------------------------------------------------------------------------------

    def code_at(self, rip: int, size: int = 15) -> bytes:
        """Up to `size` instruction bytes at `rip`; fewer where the next page cannot be fetched."""
        cpu = self.cpu
        linear = rip if cpu.code64 else rip + cpu.segments[CS].base & U32
        locate = cpu.translation.fetch
        pa = locate(linear)
        if pa is None:
            return b""
        first = 4096 - (pa & 4095)
        code: bytes = cpu.memory.ram[pa : pa + min(size, first)]
        if size > first:
            more = locate(linear + first)
            if more is not None:
                code += cpu.memory.ram[more : more + size - first]
        return code

    def execute(self) -> None:
        """Run the instruction at RIP in Python and let time pass."""
        q = self._q
        pa = self._where.get(q[RIP])
        found = self._decoded.get(self._ram[pa : pa + 15]) if pa is not None else None
        handler, insn = found or self._find()
        cpu = self.cpu
        try:
            if q[EFLAGS] & _TF_RF:
                self._execute_flagged(handler, insn)
            else:
                handler(cpu, insn)
        except Fault as fault:
            deliver(cpu, fault)
        if self._clock.cycles >= self.attention_at:
            self.deliver_pending()

    def _find(self) -> tuple[Handler, Insn]:
        """Fetch and decode the instruction at RIP, and remember both where it is and what it is."""
        cpu = self.cpu
        rip, translation = cpu.q[RIP], cpu.translation
        code = self.code_at(rip)
        linear = cpu.linear_rip
        at = translation.fetch(linear)
        self._decoded = self._by_size[translation.code_size]
        if at is not None and at & 4095 <= 4096 - 15:
            self._where[rip] = at
            translation.where_pages.add(linear >> 12)
        return self._decoded.get(code) or self._decode(translation.code_size, code)

    def _execute_flagged(self, handler: Handler, insn: Insn) -> None:
        """Run with RF or TF set: RF ends with the instruction, and TF traps after it."""
        cpu = self.cpu
        self._end_stepping()
        stepping = cpu.q[EFLAGS] & TF
        cpu.q[EFLAGS] &= ~RF
        handler(cpu, insn)
        held_off = cpu.interrupt_shadow and insn.mnemonic in {"mov_to_sreg", "pop_sreg"}
        if stepping and not held_off and insn.mnemonic not in _OWN_STEP:
            raise DB(_BS | cpu.breakpoints.take())

    def _end_stepping(self) -> None:
        """Hide our own single step: its instruction is about to be run here, so that the shadow ends with it."""
        if self.stepping:
            self.stepping = False
            self.cpu.q[EFLAGS] &= ~TF
            self.cpu.interrupt_shadow = False

    def _decode(self, size: int, code: bytes) -> tuple[Handler, Insn]:
        insn = decode(code, size)
        handler = HANDLERS.get(insn.mnemonic)
        if handler is None:
            vector = 13 if insn.mnemonic in _OWN_FAULTS else 6
            if vector == 6 and self.cpu.d[OLD_EXCEPTION] != _NONE:
                raise Unimplemented(f"instruction {insn.mnemonic} ({insn.bytes.hex(' ')})")

            def handler(_cpu: Cpu, _insn: Insn) -> None:
                raise GP(0) if vector == 13 else UD()

        found = self._by_size[size][code] = (handler, insn)
        return found

    def _software_interrupt(self, vector: int) -> None:
        """INT n, INT3, INTO: TCG has moved RIP past the instruction."""
        cpu = self.cpu
        self._end_stepping()
        after = cpu.q[RIP]
        length = 2
        if vector in {3, 4}:
            opcode = self.code_at(after - 1, 1)
            if opcode in {b"\xcc", b"\xce"}:
                length = 1
        try:
            software_interrupt(cpu, vector, length)
        except Fault as fault:
            cpu.q[RIP] = after - length & (1 << 64) - 1
            deliver(cpu, fault)

    def _exception(self, vector: int) -> None:
        """Deliver an exception that TCG itself found: #DE, #DB of TF, #NM, #MF …."""
        cpu, stepped = self.cpu, self.stepping
        self._end_stepping()
        if vector == 1:
            if not stepped:
                deliver(cpu, DB(_BS | cpu.breakpoints.take()))
            return
        deliver(cpu, Fault(vector, cpu.d[ERROR_CODE] if vector in _WITH_ERROR else None))

    def run(self, count: int = 0) -> int:
        """Let TCG run from RIP; Unicorn's error code.

        Unicorn tells of no block before one has run to its end; until it has told of one, each that a run begins with is looked
        through here, and `deliver_pending` stops TCG at each trap.
        """
        cpu = self.cpu
        engine, rip = cpu.engine, cpu.q[RIP]
        self.sensitive = False
        if engine.no_block_seen:
            self._inspect(cpu.linear_rip, 256)
        return engine.run(rip, count)

    def is_own(self, address: int, need: int) -> bool:
        """Tell whether a refused fill was the guest's own doing.

        When the counting hook goes, Unicorn looks up the address of everything that was counted: fetches that nobody made.
        """
        if need != EXEC:
            return True
        cpu = self.cpu
        return 0 <= address - cpu.linear_rip < 16

    def _inspect(self, pc: int, size: int) -> None:
        cpu = self.cpu
        code = self.code_at(pc - (0 if cpu.code64 else cpu.segments[CS].base), size)
        popf = cpu.translation.ac_moves
        sites = sensitive_sites(code, pc, cpu.translation.code_size, cpl=cpu.cpl, iopl=cpu.iopl, popf=popf)
        for site in sites:
            self._hook(site)

    def _hook(self, site: int) -> None:
        """Have Python run the instruction at linear address `site`."""
        if site in self._hooked:
            return
        cpu = self.cpu
        self._hooked[site] = cpu.engine.hook_code(site, self.on_sensitive)
        pa = cpu.translation.fetch(site)
        if pa is not None:
            offset = cpu.memory.ram_offset(pa)
            cpu.engine.drop_code(offset, offset + 1)
        cpu.engine.stop()

    # ---- after each event -------------------------------------------------------------------------------------

    def request_attention(self) -> None:
        """Something may need attention: have `deliver_pending` run at the next event, whatever the clock says."""
        self.attention_at = 0

    def step_over_store(self) -> None:
        """Finish a MOV to a device that stopped TCG: all that is left of it is to move RIP on."""
        cpu = self.cpu
        insn = decode(self.code_at(cpu.q[RIP]), cpu.translation.code_size)
        if insn.mnemonic not in {"mov", "movabs", "movnti"}:
            raise Unimplemented(f"a store to the local APIC by {insn.mnemonic} ({insn.bytes.hex(' ')})")
        cpu.next(insn)
        if cpu.q[EFLAGS] & TF:
            self._exception(1)
        cpu.interrupt_shadow = False
        self.deliver_pending()

    def deliver_pending(self) -> None:
        """Let devices and interrupts have their turn between two instructions."""
        cpu = self.cpu
        if cpu.clock.cycles >= self.deadline:
            self.service()
        if cpu.breakpoints.hits and not cpu.interrupt_shadow:
            deliver(cpu, DB(cpu.breakpoints.take()))
        if self.interrupt_pending or self.nmi_pending:
            self.take_interrupt()
        if cpu.memory.stale:
            cpu.memory.drop_stale_code()
        if cpu.engine.no_block_seen:
            cpu.engine.stop()
        armed = self.deadline != _NEVER and not self.exact
        if armed and cpu.q[EFLAGS] & IF and not cpu.interrupt_shadow:
            cpu.engine.stop()  # the run loop goes on with a clock that can interrupt a loop without events
        waiting = armed or self.interrupt_pending or self.nmi_pending or cpu.engine.no_block_seen
        self.attention_at = 0 if waiting else self.deadline

    def take_interrupt(self) -> None:
        """Deliver a pending NMI or interrupt if RFLAGS and the shadow of STI or MOV SS allow it."""
        cpu = self.cpu
        if cpu.interrupt_shadow:
            self._step_out_of_shadow()
            return
        if self.nmi_pending and not cpu.nmi_blocked:
            self.nmi_pending = False
            cpu.halted = False
            nmi(cpu)
            return
        if not cpu.q[EFLAGS] & IF:
            return
        vector = self.pending()
        self.interrupt_pending = False
        if vector is None:
            return
        cpu.halted = False
        cpu.event(Kind.INTERRUPT, vector)
        interrupt(cpu, vector)

    def _step_out_of_shadow(self) -> None:
        """Run exactly one more instruction before interrupts are looked at: TCG's own single step does it."""
        cpu = self.cpu
        if self.stepping or cpu.q[EFLAGS] & TF:
            return
        if self.code_at(cpu.q[RIP], 2).removeprefix(b"\x66")[:1] == b"\x9c":
            self._hook(cpu.linear_rip)  # PUSHF would show our TF
        self.stepping = True
        cpu.q[EFLAGS] |= TF


__all__ = ["CS", "RAX", "RCX", "Traps"]
