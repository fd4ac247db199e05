"""Where TCG meets Python: one trap is one lookup, one handler, one step of virtual time.

::

    TCG ──#GP, #UD, int n──▶ on_interrupt / on_invalid ──▶ table of handlers ──▶ same live state, TCG goes on
        ──syscall, cpuid───▶ on_syscall, on_cpuid
        ──new block────────▶ SensitiveSites: instructions that TCG runs untrapped but wrongly get a hook of their own
        ──refused fill─────▶ on_interrupt, on_refusal: page fault

An exception in a ctypes callback would be lost: each callback keeps it, stops the engine, and the run loop raises it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..mmu.address import PAGE
from ..mmu.ept import Qualification
from ..mmu.rights import EXEC, READ
from ..mmu.walk import NOT_CANONICAL, VIOLATION
from ..vmx.exits import VmExit
from . import fastpath
from .alignment import Alignment
from .availability import not_available
from .counting import Unit
from .decode import decode, incomplete
from .dispatch import NO_EXCEPTION, Dispatch
from .events import Kind
from .exceptions import deliver, software_interrupt
from .faults import DB, SS, Fault
from .insn import Insn
from .layout import INTERCEPTED
from .limits import GUARDED, violation
from .modify import modifies
from .pending import Pending
from .pending_debug import word
from .prefixes import prefixes
from .registers import EFLAGS, ERROR_CODE, IS_INT, OLD_EXCEPTION, RF, RIP, TF, U64
from .second_stage import second_stage_exit
from .sensitive import SensitiveSites
from .single_step import held_step, step_behind, step_behind_rip
from .stackref import through_stack
from .table import HANDLERS

if TYPE_CHECKING:
    from ..mmu.walk import Refusal
    from .cpu import Cpu
    from .table import Handler

_CPUID: Final = Insn.plain("cpuid", b"\x0f\xa2")
_TF_RF: Final = TF | RF
_STRING_PORTS: Final = frozenset({b"\x6c", b"\x6d", b"\x6e", b"\x6f"})
_LONGEST: Final = 15  # bytes of an instruction
_NOT_AVAILABLE: Final = 7
_WITH_ERROR: Final = frozenset({8, 10, 11, 12, 13, 14, 17, 21})
# INT clears TF before it could trap, INT1 is no single step; behind SYSCALL and SYSENTER TCG itself looks whether TF is still set.
_STRINGS: Final = "movs", "stos", "lods", "cmps", "scas"
_OWN_STEP: Final = frozenset({"int", "int3", "into", "int1", "syscall", "sysenter"})


class Traps:
    """The callbacks of one processor.

    Attributes:
        dispatch: finds handlers.
        sites: the hooks of sensitive instructions.
        pending: what waits to be delivered between two instructions.
        flawed: `plant_flaw` has been called.
        alignment: runs the code whose data accesses must be aligned.

    """

    def __init__(self, cpu: Cpu, unit: Unit = Unit.BLOCKS, *, steady: bool = False) -> None:
        self.cpu = cpu
        self.dispatch = Dispatch(cpu)
        self.sites = SensitiveSites(cpu, self.dispatch)
        self.pending = Pending(cpu, self.sites, unit, steady=steady)
        self.flawed = False
        self.alignment = Alignment(cpu)
        self._q, self._d, self._clock = cpu.q, cpu.d, cpu.clock
        self._page_fault = fastpath.page_fault(cpu)
        cpu.engine.install(
            interrupt=fastpath.interrupt(cpu, self.pending, self.on_interrupt, self.on_refusal, self._page_fault),
            invalid=fastpath.invalid(cpu, self.pending, self.on_invalid),
            fill=cpu.translation.bind_fill(),
            syscall=fastpath.syscall(cpu, self.pending, self.on_syscall),
            sysenter=self.on_syscall,
            cpuid=self.on_cpuid,
            port_in=self.on_in,
            port_out=self.on_out,
            block=self.sites.on_block,
        )

    def plant_flaw(self) -> None:
        """Have LOCK SYSCALL arrive one byte late: a processor's flaw, for the controls of attacks and of the fuzzer."""
        self.flawed = True
        self.sites.ignored = frozenset({"invalid"})

    # ---- callbacks --------------------------------------------------------------------------------------------

    def on_interrupt(self, vector: int) -> None:
        """Take TCG's exceptions and INT n; vector 13 is the trap of every privileged instruction."""
        try:
            d = self._d
            d[OLD_EXCEPTION] = NO_EXCEPTION
            if self.alignment.found:
                self.cpu.engine.stop()
                return
            if d[IS_INT]:
                d[IS_INT] = 0
                self._software_interrupt(vector)
            elif (
                vector == 13 or vector >= INTERCEPTED or (vector == _NOT_AVAILABLE and not_available(self.cpu) is None)
            ):
                self.execute()
                return
            else:
                self._exception(vector)
            self.pending.deliver()
        except BaseException as error:  # noqa: BLE001  (the run loop raises it)
            self.cpu.fail(error)

    def on_refusal(self, refusal: Refusal) -> None:
        """Deliver the page fault of a fill that was refused, while TCG runs or after it has been left for that."""
        self._d[OLD_EXCEPTION] = NO_EXCEPTION
        if refusal.result == GUARDED:
            self._check_limits(refusal.gva >> 12)
            return
        if not self.is_own(refusal):
            if self.sites.reached:
                self.sites.reached = False
                self.execute_reached()
            else:
                self.pending.deliver()
            return
        if self.cpu.nmi_blocked and refusal.need == READ and self._is_iret():
            self.execute()  # TCG pops before it traps; an IRET that faults ends the blocking of NMIs all the same
            return
        shadow = self.cpu.interrupt_shadow
        self.pending.end_stepping()
        if refusal.result <= VIOLATION:
            self.cpu.interrupt_shadow = shadow  # the instruction has not run
            self._leave(second_stage_exit(self.cpu, self._as_write(refusal)))
        elif not self._page_fault(refusal):
            deliver(self.cpu, self._fault(refusal))
        guest = self.cpu.guest
        if self._clock.cycles >= self.pending.attention_at or (guest is not None and guest.windows):
            self.pending.deliver()

    def _is_iret(self) -> bool:
        cpu = self.cpu
        return decode(cpu.code_at(cpu.q[RIP]), cpu.translation.code_size).mnemonic in {"iret", "iretq", "iretd"}

    def _as_write(self, refusal: Refusal) -> Refusal:
        """Have a violation by an instruction that goes on to write what it reads tell of a write: TCG begins with the read."""
        cpu, qualification = self.cpu, refusal.qualification
        if refusal.need != READ or not qualification & Qualification.FINAL.mask:
            return refusal
        if not modifies(cpu.code_at(cpu.q[RIP]), cpu.translation.code_size):
            return refusal
        return refusal._replace(qualification=qualification | Qualification.WRITE.mask)

    def _check_limits(self, page: int) -> None:
        """Let the instruction at RIP have a guarded page, or deliver its fault."""
        fault = violation(self.cpu)
        if fault is None:
            self.cpu.limits.grant(page)
            self.pending.step()
        else:
            self._stop_instruction(fault)

    def _stop_instruction(self, fault: Fault) -> None:
        self.pending.end_stepping()
        deliver(self.cpu, fault)
        self.pending.deliver()

    def execute_reached(self) -> None:
        """Run the instruction that a hook has stopped TCG at, or deliver what that has found."""
        fault, self.sites.fault = self.sites.fault, None
        if fault is None:
            self.execute()
        else:
            self._stop_instruction(fault)

    def _fault(self, refusal: Refusal) -> Fault:
        if refusal.result == NOT_CANONICAL and through_stack(self.cpu, refusal.need):
            return SS(0)
        return self.cpu.translation.page_fault(refusal)

    def on_invalid(self) -> bool:
        """Take what TCG does not know at this ring: keys, XSAVE, SYSRET, INVPCID, and true #UD; `fastpath` has the hot ones."""
        try:
            self.execute()
        except BaseException as error:  # noqa: BLE001
            self.cpu.fail(error)
        return True

    def on_syscall(self) -> None:
        """SYSCALL and SYSENTER, where `fastpath` knows no way: TCG adds the instruction's length to RIP when we return."""
        cpu, q = self.cpu, self._q
        length = 2
        try:
            if not self.flawed:
                length += prefixes(cpu.code_at(q[RIP]), cpu.translation.code_size)
            self.execute()
        except BaseException as error:  # noqa: BLE001
            cpu.fail(error)
        q[RIP] = q[RIP] - length & U64

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
        """Nothing can be delivered in the middle of a block: leave it at its end if something waits.

        TCG would begin INS and OUTS anew, which have their access to memory still before them: then the next event will do.
        """
        if self._clock.cycles >= self.pending.attention_at:
            cpu = self.cpu
            code = cpu.code_at(self._q[RIP])
            if code[prefixes(code, cpu.translation.code_size) :][:1] not in _STRING_PORTS:
                cpu.engine.stop_after_block()

    # ---- work -------------------------------------------------------------------------------------------------

    def execute(self) -> None:
        """Run the instruction at RIP in Python and let time pass."""
        handler, insn = self.dispatch.find()
        cpu = self.cpu
        try:
            self.perform(handler, insn)
        except Fault as fault:
            deliver(cpu, fault)
        except VmExit as exit_:
            self._leave(exit_)
        # A guest's exits tell of the shadow, so that must end with its instruction; and a window may have opened.
        if self._clock.cycles >= self.pending.attention_at or (
            cpu.guest is not None and (cpu.interrupt_shadow or cpu.guest.windows)
        ):
            self.pending.deliver()

    def perform(self, handler: Handler, insn: Insn) -> None:
        """Do the work of an instruction; its fault is raised."""
        if self._q[EFLAGS] & _TF_RF:
            self._execute_flagged(handler, insn)
        else:
            handler(self.cpu, insn)

    def _leave(self, exit_: VmExit) -> None:
        from .vmexit import leave  # noqa: PLC0415  (most guests never come here)

        leave(self.cpu, exit_)

    def _execute_flagged(self, handler: Handler, insn: Insn) -> None:
        """Run with RF or TF set: RF ends with the instruction, and TF traps after it."""
        cpu = self.cpu
        shadow, before = cpu.interrupt_shadow, cpu.q[RIP]
        self.pending.end_stepping()
        stepping = cpu.q[EFLAGS] & TF
        cpu.q[EFLAGS] &= ~RF
        try:
            handler(cpu, insn)
        except VmExit as exit_:
            if exit_.behind:
                cpu.interrupt_shadow = 0
                exit_.pending = word(cpu.breakpoints.hits | (held_step(cpu) if stepping else 0))
            else:
                cpu.interrupt_shadow = shadow  # the instruction has not run
            raise
        held_off = cpu.interrupt_shadow and insn.mnemonic in {"mov_to_sreg", "pop_sreg"}
        if stepping and not held_off and insn.mnemonic not in _OWN_STEP:
            bits = step_behind(cpu, insn, before) | cpu.breakpoints.take()
            if not bits:
                return
            if insn.mnemonic != "sti":
                cpu.interrupt_shadow = 0
            raise DB(bits, trap=True)

    def _software_interrupt(self, vector: int) -> None:
        """INT n, INT3, INTO without a prefix: TCG has moved RIP past the instruction."""
        cpu = self.cpu
        self.pending.end_stepping()
        length = 2
        if vector in {3, 4} and cpu.code_at(cpu.q[RIP] - 1, 1) in {b"\xcc", b"\xce"}:
            length = 1
        try:
            software_interrupt(cpu, vector, length, by_number=length > 1)
        except Fault as fault:
            deliver(cpu, fault)
        except VmExit as exit_:
            self._leave(exit_)

    def _exception(self, vector: int) -> None:
        """Deliver an exception that TCG itself found: #DE, #DB of TF, #NM, #MF …."""
        cpu, stepped = self.cpu, self.pending.stepping
        if vector == 1:
            self._end_step(stepped=stepped)
            return
        self.pending.end_stepping()
        fault = not_available(cpu) if vector == _NOT_AVAILABLE else None
        deliver(cpu, fault or Fault(vector, cpu.d[ERROR_CODE] if vector in _WITH_ERROR else None))

    def _end_step(self, *, stepped: bool) -> None:
        """Go on behind one instruction, which `Pending` had TCG run alone if `stepped`, and else RFLAGS.TF."""
        cpu, pending, resuming = self.cpu, self.pending, self.pending.resuming
        pending.end_stepping()
        cpu.q[EFLAGS] &= ~RF
        if not stepped:
            cpu.interrupt_shadow = False  # the instruction has run
            bits = step_behind_rip(cpu, pending.began) | cpu.breakpoints.take()
            if bits:
                deliver(cpu, DB(bits, trap=True))
        elif resuming and self._in_string():
            cpu.q[EFLAGS] |= RF
            pending.settle_resume()

    def _in_string(self) -> bool:
        """Tell whether the single step was one turn of a string instruction that has more of them."""
        cpu = self.cpu
        if cpu.q[RIP] != self.pending.stepped_from:
            return False
        insn = decode(cpu.code_at(cpu.q[RIP]), cpu.translation.code_size)
        return insn.rep and insn.mnemonic.startswith(_STRINGS)

    def run(self, limit: int = 0, unit: Unit = Unit.BLOCKS) -> int:
        """Let TCG run from RIP; Unicorn's error code.

        Unicorn tells of no block before one has run to its end; until it has told of one, each that a run begins with is looked
        through here, and `Pending.deliver` stops TCG at each trap.
        """
        cpu = self.cpu
        engine, rip = cpu.engine, cpu.q[RIP]
        self.sites.reached = False
        self.sites.forget_old()
        if engine.no_block_seen:
            self.sites.inspect(cpu.linear_rip, 256)
        return engine.run(rip, limit, unit)

    def is_own(self, refusal: Refusal) -> bool:
        """Tell whether a refused fill is a page fault of the instruction at RIP.

        TCG translates a block before it runs any of it, and across a page's border: a refused fetch may belong to an instruction
        further on.  Then TCG is to run the next one alone, so that in the end RIP stands where the fault is.  And when
        the counting hook goes, Unicorn looks up the address of everything that was counted: fetches that nobody made.
        """
        if refusal.need != EXEC:
            return True
        cpu = self.cpu
        ahead = refusal.gva - cpu.linear_rip
        if not ahead:
            return True
        if not 0 < ahead <= PAGE:
            return False
        code, size = cpu.code_at(cpu.q[RIP], min(ahead, _LONGEST)), cpu.translation.code_size
        if ahead < _LONGEST and incomplete(code, size):
            return True
        if decode(code, size).mnemonic in {"invalid", "too_long"}:
            self.sites.reached = True  # what lies behind it does not matter
        else:
            self.pending.step()
        return False
